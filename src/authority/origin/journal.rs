//! One log of a dock as the authority reads it: from a signed checkpoint down to an entry.

use std::collections::{BTreeMap, HashMap};

use tokio::runtime::Handle;

use crate::clip::{SealedName, Timestamp};
use crate::custody::checkpoint::{Checkpoint, NOTE_SIZE_MAX};
use crate::custody::entry::{Entry, Event};
use crate::custody::merkle::{Hash, inclusion_proof, leaf_hash};
use crate::custody::tile::{
    ENTRY_SIZE_MAX, Holds, Piece, TileHashes, WIDTH, bundle_of, decode_bundle, decode_tile,
};
use crate::custody::{Head, LogId, folder};
use crate::edge::bucket::{Bucket, BucketError};
use crate::keyring::Enrolled;
use crate::note::Note;

/// Checkpoints of one log that are tried before the log counts as unsigned.
const CHECKPOINT_COUNT_MAX: usize = 16;
/// Largest entry bundle, in bytes.
const BUNDLE_SIZE_MAX: u64 = WIDTH * (ENTRY_SIZE_MAX as u64 + 2);

/// A log with a checkpoint that an enrolled key signed. Each piece is read once.
pub struct Journal {
    bucket: Bucket,
    runtime: Handle,
    folder: String,
    head: Head,
    signed_by: Enrolled,
    /// Hashes of the tiles that were read.
    tiles: HashMap<Piece, Vec<Hash>>,
    /// Of each bundle that was read, when its first entry was made.
    bundles: BTreeMap<u64, Timestamp>,
    /// The clips in those bundles.
    sealed: HashMap<SealedName, SealedEntry>,
}

/// The entry of a sealed clip. Nothing of it is believed before its inclusion is proven.
#[derive(Debug, Clone, Copy)]
pub struct SealedEntry {
    /// Which entry of the log, from 0.
    pub number: u64,
    /// The hash of its bytes.
    pub leaf: Hash,
    /// When, by the dock's clock.
    pub at: Timestamp,
    /// Of the sealed file.
    pub size_bytes: u64,
    /// SHA-256(salt ‖ SHA-256(plaintext)).
    pub commitment: SealedName,
}

/// Why a log says nothing of a clip.
#[derive(Debug)]
pub enum Trouble {
    /// The bucket failed; nothing is known.
    Bucket(BucketError),
    /// The log is not whole.
    Broken(Broken),
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A piece has not the form, or not the number of entries, that its name says.
    #[error("{piece} is malformed")]
    Malformed {
        /// Its name beneath the log's folder.
        piece: String,
    },
    /// A piece that the signed checkpoint needs is not there.
    #[error("{piece} is missing")]
    Missing {
        /// Its name beneath the log's folder.
        piece: String,
    },
    /// Entries and checkpoint do not agree.
    #[error("entry {number} is not in what the dock signed")]
    NotIncluded {
        /// Which one.
        number: u64,
    },
}

/// The logs of a dock that one of its enrolled keys signed, the largest first.
pub fn journals_of(
    bucket: &Bucket,
    dock: &str,
    enrolled: &[Enrolled],
    runtime: &Handle,
) -> Result<Vec<Journal>, BucketError> {
    let logs = format!("{dock}/log");
    let objects = runtime.block_on(bucket.list(&logs))?;
    // Of each log, the names of its checkpoints by size; the newest stands for the others.
    let mut checkpoints: BTreeMap<LogId, Vec<(u64, String)>> = BTreeMap::new();
    for object in objects {
        let Some(rest) = object.key.strip_prefix(&format!("{logs}/")) else { continue };
        let Some((log, rest)) = rest.split_once('/') else { continue };
        let Ok(log) = log.parse() else { continue };
        let size = match rest.strip_prefix("checkpoints/") {
            Some(size) => size.parse().ok(),
            // Replaced each time: as new as the newest, where there is one at all.
            None => (rest == "checkpoint").then_some(u64::MAX),
        };
        checkpoints.entry(log).or_default().extend(size.map(|size| (size, object.key)));
    }
    let mut found = Vec::new();
    for (log, mut keys) in checkpoints {
        keys.sort_by(|a, b| b.cmp(a));
        let mut newest: Option<(Head, Enrolled)> = None;
        for (named, key) in keys.into_iter().take(CHECKPOINT_COUNT_MAX) {
            let read = match runtime.block_on(bucket.read_all(&key, NOTE_SIZE_MAX)) {
                Ok(bytes) => head_of(&bytes, dock, log, enrolled),
                Err(BucketError::Missing | BucketError::TooLarge { .. }) => None,
                Err(error) => return Err(error),
            };
            if let Some((head, by)) = read
                && newest.as_ref().is_none_or(|(known, _)| head.size > known.size)
            {
                newest = Some((head, by));
            }
            // One of `checkpoints/` is at least as old as all that follow.
            if newest.is_some() && named != u64::MAX {
                break;
            }
        }
        let Some((head, signed_by)) = newest else { continue };
        let (bucket, runtime, folder) = (bucket.clone(), runtime.clone(), folder(dock, log));
        let (tiles, bundles, sealed) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        found.push(Journal { bucket, runtime, folder, head, signed_by, tiles, bundles, sealed });
    }
    found.sort_by_key(|journal| std::cmp::Reverse(journal.head.size));
    Ok(found)
}

