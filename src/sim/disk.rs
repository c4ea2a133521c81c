//! The durable half of the file system: what a power cut may take back.
//!
//! Files lie on a real file system. Of each change that was not made durable this knows how to
//! undo it; a removed file is kept in a graveyard until its removal is durable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::dice::Dice;
use crate::clip::Generation;

/// Which medium something lies on. The dock's own disk is the first.
pub(super) type Medium = usize;

/// The dock's own disk.
pub(super) const OWN: Medium = 0;

/// A name that was changed and not synced.
#[derive(Debug)]
struct Pending {
    medium: Medium,
    /// The inode of the folder whose sync makes it durable.
    folder: u64,
    path: PathBuf,
    undo: Undo,
}

/// How to take a change of a name back.
#[derive(Debug)]
enum Undo {
    /// It was created.
    Remove,
    /// A folder was created.
    RemoveFolder,
    /// A folder was removed.
    MakeFolder,
    /// It was removed.
    Restore(Grave),
    /// It had another name; and a file that had this name may be in its grave.
    Rename { old: PathBuf, changed_ns: i64, replaced: Option<Grave> },
}

/// A removed file, and the ctime that it had.
#[derive(Debug)]
struct Grave {
    path: PathBuf,
    changed_ns: i64,
}

/// The file systems of one world.
#[derive(Debug)]
pub(super) struct Disk {
    graveyard: PathBuf,
    grave_count: u64,
    pending: Vec<Pending>,
    /// Inodes of our own files whose bytes are durable.
    synced: HashSet<u64>,
    /// Inodes whose sync failed: nobody may believe in them again.
    pub(super) failed: HashSet<u64>,
    /// What lies on a medium other than the dock's own disk.
    media: HashMap<u64, Medium>,
    /// Folders that dockseal made on a medium.
    made: Vec<(PathBuf, Medium)>,
    devices: BTreeMap<Medium, u64>,
    /// By inode: the ctime that the substrate has after an undo, and the one that it had before.
    changed: HashMap<u64, (i64, i64)>,
}

impl Disk {
    pub(super) fn new(graveyard: PathBuf) -> Disk {
        Disk {
            graveyard,
            grave_count: 0,
            pending: Vec::new(),
            synced: HashSet::new(),
            failed: HashSet::new(),
            media: HashMap::new(),
            made: Vec::new(),
            devices: BTreeMap::from([(OWN, 1)]),
            changed: HashMap::new(),
        }
    }

    /// A file or folder lies on a medium.
    pub(super) fn register(&mut self, path: &Path, medium: Medium) {
        let inode = path.symlink_metadata().expect("just made").ino();
        self.media.insert(inode, medium);
    }

    /// The medium gets another device number, as when it is plugged in again.
    pub(super) fn plug(&mut self, medium: Medium, device: u64) {
        self.devices.insert(medium, device);
    }

    /// The medium of an inode.
    pub(super) fn medium(&mut self, inode: u64) -> Medium {
        if let Some(medium) = self.media.get(&inode) {
            return *medium;
        }
        let is_it =
            |(path, _): &&(PathBuf, Medium)| path.metadata().is_ok_and(|m| m.ino() == inode);
        let found = self.made.iter().find(is_it).map(|(_, medium)| *medium);
        if let Some(medium) = found {
            self.media.insert(inode, medium);
        }
        found.unwrap_or(OWN)
    }

    /// What the file system would say of a file: with the device of its medium, and without the
    /// changes of its ctime that only the simulation made.
    pub(super) fn look(&mut self, generation: &mut Generation) {
        let inode = generation.inode_number;
        let medium = self.medium(inode);
        generation.device_number = self.devices[&medium];
        generation.changed_ns = self.shown_changed_ns(inode, generation.changed_ns);
    }

    fn shown_changed_ns(&self, inode: u64, real: i64) -> i64 {
        match self.changed.get(&inode) {
            Some((after, before)) if *after == real => *before,
            Some(_) | None => real,
        }
    }

    fn shown(&self, metadata: &Metadata) -> i64 {
        self.shown_changed_ns(metadata.ino(), changed_ns(metadata))
    }

