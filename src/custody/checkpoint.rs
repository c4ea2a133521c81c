//! The checkpoint: a log's origin, size and root, signed by the dock (C2SP tlog-checkpoint).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::merkle::Hash;
use super::{Head, LogId, folder, tile};
use crate::note::{Note, SignerKey};

/// Largest note of a checkpoint that is read, in bytes: 64 cosignatures fit.
pub const NOTE_SIZE_MAX: u64 = 16 << 10;

/// What a dock says of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log, in the whole world: `<dock>/log/<log-id>`.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// The root hash over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The checkpoint of a dock's log.
    pub fn new(dock: &str, head: Head) -> Checkpoint {
        Checkpoint { origin: folder(dock, head.log), size: head.size, root: head.root }
    }

    /// The note of it, signed.
    pub fn sign(&self, key: &SignerKey) -> Note {
        Note::sign(self.to_string(), key)
    }

    /// Reads a note's text. Lines behind the third are extensions, of which we know none.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        let text = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        if text.split('\n').any(str::is_empty) {
            return Err(CheckpointError::Lines);
        }
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(CheckpointError::Lines);
        let (origin, size, root) = (line()?, line()?, line()?);
        let number: u64 = size.parse().map_err(|_| CheckpointError::Size)?;
        if number.to_string() != size || number > tile::SIZE_MAX {
            return Err(CheckpointError::Size);
        }
        let root = BASE64.decode(root).map_err(|_| CheckpointError::Root)?;
        let root = Hash(root.try_into().map_err(|_| CheckpointError::Root)?);
        Ok(Checkpoint { origin: origin.to_owned(), size: number, root })
    }

    /// The dock and the log of its origin; `None` where it is of another kind of log.
    pub fn log(&self) -> Option<(&str, LogId)> {
        let (dock, log) = self.origin.split_once("/log/")?;
        Some((dock, log.parse().ok()?))
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64.encode(self.root.0))
    }
}

/// Why a note is not a checkpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Fewer than three lines, or an empty one.
    #[error("not a checkpoint: expected origin, size and root")]
    Lines,
    /// The root is not 32 bytes in base64.
    #[error("not a checkpoint: its root is not 32 bytes in base64")]
    Root,
    /// The size is not a decimal number, or larger than any log.
    #[error("not a checkpoint: its size is not a number, or larger than any log")]
    Size,
}

#[cfg(test)]
mod tests {
    use super::super::merkle::empty_root;
    use super::*;
    use crate::note::Kind;

    #[test]
    fn a_checkpoint_survives_its_note() {
        let head = Head { log: LogId([0xab; 8]), size: 17, root: empty_root() };
        let checkpoint = Checkpoint::new("dock-1", head);
        let key = SignerKey::from_seed("dock-1", Kind::Note, &[3; 32]).expect("a name");
        let note = checkpoint.sign(&key);
        let text = note.verify(&key.verifier()).expect("signed");
        assert_eq!(text.lines().next(), Some("dock-1/log/abababababababab"));
        assert_eq!(Checkpoint::parse(text).as_ref(), Ok(&checkpoint));
        assert_eq!(checkpoint.log(), Some(("dock-1", head.log)));
    }

    #[test]
    fn rubbish_is_refused() {
        let root = BASE64.encode([0; 32]);
        assert!(Checkpoint::parse(&format!("o\n1\n{root}\nextension\n")).is_ok());
        for lines in ["o\n1\n", &format!("o\n1\n{root}"), &format!("o\n1\n{root}\n\nextension\n")] {
            assert_eq!(Checkpoint::parse(lines), Err(CheckpointError::Lines));
        }
        for size in ["01", "+1", "-1", "x", "281474976710657", "18446744073709551616"] {
            let text = format!("o\n{size}\n{root}\n");
            assert_eq!(Checkpoint::parse(&text), Err(CheckpointError::Size));
        }
        assert_eq!(Checkpoint::parse("o\n1\nAAAA\n"), Err(CheckpointError::Root));
    }
}
