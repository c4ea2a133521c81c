//! The system calls that change a file system: everything that the dock changes goes through here.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

#[cfg(test)]
use crate::edge::world::{Change, before};

/// Opens a file that may come into being, or be emptied, by it.
pub(super) fn create(
    folder: impl AsFd,
    name: &Path,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    #[cfg(test)]
    before(Change::Create(folder.as_fd(), name))?;
    let flags = flags | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(folder, name, flags, mode)?)
}

/// Creates a folder.
pub(super) fn make_folder(folder: impl AsFd, name: &Path) -> io::Result<()> {
    #[cfg(test)]
    before(Change::MakeFolder(folder.as_fd(), name))?;
    Ok(rustix::fs::mkdirat(folder, name, Mode::RWXU)?)
}

/// Removes a file.
pub(super) fn remove(folder: impl AsFd, name: &Path) -> io::Result<()> {
    #[cfg(test)]
    before(Change::Remove(folder.as_fd(), name))?;
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
}

/// Removes a folder where it is empty.
pub(super) fn remove_folder(folder: impl AsFd, name: &Path) -> io::Result<()> {
    #[cfg(test)]
    before(Change::Remove(folder.as_fd(), name))?;
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Renames, over whatever has the new name.
pub(super) fn rename(from: impl AsFd, old: &Path, to: impl AsFd, new: &Path) -> io::Result<()> {
    #[cfg(test)]
    before(Change::Rename(from.as_fd(), old, to.as_fd(), new))?;
    Ok(rustix::fs::renameat(from, old, to, new)?)
}

/// Renames only where the new name is free.
pub(super) fn rename_new(from: impl AsFd, old: &Path, to: impl AsFd, new: &Path) -> io::Result<()> {
    #[cfg(test)]
    if rustix::fs::statat(&to, new, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        before(Change::Rename(from.as_fd(), old, to.as_fd(), new))?;
    }
    match rustix::fs::renameat_with(&from, old, &to, new, RenameFlags::NOREPLACE) {
        // FAT and some network file systems do not know the flag; there a link would not work
        // either. The check leaves a gap, in which only a process of the same user could step.
        Err(Errno::INVAL) => match rustix::fs::statat(&to, new, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(rustix::fs::renameat(from, old, to, new)?),
            Err(error) => Err(error.into()),
            Ok(_) => Err(Errno::EXIST.into()),
        },
        result => Ok(result?),
    }
}

/// Makes the bytes of a file durable, or the names in a folder.
pub(super) fn sync(what: impl AsFd) -> io::Result<()> {
    #[cfg(test)]
    before(Change::Sync(what.as_fd()))?;
    Ok(rustix::fs::fsync(what)?)
}

/// A file that is being written.
#[derive(Debug)]
pub struct Written(pub File);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        before(Change::Write)?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