/// The head in a checkpoint of this very log, where an enrolled key signed it.
fn head_of(
    bytes: &[u8],
    dock: &str,
    log: LogId,
    enrolled: &[Enrolled],
) -> Option<(Head, Enrolled)> {
    let note = Note::parse(bytes).ok()?;
    let by = enrolled.iter().rev().find(|one| note.verify(&one.key).is_ok())?;
    let checkpoint = Checkpoint::parse(note.text()).ok()?;
    let head = Head { log, size: checkpoint.size, root: checkpoint.root };
    (checkpoint.log() == Some((dock, log))).then(|| (head, by.clone()))
}

impl Journal {
    /// Its id.
    pub fn log(&self) -> LogId {
        self.head.log
    }

    /// As the checkpoint says.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whose key signed it.
    pub fn signed_by(&self) -> &Enrolled {
        &self.signed_by
    }

    /// The entry of a clip that was sealed about `sealed`. Reads the bundles of that time first,
    /// those behind it next, and at last all others.
    pub fn find(
        &mut self,
        name: SealedName,
        sealed: Timestamp,
    ) -> Result<Option<SealedEntry>, Trouble> {
        if let Some(entry) = self.sealed.get(&name) {
            return Ok(Some(*entry));
        }
        let count = self.head.size.div_ceil(WIDTH);
        if self.bundles.len() as u64 == count {
            return Ok(None);
        }
        let first = self.bundle_of_time(sealed, count)?;
        for index in (first..count).chain((0..first).rev()) {
            self.read_bundle(index)?;
            if let Some(entry) = self.sealed.get(&name) {
                return Ok(Some(*entry));
            }
        }
        Ok(None)
    }

    /// The last bundle that begins before a time; clocks are set, so this is only where to begin.
    fn bundle_of_time(&mut self, time: Timestamp, count: u64) -> Result<u64, Trouble> {
        let (mut from, mut to) = (0, count);
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            if self.read_bundle(middle)? <= time {
                from = middle;
            } else {
                to = middle;
            }
        }
        Ok(from)
    }

    /// Reads a bundle, where it was not yet, and says when its first entry was made.
    fn read_bundle(&mut self, index: u64) -> Result<Timestamp, Trouble> {
        if let Some(first) = self.bundles.get(&index) {
            return Ok(*first);
        }
        let piece = bundle_of(index * WIDTH, self.head.size);
        let bytes = read_piece(&self.bucket, &self.runtime, &self.folder, piece)?;
        let malformed = || Trouble::Broken(Broken::Malformed { piece: piece.path() });
        let entries = bytes.entries().ok_or_else(malformed)?;
        let mut first = None;
        for (at, bytes) in entries.into_iter().take(piece.width as usize).enumerate() {
            // An event of a later dockseal is no reason to stop; it is just none that we seek.
            let Ok(entry) = Entry::decode(bytes) else { continue };
            first = first.or(Some(entry.at));
            if let Event::Sealed { clip, size, commitment, .. } = entry.event {
                let number = index * WIDTH + at as u64;
                let leaf = leaf_hash(bytes);
                let found =
                    SealedEntry { number, leaf, at: entry.at, size_bytes: size, commitment };
                self.sealed.entry(clip).or_insert(found);
            }
        }
        let first = first.unwrap_or(Timestamp(0));
        self.bundles.insert(index, first);
        Ok(first)
    }

    /// The audit path of an entry, out of tiles.
    pub fn inclusion_proof(&mut self, number: u64) -> Result<Vec<Hash>, Trouble> {
        let Journal { bucket, runtime, folder, tiles, head, .. } = self;
        let mut hashes = TileHashes::new(head.size, |piece: Piece| {
            if let Some(known) = tiles.get(&piece) {
                return Ok(known.clone());
            }
            let read = read_piece(bucket, runtime, folder, piece)?;
            let malformed = || Trouble::Broken(Broken::Malformed { piece: piece.path() });
            let mut hashes = decode_tile(&read.bytes, read.width).ok_or_else(malformed)?;
            hashes.truncate(piece.width as usize);
            tiles.insert(piece, hashes.clone());
            Ok(hashes)
        });
        inclusion_proof(&mut hashes, number, head.size)
    }
}

/// The bytes of a piece that was read, and how wide it is: at least as wide as what was asked for.
struct ReadPiece {
    bytes: bytes::Bytes,
    width: u64,
}

impl ReadPiece {
    fn entries(&self) -> Option<Vec<&[u8]>> {
        decode_bundle(&self.bytes, self.width)
    }
}

/// Reads a piece; of a partial one that is gone, the full one that took its place.
fn read_piece(
    bucket: &Bucket,
    runtime: &Handle,
    folder: &str,
    piece: Piece,
) -> Result<ReadPiece, Trouble> {
    let size_max = match piece.holds {
        Holds::Entries => BUNDLE_SIZE_MAX,
        Holds::Hashes(_) => WIDTH * 32,
    };
    let full = Piece { width: WIDTH, ..piece };
    let tries = if piece.is_full() { &[piece][..] } else { &[piece, full][..] };
    for Piece { width, .. } in tries {
        let path = Piece { width: *width, ..piece }.path();
        match runtime.block_on(bucket.read_all(&format!("{folder}/{path}"), size_max)) {
            Ok(bytes) => return Ok(ReadPiece { bytes, width: *width }),
            Err(BucketError::Missing) => {}
            Err(BucketError::TooLarge { .. }) => {
                return Err(Trouble::Broken(Broken::Malformed { piece: path }));
            }
            Err(error) => return Err(Trouble::Bucket(error)),
        }
    }
    Err(Trouble::Broken(Broken::Missing { piece: piece.path() }))
}
