//! What is true of a clip: its state, its holds, its deliveries.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::hold::{Hold, Reason};

#[cfg(test)]
pub(crate) mod examples;
mod hex;
mod printable;

pub use hex::{from_hex, to_hex};
pub use printable::{
    NAME_SIZE_MAX, harmless, is_harmless, is_plain_name, path_from_bytes, printable,
};

/// The queue's number of a clip. Numbers start at 1 and are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClipId(pub i64);

impl fmt::Display for ClipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z, by the dock's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time and `seconds` more.
    pub fn plus_seconds(self, seconds: u64) -> Timestamp {
        let milliseconds = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        Timestamp(self.0.saturating_add(milliseconds))
    }

    /// Whole seconds from `earlier` to this time; 0 where the clock went backwards.
    pub fn seconds_since(self, earlier: Timestamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0) / 1000
    }

    /// Seconds that are left from `now` to this time, the last one begun as a whole one; 0 where it
    /// is over.
    pub fn seconds_left(self, now: Timestamp) -> u64 {
        u64::try_from(self.0.saturating_sub(now.0)).unwrap_or(0).div_ceil(1000)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.0}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// The SHA-256 of a sealed file: its name in the spool, in the bucket and in the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SealedName(pub [u8; 32]);

impl fmt::Display for SealedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for SealedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SealedName {
    type Err = NotASealedName;

    /// Exactly 64 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, NotASealedName> {
        let bytes = from_hex(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(SealedName).ok_or(NotASealedName)
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a sealed clip: expected 64 lower-case hex digits")]
pub struct NotASealedName;

/// What `fstat` says of one generation of a file.
///
/// It decides only "have I seen this generation before"; what a clip *is*, its sealed name says.
/// `device_number` changes over reboots and replugs, so [`Generation::same_content`] leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation {
    /// `st_dev` of the file system at the time of looking.
    pub device_number: u64,
    /// `st_ino`.
    pub inode_number: u64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// `st_mtime` in nanoseconds since 1970.
    pub modified_ns: i64,
    /// `st_ctime` in nanoseconds since 1970: catches a rewrite whose mtime was set back.
    pub changed_ns: i64,
}

impl Generation {
    /// Whether both describe the same, unwritten-to file.
    pub fn same_content(&self, other: &Generation) -> bool {
        self.same_but_renamed(other) && self.changed_ns == other.changed_ns
    }

    /// As [`Generation::same_content`], for a file that we renamed in between: renaming moves the
    /// ctime, so only the rest is compared.
    pub fn same_but_renamed(&self, other: &Generation) -> bool {
        self.inode_number == other.inode_number
            && self.size_bytes == other.size_bytes
            && self.modified_ns == other.modified_ns
    }
}

/// Where a clip lies: a watch folder and the path beneath it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The watch folder, as configured.
    pub folder: PathBuf,
    /// The path beneath it; never absolute, never with `..`.
    pub path: PathBuf,
}

impl Source {
    /// The whole path, for the desk.
    pub fn full(&self) -> PathBuf {
        self.folder.join(&self.path)
    }
}

/// How far a clip has come. A state is a fact that survived a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Found in a dock folder, not sealed yet.
    Seen,
    /// A durable sealed file lies in the spool.
    Sealed,
    /// Every required bucket gave a sufficient receipt.
    Stored,
    /// Stored, and the plaintext is no longer on the dock.
    Erased,
}

/// What became of the file in the dock folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    /// It lies there as it was sealed, as far as the queue knows.
    Present,
    /// We erased it, with proof.
    Erased,
    /// Somebody else removed it after it was sealed.
    Absent,
    /// It was written to after it was sealed; its new content is a clip of its own.
    Changed,
}

/// What kind of acknowledgement a bucket gave, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The bucket said "stored", and nothing more.
    Acknowledged,
    /// The whole object was read back and its SHA-256 is the sealed name.
    ReadBack,
    /// The server reported a digest that it computed of what it received, and it is ours.
    DigestChecked,
}

/// A bucket's acknowledgement of one sealed clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The bucket's name in the config.
    pub bucket: String,
    /// How much the acknowledgement is worth.
    pub evidence: Evidence,
    /// When we had it.
    pub stored_at: Timestamp,
}

/// A word that this version of dockseal does not know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {0:?}")]
pub struct UnknownWord(pub String);

/// One clip's way to one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The bucket's name in the config.
    pub bucket: String,
    /// The receipt, once there is one.
    pub receipt: Option<Receipt>,
    /// The wait after a failed attempt.
    pub hold: Option<Hold>,
}

