//! Taking a dock out of service: it is looked at, its log ends, and every bucket is given the end.

mod survey;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;

use super::account::edition;
use super::status::{Bulletin, say};
use super::{AgentError, Context, state};
use crate::clip::Timestamp;
use crate::custody::checkpoint::{Checkpoint, NOTE_SIZE_MAX};
use crate::custody::entry::Event;
use crate::custody::{Head, LogId, folder};
use crate::dock::config::{BucketConfig, Config};
use crate::dock::queue::Reader;
use crate::edge::bucket::BucketError;
use crate::note::Note;
pub use survey::{FolderTrouble, Hindrance, Stays, Survey};

/// A dock that may be taken out of service, holding the lock of its state directory.
pub struct Closing {
    config: Config,
    _lock: File,
}

/// A dock whose end nothing hinders, with its queue and keys.
pub struct Ending {
    context: Arc<Context>,
    reader: Reader,
    _lock: File,
}

/// A dock that was taken out of service.
#[derive(Debug)]
pub struct Closed {
    /// When, by its last entry.
    pub at: Timestamp,
    /// The log that ended.
    pub log: LogId,
    /// Its number of entries.
    pub size: u64,
    /// Bucket by bucket.
    pub buckets: Vec<LastWord>,
    /// Why the last checkpoint has no cosignature, where there is a witness.
    pub witness_problem: Option<String>,
}

/// What became of the end of the log in one bucket.
#[derive(Debug)]
pub struct LastWord {
    /// Its name.
    pub bucket: String,
    /// How it is known that the whole log is there; or why it is not.
    pub arrived: Result<Arrived, String>,
    /// Whether the status there says that the dock is closed; nobody waits for that.
    pub is_told: bool,
}

/// How it is known that a bucket has the whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// It acknowledged all of it, and lets nothing be read.
    Acknowledged,
    /// Its last checkpoint was read back, and is ours.
    ReadBack,
}

impl Arrived {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Arrived::Acknowledged => "acknowledged",
            Arrived::ReadBack => "read-back",
        }
    }
}

impl Closing {
    /// Keeps every daemon out. Nothing is changed by it.
    pub fn begin(config: Config) -> Result<Closing, AgentError> {
        let lock = state::take_lock(&config.state_dir)?;
        Ok(Closing { config, _lock: lock })
    }

    /// What hinders the end, and what stays. Reads queue, spool and folders, and changes nothing.
    pub fn look(&self, without: &[PathBuf]) -> Result<Survey, AgentError> {
        let reader = Reader::open(&self.config.state_dir.join(state::files::QUEUE))?;
        Ok(survey::look(&self.config, &reader, without)?)
    }

    /// Opens queue, spool and keys, as a daemon would. Blocks.
    pub fn enter(self) -> Result<Ending, AgentError> {
        let (context, reader) = Context::enter(self.config)?;
        Ok(Ending { context: Arc::new(context), reader, _lock: self._lock })
    }
}

impl Ending {
    /// Ends the log, unless it has ended, and gives the whole of it to every bucket. After a crash,
    /// or where a bucket fails, it is done again. `None` where the queue does not continue the log
    /// that the disk remembers: a new one began, and an operator must know of it first.
    pub async fn close(self) -> Result<Option<Closed>, AgentError> {
        let Ending { context, reader, _lock } = self;
        if reader.closed()?.is_none() {
            if reader.is_unacknowledged()? {
                return Ok(None);
            }
            context.queue.enter(Event::Closed).await?;
        }
        let at = reader.closed()?.expect("the last entry, just written or found");
        let config = &context.config;
        let buckets = edition(&context, None, config.buckets.clone()).await?.buckets;
        let (log, size) = reader.log()?;
        let head = reader.head(size)?;
        let words = buckets.iter().map(|(name, has_it)| {
            let bucket = config.bucket(name).expect("of the config");
            last_word(&context, &reader, bucket, (head, *has_it))
        });
        let mut buckets = join_all(words).await;
        let told = tell(&context, &buckets).await?;
        buckets.iter_mut().for_each(|word| word.is_told = told.contains(&word.bucket));
        let witness_problem = config.witness.as_ref().map(|_| reader.witness_problem());
        let witness_problem = witness_problem.transpose()?.flatten();
        Ok(Some(Closed { at, log, size, buckets, witness_problem }))
    }
}

/// Looks whether the end of the log is in a bucket, where that may be read.
async fn last_word(
    context: &Context,
    reader: &Reader,
    config: &BucketConfig,
    (head, has_it): (Head, bool),
) -> LastWord {
    let arrived = if has_it {
        read_back(context, config, head).await
    } else {
        let problem = reader.publish_problem(&config.name).ok().flatten();
        Err(problem.map_or_else(|| "it did not take it".to_owned(), |(problem, _)| problem))
    };
    LastWord { bucket: config.name.clone(), arrived, is_told: false }
}

async fn read_back(
    context: &Context,
    config: &BucketConfig,
    head: Head,
) -> Result<Arrived, String> {
    let key = format!("{}/checkpoints/{}", folder(&context.config.dock, head.log), head.size);
    let Ok(bucket) = context.buckets.open(config) else { return Ok(Arrived::Acknowledged) };
    match bucket.read_all(&key, NOTE_SIZE_MAX).await {
        Ok(bytes) => {
            let ours = Checkpoint::new(&context.config.dock, head).to_string();
            let is_ours = Note::parse(&bytes).is_ok_and(|note| note.text() == ours);
            let other = || "it has another checkpoint where ours should be".to_owned();
            if is_ours { Ok(Arrived::ReadBack) } else { Err(other()) }
        }
        Err(BucketError::Missing) => {
            Err("it took the last checkpoint, and does not have it".to_owned())
        }
        // It took all of it; most docks may put, and read nothing.
        Err(_) => Ok(Arrived::Acknowledged),
    }
}

/// Says to each bucket that has the whole log that the dock is closed, so that nobody waits for its
/// next word. Gives the names of those that took it.
async fn tell(context: &Arc<Context>, words: &[LastWord]) -> Result<Vec<String>, AgentError> {
    let bulletin = Bulletin::new(&context.config);
    let has_it = |bucket: &&BucketConfig| {
        words.iter().any(|word| word.bucket == bucket.name && word.arrived.is_ok())
    };
    let buckets: Vec<_> = context.config.buckets.iter().filter(has_it).cloned().collect();
    if bulletin.is_off() || buckets.is_empty() {
        return Ok(Vec::new());
    }
    let said = say(Arc::clone(context), buckets, None, bulletin.promise()).await?;
    Ok(said.took)
}
