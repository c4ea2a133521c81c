//! The state directory: its lock, its files, how it is prepared, and why an agent cannot begin.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::lost::put_aside;
use crate::clip::Timestamp;
use crate::custody::Head;
use crate::custody::checkpoint::Checkpoint;
use crate::custody::entry::Event;
use crate::dock::config::Config;
use crate::dock::queue::{Beginning, Queue, QueueError, Reader};
use crate::dock::signing::{self, SigningError};
use crate::dock::spool::Spool;
use crate::edge::fs;
use crate::envelope::selftest::SelfTestError;
use crate::note::VerifierKey;

/// The file names inside the state directory.
pub mod files {
    /// The database.
    pub const QUEUE: &str = "queue.db";
    /// Its lock is held while a daemon runs; the text is its process id.
    pub const LOCK: &str = "lock";
    /// The last checkpoint that may have left the dock: tells whether a queue is the one that made
    /// it.
    pub const HEAD: &str = "log-head";
    /// A watch folder of our own, for test clips alone.
    pub const PROOF: &str = "proof-of-life";
}

pub(super) fn take_lock(state_dir: &Path) -> Result<File, AgentError> {
    let path = state_dir.join(files::LOCK);
    let lock = fs::lock(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => AgentError::NotInitialised(state_dir.to_owned()),
        _ => AgentError::Lock(error),
    })?;
    let Some(mut file) = lock else {
        let pid = std::fs::read_to_string(&path).unwrap_or_default();
        return Err(AgentError::AlreadyRunning { pid: pid.trim().to_owned() });
    };
    let write = |file: &mut File| {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(AgentError::Lock)?;
    Ok(file)
}

/// Prepares a state directory: folder, signing key, queue, spool. What is there is left as it is.
/// Returns the public half of the signing key.
pub fn initialise(state_dir: &Path, dock: &str) -> Result<VerifierKey, AgentError> {
    fs::create_private_folder(state_dir).map_err(AgentError::StateDir)?;
    let _lock = take_lock(state_dir)?;
    let key = signing::create(state_dir, dock)?;
    // Where an earlier queue was lost, the new log says what it does not continue.
    let previous = remembered_head(state_dir).map_err(AgentError::StateDir)?;
    let path = state_dir.join(files::QUEUE);
    if !path.exists() {
        put_aside(state_dir).map_err(AgentError::StateDir)?;
    }
    let queue = Queue::create(&path, Beginning { dock: dock.to_owned(), previous, lost: None })?;
    if let Some(at) = queue.reader()?.closed()? {
        return Err(AgentError::Closed { at, is_published: true });
    }
    Spool::open(state_dir).map_err(AgentError::StateDir)?;
    fs::sync_folder(state_dir).map_err(AgentError::StateDir)?;
    Ok(key.verifier())
}

/// The head of the last checkpoint that may have left the dock. An unreadable one is none: the
/// queue, or the auditor, remembers too.
pub fn remembered_head(state_dir: &Path) -> std::io::Result<Option<Head>> {
    let text = match std::fs::read_to_string(state_dir.join(files::HEAD)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let Ok(checkpoint) = Checkpoint::parse(&text) else { return Ok(None) };
    let log = checkpoint.log().map(|(_, log)| log);
    Ok(log.map(|log| Head { log, size: checkpoint.size, root: checkpoint.root }))
}

/// Without it every watch folder would look empty for ever, and the dock seem well.
pub(super) fn expect_openat2(state_dir: &Path) -> Result<(), AgentError> {
    let can_look = fs::Folder::open(state_dir).and_then(|folder| folder.can_look());
    match can_look.map_err(AgentError::StateDir)? {
        true => Ok(()),
        false => Err(AgentError::NoOpenat2),
    }
}

/// A dock that was taken out of service does not begin again: nothing may follow in its log.
pub(super) fn expect_open(config: &Config, reader: &Reader) -> Result<(), AgentError> {
    let Some(at) = reader.closed()? else { return Ok(()) };
    let size = reader.log()?.1;
    let mut is_published = true;
    for bucket in &config.buckets {
        is_published &= reader.published(&bucket.name)?.size == size;
    }
    Err(AgentError::Closed { at, is_published })
}

/// Sees that the queue continues the log that the disk remembers; begins a new one where it does
/// not, because it was lost, or put back from a backup.
pub(super) fn continue_log(state_dir: &Path, dock: &str, queue: &Queue) -> Result<(), AgentError> {
    if let Some(key) = queue.reader()?.forked()? {
        return Err(AgentError::Forked { key });
    }
    let Some(head) = remembered_head(state_dir).map_err(AgentError::StateDir)? else {
        return Ok(());
    };
    if continues(&head, queue, &queue.reader()?)? {
        return Ok(());
    }
    tracing::error!(log = %head.log, "this queue does not continue the log; a new one begins");
    let beginning = Beginning { dock: dock.to_owned(), previous: Some(head), lost: None };
    Ok(queue.begin_log_blocking(beginning)?)
}

fn continues(head: &Head, queue: &Queue, reader: &Reader) -> Result<bool, QueueError> {
    let (log, size) = reader.log()?;
    if log == head.log {
        if head.size > size {
            return Ok(false);
        }
        queue.close_tiles_blocking(head.size)?;
        return Ok(reader.head(head.size)?.root == head.root);
    }
    // The checkpoint of this log has not left yet; it names the one before it.
    let first = reader.entries(0, 1)?.pop().map(|first| first.entry.event);
    Ok(matches!(first, Some(Event::Started { previous: Some(previous), .. })
        if previous.head().is_some_and(|previous| previous.log == head.log)))
}

/// The id of the process whose daemon runs on a state directory, if one does.
pub fn running(state_dir: &Path) -> std::io::Result<Option<String>> {
    let path = state_dir.join(files::LOCK);
    if fs::is_locked(&path)? {
        Ok(Some(std::fs::read_to_string(path)?.trim().to_owned()))
    } else {
        Ok(None)
    }
}

/// Why the agent ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another daemon has the state directory.
    #[error("a daemon is running on this state directory already (process {pid})")]
    AlreadyRunning {
        /// Its process id.
        pid: String,
    },
    /// The dock was taken out of service.
    #[error("this dock was closed at {at}: its log has ended, and it seals nothing any more")]
    Closed {
        /// When.
        at: Timestamp,
        /// Whether every bucket has the whole log.
        is_published: bool,
    },
    /// Another state directory with this dock's key writes the same log.
    #[error("stopped, because another dock writes this log: {key} in the bucket is not ours")]
    Forked {
        /// The object that shows it.
        key: String,
    },
    /// What the disk holds is no longer known; a restart begins from what is durable.
    #[error("stopped, because the disk failed: {0}")]
    Halt(String),
    /// The lock could not be taken.
    #[error("cannot take the lock of the state directory")]
    Lock(#[source] std::io::Error),
    /// No clip can be opened here.
    #[error("this kernel has no openat2(2), with which clips are opened")]
    NoOpenat2,
    /// `dockseal init` was not run.
    #[error("the state directory {} does not exist", .0.display())]
    NotInitialised(PathBuf),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// This machine does not seal as it must.
    #[error("nothing is sealed by this machine: it does not compute as it must")]
    SelfTest(#[from] SelfTestError),
    /// There is no key to sign the log with.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The state directory could not be made.
    #[error("cannot prepare the state directory")]
    StateDir(#[source] std::io::Error),
}
