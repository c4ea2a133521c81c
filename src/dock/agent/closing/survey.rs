//! What hinders the end of a dock, as queue, spool and folders have it: whatever is not finished.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::clip::{Source, State, Timestamp};
use crate::dock::agent::own_folder;
use crate::dock::config::{Config, EraseWhen, Watch};
use crate::dock::queue::{Amount, HeldLine, QueueError, Reader};
use crate::dock::spool::Spool;
use crate::dock::watch::{Scan, scan};
use crate::edge::clock;
use crate::edge::fs::Folder;
use crate::error::chain;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// When the log ended, where it has: then nothing else is looked at.
    pub closed: Option<Timestamp>,
    /// All that must be settled before.
    pub hindrances: Vec<Hindrance>,
    /// Plaintext that stays in its folder, as the config says.
    pub stays: Vec<Stays>,
}

/// Plaintext that nobody erases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stays {
    /// Its watch folder, where that is known.
    pub folder: Option<PathBuf>,
    /// How many clips.
    pub amount: Amount,
}

/// Something that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// A watch folder, or the spool, that is not as it should be.
    Folder {
        /// Which.
        folder: PathBuf,
        /// What is wrong with it.
        trouble: FolderTrouble,
    },
    /// Clips or deliveries that are held.
    Held(HeldLine),
    /// Uploads that were given up, and that a bucket still keeps.
    Leftovers {
        /// Which bucket.
        bucket: String,
        /// How many.
        count: u64,
    },
    /// The log does not continue the one before, and nobody acknowledged that.
    LogAnew,
    /// A bucket has not the whole log.
    LogBehind {
        /// Which.
        bucket: String,
        /// How many entries it has not.
        count: u64,
        /// Why not, where that is known.
        problem: Option<String>,
    },
    /// Another dock writes this log.
    LogForked,
    /// Clips that are stored, and whose plaintext is to be erased and is there.
    NotErased {
        /// How many.
        count: u64,
    },
    /// Clips that are not sealed.
    NotSealed {
        /// How many.
        count: u64,
    },
    /// Sealed clips that are not in every required bucket.
    NotStored {
        /// How many.
        count: u64,
    },
    /// Sealed files that the queue has in the spool.
    Spooled {
        /// How many.
        count: u64,
    },
    /// Files in the spool that the queue does not know.
    SpoolStray {
        /// How many.
        count: u64,
        /// One of them.
        first: PathBuf,
    },
}

/// What is wrong with a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderTrouble {
    /// It cannot be looked through.
    Away(String),
    /// It was ejected: it may be full of new clips.
    Ejected,
    /// Files in it that the queue does not know as they are.
    NewFiles {
        /// How many.
        count: u64,
        /// One of them, beneath the folder.
        first: PathBuf,
    },
    /// So many files in it have names of unfinished ones.
    Unfinished(u64),
}

/// Looks at everything. `without`: watch folders that are left out.
pub(super) fn look(
    config: &Config,
    reader: &Reader,
    without: &[PathBuf],
) -> Result<Survey, QueueError> {
    let closed = reader.closed()?;
    let mut survey = Survey { closed, ..Survey::default() };
    if closed.is_some() {
        return Ok(survey);
    }
    clips(config, reader, &mut survey)?;
    for watch in config.watches.iter().filter(|watch| !without.contains(&watch.path)) {
        folder(config, reader, watch, &mut survey.hindrances)?;
    }
    spool(config, reader, &mut survey.hindrances)?;
    log(config, reader, &mut survey.hindrances)?;
    Ok(survey)
}

/// What the queue knows of clips.
fn clips(config: &Config, reader: &Reader, survey: &mut Survey) -> Result<(), QueueError> {
    let hindrances = &mut survey.hindrances;
    for line in reader.waiting()?.iter().filter(|line| line.count > 0) {
        let count = line.count;
        match line.state {
            State::Seen => hindrances.push(Hindrance::NotSealed { count }),
            State::Sealed => hindrances.push(Hindrance::NotStored { count }),
            State::Stored | State::Erased => {}
        }
    }
    let mut not_erased = 0;
    for (folder, amount) in reader.stored_plaintext()? {
        let watch = folder.as_deref().and_then(|folder| config.watch(folder));
        // A clip whose folder is no longer configured is kept, too.
        match watch.map_or(EraseWhen::Never, |watch| watch.erase) {
            EraseWhen::Never => survey.stays.push(Stays { folder, amount }),
            EraseWhen::WhenSealed | EraseWhen::WhenStored => not_erased += amount.count,
        }
    }
    if not_erased > 0 {
        hindrances.push(Hindrance::NotErased { count: not_erased });
    }
    // Nothing waits for a bucket that was taken out of the config.
    let is_known =
        |line: &HeldLine| line.bucket.as_ref().is_none_or(|b| config.bucket(b).is_some());
    hindrances.extend(reader.held()?.into_iter().filter(is_known).map(Hindrance::Held));
    Ok(())
}

