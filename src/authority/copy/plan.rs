//! What there is to copy, and in which order: two listings, compared.

use std::collections::BTreeMap;

use crate::clip::SealedName;
use crate::custody::drill::newest_key;
use crate::custody::folder;
use crate::custody::place::Place;
use crate::edge::bucket::Object;
use crate::note::is_name;

/// Kinds of objects, in the order in which they are copied.
///
/// Whoever audits the copy meanwhile finds nothing that speaks of what is not there yet: keyrings
/// first, clips before the entries that name them, the log's pieces before the checkpoints that
/// sign them, and what is replaced at the very end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Revisions of the keyring, and the authority's own objects.
    Record,
    /// A sealed clip.
    Clip(SealedName),
    /// A tile or a bundle of a log.
    Piece,
    /// A checkpoint under its size.
    Checkpoint,
    /// One that is replaced by its successor.
    Newest(Newest),
}

/// Objects that are replaced by their successors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Newest {
    /// The newest checkpoint of a log.
    Checkpoint,
    /// The newest receipt of a drill.
    Drill,
    /// The newest keyring.
    Keyring,
    /// A dock's health.
    Status,
}

impl Kind {
    /// What can be copied in any order, one phase after the other.
    pub(super) fn phase(self) -> u8 {
        match self {
            Kind::Record => 0,
            Kind::Clip(_) => 1,
            Kind::Piece => 2,
            Kind::Checkpoint => 3,
            Kind::Newest(_) => 4,
        }
    }
}

/// One object that has its place in the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The name, beneath both prefixes.
    pub key: String,
    /// What it is.
    pub kind: Kind,
    /// Size in bytes, as the source lists it.
    pub size_bytes: u64,
    /// When the source stored it.
    pub(super) stored: jiff::Timestamp,
    /// What lies under this name in the destination.
    pub(super) there: Option<There>,
    /// The folder of the log that it belongs to, if to any.
    pub(super) log: Option<String>,
}

/// What the destination has of an object's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct There {
    pub(super) size_bytes: u64,
    pub(super) stored: jiff::Timestamp,
}

/// All that there is to copy.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order of their kinds.
    pub objects: Vec<Planned>,
    /// Names that are none of ours.
    pub foreign: Vec<String>,
    /// A folder's puts that are under way, or were killed half-way.
    pub unfinished: Vec<String>,
}

impl Plan {
    /// Compares the listing of a source with that of a destination.
    pub fn of(from: Vec<Object>, to: Vec<Object>) -> Plan {
        let to: BTreeMap<String, There> = to
            .into_iter()
            .map(|Object { key, size_bytes, stored }| (key, There { size_bytes, stored }))
            .collect();
        let mut plan = Plan::default();
        for object in from {
            if object.is_unfinished() {
                plan.unfinished.push(object.key);
                continue;
            }
            let Some((kind, log)) = kind_of(&object.key) else {
                plan.foreign.push(object.key);
                continue;
            };
            let there = to.get(&object.key).copied();
            let Object { key, size_bytes, stored } = object;
            plan.objects.push(Planned { key, kind, size_bytes, stored, there, log });
        }
        plan.objects.sort_by(|a, b| (a.kind, &a.key).cmp(&(b.kind, &b.key)));
        plan
    }

    /// Bytes of the objects that the destination has not.
    pub fn missing_size_bytes(&self) -> u64 {
        self.objects.iter().filter(|one| one.there.is_none()).map(|one| one.size_bytes).sum()
    }
}

/// What an object is, and the folder of its log; `None` where it is none of ours.
fn kind_of(key: &str) -> Option<(Kind, Option<String>)> {
    Some(match Place::of(key) {
        Place::Authority if is_newest_drill(key) => (Kind::Newest(Newest::Drill), None),
        Place::Authority | Place::Check { dock: _ } | Place::Revision(_) => (Kind::Record, None),
        Place::Checkpoint { dock, log, size: _ } => (Kind::Checkpoint, Some(folder(dock, log))),
        Place::Clip { dock: _, name } => (Kind::Clip(name), None),
        Place::Foreign => return None,
        Place::Keyring => (Kind::Newest(Newest::Keyring), None),
        Place::Latest { dock, log } => (Kind::Newest(Newest::Checkpoint), Some(folder(dock, log))),
        Place::Piece { dock, log, piece: _ } => (Kind::Piece, Some(folder(dock, log))),
        Place::Status { dock: _ } => (Kind::Newest(Newest::Status), None),
    })
}

/// The authority's only objects that are ever replaced are the newest receipts of its drills.
fn is_newest_drill(key: &str) -> bool {
    let dock = key.rsplit('/').next().unwrap_or_default();
    is_name(dock) && key == newest_key(dock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::place::clip_key;

    fn object(key: &str) -> Object {
        let stored = jiff::Timestamp::UNIX_EPOCH;
        Object { key: key.to_owned(), size_bytes: 7, stored }
    }

    #[test]
    fn nothing_comes_before_what_it_speaks_of() {
        let log = "d-1/log/abababababababab";
        let clip = clip_key("d-1", SealedName([0xcd; 32]));
        let order = [
            "authority/drills/d-1/17".to_owned(),
            "keyrings/1".into(),
            clip.clone(),
            format!("{log}/tile/0/000"),
            format!("{log}/tile/entries/000.p/3"),
            format!("{log}/checkpoints/17"),
            format!("{log}/checkpoint"),
            "authority/drill/d-1".into(),
            "keyring".into(),
            "d-1/status".into(),
        ];
        let mut from: Vec<_> = order.iter().rev().map(|key| object(key)).collect();
        from.extend([object("x"), object(&format!("d-1/clips/cd/.{clip}.unfinished"))]);
        let plan = Plan::of(from, vec![object(&clip), object("elsewhere")]);
        let keys: Vec<_> = plan.objects.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, order);
        assert_eq!((plan.foreign.as_slice(), plan.unfinished.len()), (&["x".to_owned()][..], 1));
        assert_eq!(plan.missing_size_bytes(), 9 * 7);
        let there: Vec<_> = plan.objects.iter().filter(|one| one.there.is_some()).collect();
        assert_eq!(there.len(), 1);
        assert_eq!(there[0].key, clip);
    }
}
