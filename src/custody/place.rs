//! Places: what the name of an object in a bucket says. docs/format.md, docs/custody.md §5.

use super::LogId;
use super::tile::Piece;
use crate::clip::SealedName;
use crate::note::is_name;

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

#[cfg(test)]
mod tests {
    use super::super::tile::Holds;
    use super::*;

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