/// One real look through a watch folder.
fn folder(
    config: &Config,
    reader: &Reader,
    watch: &Watch,
    hindrances: &mut Vec<Hindrance>,
) -> Result<(), QueueError> {
    let mut hinder = |trouble| {
        hindrances.push(Hindrance::Folder { folder: watch.path.clone(), trouble });
    };
    if reader.orders()?.ejection(&watch.path, clock::now()).is_some() {
        hinder(FolderTrouble::Ejected);
        return Ok(());
    }
    let opened = match Folder::open(&watch.path) {
        Ok(opened) => opened,
        Err(error) => {
            hinder(FolderTrouble::Away(chain(&error)));
            return Ok(());
        }
    };
    if let Some(problem) = own_folder(config, watch) {
        hinder(FolderTrouble::Away(problem));
        return Ok(());
    }
    // An erasure that was cut short goes on with the next run: its clip counts as a file here.
    let found = scan(&opened, watch, |_| false);
    if let Some(problem) = &found.problem {
        hinder(FolderTrouble::Away(chain(problem)));
    }
    if let (count, Some(first)) = new_files(reader, watch, &found)? {
        hinder(FolderTrouble::NewFiles { count, first });
    }
    if found.ignored_count > 0 {
        hinder(FolderTrouble::Unfinished(found.ignored_count));
    }
    Ok(())
}

/// How many files of a folder the queue does not know as they are now, and the first of them.
fn new_files(
    reader: &Reader,
    watch: &Watch,
    found: &Scan,
) -> Result<(u64, Option<PathBuf>), QueueError> {
    let (mut count, mut first) = (0, None);
    for (path, facts) in found.clips.iter().chain(&found.others) {
        let source = Source { folder: watch.path.clone(), path: path.clone() };
        let known = reader.at(&source)?;
        // One that is not sealed is counted with those.
        let is_known = known.is_some_and(|clip| {
            clip.sealed.is_none() || clip.generation.same_content(&facts.generation)
        });
        if !is_known {
            count += 1;
            first.get_or_insert_with(|| path.clone());
        }
    }
    Ok((count, first))
}

/// What lies on the disk, not only what the queue thinks lies there.
fn spool(
    config: &Config,
    reader: &Reader,
    hindrances: &mut Vec<Hindrance>,
) -> Result<(), QueueError> {
    let spooled: HashSet<_> = reader.in_spool()?.into_iter().map(|(_, name)| name).collect();
    if !spooled.is_empty() {
        hindrances.push(Hindrance::Spooled { count: spooled.len() as u64 });
    }
    let is_known =
        |path: &&PathBuf| Spool::name_of(path).is_some_and(|name| spooled.contains(&name));
    match Spool::contents(&config.state_dir) {
        Ok(contents) => {
            let mut strays = contents.iter().filter(|path| !is_known(path));
            if let Some(first) = strays.next() {
                let (count, first) = (1 + strays.count() as u64, first.clone());
                hindrances.push(Hindrance::SpoolStray { count, first });
            }
        }
        Err(error) => {
            let trouble = FolderTrouble::Away(chain(&error));
            hindrances.push(Hindrance::Folder { folder: config.state_dir.clone(), trouble });
        }
    }
    Ok(())
}

/// What the buckets have not got.
fn log(
    config: &Config,
    reader: &Reader,
    hindrances: &mut Vec<Hindrance>,
) -> Result<(), QueueError> {
    if reader.forked()?.is_some() {
        hindrances.push(Hindrance::LogForked);
    } else if reader.is_unacknowledged()? {
        hindrances.push(Hindrance::LogAnew);
    }
    let size = reader.log()?.1;
    for bucket in &config.buckets {
        let published = reader.published(&bucket.name)?.size;
        if published < size {
            let problem = reader.publish_problem(&bucket.name)?.map(|(problem, _)| problem);
            let (bucket, count) = (bucket.name.clone(), size - published);
            hindrances.push(Hindrance::LogBehind { bucket, count, problem });
        }
        let count = reader.leftover_count(&bucket.name)?;
        if count > 0 {
            hindrances.push(Hindrance::Leftovers { bucket: bucket.name.clone(), count });
        }
    }
    Ok(())
}
