//! Erasing plaintext: the only code that removes a file from a dock folder, and only on proof.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::config::QUARANTINE;
use super::lifecycle::EraseProof;
use crate::clip::{ClipId, Generation, Plaintext};
use crate::edge::fs::{Folder, Kind, is_absent};
use crate::error::{Disposition, Fault};
use crate::hold::Reason;

/// Removes the plaintext of one clip and says what became of it. `moved` is its place in
/// [`quarantine`].
///
/// Move into a private folder of the same file system, compare what was moved, remove, sync. The
/// folder stays for the next clip: to make it durably takes as long as to erase one. The
/// comparison is of the moved file itself, so nobody can put another one in its place in between;
/// one that is not the clip is put back. After a crash the same call finds the file where it was
/// left (DESIGN §8, FAULTS F-08).
pub fn erase(
    _proof: EraseProof,
    folder: &Folder,
    path: &Path,
    generation: &Generation,
    moved: &Path,
) -> Result<Plaintext, EraseFault> {
    if folder.look(moved).map_err(EraseFault::Look)?.is_none() {
        let Some(facts) = folder.look(path).map_err(EraseFault::Look)? else {
            // Not there. A file that was removed leaves its folder's device behind; a medium that
            // was pulled does not.
            let device = folder.device_towards(path).map_err(EraseFault::Look)?;
            if device != generation.device_number {
                return Err(EraseFault::Away);
            }
            // Perhaps we removed it, and ended before that was durable: what is called gone must
            // not come back after a power cut.
            folder.sync_towards(moved).map_err(EraseFault::Remove)?;
            folder.sync_towards(path).map_err(EraseFault::Remove)?;
            return Ok(Plaintext::Absent);
        };
        if facts.kind != Kind::File || !facts.generation.same_content(generation) {
            return Ok(Plaintext::Changed);
        }
        if facts.links != 1 {
            return Err(EraseFault::HardLinked { links: facts.links });
        }
        let quarantine = moved.parent().unwrap_or(Path::new(""));
        let top = quarantine.parent().unwrap_or(Path::new(""));
        folder.create_private(top, QUARANTINE.as_ref()).map_err(EraseFault::Move)?;
        folder.rename(path, moved).map_err(EraseFault::Move)?;
    }
    remove_moved(folder, path, generation, moved)
}

/// Puts a clip back that was moved, where it is not to be removed after all; says whether it is
/// there now. [`EraseFault::Away`] where the medium is away that may have it.
pub fn put_back(
    folder: &Folder,
    path: &Path,
    generation: &Generation,
    moved: &Path,
) -> Result<bool, EraseFault> {
    if folder.look(moved).map_err(EraseFault::Look)?.is_some() {
        folder.rename(moved, path).map_err(EraseFault::PutBack)?;
    }
    if folder.look(path).map_err(EraseFault::Look)?.is_some() {
        return Ok(true);
    }
    let device = folder.device_towards(path).map_err(EraseFault::Look)?;
    if device == generation.device_number { Ok(false) } else { Err(EraseFault::Away) }
}

/// Where a clip is moved to before it is removed: in a folder that is there, or is made, in the
/// highest one on its file system. `instance` is the queue's own, so that after a lost queue the
/// file is a clip like any other instead of being taken for one of ours.
pub fn quarantine(folder: &Folder, path: &Path, instance: &str, id: ClipId) -> io::Result<PathBuf> {
    let device = folder.device_towards(path)?;
    let top = folder.highest_on_device(path, device)?.unwrap_or_default();
    Ok(top.join(QUARANTINE).join(format!("{instance}-{id}")))
}

/// The clip whose file has this name in [`quarantine`], where it is one of this queue's.
pub fn quarantined(name: &OsStr, instance: &str) -> Option<ClipId> {
    let id = name.to_str()?.strip_prefix(instance)?.strip_prefix('-')?;
    id.parse().ok().map(ClipId)
}

