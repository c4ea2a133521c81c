//! How much room a file system has left.

use std::io;
use std::path::Path;

/// Files that are made on the way of one clip: sealed file, sidecar, the log's head, the queue's.
const FILES_MIN: u64 = 4;

/// What a file system says of its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes that it holds in all.
    pub size_bytes: u64,
    /// Files that this user may still make; none where it does not count them.
    pub free_files: Option<u64>,
}

/// The room of the file system with `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let facts = rustix::fs::statvfs(path)?;
    Ok(Space {
        free_bytes: facts.f_bavail.saturating_mul(facts.f_frsize),
        size_bytes: facts.f_blocks.saturating_mul(facts.f_frsize),
        // Some count no files: there are none in all, and none is free.
        free_files: (facts.f_files > 0).then_some(facts.f_favail),
    })
}

/// Bytes that this user may still write to the file system with `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    #[cfg(test)]
    if let Some(world) = crate::edge::world::current() {
        return Ok(world.free_bytes());
    }
    Ok(space(path)?.free_bytes)
}

/// Whether the file system with `path` takes `size_bytes` more, and the files of another clip.
pub fn has_room(path: &Path, size_bytes: u64) -> io::Result<bool> {
    let Space { free_bytes, free_files, .. } = space(path)?;
    Ok(free_files.is_none_or(|free| free >= FILES_MIN) && free_bytes >= size_bytes)
}
