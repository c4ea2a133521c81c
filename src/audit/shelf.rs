//! The shelf: what a bucket's listing holds, dock by dock and log by log.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Findings, What};
use super::{Progress, Step};
use crate::clip::{SealedName, Timestamp};
use crate::custody::LogId;
use crate::custody::tile::Piece;
use crate::edge::bucket::{Bucket, BucketError, CHECK, Object};
use crate::note::is_name;

/// How long a put into a folder may take.
const PUT_SECONDS_MAX: u64 = 3600;

/// What the name of an object says.
#[allow(missing_docs, reason = "dock, log, size, name and piece are words of the glossary")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// The authority's own: its log, drill receipts, destruction records.
    Authority,
    /// What a dock tries out what it may on; only with the bytes that it always has.
    Check { dock: &'a str },
    /// A checkpoint under its size.
    Checkpoint { dock: &'a str, log: LogId, size: u64 },
    /// A sealed clip.
    Clip { dock: &'a str, name: SealedName },
    /// None of ours.
    Foreign,
    /// The newest keyring.
    Keyring,
    /// The newest checkpoint, replaced each time.
    Latest { dock: &'a str, log: LogId },
    /// A tile or a bundle.
    Piece { dock: &'a str, log: LogId, piece: Piece },
    /// A keyring under its revision.
    Revision(u64),
    /// The dock's health.
    Status { dock: &'a str },
}

impl Place<'_> {
    /// Reads an object's name beneath the bucket's prefix; only the one spelling counts.
    pub fn of(key: &str) -> Place<'_> {
        if key == "keyring" {
            return Place::Keyring;
        }
        match key.split_once('/') {
            Some(("authority", rest)) if !rest.is_empty() => Place::Authority,
            Some(("keyrings", number)) => decimal(number).map_or(Place::Foreign, Place::Revision),
            Some((dock, rest)) if is_name(dock) && dock != "keyring" => {
                of_dock(dock, rest).unwrap_or(Place::Foreign)
            }
            Some(_) | None => Place::Foreign,
        }
    }
}

fn of_dock<'a>(dock: &'a str, rest: &'a str) -> Option<Place<'a>> {
    if rest == "status" {
        return Some(Place::Status { dock });
    }
    if rest == "check" {
        return Some(Place::Check { dock });
    }
    let (kind, rest) = rest.split_once('/')?;
    let (folder, rest) = rest.split_once('/')?;
    match kind {
        "clips" => {
            let stem = rest.strip_suffix(".age")?;
            let name: SealedName = stem.parse().ok()?;
            (folder == &stem[..2]).then_some(Place::Clip { dock, name })
        }
        "log" => {
            let log: LogId = folder.parse().ok()?;
            if rest == "checkpoint" {
                return Some(Place::Latest { dock, log });
            }
            if let Some(size) = rest.strip_prefix("checkpoints/") {
                return decimal(size).map(|size| Place::Checkpoint { dock, log, size });
            }
            Piece::parse(rest).map(|piece| Place::Piece { dock, log, piece })
        }
        _ => None,
    }
}

fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The name of a clip's object beneath the bucket's prefix.
pub fn clip_key(dock: &str, name: SealedName) -> String {
    let name = name.to_string();
    format!("{dock}/clips/{}/{name}.age", &name[..2])
}

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
            Place::Status { dock } => {
                self.dock(dock);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::tile::Holds;

    #[test]
    fn every_name_of_the_design_is_recognised_and_no_other() {
        let (log, name) = (LogId([0xab; 8]), SealedName([0xcd; 32]));
        let dock = "d-1";
        let piece = Piece { holds: Holds::Entries, index: 1, width: 3 };
        let cases = [
            ("keyring".to_owned(), Place::Keyring),
            ("keyrings/12".into(), Place::Revision(12)),
            ("authority/drill/1".into(), Place::Authority),
            ("d-1/status".into(), Place::Status { dock }),
            ("d-1/check".into(), Place::Check { dock }),
            (clip_key(dock, name), Place::Clip { dock, name }),
            (format!("d-1/log/{log}/checkpoint"), Place::Latest { dock, log }),
            (format!("d-1/log/{log}/checkpoints/17"), Place::Checkpoint { dock, log, size: 17 }),
            (format!("d-1/log/{log}/tile/entries/001.p/3"), Place::Piece { dock, log, piece }),
        ];
        for (key, place) in &cases {
            assert_eq!(Place::of(key), *place, "{key}");
        }
        let clip = clip_key(dock, name);
        for key in [
            "x",
            "keyrings/012",
            "keyring/1",
            "authority/",
            "d-1/clips/ab/x.age",
            &clip.replace("/cd/", "/ce/"),
            &clip.replace(".age", ".mp4"),
            &clip.to_uppercase(),
            "d-1/log/abababababababab/checkpoints/+1",
            "d-1/log/abababababababab/checkpoints/01",
            "d-1/log/abab/checkpoint",
            "d-1/statuses",
            "d-1/check/1",
            "check",
            "a b/status",
        ] {
            assert_eq!(Place::of(key), Place::Foreign, "{key}");
        }
    }
}