fn remove_moved(
    folder: &Folder,
    path: &Path,
    generation: &Generation,
    moved: &Path,
) -> Result<Plaintext, EraseFault> {
    let facts = folder.look(moved).map_err(EraseFault::Look)?;
    let is_the_clip = facts.is_some_and(|facts| {
        facts.kind == Kind::File
            && facts.links == 1
            && facts.generation.same_but_renamed(generation)
    });
    if !is_the_clip {
        // Something else was slipped in between the look and the move. If its name is taken by
        // now it stays in quarantine, where the scan finds it as a clip of its own.
        return match folder.rename(moved, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(EraseFault::PutBack(error))
            }
            Ok(()) | Err(_) => Ok(Plaintext::Changed),
        };
    }
    folder.remove(moved).map_err(EraseFault::Remove)?;
    Ok(Plaintext::Erased)
}

/// Why a plaintext was not erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseFault {
    /// The medium that it lay on is not there.
    #[error("the medium with the plaintext is not there")]
    Away,
    /// It has more than one name.
    #[error("the plaintext has {links} names (hard links)")]
    HardLinked {
        /// How many.
        links: u64,
    },
    /// It could not be looked at.
    #[error("cannot look at the plaintext")]
    Look(#[source] io::Error),
    /// It could not be moved into quarantine.
    #[error("cannot move the plaintext aside")]
    Move(#[source] io::Error),
    /// A file that was slipped in could not be put back.
    #[error("a file was exchanged while it was erased, and lies in {QUARANTINE}")]
    PutBack(#[source] io::Error),
    /// It could not be removed.
    #[error("cannot remove the plaintext")]
    Remove(#[source] io::Error),
}

impl Fault for EraseFault {
    fn disposition(&self) -> Disposition {
        match self {
            EraseFault::HardLinked { .. } => Disposition::Park,
            EraseFault::Away
            | EraseFault::Look(_)
            | EraseFault::Move(_)
            | EraseFault::PutBack(_)
            | EraseFault::Remove(_) => Disposition::Retry,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            EraseFault::HardLinked { .. } => Reason::HardLinked,
            EraseFault::Away => Reason::SourceAway,
            EraseFault::Look(error) if is_absent(error) => Reason::SourceAway,
            EraseFault::Look(_)
            | EraseFault::Move(_)
            | EraseFault::PutBack(_)
            | EraseFault::Remove(_) => Reason::EraseBlocked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{Clip, Evidence, Fact, Receipt, SealedFile, Source, Timestamp, examples};
    use crate::dock::config::EraseWhen;
    use crate::dock::lifecycle::{BucketPolicy, Policy, prove};

    struct Fixture {
        dir: tempfile::TempDir,
        folder: Folder,
        generation: Generation,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(dir.path().join("cam")).expect("created");
        std::fs::write(dir.path().join("cam/a.mp4"), b"clip").expect("written");
        let folder = Folder::open(dir.path()).expect("opened");
        let generation =
            folder.look(Path::new("cam/a.mp4")).expect("ok").expect("there").generation;
        Fixture { dir, folder, generation }
    }

    fn proof() -> EraseProof {
        let source = Source { folder: "/srv".into(), path: "a".into() };
        let generation = fixture().generation;
        let mut clip = Clip::seen(source, generation, Timestamp(0));
        let sealed = SealedFile {
            size_bytes: 1,
            commitment: [0; 32],
            sealed_at: Timestamp(0),
            ..examples::sealed(1)
        };
        let receipt =
            Receipt { bucket: "a".into(), evidence: Evidence::ReadBack, stored_at: Timestamp(0) };
        for fact in [Fact::Sealed(sealed), Fact::Acknowledged(receipt)] {
            clip.apply(fact).expect("no contradiction");
        }
        let bucket =
            BucketPolicy { name: "a".into(), required: true, evidence_min: Evidence::ReadBack };
        let erase = EraseWhen::WhenStored;
        prove(&clip, &Policy { erase, buckets: vec![bucket], keep_sealed_seconds: 0 })
            .expect("a receipt of the one required bucket")
    }

    fn erase_it(fixture: &Fixture) -> Result<Plaintext, EraseFault> {
        let Fixture { folder, generation, .. } = fixture;
        let path = Path::new("cam/a.mp4");
        let moved = quarantine(folder, path, "feed", ClipId(1)).map_err(EraseFault::Look)?;
        let erased = erase(proof(), folder, path, generation, &moved);
        let _ = fixture.folder.remove_empty_folder(Path::new(QUARANTINE));
        erased
    }

    #[test]
    fn the_clip_goes_and_nothing_else_does() {
        let fixture = fixture();
        std::fs::write(fixture.dir.path().join("cam/b.mp4"), b"other").expect("written");
        assert_eq!(erase_it(&fixture).expect("erased"), Plaintext::Erased);
        let left: Vec<_> = walk(fixture.dir.path());
        assert_eq!(left, ["cam", "cam/b.mp4"]);
        assert_eq!(erase_it(&fixture).expect("looked"), Plaintext::Absent);
    }

    #[test]
    fn a_clip_that_was_written_to_stays() {
        let fixture = fixture();
        std::fs::write(fixture.dir.path().join("cam/a.mp4"), b"more").expect("written");
        assert_eq!(erase_it(&fixture).expect("looked"), Plaintext::Changed);
        assert_eq!(walk(fixture.dir.path()), ["cam", "cam/a.mp4"]);
    }

    #[test]
    fn a_hard_link_is_not_taken_for_an_erasure() {
        let fixture = fixture();
        let path = fixture.dir.path().join("cam/a.mp4");
        std::fs::hard_link(&path, fixture.dir.path().join("second")).expect("linked");
        let generation = fixture.folder.look(Path::new("cam/a.mp4")).expect("ok").expect("there");
        let fixture = Fixture { generation: generation.generation, ..fixture };
        assert!(matches!(erase_it(&fixture), Err(EraseFault::HardLinked { links: 2 })));
        assert!(path.exists());
    }

    #[test]
    fn a_crash_after_the_move_is_finished_by_the_next_call() {
        let fixture = fixture();
        let quarantine = fixture.dir.path().join(QUARANTINE);
        std::fs::create_dir(&quarantine).expect("created");
        std::fs::rename(fixture.dir.path().join("cam/a.mp4"), quarantine.join("feed-1"))
            .expect("moved");
        assert_eq!(erase_it(&fixture).expect("erased"), Plaintext::Erased);
        assert_eq!(walk(fixture.dir.path()), ["cam"]);
    }

    #[test]
    fn a_file_that_was_slipped_in_is_put_back() {
        let fixture = fixture();
        let quarantine = fixture.dir.path().join(QUARANTINE);
        std::fs::create_dir(&quarantine).expect("created");
        std::fs::remove_file(fixture.dir.path().join("cam/a.mp4")).expect("removed");
        std::fs::write(quarantine.join("feed-1"), b"somebody's evidence").expect("written");
        assert_eq!(erase_it(&fixture).expect("put back"), Plaintext::Changed);
        assert_eq!(
            std::fs::read(fixture.dir.path().join("cam/a.mp4")).expect("there"),
            b"somebody's evidence"
        );
        // Where its name is taken by now it stays, and the next look finds a clip in it.
        std::fs::create_dir(&quarantine).expect("created");
        std::fs::write(quarantine.join("feed-1"), b"more evidence").expect("written");
        assert_eq!(erase_it(&fixture).expect("left there"), Plaintext::Changed);
        let left = [".dockseal-erasing", ".dockseal-erasing/feed-1", "cam", "cam/a.mp4"];
        assert_eq!(walk(fixture.dir.path()), left);
    }

    fn walk(root: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("listed") {
                let path = entry.expect("entry").path();
                found.push(path.strip_prefix(root).expect("below").display().to_string());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.sort();
        found
    }
}