/// The durable sealed file of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedFile {
    /// Its SHA-256, and so its name.
    pub name: SealedName,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// SHA-256(salt ‖ SHA-256(plaintext)); the salt is in the manifest. docs/format.md §5.
    pub commitment: [u8; 32],
    /// When it became durable.
    pub sealed_at: Timestamp,
    /// Whether the source was read again afterwards, and was the same (`when-sealed`). The sealed
    /// file is read again just before an erasure rests on it.
    pub reread: bool,
    /// Whether it still lies in the spool.
    pub in_spool: bool,
    /// The keyring that it was sealed by; none where the recipients came from the config.
    pub keyring_revision: Option<u64>,
}

/// All that the queue knows of one clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// The queue's number.
    pub id: ClipId,
    /// Where it lies; `None` once the plaintext is no longer there.
    pub source: Option<Source>,
    /// The generation of the file that this clip is.
    pub generation: Generation,
    /// What became of the plaintext.
    pub plaintext: Plaintext,
    /// When it was found.
    pub seen_at: Timestamp,
    /// When it was taken as finished: quiet for long enough, or marked as complete.
    pub settled_at: Option<Timestamp>,
    /// When every required bucket had given its receipt.
    pub stored_at: Option<Timestamp>,
    /// When its plaintext was found to be gone.
    pub gone_at: Option<Timestamp>,
    /// The sealed file, once there is one.
    pub sealed: Option<SealedFile>,
    /// The wait, if it waits.
    pub hold: Option<Hold>,
    /// The deliveries that were tried, one a bucket.
    pub deliveries: Vec<Delivery>,
}

/// Something that became true of a clip, and is durable once the queue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A bucket acknowledged it.
    Acknowledged(Receipt),
    /// A delivery waits.
    DeliveryHeld {
        /// The bucket's name.
        bucket: String,
        /// The wait.
        hold: Hold,
    },
    /// The plaintext is no longer what, or where, it was.
    Gone {
        /// What became of it; not `Present`.
        plaintext: Plaintext,
        /// When we knew.
        at: Timestamp,
    },
    /// It waits.
    Held(Hold),
    /// The file was renamed before it was sealed.
    Moved(Source),
    /// The file was written to before it was sealed.
    Rewritten(Generation),
    /// A sealed file of it is durable in the spool.
    Sealed(SealedFile),
    /// The sealed file was damaged; the clip must be sealed again from its source.
    SealLost,
    /// The file was unchanged for long enough to be taken as finished.
    Settled(Timestamp),
    /// Every required bucket gave a sufficient receipt.
    Stored(Timestamp),
    /// The sealed file left the spool.
    Unspooled,
}

impl Clip {
    /// A clip as it is first seen; the queue gives it its number.
    pub fn seen(source: Source, generation: Generation, now: Timestamp) -> Clip {
        Clip {
            id: ClipId(0),
            source: Some(source),
            generation,
            plaintext: Plaintext::Present,
            seen_at: now,
            settled_at: None,
            stored_at: None,
            gone_at: None,
            sealed: None,
            hold: None,
            deliveries: vec![],
        }
    }

    /// How far the clip has come.
    pub fn state(&self) -> State {
        match (&self.sealed, self.stored_at, self.plaintext) {
            (None, _, _) => State::Seen,
            (Some(_), None, _) => State::Sealed,
            (Some(_), Some(_), Plaintext::Present | Plaintext::Changed) => State::Stored,
            (Some(_), Some(_), Plaintext::Erased | Plaintext::Absent) => State::Erased,
        }
    }

    /// Lets a fact become true. One that contradicts what is known is refused: written down, it
    /// would be evidence.
    pub fn apply(&mut self, fact: Fact) -> Result<(), Contradiction> {
        match fact {
            Fact::Acknowledged(receipt) => {
                let delivery = self.delivery_mut(&receipt.bucket.clone());
                delivery.hold = None;
                delivery.receipt = Some(receipt);
            }
            Fact::DeliveryHeld { bucket, hold } => self.delivery_mut(&bucket).hold = Some(hold),
            Fact::Gone { plaintext, at } => {
                expect(plaintext != Plaintext::Present, "gone is not present")?;
                expect(self.sealed.is_some(), "an unsealed clip has only its plaintext")?;
                self.plaintext = plaintext;
                self.gone_at = Some(at);
                self.source = None;
                // That the sealed file is damaged is worse news now, and not over.
                self.hold = self.hold.take().filter(|hold| hold.reason == Reason::SpoolDamaged);
            }
            Fact::Held(hold) => self.hold = Some(hold),
            Fact::Moved(source) => {
                expect(self.sealed.is_none(), "a sealed clip is not followed")?;
                self.source = Some(source);
                self.settled_at = None;
            }
            Fact::Rewritten(generation) => {
                expect(self.sealed.is_none(), "a sealed clip's generation is fixed")?;
                self.generation = generation;
                self.settled_at = None;
            }
            Fact::Sealed(sealed) => {
                expect(self.sealed.is_none(), "a clip is sealed once")?;
                self.sealed = Some(sealed);
                self.hold = None;
            }
            Fact::SealLost => {
                expect(self.plaintext == Plaintext::Present, "nothing to seal again from")?;
                expect(self.stored_at.is_none(), "a stored clip needs no sealed file")?;
                self.sealed = None;
                self.deliveries.clear();
                self.hold = None;
            }
            Fact::Settled(at) => {
                self.settled_at = Some(at);
                self.hold = None;
            }
            Fact::Stored(at) => self.stored_at = Some(at),
            Fact::Unspooled => match &mut self.sealed {
                Some(sealed) => sealed.in_spool = false,
                None => return Err(Contradiction("only sealed clips are in the spool")),
            },
        }
        Ok(())
    }

