//! The drill's receipt: the authority's word that clips of a dock could be opened.

use std::fmt;

use crate::clip::SealedName;
use crate::note::{Note, NoteError, SignerKey, VerifierKey, is_name};

/// The first line.
pub const HEAD: &str = "dockseal.drill/v1";
/// Largest receipt that is looked at, in bytes: five short lines and some signatures.
pub const RECEIPT_SIZE_MAX: u64 = 8 << 10;
/// After so long without a drill, a person is told.
pub const OVERDUE_SECONDS: u64 = 48 * 3600;

/// What a drill found for one dock; there is one only where all that was tried was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    /// The dock's name.
    pub dock: String,
    /// When it was tried, by the authority's clock; whole seconds.
    pub at: jiff::Timestamp,
    /// Clips that the bucket held of this dock.
    pub clip_count: u64,
    /// How many of them were opened, the newest among them.
    pub opened_count: u64,
    /// The newest clip.
    pub newest: SealedName,
}

/// Where the newest receipt of a dock lies beneath the bucket's prefix; it is replaced.
pub fn newest_key(dock: &str) -> String {
    format!("authority/drill/{dock}")
}

impl Drill {
    /// Where this receipt lies for good beneath the bucket's prefix.
    pub fn key(&self) -> String {
        format!("authority/drills/{}/{}", self.dock, self.at.as_second())
    }

    /// The note of it, signed by the root of a keyring.
    pub fn sign(&self, root: &SignerKey) -> Note {
        Note::sign(self.to_string(), root)
    }

    /// Reads a receipt that this root signed.
    pub fn verify(bytes: &[u8], root: &VerifierKey) -> Result<Drill, DrillError> {
        let note = Note::parse(bytes)?;
        Drill::parse(note.verify(root)?)
    }

    /// Reads what [`Drill`] displays, and nothing else.
    pub fn parse(text: &str) -> Result<Drill, DrillError> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(DrillError::Head);
        }
        let mut field = |word: &'static str| {
            let value = lines.next().and_then(|line| line.strip_prefix(word)?.strip_prefix(' '));
            value.ok_or(DrillError::Line { word })
        };
        let bad = |word| DrillError::Line { word };
        let drill = Drill {
            dock: field("dock")?.to_owned(),
            at: field("at")?.parse().map_err(|_| bad("at"))?,
            clip_count: field("clips")?.parse().map_err(|_| bad("clips"))?,
            opened_count: field("opened")?.parse().map_err(|_| bad("opened"))?,
            newest: field("newest")?.parse().map_err(|_| bad("newest"))?,
        };
        let is_ours = is_name(&drill.dock) && drill.to_string() == text;
        if is_ours { Ok(drill) } else { Err(DrillError::Spelling) }
    }
}

impl fmt::Display for Drill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        writeln!(f, "dock {}", self.dock)?;
        writeln!(f, "at {:.0}", self.at)?;
        writeln!(f, "clips {}", self.clip_count)?;
        writeln!(f, "opened {}", self.opened_count)?;
        writeln!(f, "newest {}", self.newest)
    }
}

/// Why a text is not a drill's receipt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrillError {
    /// Another kind of note.
    #[error("not a drill's receipt: the first line is not {HEAD}")]
    Head,
    /// A line is missing, or its value is none.
    #[error("not a drill's receipt: the line {word:?} is missing or malformed")]
    Line {
        /// Its first word.
        word: &'static str,
    },
    /// Not signed, or not by the root.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The same meaning in another spelling, or more lines.
    #[error("not a drill's receipt: not in its one spelling")]
    Spelling,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Kind;

    fn drill() -> Drill {
        Drill {
            dock: "hannover-03".into(),
            at: "2026-11-21T09:00:00Z".parse().expect("a time"),
            clip_count: 12,
            opened_count: 4,
            newest: SealedName([0xab; 32]),
        }
    }

    #[test]
    fn a_receipt_survives_its_note_and_counts_only_with_the_roots_signature() {
        let key = |seed| SignerKey::from_seed("bpol.example", Kind::Note, &[seed; 32]);
        let (root, other) = (key(1).expect("a name"), key(2).expect("a name"));
        let bytes = drill().sign(&root).to_string().into_bytes();
        assert_eq!(Drill::verify(&bytes, &root.verifier()), Ok(drill()));
        let refused = Drill::verify(&bytes, &other.verifier());
        assert_eq!(refused, Err(DrillError::Note(NoteError::NotSigned)));
        assert_eq!(drill().key(), "authority/drills/hannover-03/1795251600");
        assert_eq!(newest_key("hannover-03"), "authority/drill/hannover-03");
    }

    #[test]
    fn a_receipt_has_one_spelling() {
        let text = drill().to_string();
        let bad = |from: &str, to: &str| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            Drill::parse(&changed).expect_err(to)
        };
        assert_eq!(bad("/v1", "/v2"), DrillError::Head);
        assert_eq!(bad("at 2026", "at x"), DrillError::Line { word: "at" });
        assert_eq!(bad("clips 12", "clips 012"), DrillError::Spelling);
        assert_eq!(bad("opened 4\n", ""), DrillError::Line { word: "opened" });
        assert_eq!(bad("newest ab", "newest AB"), DrillError::Line { word: "newest" });
        assert_eq!(bad("hannover-03", "a/ b"), DrillError::Spelling);
        assert_eq!(Drill::parse(&format!("{text}more\n")), Err(DrillError::Spelling));
    }
}
