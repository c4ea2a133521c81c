//! The file system: durable publishing, and dock folders that nobody can lead us out of.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::clip::Generation;

mod change;
mod digest;
mod mounts;
mod pattern;
mod space;

pub use digest::sha256;
pub use mounts::mount_point;
pub use pattern::name_matches;
pub use space::{Space, free_bytes, has_room, space};

pub use change::Written;

/// Creates a file that only this user can read; fails where the name is taken, also by a link.
pub fn create_private(path: &Path) -> io::Result<File> {
    let fd = change::create(CWD, path, OFlags::EXCL | OFlags::RDWR, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(fd))
}

/// Opens a file for this user alone and empties it; it may be there already.
pub fn create_over(path: &Path) -> io::Result<File> {
    let fd = change::create(CWD, path, OFlags::TRUNC | OFlags::WRONLY, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(fd))
}

/// As [`create_private`], readable by all: what a folder bucket holds is for other users to read.
pub fn create_public(path: &Path) -> io::Result<File> {
    let file = create_private(path)?;
    let_all_read(&file)?;
    Ok(file)
}

/// Lets every user read a file, whatever the umask was when it was made.
pub fn let_all_read(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?)
}

/// Another handle to a file, at its beginning. The two share their place: one is read at a time.
pub fn from_start(file: &File) -> io::Result<File> {
    let mut again = file.try_clone()?;
    io::Seek::rewind(&mut again)?;
    Ok(again)
}

/// Creates a file without a name, for this user alone: it is gone when it is closed, however that
/// comes about.
pub fn create_unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
        // A file system that has no such files: some on a network, some in user space.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {}
        opened => return Ok(File::from(opened?)),
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let path = folder.join(format!(".dockseal-{:016x}", u64::from_le_bytes(random)));
    let file = create_private(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// Makes a finished file visible under its last name so that a power cut cannot take it back:
/// sync the file, rename without replacing, sync the folder.
pub fn publish(file: &File, unfinished: &Path, finished: &Path) -> io::Result<()> {
    finish(file, unfinished, finished)?;
    // Without it, a power cut after the rename can bring back the old name, and the queue would
    // point at nothing. FAULTS F-14.
    sync_folder(finished.parent().unwrap_or(Path::new("/")))
}

/// As [`publish`], but that a power cut can take back the name until something else is published
/// in the same folder.
pub fn finish(file: &File, unfinished: &Path, finished: &Path) -> io::Result<()> {
    sync(file)?;
    change::rename_new(CWD, unfinished, CWD, finished)
}

/// Makes a file's bytes durable.
pub fn sync(file: &File) -> io::Result<()> {
    change::sync(file)
}

/// Makes creations, renames and removals in a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    change::sync(File::open(path)?)
}

/// Removes a file; a folder's sync makes it durable.
pub fn remove_file(path: &Path) -> io::Result<()> {
    change::remove(CWD, path)
}

/// Removes a file where there is one.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Renames a file over whatever has the new name.
pub fn rename_over(old: &Path, new: &Path) -> io::Result<()> {
    change::rename(CWD, old, CWD, new)
}

/// Opens a file of ours for reading.
pub fn open(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    if let Some(world) = super::world::current() {
        world.read()?;
    }
    File::open(path)
}

/// Creates a folder and its parents for this user alone, and makes each durable.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_private_folder(parent)?;
    }
    match change::make_folder(CWD, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(parent.unwrap_or(Path::new("."))),
    }
}

/// Asks the kernel to forget what it has of a file, so that the next read comes from the medium.
pub fn drop_cache(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// Tells the kernel that a file is read from start to end.
pub fn read_ahead(file: &File) {
    // Only a hint: where it is refused, reading is slower and nothing else.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

/// Takes the lock of a file for the life of the returned handle; `None` where another process has
/// it. The kernel lets go of it when the process ends, however it ends.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{FlockOperation, flock};
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?);
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether another process has the lock; looks without waiting and without creating.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, flock};
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// File systems that do not notify of what others write: NFS, SMB2, CIFS, FUSE, 9p, SMB
/// (statfs(2), `f_type`).
const SILENT_FILE_SYSTEMS: [i64; 6] =
    [0x6969, 0xfe53_4d42, 0xff53_4d42, 0x6573_5546, 0x0102_1997, 0x517b];

