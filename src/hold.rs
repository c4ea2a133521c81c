//! Why a clip waits, and until when.

use std::str::FromStr;

use crate::clip::{Timestamp, UnknownWord};

/// Why a clip waits. A closed list: each reason has its sentence and its advice here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bucket could not be reached, or answered with an error of its own.
    BucketFailed,
    /// The bucket refused our credentials or the request itself.
    BucketRefused,
    /// The file was written to while it was read.
    ChangedWhileRead,
    /// The clock cannot be right, and a clip would be sealed to a wrong day's key.
    ClockWrong,
    /// The plaintext could not be removed.
    EraseBlocked,
    /// The plaintext has a second name, so that removing this one would not erase it.
    HardLinked,
    /// A fault of dockseal itself.
    Internal,
    /// No keyring that may be used says whom to seal to.
    KeyringUnusable,
    /// A symbolic link, FIFO, device or socket: only regular files are clips.
    NotAFile,
    /// The bucket acknowledged the clip with less evidence than erasing needs.
    ReceiptWeak,
    /// The medium with the plaintext is not there.
    SourceAway,
    /// The sealed file in the spool is missing or no longer what it was, and its source is gone.
    SpoolDamaged,
    /// No space for the sealed file.
    SpoolFull,
    /// The file could not be read.
    Unreadable,
    /// The file was settled and disappeared before it was sealed.
    Vanished,
}

impl Reason {
    /// All reasons, in alphabetical order of their codes.
    pub const ALL: [Reason; 15] = [
        Reason::BucketFailed,
        Reason::BucketRefused,
        Reason::ChangedWhileRead,
        Reason::ClockWrong,
        Reason::EraseBlocked,
        Reason::HardLinked,
        Reason::Internal,
        Reason::KeyringUnusable,
        Reason::NotAFile,
        Reason::ReceiptWeak,
        Reason::SourceAway,
        Reason::SpoolDamaged,
        Reason::SpoolFull,
        Reason::Unreadable,
        Reason::Vanished,
    ];

    /// The stable word for JSON, the queue and the metrics.
    pub fn code(self) -> &'static str {
        match self {
            Reason::BucketFailed => "bucket-failed",
            Reason::BucketRefused => "bucket-refused",
            Reason::ChangedWhileRead => "changed-while-read",
            Reason::ClockWrong => "clock-wrong",
            Reason::EraseBlocked => "erase-blocked",
            Reason::HardLinked => "hard-linked",
            Reason::Internal => "internal",
            Reason::KeyringUnusable => "keyring-unusable",
            Reason::NotAFile => "not-a-file",
            Reason::ReceiptWeak => "receipt-weak",
            Reason::SourceAway => "source-away",
            Reason::SpoolDamaged => "spool-damaged",
            Reason::SpoolFull => "spool-full",
            Reason::Unreadable => "unreadable",
            Reason::Vanished => "vanished",
        }
    }

    /// What an operator reads: what is so, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Reason::BucketFailed => "check network and bucket; it is tried again by itself",
            Reason::BucketRefused => "correct the bucket's credentials or policy; then: retry",
            Reason::ChangedWhileRead => "still being written; it is tried again by itself",
            Reason::ClockWrong => "set the clock (timedatectl); it is tried again by itself",
            Reason::EraseBlocked => "is the medium read-only? allow the removal; then: retry",
            Reason::HardLinked => "remove the file's other names; then: retry",
            Reason::Internal => "a fault of dockseal: report the log; then: retry",
            Reason::KeyringUnusable => "ask the authority for a good keyring; nothing is lost",
            Reason::NotAFile => "only regular files are sealed; move it out of the folder",
            Reason::ReceiptWeak => "allow reading back, or set trust_acknowledgement; then: retry",
            Reason::SourceAway => "plug the medium in again; it is tried again by itself",
            Reason::SpoolDamaged => "keep the disk; the clip may be lost: look in the bucket",
            Reason::SpoolFull => "make space in state_dir; it is tried again by itself",
            Reason::Unreadable => "give user dockseal the right to read it; then: retry",
            Reason::Vanished => "was it removed by hand? when clarified: dockseal forget CLIP",
        }
    }
}

impl FromStr for Reason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = Reason::ALL.into_iter().find(|reason| reason.code() == text);
        known.ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// Until when a held clip waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until an operator acts.
    Operator,
    /// Until this time; then it is tried again.
    Time(Timestamp),
}

/// A clip, or its delivery to one bucket, that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: Reason,
    /// Until when.
    pub until: Until,
    /// Since when, through all repeated attempts.
    pub since: Timestamp,
    /// How often it was tried in a row without success.
    pub attempts: u32,
    /// The first cause in words; carries no file name.
    pub cause: String,
}

impl Hold {
    /// A wait that only an operator can end, begun now.
    pub fn for_operator(reason: Reason, cause: impl Into<String>, now: Timestamp) -> Hold {
        Hold { reason, until: Until::Operator, since: now, attempts: 1, cause: cause.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_known_by_its_code_and_the_codes_are_sorted() {
        let codes = Reason::ALL.map(Reason::code);
        assert!(codes.is_sorted());
        for reason in Reason::ALL {
            assert_eq!(reason.code().parse(), Ok(reason));
            assert!(reason.advice().len() <= 64, "{reason:?} does not fit a status line");
        }
    }
}
