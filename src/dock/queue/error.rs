//! Why the queue could not be used.

use crate::clip::Contradiction;
use crate::edge::fs::is_disks;

/// Why the queue could not be used.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The writer could not make facts durable, and has ended.
    #[error("{0}")]
    Broken(String),
    /// This user may not see whether there is one.
    #[error("cannot look into its folder")]
    Closed(#[source] std::io::Error),
    /// The fact and the queue cannot both be true; nothing was recorded.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// Its file could not be made.
    #[error("it cannot be made")]
    Create(#[source] std::io::Error),
    /// The database contradicts itself.
    #[error("the queue is corrupt: {0}")]
    Corrupt(String),
    /// The dock was taken out of service: its log takes no entry any more.
    #[error("the dock is closed: its log has ended")]
    Ended,
    /// The file belongs to another program.
    #[error("the file is not a queue of dockseal")]
    Foreign,
    /// There is none.
    #[error("there is no queue")]
    Missing,
    /// No such clip, or not in a state for it.
    #[error("there is no such clip, or it is not one that this can be done to")]
    NoClip,
    /// SQLite did not take the settings that durability rests on.
    #[error("the file system does not support the queue: journal {mode}, sync {synchronous}")]
    NotDurable {
        /// `journal_mode` as read back.
        mode: String,
        /// `synchronous` as read back.
        synchronous: i64,
    },
    /// SQLite failed: a full or failing disk.
    #[error("the queue's database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The writing thread has ended after an earlier error.
    #[error("the queue's writer has stopped")]
    Stopped,
    /// A schema of another version of dockseal.
    #[error(
        "the queue has schema {found}, this dockseal knows {known}: {}",
        version_advice(*found < *known)
    )]
    Version {
        /// What the file says.
        found: i64,
        /// What this code knows.
        known: i64,
    },
}

impl QueueError {
    /// Whether the file is no longer a database that can be read, however often it is tried.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            QueueError::Corrupt(_) => true,
            QueueError::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
                matches!(error.code, DatabaseCorrupt | NotADatabase)
            }
            _ => false,
        }
    }

    /// Whether the disk is full or fails, or reading it did: nothing that an operator configured.
    pub fn is_of_the_disk(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DiskFull, ReadOnly, SystemIoFailure};
        match self {
            QueueError::Broken(_) | QueueError::Stopped => true,
            QueueError::Create(error) => is_disks(error),
            QueueError::Sqlite(error) => error.sqlite_error_code().is_some_and(|code| {
                matches!(code, CannotOpen | DatabaseBusy | DiskFull | ReadOnly | SystemIoFailure)
            }),
            QueueError::Closed(_)
            | QueueError::Contradiction(_)
            | QueueError::Corrupt(_)
            | QueueError::Ended
            | QueueError::Foreign
            | QueueError::Missing
            | QueueError::NoClip
            | QueueError::NotDurable { .. }
            | QueueError::Version { .. } => false,
        }
    }
}

fn version_advice(is_older: bool) -> &'static str {
    if is_older { "the daemon brings it up to date" } else { "install a newer dockseal" }
}
