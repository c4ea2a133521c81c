//! The heads of a log: its checkpoints, and whose signatures they carry. docs/custody.md §6.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};

use super::READ_COUNT_MAX;
use super::finding::{Findings, What};
use super::revisions::Revisions;
use super::shelf::LogShelf;
use crate::custody::checkpoint::{Checkpoint, NOTE_SIZE_MAX};
use crate::custody::merkle::{Hash, empty_root};
use crate::custody::tile::SIZE_MAX;
use crate::custody::{LogId, folder};
use crate::edge::bucket::{Bucket, BucketError};
use crate::keyring::{Days, Enrolled};
use crate::note::{Note, NoteError, VerifierKey};

/// A checkpoint that an enrolled key of the dock signed.
#[derive(Debug, Clone)]
pub struct Head {
    /// The root at its size.
    pub root: Hash,
    /// Which of [`Heads::keys`] signed it.
    pub key: usize,
    /// Its object is `checkpoint`, which is replaced.
    pub is_latest: bool,
}

/// A witness's word on a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// When the witness saw it, in seconds since 1970.
    pub seconds: u64,
    /// How many entries it saw.
    pub size: u64,
}

/// The checkpoints of one log whose signatures count, by size.
#[derive(Debug)]
pub struct Heads {
    /// The log's folder, which is its origin.
    pub origin: String,
    /// Its dock's keys, with their days.
    pub keys: Vec<(VerifierKey, Days)>,
    /// By size.
    pub by_size: BTreeMap<u64, Head>,
    /// The newest cosignature of each witness, in the auditor's order.
    pub cosigned: Vec<Option<Cosigned>>,
}

/// What one note holds.
struct Read {
    object: String,
    /// What its name says; `None` for `checkpoint`.
    size: Option<u64>,
    note: Result<Note, String>,
}

impl Heads {
    /// Reads and verifies all checkpoints of a log.
    pub async fn read(
        bucket: &Bucket,
        (dock, log): (&str, LogId),
        shelf: &LogShelf,
        revisions: &Revisions,
        witnesses: &[VerifierKey],
        findings: &mut Findings,
    ) -> Result<Heads, BucketError> {
        let origin = folder(dock, log);
        let keys = revisions.keys_of(dock).into_iter();
        let keys = keys.map(|Enrolled { key, days }| (key.clone(), *days)).collect();
        let cosigned = vec![None; witnesses.len()];
        let by_size = BTreeMap::new();
        let mut heads = Heads { origin: origin.clone(), keys, by_size, cosigned };
        let sizes: Vec<_> = shelf.checkpoints.iter().map(|size| Some(*size)).collect();
        let latest = shelf.has_latest.then_some(None);
        // `checkpoint` goes last: it must agree with the others.
        let mut reading = futures_util::stream::iter(sizes.into_iter().chain(latest))
            .map(|size| read_note(bucket, origin.clone(), size))
            .buffered(READ_COUNT_MAX);
        let mut notes = Vec::new();
        while let Some(read) = reading.try_next().await? {
            notes.push(read);
            // Verified in batches, so that a million notes are never in memory.
            if notes.len() == READ_COUNT_MAX {
                let batch = std::mem::take(&mut notes);
                batch.into_iter().for_each(|read| heads.take(read, witnesses, findings));
            }
        }
        drop(reading);
        notes.into_iter().for_each(|read| heads.take(read, witnesses, findings));
        heads.expect_latest_listed(bucket, shelf, findings).await?;
        Ok(heads)
    }

