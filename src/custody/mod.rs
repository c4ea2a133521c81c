//! The custody log: what a dock sealed, stored and erased, as a Merkle log. docs/custody.md.

pub mod account;
pub mod checkpoint;
pub mod drill;
pub mod entry;
pub mod merkle;
pub mod place;
pub mod status;
pub mod tile;

use std::fmt;
use std::str::FromStr;

use crate::clip::{UnknownWord, from_hex, to_hex};

/// The id of one log: 64 random bits, drawn when a queue is made, and never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub [u8; 8]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LogId {
    type Err = UnknownWord;

    /// Exactly 16 lower-case hex digits.
    fn from_str(text: &str) -> Result<LogId, UnknownWord> {
        let unknown = || UnknownWord(text.to_owned());
        let bytes = from_hex(text).ok_or_else(unknown)?;
        Ok(LogId(bytes.try_into().map_err(|_| unknown())?))
    }
}

/// The folder of a log beneath the bucket's prefix (DESIGN §7); also the origin of its checkpoints.
pub fn folder(dock: &str, log: LogId) -> String {
    format!("{dock}/log/{log}")
}

/// What is needed to name the end of a log: its id, its size and the root hash at that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which log.
    pub log: LogId,
    /// Number of entries.
    pub size: u64,
    /// The root hash over them.
    pub root: merkle::Hash,
}
