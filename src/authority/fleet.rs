//! The fleet: what each dock last said of itself, and whether to believe it. docs/custody.md §9.
//!
//! Nothing here proves that clips are safe; the audit does. A dock that is not heard, or not
//! believed, is never well.

mod judge;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::clip::Timestamp;
use crate::custody::checkpoint::{self, Checkpoint};
use crate::custody::status::{self, Status};
use crate::custody::{LogId, folder};
use crate::edge::bucket::{Bucket, BucketError};
use crate::keyring::{Enrolled, Keyring, day_of};
use crate::note::Note;
pub use judge::{Row, Verdict};
use judge::{Signed, judge};

/// Docks that are asked for at the same time.
const AT_ONCE: usize = 32;
/// Logs of a dock that is silent that are looked at.
const LOG_COUNT_MAX: usize = 16;
/// Folders of a bucket that no keyring knows and that are looked into.
const STRANGER_COUNT_MAX: usize = 256;

/// All docks of a bucket, those that need somebody first.
pub struct Fleet {
    /// When it was looked at.
    pub at: Timestamp,
    /// The keyring's revision.
    pub revision: u64,
    /// The docks.
    pub rows: Vec<Row>,
}

/// What was heard in earlier looks: the newest time of each dock's word.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<String, jiff::Timestamp>);

impl Fleet {
    /// Docks that somebody must see to.
    pub fn need_you_count(&self) -> usize {
        self.rows.iter().filter(|row| row.verdict.needs_you()).count()
    }

    /// Clips that do not get to safety by themselves, as far as it is known.
    pub fn at_risk_count(&self) -> u64 {
        let counts = self.rows.iter().filter_map(Row::at_risk_count);
        counts.fold(0, u64::saturating_add)
    }

    /// Docks of which it is not known how many of their clips are at risk.
    pub fn unknown_count(&self) -> usize {
        self.rows.iter().filter(|row| row.at_risk_count().is_none()).count()
    }

    /// The one line that answers.
    pub fn headline(&self) -> String {
        let s = |count: u64| if count == 1 { "" } else { "s" };
        let (docks, need) = (self.rows.len() as u64, self.need_you_count());
        let (verb, risk) = (if need == 1 { "s" } else { "" }, self.at_risk_count());
        let unknown = match self.unknown_count() as u64 {
            0 => String::new(),
            count => format!(" (of {count} dock{} not known)", s(count)),
        };
        format!(
            "{docks} dock{}, {need} need{verb} you, {risk} clip{} at risk{unknown}",
            s(docks),
            s(risk)
        )
    }
}

/// Reads the status of every dock that the keyring enrols today, and of every other that has one.
/// Some small objects a dock are read, and no clip is.
pub async fn look(
    bucket: &Bucket,
    keyring: &Keyring,
    now: Timestamp,
    memory: &mut Memory,
) -> Result<Fleet, BucketError> {
    let folders = bucket.level("").await?.folders;
    let today = day_of(now);
    let known: BTreeSet<&str> = keyring.docks.iter().map(|dock| dock.key.name()).collect();
    let enrolled = known.iter().filter(|name| keyring.dock(name, today).is_some());
    let asking = enrolled.map(|name| one(bucket, keyring, now, name, memory));
    let mut rows: Vec<Row> = stream::iter(asking).buffer_unordered(AT_ONCE).try_collect().await?;
    rows.extend(strangers(bucket, folders, &known).await?);
    rows.sort_by(|a, b| (a.verdict.rank(), &a.dock).cmp(&(b.verdict.rank(), &b.dock)));
    // A time that never was would make all that come after it look old.
    for row in rows.iter().filter(|row| row.verdict != Verdict::Ahead) {
        if let Some(status) = &row.status {
            let newest = memory.0.entry(row.dock.clone()).or_insert(status.at);
            *newest = status.at.max(*newest);
        }
    }
    Ok(Fleet { at: now, revision: keyring.revision, rows })
}

/// One dock of the keyring.
async fn one(
    bucket: &Bucket,
    keyring: &Keyring,
    now: Timestamp,
    dock: &str,
    memory: &Memory,
) -> Result<Row, BucketError> {
    let keys: Vec<&Enrolled> = keyring.docks.iter().filter(|one| one.key.name() == dock).collect();
    let signed = match bucket.read_all(&status::key(dock), status::NOTE_SIZE_MAX).await {
        Ok(bytes) => Signed::read(&bytes, dock, &keys),
        Err(BucketError::Missing) => Signed::Nothing,
        Err(BucketError::TooLarge { .. }) => Signed::Unreadable,
        Err(error) => return Err(error),
    };
    let mut row = judge(dock, signed, now, memory.0.get(dock).copied());
    // Only where a dock is not heard: does it go on with its log?
    if matches!(row.verdict, Verdict::Never | Verdict::Silent) {
        row.log_at = newest_checkpoint(bucket, dock).await?;
        row.log_went_on();
    }
    if let (true, Some(status)) = (row.verdict.is_believed(), &row.status)
        && !has_log(bucket, status, &keys).await?
    {
        row.verdict = Verdict::Shortened;
    }
    Ok(row)
}

/// When the bucket stored the newest checkpoint of a dock's logs.
async fn newest_checkpoint(
    bucket: &Bucket,
    dock: &str,
) -> Result<Option<jiff::Timestamp>, BucketError> {
    let logs = bucket.level(&format!("{dock}/log")).await?.folders;
    let logs = logs.into_iter().filter_map(|name| name.parse::<LogId>().ok()).take(LOG_COUNT_MAX);
    let mut newest = None;
    for log in logs {
        let objects = bucket.level(&folder(dock, log)).await?.objects;
        let stored = objects.into_iter().find(|(name, _)| name == "checkpoint").map(|(_, at)| at);
        newest = newest.max(stored);
    }
    Ok(newest)
}

/// Whether the bucket has the log as far as its dock says, signed by the dock.
async fn has_log(
    bucket: &Bucket,
    status: &Status,
    keys: &[&Enrolled],
) -> Result<bool, BucketError> {
    let origin = folder(&status.dock, status.log);
    let key = format!("{origin}/checkpoints/{}", status.log_size);
    let bytes = match bucket.read_all(&key, checkpoint::NOTE_SIZE_MAX).await {
        Ok(bytes) => bytes,
        Err(BucketError::Missing | BucketError::TooLarge { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let Ok(note) = Note::parse(&bytes) else { return Ok(false) };
    let is_signed = keys.iter().any(|one| note.verify(&one.key).is_ok());
    let is_it = |it: Checkpoint| it.origin == origin && it.size == status.log_size;
    Ok(is_signed && Checkpoint::parse(note.text()).is_ok_and(is_it))
}

/// Folders that no keyring knows, where there is a status in them: docks that nobody enrolled.
async fn strangers(
    bucket: &Bucket,
    mut folders: Vec<String>,
    known: &BTreeSet<&str>,
) -> Result<Vec<Row>, BucketError> {
    let is_ours = |name: &str| known.contains(name) || ["authority", "keyrings"].contains(&name);
    folders.retain(|name| !is_ours(name));
    folders.truncate(STRANGER_COUNT_MAX);
    let looking = folders.into_iter().map(|name| async move {
        match bucket.read_all(&status::key(&name), status::NOTE_SIZE_MAX).await {
            Ok(_) | Err(BucketError::TooLarge { .. }) => Ok(Some(Row::unknown(name))),
            Err(BucketError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let rows: Vec<_> = stream::iter(looking).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(rows.into_iter().flatten().collect())
}
