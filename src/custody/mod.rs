//! The custody log: what a dock sealed, stored and erased, as a Merkle log. docs/custody.md.

pub mod account;
pub mod checkpoint;
pub mod drill;
pub mod entry;
pub mod merkle;
pub mod tile;

use std::fmt;
use std::str::FromStr;

use crate::clip::UnknownWord;

/// The id of one log: 64 random bits, drawn when a queue is made, and never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub [u8; 8]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        let bytes = hex(text).ok_or_else(unknown)?;
        Ok(LogId(bytes.try_into().map_err(|_| unknown())?))
    }
}

/// The bytes of lower-case hex digits; no other spelling.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
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
