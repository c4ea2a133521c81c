//! What a queue that was begun anew remembers of the one before, until an operator acknowledges it.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::log::{meta, set};
use super::{Queue, QueueError, Reader};
use crate::clip::Timestamp;

/// That the queue before was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// When this one began, in milliseconds since 1970.
    pub at_ms: i64,
    /// What was wrong with the one before.
    pub cause: String,
    /// Sealed clips that were found in the spool.
    pub found_count: u64,
}

const KEY: &str = "lost";

/// Remembers it, in the transaction that begins the queue.
pub(super) fn note(tx: &Connection, cause: String, now: Timestamp) -> Result<(), QueueError> {
    save(tx, &Lost { at_ms: now.0, cause, found_count: 0 })
}

fn save(tx: &Connection, lost: &Lost) -> Result<(), QueueError> {
    set(tx, KEY, &serde_json::to_string(lost).expect("numbers and text are JSON"))
}

fn load(connection: &Connection) -> Result<Option<Lost>, QueueError> {
    let text = meta(connection, KEY)?;
    let parse = |text: String| serde_json::from_str(&text);
    text.map(parse).transpose().map_err(|error| QueueError::Corrupt(error.to_string()))
}

impl Queue {
    /// So many more sealed clips were found in the spool; without effect on a queue that replaces
    /// none.
    pub fn found_in_spool_blocking(&self, count: u64) -> Result<(), QueueError> {
        self.do_blocking(move |tx| match load(tx)? {
            Some(mut lost) => {
                lost.found_count += count;
                save(tx, &lost)
            }
            None => Ok(()),
        })
    }
}

impl Reader {
    /// That the queue before this one was lost, and nobody acknowledged it yet.
    pub fn lost(&self) -> Result<Option<Lost>, QueueError> {
        load(&self.0)
    }
}
