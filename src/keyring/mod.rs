//! The keyring: the authority's signed list of recipients and docks. docs/custody.md §2.

mod text;
mod trust;

pub use text::KeyringError;
pub use trust::{Refusal, Trust};

use jiff::civil::Date;
use sha2::{Digest, Sha256};

use crate::envelope::recipient::{Recipient, Recipients, RecipientsError};
use crate::note::{KeyError, Note, NoteError, SignerKey, VerifierKey};

/// Begins the line by which a dock asks to be enrolled; its verifier key follows.
pub const ENROLMENT: &str = "dockseal-dock";
/// Days before a keyring expires in which it is warned of.
pub const WARNING_DAYS: i32 = 14;
/// Most recipients of one keyring: two years of day keys, and some.
const RECIPIENT_COUNT_MAX: usize = 1024;
/// Most docks of one keyring.
const DOCK_COUNT_MAX: usize = 10_000;

/// What a recipient is there for. A word for people: the dock seals to all roles alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role(String);

impl Role {
    /// `evidence`, `escrow`, …: one word of letters, digits and hyphens.
    pub fn new(word: &str) -> Option<Role> {
        let is_word = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (is_word && (1..=32).contains(&word.len())).then(|| Role(word.to_owned()))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// UTC days, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first day.
    pub from: Date,
    /// The last day.
    pub until: Date,
}

impl Days {
    /// Whether a day is one of them.
    pub fn contains(&self, day: Date) -> bool {
        self.from <= day && day <= self.until
    }
}

/// A recipient in the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is there for.
    pub role: Role,
    /// When clips are sealed to it; `None` is always.
    pub days: Option<Days>,
    /// The public key.
    pub recipient: Recipient,
}

/// A dock in the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Its public key; the key's name is the dock's.
    pub key: VerifierKey,
    /// When its signatures count.
    pub days: Days,
}

/// One revision. It cannot hold what the rules forbid; who signed it, [`Trust`] decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// The root key that signs it.
    pub authority: VerifierKey,
    /// Only ever grows.
    pub revision: u64,
    /// When it was made.
    pub issued: jiff::Timestamp,
    /// The last day on which docks seal by it.
    pub expires: Date,
    /// How many days after sealing a clip may be deleted.
    pub retention_days: u32,
    /// To whom clips are sealed.
    pub members: Vec<Member>,
    /// Whose logs count.
    pub docks: Vec<Enrolled>,
    /// The root key of later revisions.
    pub successor: Option<VerifierKey>,
}

impl Keyring {
    /// The recipients of a day: all that are valid then.
    pub fn recipients(&self, day: Date) -> Result<Recipients, RecipientsError> {
        let valid = self.members.iter().filter(|m| m.days.is_none_or(|days| days.contains(day)));
        Recipients::new(valid.map(|member| member.recipient.clone()).collect())
    }

    /// The entry of a dock whose key is valid on a day.
    pub fn dock(&self, name: &str, day: Date) -> Option<&Enrolled> {
        self.docks.iter().find(|dock| dock.key.name() == name && dock.days.contains(day))
    }

    /// Days until it expires; negative once it has.
    pub fn days_left(&self, today: Date) -> i32 {
        self.expires.since(today).map_or(0, |span| span.get_days())
    }

    /// Signs it. The key must be the one that the keyring names as its authority, or the one that
    /// named this as its successor.
    pub fn sign(&self, key: &SignerKey) -> Result<Note, KeyringError> {
        self.check()?;
        Ok(Note::sign(self.to_string(), key))
    }

    /// Reads a note's text. The signature is not looked at; the rules are.
    pub fn from_note(note: &Note) -> Result<Keyring, KeyringError> {
        text::parse(note.text())
    }

    /// Reads an unsigned draft. It may still break the rules; signing it may not.
    pub fn from_draft(text: &str) -> Result<Keyring, KeyringError> {
        text::parse_lines(text)
    }

    /// Whether it keeps the rules.
    pub fn check(&self) -> Result<(), KeyringError> {
        text::check(self)
    }

    /// SHA-256 of the text, which the custody log names.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.to_string().as_bytes()).into()
    }
}

/// The UTC day of a time in milliseconds since 1970.
pub fn day_of(time: crate::clip::Timestamp) -> Date {
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// A keyring cannot be used at all: its note, or its text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A key in it, or the pinned one, is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its text breaks a rule.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// It is not a signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
}

#[cfg(test)]
mod tests;