    fn take(&mut self, read: Read, witnesses: &[VerifierKey], findings: &mut Findings) {
        let Read { object, size, note } = read;
        let verified = note.and_then(|note| Ok((self.verify(&note, size)?, note)));
        let ((checkpoint, key), note) = match verified {
            Ok(verified) => verified,
            Err(why) => return findings.add(object, What::CheckpointForged { why }),
        };
        for (index, witness) in witnesses.iter().enumerate() {
            match note.verify_cosignature(witness) {
                Ok(seconds) => {
                    let cosigned = Cosigned { seconds, size: checkpoint.size };
                    let newest = &mut self.cosigned[index];
                    if newest.as_ref().is_none_or(|newest| newest.size <= cosigned.size) {
                        *newest = Some(cosigned);
                    }
                }
                Err(NoteError::NotSigned) => {}
                Err(_) => {
                    let witness = witness.name().to_owned();
                    findings.add(object.clone(), What::CosignatureForged { witness });
                }
            }
        }
        match self.by_size.get(&checkpoint.size) {
            // Two roots of one size, both signed: the dock's key has two histories.
            Some(head) if head.root != checkpoint.root => {
                findings.add(object, What::CheckpointDisagrees);
            }
            Some(_) => {}
            None => {
                let head = Head { root: checkpoint.root, key, is_latest: size.is_none() };
                self.by_size.insert(checkpoint.size, head);
            }
        }
    }

    /// The checkpoint of a note, and which key signed it.
    fn verify(&self, note: &Note, size: Option<u64>) -> Result<(Checkpoint, usize), String> {
        let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
        if checkpoint.origin != self.origin {
            return Err(format!("it is of the log {}", crate::clip::harmless(&checkpoint.origin)));
        }
        if size.is_some_and(|size| size != checkpoint.size) {
            return Err(format!("it is of {} entries", checkpoint.size));
        }
        if checkpoint.size > SIZE_MAX {
            return Err("no log has so many entries".into());
        }
        if checkpoint.size == 0 && checkpoint.root != empty_root() {
            return Err("a log without entries has another root".into());
        }
        let signed = |(key, _): &(VerifierKey, Days)| note.verify(key).is_ok();
        let key = self.keys.iter().position(signed);
        let key = key.ok_or("no key that the keyring enrols for this dock signed it")?;
        Ok((checkpoint, key))
    }

    /// `checkpoint` never runs ahead of `checkpoints/<size>`, which is created first. What is not
    /// in the listing may have come since; what is gone now was removed.
    async fn expect_latest_listed(
        &mut self,
        bucket: &Bucket,
        shelf: &LogShelf,
        findings: &mut Findings,
    ) -> Result<(), BucketError> {
        let newest = self.by_size.last_key_value();
        let Some((&size, _)) = newest.filter(|(_, head)| head.is_latest) else { return Ok(()) };
        if shelf.checkpoints.binary_search(&size).is_ok() {
            return Ok(());
        }
        match bucket.size(&format!("{}/checkpoints/{size}", self.origin)).await {
            Ok(_) => {}
            Err(BucketError::Missing) => {
                let object = format!("{}/checkpoints/{size}", self.origin);
                findings.add(object, What::CheckpointRemoved { size });
            }
            Err(error) => return Err(error),
        }
        // The pieces of the listing need not reach that far.
        self.by_size.remove(&size);
        Ok(())
    }

    /// The object of the checkpoint of a size.
    pub fn object(&self, size: u64) -> String {
        match self.by_size.get(&size) {
            Some(head) if head.is_latest => format!("{}/checkpoint", self.origin),
            Some(_) | None => format!("{}/checkpoints/{size}", self.origin),
        }
    }

    /// Number of entries that the newest one signs.
    pub fn size(&self) -> u64 {
        self.by_size.last_key_value().map_or(0, |(size, _)| *size)
    }
}

async fn read_note(
    bucket: &Bucket,
    origin: String,
    size: Option<u64>,
) -> Result<Read, BucketError> {
    let object = match size {
        Some(size) => format!("{origin}/checkpoints/{size}"),
        None => format!("{origin}/checkpoint"),
    };
    let note = match bucket.read_all(&object, NOTE_SIZE_MAX).await {
        Ok(bytes) => Note::parse(&bytes).map_err(|error| error.to_string()),
        Err(error @ (BucketError::Missing | BucketError::TooLarge { .. })) => {
            Err(error.to_string())
        }
        Err(error) => return Err(error),
    };
    Ok(Read { object, size, note })
}
