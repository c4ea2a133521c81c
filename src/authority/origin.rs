//! Origin: whether a dock of the keyring sealed a clip, by the signed log that it keeps.
//!
//! Whoever knows the recipients can make a file that opens, and put it where a dock would. Only an
//! entry of the dock's log, proven up to a checkpoint that the enrolled key signed, tells which
//! clips are the dock's own. docs/custody.md.

mod journal;

use std::collections::HashMap;

use jiff::civil::Date;
use tokio::runtime::Handle;

use super::open::ManifestFinding;
use crate::clip::{SealedName, Timestamp};
use crate::custody::LogId;
use crate::custody::merkle::root_of_inclusion;
use crate::edge::bucket::{Bucket, BucketError};
use crate::envelope::manifest::{Manifest, commitment};
use crate::keyring::{Enrolled, Keyring, day_of};
pub use journal::Broken;
use journal::{Journal, SealedEntry, Trouble, journals_of};

/// What is said of a sealed file by itself, and is to be compared with the log.
pub struct Claim<'a> {
    /// Its digest.
    pub name: SealedName,
    /// Its size in bytes, where that is known.
    pub size_bytes: Option<u64>,
    /// What is sealed with it.
    pub manifest: &'a ManifestFinding,
    /// SHA-256 of the clip, where all of it was read.
    pub plaintext_sha256: Option<[u8; 32]>,
}

/// Whether a clip is what a dock sealed. Each is one plain sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// A dock of the keyring sealed it, and the bytes are the same since.
    #[error("authentic: sealed by {dock} on {at}, entry {number} of log {log}")]
    Authentic {
        /// The dock's name.
        dock: String,
        /// When, by the dock's clock.
        at: Timestamp,
        /// Which entry, from 0.
        number: u64,
        /// Of which log.
        log: LogId,
        /// Of the key that signed the log.
        fingerprint: String,
    },
    /// The log contradicts itself, or lacks a piece.
    #[error("not authentic: the log {log} of {dock} cannot be believed: {broken}")]
    BrokenLog {
        /// The dock.
        dock: String,
        /// The log.
        log: LogId,
        /// What is wrong with it.
        broken: Broken,
    },
    /// None of the dock's logs has a checkpoint that an enrolled key signed.
    #[error("not authentic: {dock} has no log here that its enrolled key signed")]
    NoLog {
        /// The dock that the manifest names.
        dock: String,
    },
    /// Nothing says which dock it would be of.
    #[error("not authentic: no dock's manifest is sealed with it")]
    NoManifest,
    /// It opens, but the dock did not log it.
    #[error(
        "not authentic: the log of {dock} does not have it; anybody with the public keys can \
         make such a file"
    )]
    NotInLog {
        /// The dock that the manifest names.
        dock: String,
    },
    /// The clip is not the one that was sealed.
    #[error("not authentic: the clip is not the one that {dock} logged under this digest")]
    OtherCommitment {
        /// The dock.
        dock: String,
    },
    /// The size is not the one that was logged.
    #[error("not authentic: it has {found} bytes, and {dock} logged {logged}")]
    OtherSize {
        /// The dock.
        dock: String,
        /// Of the file.
        found: u64,
        /// In the entry.
        logged: u64,
    },
    /// Sealed on a day on which the dock had no key in the keyring.
    #[error("not authentic: {dock} was not enrolled with the log's key on {day}")]
    OtherDay {
        /// The dock.
        dock: String,
        /// The day of the entry.
        day: Date,
    },
    /// The keyring has no such dock.
    #[error("not authentic: the keyring has no dock {dock:?}")]
    Unenrolled {
        /// The dock that the manifest names.
        dock: String,
    },
}

impl Verdict {
    /// Whether the clip is a dock's.
    pub fn is_authentic(&self) -> bool {
        matches!(self, Verdict::Authentic { .. })
    }

    /// The stable word of it.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Authentic { .. } => "authentic",
            Verdict::BrokenLog { .. } => "broken-log",
            Verdict::NoLog { .. } => "no-log",
            Verdict::NoManifest => "no-manifest",
            Verdict::NotInLog { .. } => "not-in-log",
            Verdict::OtherCommitment { .. } => "other-commitment",
            Verdict::OtherDay { .. } => "other-day",
            Verdict::OtherSize { .. } => "other-size",
            Verdict::Unenrolled { .. } => "unenrolled",
        }
    }
}

/// Asks the logs of one bucket. Each piece of a log is read once, however many clips are asked for.
///
/// It blocks, so it belongs on a thread outside of the runtime.
pub struct Origin<'a> {
    bucket: Bucket,
    keyring: &'a Keyring,
    runtime: Handle,
    /// The signed logs of each dock that was asked for.
    journals: HashMap<String, Vec<Journal>>,
}

