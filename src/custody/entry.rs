//! Entries: what a log says happened, one line of JSON each, without personal data.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Head, LogId, merkle};
use crate::clip::{SealedName, Timestamp, from_hex};

/// The format that this code writes. docs/custody.md §4.
const VERSION: u32 = 1;
/// Largest entry that is read, in bytes. The largest of ours names 32 buckets.
pub const ENTRY_SIZE_MAX: usize = 8 << 10;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    v: u32,
    /// When it happened, by the dock's clock.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. A clip that is sealed is named by its digest, an unsealed one by its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// An operator knows that this log does not continue the one before it.
    Acknowledged,
    /// The dock runs: its heartbeat.
    Alive,
    /// The file was written to after it was sealed; what is there now is a clip of its own.
    Changed {
        /// What was sealed before.
        #[serde(with = "digest")]
        clip: SealedName,
    },
    /// The dock was taken out of service; nothing follows.
    Closed,
    /// The sealed file was damaged in the spool; its clip is sealed again.
    Damaged {
        /// What was sealed before.
        #[serde(with = "digest")]
        clip: SealedName,
    },
    /// The dock removed the plaintext.
    Erased {
        /// Which.
        #[serde(with = "digest")]
        clip: SealedName,
        /// How long the plaintext lay on the dock, from being found.
        plaintext_seconds: u64,
    },
    /// An operator gave up a clip that vanished before it was sealed.
    Forgotten {
        /// The queue's number.
        number: i64,
    },
    /// Somebody else removed the plaintext after it was sealed.
    Gone {
        /// Which.
        #[serde(with = "digest")]
        clip: SealedName,
    },
    /// A clip waits for an operator.
    Held {
        /// The queue's number.
        number: i64,
        /// The code of the reason.
        reason: String,
        /// The bucket, where its delivery waits.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        bucket: Option<String>,
    },
    /// From here on, clips are sealed by this keyring.
    Keyring {
        /// Its revision.
        revision: u64,
        /// SHA-256 of its text.
        #[serde(with = "digest")]
        sha256: SealedName,
    },
    /// A sealed file is durable on the dock.
    Sealed {
        /// Its SHA-256.
        #[serde(with = "digest")]
        clip: SealedName,
        /// The queue's number.
        number: i64,
        /// Its size in bytes.
        size: u64,
        /// SHA-256(salt ‖ SHA-256(plaintext)). docs/format.md §5.
        #[serde(with = "digest")]
        commitment: SealedName,
        /// The keyring's revision; none where the recipients came from the config.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        keyring: Option<u64>,
    },
    /// The log begins.
    Started {
        /// The dock's name.
        dock: String,
        /// The version of dockseal.
        dockseal: String,
        /// The end of the log before it, as far as it is known.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        previous: Option<Previous>,
    },
    /// Every required bucket gave a sufficient receipt; or, later, another one did.
    Stored {
        /// Which.
        #[serde(with = "digest")]
        clip: SealedName,
        /// Who gave a receipt, and what it is worth.
        receipts: Vec<ReceiptLine>,
    },
}

/// The head of an earlier log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its id.
    pub log: String,
    /// Number of entries.
    pub size: u64,
    /// Its root hash, in hex.
    pub root: String,
}

/// One receipt in an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLine {
    /// The bucket's name in the dock's config.
    pub bucket: String,
    /// The word of its evidence.
    pub evidence: String,
}

impl Entry {
    /// An entry as this version writes it.
    pub fn new(at: Timestamp, event: Event) -> Entry {
        Entry { v: VERSION, at, event }
    }

    /// The bytes that are hashed: JSON in one line.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(self).expect("words and numbers are JSON");
        assert!(bytes.len() <= ENTRY_SIZE_MAX, "the config bounds what an entry names");
        bytes
    }

    /// Reads the bytes of an entry.
    pub fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
        if bytes.len() > ENTRY_SIZE_MAX {
            return Err(EntryError::TooLarge);
        }
        let entry: Entry = serde_json::from_slice(bytes).map_err(|_| EntryError::Unknown)?;
        if entry.v == VERSION { Ok(entry) } else { Err(EntryError::Version(entry.v)) }
    }
}

impl From<Head> for Previous {
    fn from(head: Head) -> Previous {
        Previous { log: head.log.to_string(), size: head.size, root: head.root.to_string() }
    }
}

impl Previous {
    /// The head, where the words are one.
    pub fn head(&self) -> Option<Head> {
        let log: LogId = self.log.parse().ok()?;
        let root = merkle::Hash(from_hex(&self.root)?.try_into().ok()?);
        Some(Head { log, size: self.size, root })
    }
}

