//! The shelf: what a bucket's listing holds, dock by dock and log by log.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Findings, What};
use super::{Progress, Step};
use crate::clip::{SealedName, Timestamp};
use crate::custody::LogId;
use crate::custody::place::Place;
use crate::custody::status::NOTE_SIZE_MAX as STATUS_SIZE_MAX;
use crate::custody::tile::Piece;
use crate::edge::bucket::{Bucket, BucketError, CHECK, Object};

/// How long a put into a folder may take.
const PUT_SECONDS_MAX: u64 = 3600;

/// A clip's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClipObject {
    /// What it is called.
    pub name: SealedName,
    /// Size in bytes.
    pub size_bytes: u64,
    /// When the bucket stored it, by the bucket's clock.
    pub stored: Timestamp,
}

/// A log's objects.
#[derive(Debug, Default)]
pub struct LogShelf {
    /// Sizes of the checkpoints, rising.
    pub checkpoints: Vec<u64>,
    /// Whether there is one that is replaced.
    pub has_latest: bool,
    /// Tiles and bundles, in order.
    pub pieces: Vec<Piece>,
}

/// A dock's objects.
#[derive(Debug, Default)]
pub struct DockShelf {
    /// Clips, by name.
    pub clips: Vec<ClipObject>,
    /// Logs.
    pub logs: BTreeMap<LogId, LogShelf>,
}

impl DockShelf {
    /// The object of a clip.
    pub fn clip(&self, name: SealedName) -> Option<&ClipObject> {
        let index = self.clips.binary_search_by_key(&name, |clip| clip.name).ok()?;
        self.clips.get(index)
    }
}

/// A bucket's objects.
#[derive(Debug, Default)]
pub struct Shelf {
    /// Docks, by name.
    pub docks: BTreeMap<String, DockShelf>,
    /// Revisions of the keyring.
    pub revisions: BTreeSet<u64>,
    /// Whether there is a newest keyring.
    pub has_keyring: bool,
    /// All objects.
    pub object_count: u64,
    /// Bytes of all objects.
    pub size_bytes: u64,
}

impl Shelf {
    /// Lists a bucket. What is not recognised becomes a finding.
    pub async fn list(
        bucket: &Bucket,
        now: Timestamp,
        findings: &mut Findings,
        progress: &Progress<'_>,
    ) -> Result<Shelf, BucketError> {
        let mut shelf = Shelf::default();
        let see = &mut |object: Object| {
            let age_milliseconds = now.0.abs_diff(object.stored.as_millisecond());
            // In a folder, a put that is under way. An old one, or one elsewhere, is foreign:
            // nobody hides behind an ending.
            let is_put = bucket.is_local() && object.is_unfinished();
            if !(is_put && age_milliseconds < PUT_SECONDS_MAX * 1000) {
                shelf.put(&object, findings);
            }
            progress(Step::Listed);
        };
        bucket.visit("", see).await?;
        for dock in shelf.docks.values_mut() {
            dock.clips.sort_unstable();
            for log in dock.logs.values_mut() {
                log.checkpoints.sort_unstable();
                log.pieces.sort_unstable();
            }
        }
        Ok(shelf)
    }

    fn put(&mut self, object: &Object, findings: &mut Findings) {
        self.object_count += 1;
        self.size_bytes += object.size_bytes;
        match Place::of(&object.key) {
            Place::Authority => {}
            // Nobody hides behind the name: anything else there is foreign.
            Place::Check { .. } if object.size_bytes == CHECK.len() as u64 => {}
            Place::Check { .. } => findings.add(&object.key, What::Foreign),
            Place::Checkpoint { dock, log, size } => self.log(dock, log).checkpoints.push(size),
            Place::Clip { dock, name } => {
                let stored = Timestamp(object.stored.as_millisecond());
                let clip = ClipObject { name, size_bytes: object.size_bytes, stored };
                self.dock(dock).clips.push(clip);
            }
            Place::Foreign => findings.add(&object.key, What::Foreign),
            Place::Keyring => self.has_keyring = true,
            Place::Latest { dock, log } => self.log(dock, log).has_latest = true,
            Place::Piece { dock, log, piece } => self.log(dock, log).pieces.push(piece),
            Place::Revision(number) => {
                self.revisions.insert(number);
            }
            // What a dock says of itself proves nothing, and is not read.
            Place::Status { dock } if object.size_bytes <= STATUS_SIZE_MAX => {
                self.dock(dock);
            }
            Place::Status { .. } => findings.add(&object.key, What::Foreign),
        }
    }

    fn dock(&mut self, name: &str) -> &mut DockShelf {
        if !self.docks.contains_key(name) {
            self.docks.insert(name.to_owned(), DockShelf::default());
        }
        self.docks.get_mut(name).expect("just inserted")
    }

    fn log(&mut self, dock: &str, log: LogId) -> &mut LogShelf {
        self.dock(dock).logs.entry(log).or_default()
    }
}