impl<'a> Origin<'a> {
    /// Nothing is read yet.
    pub fn new(bucket: Bucket, keyring: &'a Keyring, runtime: Handle) -> Origin<'a> {
        Origin { bucket, keyring, runtime, journals: HashMap::new() }
    }

    /// What the logs say of a clip; `Err` where the bucket cannot be asked.
    pub fn judge(&mut self, claim: &Claim<'_>) -> Result<Verdict, BucketError> {
        let ManifestFinding::Found(manifest) = claim.manifest else {
            return Ok(Verdict::NoManifest);
        };
        let dock = manifest.dock.clone();
        // Only names of the keyring are ever part of a key that we ask the bucket for.
        let enrolled: Vec<_> =
            self.keyring.docks.iter().filter(|one| one.key.name() == dock).cloned().collect();
        if enrolled.is_empty() {
            return Ok(Verdict::Unenrolled { dock });
        }
        if !self.journals.contains_key(&dock) {
            let found = journals_of(&self.bucket, &dock, &enrolled, &self.runtime)?;
            self.journals.insert(dock.clone(), found);
        }
        let journals = self.journals.get_mut(&dock).expect("put there above");
        let mut broken = None;
        for journal in journals.iter_mut() {
            match journal.find(claim.name, Timestamp(manifest.sealed.as_millisecond())) {
                Ok(Some(entry)) => {
                    let found = compare(claim, manifest, journal, &entry, &enrolled);
                    return or_broken(found, &dock, journal.log());
                }
                Ok(None) => {}
                Err(Trouble::Bucket(error)) => return Err(error),
                Err(Trouble::Broken(why)) => broken = Some((journal.log(), why)),
            }
        }
        Ok(match broken {
            Some((log, broken)) => Verdict::BrokenLog { dock, log, broken },
            None if journals.is_empty() => Verdict::NoLog { dock },
            None => Verdict::NotInLog { dock },
        })
    }
}

/// A log that is broken is a verdict; a bucket that fails is none.
fn or_broken(
    found: Result<Verdict, Trouble>,
    dock: &str,
    log: LogId,
) -> Result<Verdict, BucketError> {
    match found {
        Ok(verdict) => Ok(verdict),
        Err(Trouble::Bucket(error)) => Err(error),
        Err(Trouble::Broken(broken)) => {
            Ok(Verdict::BrokenLog { dock: dock.to_owned(), log, broken })
        }
    }
}

fn compare(
    claim: &Claim<'_>,
    manifest: &Manifest,
    journal: &mut Journal,
    entry: &SealedEntry,
    enrolled: &[Enrolled],
) -> Result<Verdict, Trouble> {
    let dock = manifest.dock.clone();
    let path = journal.inclusion_proof(entry.number)?;
    let head = journal.head();
    if root_of_inclusion(entry.leaf, entry.number, head.size, &path) != Some(head.root) {
        return Err(Trouble::Broken(Broken::NotIncluded { number: entry.number }));
    }
    if let Some(found) = claim.size_bytes.filter(|found| *found != entry.size_bytes) {
        return Ok(Verdict::OtherSize { dock, found, logged: entry.size_bytes });
    }
    if let Some(sha256) = claim.plaintext_sha256
        && commitment(&manifest.commitment_salt, &sha256) != Some(entry.commitment.0)
    {
        return Ok(Verdict::OtherCommitment { dock });
    }
    let day = day_of(entry.at);
    if !counts_on(journal.signed_by(), enrolled, day) {
        return Ok(Verdict::OtherDay { dock, day });
    }
    let fingerprint = journal.signed_by().key.fingerprint();
    Ok(Verdict::Authentic { dock, at: entry.at, number: entry.number, log: head.log, fingerprint })
}

/// Whether an entry of a day counts in a log that this key signed.
///
/// A later key of the dock may sign what an earlier one began; a key that was retired, and may be
/// in other hands, signs nothing of the days behind it.
fn counts_on(signer: &Enrolled, enrolled: &[Enrolled], day: Date) -> bool {
    day <= signer.days.until && enrolled.iter().any(|one| one.days.contains(day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Days;
    use crate::note::{Kind, SignerKey};

    #[test]
    fn a_retired_key_signs_nothing_of_the_days_behind_it() {
        let enrolled = |seed: u8, from: &str, until: &str| {
            let key = SignerKey::from_seed("dock-1", Kind::Note, &[seed; 32]).expect("a name");
            let date = |text: &str| text.parse().expect("a date");
            let days = Days { from: date(from), until: date(until) };
            Enrolled { key: key.verifier(), days }
        };
        let old = enrolled(1, "2026-01-01", "2026-06-30");
        let new = enrolled(2, "2026-07-02", "2026-12-31");
        let both = [old.clone(), new.clone()];
        let counts = |signer, day: &str| counts_on(signer, &both, day.parse().expect("a date"));
        assert!(counts(&old, "2026-06-30") && counts(&new, "2026-06-30"));
        assert!(!counts(&old, "2026-07-02") && counts(&new, "2026-07-02"));
        assert!(!counts(&new, "2026-07-01") && !counts(&new, "2025-12-31"));
    }
}
