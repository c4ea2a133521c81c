//! Which of two objects of one name is the newer one, by what they say themselves.

use super::plan::Newest;
use crate::custody::checkpoint::Checkpoint;
use crate::custody::drill::Drill;
use crate::custody::status::{self, Status};
use crate::keyring::Keyring;
use crate::note::Note;

/// What two objects of one name are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// Neither follows the other, and they differ.
    Conflict,
    /// They say the same.
    Equal,
    /// The one here is the newer one.
    Newer,
    /// The one there is the newer one.
    Older,
    /// They do not say when they are from.
    Unknown,
}

/// Compares the object here with the one there; `None` where the one here cannot be read.
///
/// No signature is looked at: which keys count, the auditor knows. Rubbish that lies there is in
/// conflict with everything, so that nobody loses what he may want to look at.
pub(super) fn relation(newest: Newest, key: &str, here: &[u8], there: &[u8]) -> Option<Relation> {
    if here == there {
        return Some(Relation::Equal);
    }
    let (here, there) = (age(newest, key, here), age(newest, key, there));
    // A status proves nothing: one that is none, or of a later version, is worth no failure.
    if newest == Newest::Status && (here.is_none() || there.is_none()) {
        return Some(Relation::Unknown);
    }
    let (age_here, text_here) = here?;
    let Some((age_there, text_there)) = there else { return Some(Relation::Conflict) };
    Some(match age_here.cmp(&age_there) {
        std::cmp::Ordering::Less => Relation::Older,
        // Cosignatures that came later make another note of the same text.
        std::cmp::Ordering::Equal if text_here == text_there => Relation::Equal,
        std::cmp::Ordering::Equal => Relation::Conflict,
        std::cmp::Ordering::Greater => Relation::Newer,
    })
}

/// Whether two notes sign the same text.
pub(super) fn same_text(one: &[u8], other: &[u8]) -> bool {
    match (Note::parse(one), Note::parse(other)) {
        (Ok(one), Ok(other)) => one.text() == other.text(),
        (Ok(_) | Err(_), _) => false,
    }
}

/// A number that grows from one to the next, and the signed text.
fn age(newest: Newest, key: &str, bytes: &[u8]) -> Option<(u64, String)> {
    let note = Note::parse(bytes).ok()?;
    let age = match newest {
        Newest::Checkpoint => {
            let checkpoint = Checkpoint::parse(note.text()).ok()?;
            (key.strip_suffix("/checkpoint") == Some(checkpoint.origin.as_str()))
                .then_some(checkpoint.size)?
        }
        Newest::Drill => Drill::parse(note.text()).ok()?.at.as_second().try_into().ok()?,
        Newest::Keyring => Keyring::from_note(&note).ok()?.revision,
        Newest::Status => {
            let status = Status::parse(note.text()).ok()?;
            (key == status::key(&status.dock)).then(|| status.at.as_second().try_into().ok())??
        }
    };
    Some((age, note.text().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::merkle::{Hash, empty_root};
    use crate::custody::{Head, LogId};
    use crate::note::{Kind, SignerKey};

    fn checkpoint(log: u8, size: u64, root: Hash, seed: u8) -> Vec<u8> {
        let head = Head { log: LogId([log; 8]), size, root };
        let key = SignerKey::from_seed("d-1", Kind::Note, &[seed; 32]).expect("a name");
        Checkpoint::new("d-1", head).sign(&key).to_string().into_bytes()
    }

    #[test]
    fn the_larger_checkpoint_of_one_log_is_the_newer_one() {
        let key = "d-1/log/abababababababab/checkpoint";
        let make = |size, root, seed| checkpoint(0xab, size, root, seed);
        let here = make(17, empty_root(), 1);
        let relation =
            |there: &[u8]| super::relation(Newest::Checkpoint, key, &here, there).expect("ours");
        assert_eq!(relation(&make(16, empty_root(), 1)), Relation::Newer);
        assert_eq!(relation(&make(18, empty_root(), 1)), Relation::Older);
        assert_eq!(relation(&make(17, empty_root(), 2)), Relation::Equal, "signed once more");
        assert_eq!(relation(&make(17, Hash([1; 32]), 1)), Relation::Conflict, "a fork");
        assert_eq!(relation(b"rubbish"), Relation::Conflict);
        assert_eq!(relation(&checkpoint(0xac, 16, empty_root(), 1)), Relation::Conflict);
        let rubbish = super::relation(Newest::Checkpoint, key, b"rubbish", &here);
        assert_eq!(rubbish, None);
    }

    #[test]
    fn the_later_status_is_the_newer_one_and_rubbish_is_no_failure() {
        let make = |at: &str, dock: &str| {
            let text = format!(
                "dockseal.status/v1\ndock {dock}\nat 2026-11-21T{at}Z\nnext 690\nversion 0.1.0\n\
                 log abababababababab 7\nverdict ok\nunsafe 0 0\nat-risk 0\nbacklog 0\n"
            );
            let key = SignerKey::from_seed(dock, Kind::Note, &[1; 32]).expect("a name");
            Note::sign(text, &key).to_string().into_bytes()
        };
        let here = make("09:00:00", "d-1");
        let relation = |there: &[u8]| super::relation(Newest::Status, "d-1/status", &here, there);
        assert_eq!(relation(&here), Some(Relation::Equal));
        assert_eq!(relation(&make("08:59:59", "d-1")), Some(Relation::Newer));
        assert_eq!(relation(&make("09:00:01", "d-1")), Some(Relation::Older));
        // When the buckets stored them decides.
        assert_eq!(relation(&make("09:00:01", "d-2")), Some(Relation::Unknown));
        assert_eq!(relation(b"well\n"), Some(Relation::Unknown));
        let rubbish = super::relation(Newest::Status, "d-1/status", b"well\n", &here);
        assert_eq!(rubbish, Some(Relation::Unknown));
    }
}
