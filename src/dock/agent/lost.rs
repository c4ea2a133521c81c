//! A queue that was lost, or that SQLite cannot read, is put aside and begun anew.
//!
//! The spool and the dock folders say which clips there are (FAULTS F-15).

use std::io;
use std::path::{Path, PathBuf};

use super::state::{AgentError, files, remembered_head};
use crate::dock::queue::{Beginning, Queue, QueueError, beside};
use crate::dock::spool::Spool;
use crate::edge::fs;
use crate::error::chain;

/// Opens the queue of a dock. One that is lost is replaced by a new one, which erases nothing until
/// an operator acknowledges it; the damaged files are kept.
pub(super) fn open_queue(state_dir: &Path, dock: &str) -> Result<Queue, AgentError> {
    let path = state_dir.join(files::QUEUE);
    // Without a spool there was never a queue of ours: somebody forgot `init`, or named a folder
    // that is another program's.
    let is_ours = Spool::is_in(state_dir);
    let cause = match Queue::open(&path, dock) {
        Err(QueueError::Missing) if is_ours => "it was missing".to_owned(),
        Err(error) if is_ours && error.is_damage() => {
            // SQLite says the same of a disk that cannot be read at this moment.
            look_at(state_dir).map_err(|error| AgentError::Halt(chain(&error)))?;
            match Queue::open(&path, dock) {
                Err(error) if error.is_damage() => chain(&error),
                opened => return Ok(opened?),
            }
        }
        opened => return Ok(opened?),
    };
    let aside = put_aside(state_dir).map_err(AgentError::StateDir)?;
    let kept = aside.map_or(String::new(), |folder| format!("; kept in {}", folder.display()));
    tracing::error!("the queue is lost ({cause}{kept}); a new one begins, and erasing waits");
    let previous = remembered_head(state_dir).map_err(AgentError::StateDir)?;
    let beginning = Beginning { dock: dock.to_owned(), previous, lost: Some(cause) };
    Ok(Queue::create(&path, beginning)?)
}

/// The files of a queue that are there.
fn left(state_dir: &Path) -> Vec<PathBuf> {
    let queue = state_dir.join(files::QUEUE);
    let beside = beside(&queue);
    [queue].into_iter().chain(beside).filter(|path| path.exists()).collect()
}

/// Whether all of it can be read.
fn look_at(state_dir: &Path) -> io::Result<()> {
    let read = |path| io::copy(&mut std::fs::File::open(path)?, &mut io::sink()).map(drop);
    left(state_dir).into_iter().try_for_each(read)
}

/// Moves what is left of a queue into a folder of its own; `None` where nothing is.
pub(super) fn put_aside(state_dir: &Path) -> io::Result<Option<PathBuf>> {
    let left = left(state_dir);
    if left.is_empty() {
        return Ok(None);
    }
    let folders = (1..).map(|number| state_dir.join(format!("damaged-{number}")));
    let folder = folders.into_iter().find(|folder| !folder.exists()).expect("numbers do not end");
    fs::create_private_folder(&folder)?;
    for path in left {
        std::fs::rename(&path, folder.join(path.file_name().expect("it has a name")))?;
    }
    fs::sync_folder(&folder)?;
    fs::sync_folder(state_dir)?;
    Ok(Some(folder))
}