/// Whether the file system of `path` can be relied on for hints.
pub fn sends_notifications(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|facts| !SILENT_FILE_SYSTEMS.contains(&facts.f_type))
}

/// Whether one folder is, or lies within, the other one, by whatever names: links are followed. One
/// that is not there overlaps nothing.
pub fn overlap(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (one.canonicalize(), other.canonicalize()) else { return false };
    one.starts_with(&other) || other.starts_with(&one)
}

/// What kind of thing a name in a dock folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: a clip.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, FIFO, device or socket.
    Other,
}

/// What the file system says of a name.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// File, folder or neither.
    pub kind: Kind,
    /// Which generation of it.
    pub generation: Generation,
    /// How many names the file has.
    pub links: u64,
}

impl Facts {
    fn new(stat: &rustix::fs::Stat) -> Facts {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            _ => Kind::Other,
        };
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        let generation = Generation {
            device_number: stat.st_dev,
            inode_number: stat.st_ino,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
        };
        #[cfg(test)]
        let generation = super::world::seen(generation);
        #[allow(clippy::unnecessary_cast, reason = "32 bits wide on some architectures")]
        let links = stat.st_nlink as u64;
        Facts { kind, generation, links }
    }

    /// The facts of an open file.
    pub fn of(file: &File) -> io::Result<Facts> {
        Ok(Facts::new(&rustix::fs::fstat(file)?))
    }
}

/// A dock folder, pinned by its descriptor. Every access beneath it resolves without following any
/// symbolic link and without leaving it (`openat2`, FAULTS F-08), so nobody who can write there
/// can make us read, move or remove anything elsewhere.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    facts: Facts,
}