    /// The whole path of a name, and the inode of its folder.
    fn place(folder: BorrowedFd<'_>, name: &Path) -> io::Result<(PathBuf, u64)> {
        let path = match name.is_absolute() {
            true => name.to_owned(),
            false => {
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
                std::fs::read_link(link)?.join(name)
            }
        };
        let inode = path.parent().expect("never the root").metadata()?.ino();
        Ok((path, inode))
    }

    fn note(&mut self, folder: u64, path: PathBuf, undo: Undo) {
        let medium = self.medium(folder);
        self.pending.push(Pending { medium, folder, path, undo });
    }

    /// A file is about to be created, or emptied.
    pub(super) fn create(&mut self, folder: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
        let (path, folder) = Disk::place(folder, name)?;
        match path.symlink_metadata() {
            Ok(there) => {
                // Emptied: what is written now is another matter than what failed before.
                self.synced.remove(&there.ino());
                self.failed.remove(&there.ino());
            }
            Err(_) => self.note(folder, path, Undo::Remove),
        }
        Ok(())
    }

    /// A folder is about to be made.
    pub(super) fn make_folder(&mut self, folder: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
        let (path, folder) = Disk::place(folder, name)?;
        if !path.exists() {
            let medium = self.medium(folder);
            if medium != OWN {
                self.made.push((path.clone(), medium));
            }
            self.note(folder, path, Undo::RemoveFolder);
        }
        Ok(())
    }

    /// A file or an empty folder is about to be removed; gives its inode where it is a file.
    pub(super) fn remove(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &Path,
    ) -> io::Result<Option<u64>> {
        let (path, folder) = Disk::place(folder, name)?;
        let Ok(there) = path.symlink_metadata() else { return Ok(None) };
        if there.is_dir() {
            if path.read_dir()?.next().is_none() {
                self.note(folder, path, Undo::MakeFolder);
            }
            return Ok(None);
        }
        let grave = self.bury(&path, &there)?;
        self.note(folder, path, Undo::Restore(grave));
        Ok(Some(there.ino()))
    }

    fn bury(&mut self, path: &Path, metadata: &Metadata) -> io::Result<Grave> {
        self.grave_count += 1;
        let grave = self.graveyard.join(self.grave_count.to_string());
        let changed_ns = self.shown(metadata);
        std::fs::hard_link(path, &grave)?;
        Ok(Grave { path: grave, changed_ns })
    }

