//! The seam of the simulation: in unit tests, a world of their own behind the doors.
//!
//! A thread that entered a world finds it behind every door: the clock, the file system, the
//! queue's commits, the buckets, randomness. No build but that of the unit tests has this.

use std::cell::RefCell;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::bucket::{Fate, Request, Simulated};
use crate::clip::{Generation, Timestamp};

/// A change of the file system that is about to be made. Names are relative to their folder, or
/// absolute.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    /// A file is created, or emptied.
    Create(BorrowedFd<'a>, &'a Path),
    /// A folder is created.
    MakeFolder(BorrowedFd<'a>, &'a Path),
    /// A file or an empty folder is removed.
    Remove(BorrowedFd<'a>, &'a Path),
    /// A file gets another name, in place of whatever had that.
    Rename(BorrowedFd<'a>, &'a Path, BorrowedFd<'a>, &'a Path),
    /// What a file or a folder holds is made durable.
    Sync(BorrowedFd<'a>),
    /// Bytes are written to a file that is not durable yet.
    Write,
}

/// A simulated world. What it refuses has no effect.
pub(crate) trait World {
    /// What the wall clock shows.
    fn now(&self) -> Timestamp;
    /// How long ago the machine was started.
    fn since_boot(&self) -> Duration;
    /// A random number of 0 to 1.
    fn chance(&self) -> f64;
    /// The file system is about to be changed.
    fn change(&self, change: Change<'_>) -> io::Result<()>;
    /// A file is about to be read.
    fn read(&self) -> io::Result<()>;
    /// What the file system says of a file, as it would be outside of a simulation.
    fn look(&self, generation: &mut Generation);
    /// Bytes that may still be written.
    fn free_bytes(&self) -> u64;
    /// The queue is about to commit.
    fn commit(&self) -> io::Result<()>;
    /// The bucket of a URL.
    fn bucket(&self, url: &str) -> Simulated;
    /// What becomes of a request to a bucket.
    fn request(&self, bucket: &str, request: Request<'_>) -> Fate;
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// The world that this thread is in.
pub(crate) fn current() -> Option<Rc<dyn World>> {
    WORLD.with_borrow(Clone::clone)
}

/// Has this thread enter a world, or leave it.
pub(crate) fn enter(world: Option<Rc<dyn World>>) {
    WORLD.set(world);
}

/// What the file system says of a file, as the world of this thread has it.
pub(crate) fn seen(mut generation: Generation) -> Generation {
    if let Some(world) = current() {
        world.look(&mut generation);
    }
    generation
}

/// Asks the world of this thread before the file system is changed.
pub(crate) fn before(change: Change<'_>) -> io::Result<()> {
    current().map_or(Ok(()), |world| world.change(change))
}