    /// The clip as it is once these facts are true of it.
    pub fn with(&self, facts: &[Fact]) -> Result<Clip, Contradiction> {
        let mut clip = self.clone();
        facts.iter().try_for_each(|fact| clip.apply(fact.clone()))?;
        Ok(clip)
    }

    /// The delivery to a bucket, if any was tried.
    pub fn delivery(&self, bucket: &str) -> Option<&Delivery> {
        self.deliveries.iter().find(|delivery| delivery.bucket == bucket)
    }

    fn delivery_mut(&mut self, bucket: &str) -> &mut Delivery {
        let index = self.deliveries.iter().position(|delivery| delivery.bucket == bucket);
        let index = index.unwrap_or_else(|| {
            self.deliveries.push(Delivery { bucket: bucket.to_owned(), receipt: None, hold: None });
            self.deliveries.len() - 1
        });
        &mut self.deliveries[index]
    }
}

/// A fact that cannot be true together with what is known.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fact contradicts the queue: {0}")]
pub struct Contradiction(&'static str);

fn expect(holds: bool, rule: &'static str) -> Result<(), Contradiction> {
    if holds { Ok(()) } else { Err(Contradiction(rule)) }
}

/// A pair of tables between an enum and its stable words; used by the queue and by `--json`.
macro_rules! words {
    ($kind:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $kind {
            /// The stable word for JSON and the queue.
            pub fn word(self) -> &'static str {
                match self { $($kind::$variant => $word),+ }
            }
        }
        impl FromStr for $kind {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok($kind::$variant),)+
                    other => Err(UnknownWord(other.to_owned())),
                }
            }
        }
    };
}

words!(State { Seen = "seen", Sealed = "sealed", Stored = "stored", Erased = "erased" });
words!(Plaintext {
    Present = "present",
    Erased = "erased",
    Absent = "absent",
    Changed = "changed",
});
words!(Evidence {
    Acknowledged = "acknowledged",
    ReadBack = "read-back",
    DigestChecked = "digest-checked",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_name_survives_its_text() {
        let name = SealedName([0xa7; 32]);
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!("A7".repeat(32).parse::<SealedName>(), Err(NotASealedName));
        assert_eq!("a7".repeat(31).parse::<SealedName>(), Err(NotASealedName));
    }

    #[test]
    fn a_clock_that_went_backwards_gives_no_negative_age() {
        assert_eq!(Timestamp(1000).seconds_since(Timestamp(5000)), 0);
        assert_eq!(Timestamp(1000).seconds_left(Timestamp(5000)), 0);
        assert_eq!(Timestamp(7_200_000).seconds_left(Timestamp(1)), 7200, "2 hours, just set");
        assert_eq!(Timestamp(0).plus_seconds(2), Timestamp(2000));
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_damaged_sealed_file_is_told_of_still_when_its_plaintext_is_gone() {
        let generation = examples::generation(2);
        let source = Source { folder: "/srv/dock".into(), path: "a.mp4".into() };
        let sealed =
            SealedFile { commitment: [2; 32], sealed_at: Timestamp(1), ..examples::sealed(1) };
        let clip = Clip::seen(source, generation, Timestamp(0)).with(&[Fact::Sealed(sealed)]);
        let clip = clip.expect("a clip is sealed once");
        for (reason, stays) in [(Reason::SpoolDamaged, true), (Reason::SourceAway, false)] {
            let held = Fact::Held(Hold::for_operator(reason, "cause", Timestamp(2)));
            let gone = Fact::Gone { plaintext: Plaintext::Absent, at: Timestamp(3) };
            let clip = clip.with(&[held, gone]).expect("no contradiction");
            assert_eq!(clip.hold.is_some(), stays, "{reason:?}");
        }
    }
}