    /// A file is about to be renamed; gives its inode.
    pub(super) fn rename(
        &mut self,
        (from, old): (BorrowedFd<'_>, &Path),
        (to, new): (BorrowedFd<'_>, &Path),
    ) -> io::Result<Option<u64>> {
        let (old, _) = Disk::place(from, old)?;
        let (new, folder) = Disk::place(to, new)?;
        let Ok(there) = old.symlink_metadata() else { return Ok(None) };
        let replaced = match new.symlink_metadata() {
            Ok(replaced) => Some(self.bury(&new, &replaced)?),
            Err(_) => None,
        };
        let changed_ns = self.shown(&there);
        self.note(folder, new, Undo::Rename { old, changed_ns, replaced });
        Ok(Some(there.ino()))
    }

    /// A file's bytes, or a folder's names, are durable now; gives a file's inode.
    pub(super) fn sync(&mut self, what: BorrowedFd<'_>) -> io::Result<Option<u64>> {
        let stat = rustix::fs::fstat(what)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile {
            self.synced.insert(stat.st_ino);
            return Ok(Some(stat.st_ino));
        }
        self.settle(|pending| pending.folder == stat.st_ino);
        Ok(None)
    }

    /// What is pending of a medium is durable: somebody else had it synced.
    pub(super) fn sync_medium(&mut self, medium: Medium) {
        self.settle(|pending| pending.medium == medium);
    }

    fn settle(&mut self, is_durable: impl Fn(&Pending) -> bool) {
        let (durable, pending) = self.pending.drain(..).partition(is_durable);
        self.pending = pending;
        let durable: Vec<Pending> = durable;
        for Pending { undo, .. } in durable {
            match undo {
                Undo::Restore(grave) | Undo::Rename { replaced: Some(grave), .. } => {
                    std::fs::remove_file(grave.path).expect("a grave is there");
                }
                Undo::Remove | Undo::RemoveFolder | Undo::MakeFolder | Undo::Rename { .. } => {}
            }
        }
    }

    /// Whether a file of ours would be there, whole, after any power cut.
    pub(super) fn is_durable(&self, path: &Path) -> bool {
        let is_synced = path.metadata().is_ok_and(|there| self.synced.contains(&there.ino()));
        is_synced && !self.pending.iter().any(|pending| pending.path == path)
    }

    /// Whether the removal of an inode may still be taken back.
    pub(super) fn may_return(&self, inode: u64) -> bool {
        self.pending.iter().any(|pending| match &pending.undo {
            Undo::Restore(grave) => grave.path.metadata().is_ok_and(|there| there.ino() == inode),
            Undo::Remove | Undo::RemoveFolder | Undo::MakeFolder | Undo::Rename { .. } => false,
        })
    }

    /// The power fails, or a medium is pulled: of what was not made durable anything may be gone.
    /// In each folder the changes survive up to some point, in their order.
    pub(super) fn power_cut(&mut self, dice: &mut Dice, only: Option<Medium>) {
        let is_hit = |pending: &Pending| only.is_none_or(|medium| pending.medium == medium);
        let mut left: BTreeMap<u64, usize> = BTreeMap::new();
        for pending in self.pending.iter().filter(|pending| is_hit(pending)) {
            *left.entry(pending.folder).or_default() += 1;
        }
        for count in left.values_mut() {
            *count = dice.below(*count + 1);
        }
        let (hit, kept): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(is_hit);
        self.pending = kept;
        let mut undone = Vec::new();
        for pending in hit {
            let left = left.get_mut(&pending.folder).expect("counted");
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => undone.push(pending),
            }
        }
        for pending in undone.into_iter().rev() {
            self.take_back(pending);
        }
    }

    fn take_back(&mut self, Pending { path, undo, .. }: Pending) {
        match undo {
            // A folder that is not empty by now was made durable by what lies in it.
            Undo::Remove => drop(std::fs::remove_file(path)),
            Undo::RemoveFolder => drop(std::fs::remove_dir(path)),
            Undo::MakeFolder => drop(std::fs::create_dir(path)),
            Undo::Restore(grave) => self.restore(grave, &path),
            Undo::Rename { old, changed_ns, replaced } => {
                self.restore(Grave { path: path.clone(), changed_ns }, &old);
                if let Some(grave) = replaced {
                    self.restore(grave, &path);
                }
            }
        }
    }

    fn restore(&mut self, grave: Grave, path: &Path) {
        if path.symlink_metadata().is_ok() || std::fs::rename(&grave.path, path).is_err() {
            return;
        }
        let there = path.metadata().expect("just renamed");
        self.changed.insert(there.ino(), (changed_ns(&there), grave.changed_ns));
    }

    /// After a power cut: what was written to files of ours and not synced is anything.
    pub(super) fn garble(&mut self, folder: &Path, dice: &mut Dice) {
        let mut entries: Vec<_> = folder.read_dir().expect("a folder").flatten().collect();
        // By age, since names are digests, and those differ from run to run.
        entries.sort_by_key(std::os::unix::fs::DirEntryExt::ino);
        for entry in entries {
            let metadata = entry.metadata().expect("just listed");
            if metadata.is_dir() {
                self.garble(&entry.path(), dice);
            } else if !is_trusted(&entry.file_name()) && !self.synced.contains(&metadata.ino()) {
                garble_file(&entry.path(), metadata.len(), dice);
            }
        }
    }
}

/// SQLite keeps its own promises, and nobody reads the lock.
fn is_trusted(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"queue.db") || name == b"lock"
}

fn garble_file(path: &Path, size: u64, dice: &mut Dice) {
    let mut bytes = std::fs::read(path).expect("there");
    let at = dice.below(size as usize + 1);
    match dice.below(4) {
        0 => return,
        1 => bytes.truncate(at),
        2 => bytes[at..].fill(0),
        _ => bytes[at..].iter_mut().for_each(|byte| *byte ^= 0x5a),
    }
    std::fs::write(path, bytes).expect("written");
}

pub(super) fn changed_ns(metadata: &Metadata) -> i64 {
    metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec())
}