impl Folder {
    /// Opens a configured folder. Links in its own path are the administrator's and are followed.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let facts = Facts::new(&rustix::fs::fstat(&fd)?);
        Ok(Folder { fd, facts })
    }

    /// The device and inode of the folder: another pair means another medium, or a remount.
    pub fn device_and_inode(&self) -> (u64, u64) {
        (self.facts.generation.device_number, self.facts.generation.inode_number)
    }

    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                // The kernel saw a rename above us while it resolved, and asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Whether the kernel opens anything beneath a folder: Linux has `openat2` since 5.6, and a
    /// filter of system calls may hide it.
    pub fn can_look(&self) -> io::Result<bool> {
        match self.open_beneath(Path::new(""), OFlags::PATH) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a clip for reading. Never waits, whatever lies there: a FIFO opens and is refused.
    pub fn open_clip(&self, path: &Path) -> io::Result<(File, Facts)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.open_beneath(path, flags)?);
        let facts = Facts::of(&file)?;
        if facts.kind != Kind::File {
            return Err(io::Error::other("not a regular file"));
        }
        Ok((file, facts))
    }

    /// What lies at a path; `None` where nothing does.
    pub fn look(&self, path: &Path) -> io::Result<Option<Facts>> {
        match self.open_beneath(path, OFlags::PATH) {
            Ok(fd) => Ok(Some(Facts::new(&rustix::fs::fstat(fd)?))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names in a folder beneath this one, with what each is.
    pub fn entries(&self, path: &Path) -> io::Result<Vec<(OsString, Facts)>> {
        let fd = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            match rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.push((OsString::from_vec(name.to_vec()), Facts::new(&stat))),
                // Gone between the listing and the look: as if it had gone before.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(entries)
    }

    /// The device of the deepest folder on the way to `path` that exists: tells a removed file
    /// from a medium that is not there.
    pub fn device_towards(&self, path: &Path) -> io::Result<u64> {
        for folder in path.ancestors().skip(1) {
            if let Some(facts) = self.look(folder)? {
                return Ok(facts.generation.device_number);
            }
        }
        Ok(self.facts.generation.device_number)
    }

    /// The highest folder on the way to `path` that is on `device`: where the file can be renamed
    /// to without being copied.
    pub fn highest_on_device(&self, path: &Path, device: u64) -> io::Result<Option<PathBuf>> {
        let mut folders: Vec<_> = path.ancestors().skip(1).collect();
        folders.reverse();
        for folder in folders {
            let facts = self.look(folder)?;
            if facts.is_some_and(|facts| facts.generation.device_number == device) {
                return Ok(Some(folder.to_owned()));
            }
        }
        Ok(None)
    }

    /// Creates a folder for this user alone; one that is there is fine.
    pub fn create_private(&self, folder: &Path, name: &OsStr) -> io::Result<()> {
        let fd = self.open_beneath(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        match change::make_folder(&fd, Path::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
            Ok(()) => change::sync(&fd),
        }
    }

    /// Renames a file within this folder, never over another one, and makes it durable.
    pub fn rename(&self, old: &Path, new: &Path) -> io::Result<()> {
        let (old_folder, old_name) = self.open_parent(old)?;
        let (new_folder, new_name) = self.open_parent(new)?;
        change::rename_new(&old_folder, Path::new(&old_name), &new_folder, Path::new(&new_name))?;
        change::sync(&new_folder)?;
        change::sync(&old_folder)
    }

    /// Removes a file, and makes the removal durable. `dock/erase.rs` alone may call it.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.open_parent(path)?;
        change::remove(&folder, Path::new(&name))?;
        change::sync(&folder)
    }

    /// Makes durable what names there are in the folders on the way to `path`.
    pub fn sync_towards(&self, path: &Path) -> io::Result<()> {
        for folder in path.ancestors().skip(1) {
            match self.open_beneath(folder, OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(error) if is_absent(&error) => {}
                opened => change::sync(opened?)?,
            }
        }
        Ok(())
    }

    /// Removes a folder where it is empty. A power cut may bring it back, but nothing in it.
    pub fn remove_empty_folder(&self, path: &Path) -> io::Result<()> {
        change::sync(&self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        let (folder, name) = self.open_parent(path)?;
        change::remove_folder(&folder, Path::new(&name))
    }

    fn open_parent(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let name = path.file_name().ok_or_else(invalid)?;
        let parent = path.parent().ok_or_else(invalid)?;
        let fd = self.open_beneath(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok((fd, name.to_owned()))
    }
}

/// Whether the disk has no room, rather than a fault.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the disk is full or fails, rather than somebody's right to use it.
pub fn is_disks(error: &io::Error) -> bool {
    is_full(error) || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Whether the error means that nothing lies there.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    #[test]
    fn publishing_never_replaces() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = |name| dir.path().join(name);
        for name in ["one", "two"] {
            let mut file = create_private(&path("tmp")).expect("created");
            file.write_all(name.as_bytes()).expect("written");
            let published = publish(&file, &path("tmp"), &path("final"));
            assert_eq!(published.is_ok(), name == "one");
        }
        assert_eq!(std::fs::read(path("final")).expect("there"), b"one");
    }

    #[test]
    fn no_link_leads_out_of_a_folder() {
        let dir = tempfile::tempdir().expect("tempdir");
        let outside = dir.path().join("outside");
        let inside = dir.path().join("inside");
        std::fs::create_dir(&outside).expect("created");
        std::fs::create_dir(&inside).expect("created");
        std::fs::write(outside.join("clip"), b"x").expect("written");
        symlink(&outside, inside.join("folder")).expect("linked");
        symlink(outside.join("clip"), inside.join("clip")).expect("linked");
        let folder = Folder::open(&inside).expect("opened");
        for path in ["folder/clip", "clip", "../outside/clip", "/etc/passwd"] {
            assert!(folder.open_clip(Path::new(path)).is_err(), "{path}");
            assert!(folder.remove(Path::new(path)).is_err() || path == "clip", "{path}");
        }
        assert!(outside.join("clip").exists());
    }

    #[test]
    fn a_link_does_not_hide_that_folders_overlap() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = |name| dir.path().join(name);
        std::fs::create_dir_all(path("a/b")).expect("created");
        std::fs::create_dir(path("ab")).expect("created");
        symlink(path("a"), path("link")).expect("linked");
        assert!(overlap(&path("a/b"), &path("link")) && overlap(&path("link"), &path("a/b")));
        assert!(overlap(&path("link/b"), &path("a/b")) && overlap(&path("a"), &path("a")));
        assert!(!overlap(&path("a"), &path("ab")) && !overlap(&path("a"), &path("a/none")));
    }

    #[test]
    fn a_lock_is_seen_and_let_go() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("lock");
        assert!(!is_locked(&path).expect("looked"));
        let held = lock(&path).expect("locked").expect("free");
        assert!(is_locked(&path).expect("looked"));
        assert!(lock(&path).expect("asked").is_none());
        drop(held);
        assert!(!is_locked(&path).expect("looked"));
    }
}