impl Event {
    /// The word that JSON has for it.
    pub fn word(&self) -> &'static str {
        match self {
            Event::Acknowledged => "acknowledged",
            Event::Alive => "alive",
            Event::Changed { .. } => "changed",
            Event::Closed => "closed",
            Event::Damaged { .. } => "damaged",
            Event::Erased { .. } => "erased",
            Event::Forgotten { .. } => "forgotten",
            Event::Gone { .. } => "gone",
            Event::Held { .. } => "held",
            Event::Keyring { .. } => "keyring",
            Event::Sealed { .. } => "sealed",
            Event::Started { .. } => "started",
            Event::Stored { .. } => "stored",
        }
    }

    /// The sealed clip that it is about.
    pub fn clip(&self) -> Option<SealedName> {
        match self {
            Event::Changed { clip }
            | Event::Damaged { clip }
            | Event::Erased { clip, .. }
            | Event::Gone { clip }
            | Event::Sealed { clip, .. }
            | Event::Stored { clip, .. } => Some(*clip),
            Event::Acknowledged
            | Event::Alive
            | Event::Closed
            | Event::Forgotten { .. }
            | Event::Held { .. }
            | Event::Keyring { .. }
            | Event::Started { .. } => None,
        }
    }
}

/// Why bytes are not an entry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Larger than any entry.
    #[error("not an entry: too large")]
    TooLarge,
    /// Not JSON, or an event that we do not know.
    #[error("not an entry, or one of a later dockseal")]
    Unknown,
    /// A format that we do not know.
    #[error("an entry of version {0}: install a newer dockseal")]
    Version(u32),
}

/// 32 bytes as 64 lower-case hex digits.
mod digest {
    use super::*;

    pub fn serialize<S: Serializer>(name: &SealedName, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(name)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SealedName, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A time as RFC 3339 in UTC, to the millisecond.
mod time {
    use super::*;

    pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::from_millisecond(time.0).map_err(serde::ser::Error::custom)?;
        to.collect_str(&format_args!("{time:.3}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        // One spelling, and years that every calendar has: jiff also knows 0 and -9999.
        let is_plain = text.len() == "2025-11-21T09:00:00.123Z".len() && !text.starts_with("0000");
        if !is_plain || format!("{time:.3}") != text {
            return Err(serde::de::Error::custom("not in the one spelling of a time"));
        }
        Ok(Timestamp(time.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_that_says_who_what_and_when() {
        let event = Event::Sealed {
            clip: SealedName([0xab; 32]),
            number: 7,
            size: 184,
            commitment: SealedName([1; 32]),
            keyring: Some(3),
        };
        let entry = Entry::new(Timestamp(1_763_715_600_123), event);
        let bytes = entry.encode();
        let expected = format!(
            "{{\"v\":1,\"at\":\"2025-11-21T09:00:00.123Z\",\"event\":\"sealed\",\"clip\":\"{}\",\
             \"number\":7,\"size\":184,\"commitment\":\"{}\",\"keyring\":3}}",
            "ab".repeat(32),
            "01".repeat(32)
        );
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        assert_eq!(Entry::decode(&bytes), Ok(entry));
    }

    #[test]
    fn every_event_survives_its_line() {
        let clip = SealedName([2; 32]);
        let previous = Head { log: LogId([9; 8]), size: 5, root: merkle::empty_root() };
        let events = [
            Event::Acknowledged,
            Event::Alive,
            Event::Changed { clip },
            Event::Closed,
            Event::Damaged { clip },
            Event::Erased { clip, plaintext_seconds: 3 },
            Event::Forgotten { number: 1 },
            Event::Gone { clip },
            Event::Held { number: 1, reason: "vanished".into(), bucket: None },
            Event::Keyring { revision: 1, sha256: clip },
            Event::Sealed { clip, number: 1, size: 2, commitment: clip, keyring: None },
            Event::Started {
                dock: "d".into(),
                dockseal: "0".into(),
                previous: Some(previous.into()),
            },
            Event::Stored {
                clip,
                receipts: vec![ReceiptLine { bucket: "b".into(), evidence: "read-back".into() }],
            },
        ];
        for event in events {
            let word = event.word();
            let entry = Entry::new(Timestamp(0), event);
            let bytes = entry.encode();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(text.contains(&format!("\"event\":\"{word}\"")), "{text}");
            assert_eq!(Entry::decode(&bytes).as_ref(), Ok(&entry));
        }
        assert_eq!(Previous::from(previous).head(), Some(previous));
    }

    #[test]
    fn rubbish_and_later_versions_are_refused() {
        assert_eq!(Entry::decode(b"{}"), Err(EntryError::Unknown));
        let later = br#"{"v":2,"at":"2025-11-21T09:00:00.000Z","event":"alive"}"#;
        assert_eq!(Entry::decode(later), Err(EntryError::Version(2)));
        let unknown = br#"{"v":1,"at":"2025-11-21T09:00:00.000Z","event":"danced"}"#;
        assert_eq!(Entry::decode(unknown), Err(EntryError::Unknown));
        for at in
            ["2025-11-21T09:00:00Z", "2025-11-21T10:00:00.000+01:00", "-009999-01-01T00:00:00Z"]
        {
            let other = format!(r#"{{"v":1,"at":"{at}","event":"alive"}}"#);
            assert_eq!(Entry::decode(other.as_bytes()), Err(EntryError::Unknown));
        }
        assert_eq!(Entry::decode(&[b' '; ENTRY_SIZE_MAX + 1]), Err(EntryError::TooLarge));
    }
}
