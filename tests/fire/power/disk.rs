//! Disks in memory, served as files by FUSE, with a log of what was written when.

use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use super::outside::Outside;

/// What a power cut leaves whole: the physical sector of today's disks. Tearing at 512 bytes
/// breaks ext4 itself, which no program can mend.
pub const PAGE_SIZE: usize = 4096;
/// The kernel asks again each time: sizes and contents are changed behind its back.
const TTL: Duration = Duration::ZERO;
/// Inode numbers of the disks: this one, and up.
const FIRST_INODE: u64 = 2;

type Page = Arc<[u8]>;

/// The content of a disk. A clone shares its pages.
#[derive(Clone)]
pub struct Image(Vec<Option<Page>>);

impl Image {
    /// All zeroes.
    pub fn blank(size_bytes: usize) -> Image {
        Image(vec![None; size_bytes / PAGE_SIZE])
    }

    fn size_bytes(&self) -> usize {
        self.0.len() * PAGE_SIZE
    }

    /// Writes it to a file, with holes where nothing was written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let file = std::fs::File::create(path)?;
        file.set_len(self.size_bytes() as u64)?;
        for (index, page) in self.0.iter().enumerate() {
            if let Some(page) = page {
                file.write_all_at(page, (index * PAGE_SIZE) as u64)?;
            }
        }
        Ok(())
    }

    /// Sets one page.
    pub fn put(&mut self, index: usize, page: Page) {
        self.0[index] = Some(page);
    }

    fn read(&self, offset: usize, size: usize) -> Vec<u8> {
        let end = (offset + size).min(self.size_bytes());
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset));
        let mut at = offset;
        while at < end {
            let (index, from) = (at / PAGE_SIZE, at % PAGE_SIZE);
            let to = PAGE_SIZE.min(from + end - at);
            match &self.0[index] {
                Some(page) => bytes.extend_from_slice(&page[from..to]),
                None => bytes.resize(bytes.len() + to - from, 0),
            }
            at += to - from;
        }
        bytes
    }
}

/// What happened, in order.
#[derive(Clone)]
pub enum Event {
    /// A page was written: it may be on the disk from now on, and is after the next flush.
    Write { disk: usize, index: usize, page: Page },
    /// All writes to this disk before are on it.
    Flush { disk: usize },
    /// From here on the world outside, which has power, is as in this snapshot.
    Outside { snapshot: usize },
}

/// Which requests of one disk fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    Reads,
    Writes,
    /// Writes of many pages of a sealed file. The queue's may be as long, and are not random.
    Ciphertext,
    Flushes,
}

/// A fault of one disk: requests of one kind fail, after some that do not.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub disk: usize,
    pub failing: Failing,
    /// Requests that still succeed.
    pub skip: u64,
    /// Requests that then fail; those after them succeed again.
    pub count: u64,
}

#[derive(Default)]
struct State {
    images: Vec<Image>,
    log: Option<Vec<Event>>,
    outside: Option<Outside>,
    fault: Option<Fault>,
    failed: u64,
    /// What went wrong in the test itself; the server must go on all the same.
    broken: Option<String>,
}

impl State {
    fn image(&self, inode: u64) -> Option<(usize, &Image)> {
        let disk = usize::try_from(inode.checked_sub(FIRST_INODE)?).ok()?;
        Some((disk, self.images.get(disk)?))
    }

    /// Whether a request fails; `is_meant` says whether a fault is for requests like it.
    fn fails(&mut self, disk: usize, is_meant: impl FnOnce(Failing) -> bool) -> bool {
        let Some(fault) = &mut self.fault else { return false };
        if fault.disk != disk || fault.count == 0 || !is_meant(fault.failing) {
            return false;
        }
        if fault.skip > 0 {
            fault.skip -= 1;
            return false;
        }
        fault.count -= 1;
        self.failed += 1;
        true
    }

    /// Looks at the outside before something is logged: what an event follows from was there
    /// before the event.
    fn look_outside(&mut self) {
        let (Some(log), Some(outside)) = (&mut self.log, &mut self.outside) else { return };
        match outside.look() {
            Ok(Some(snapshot)) => log.push(Event::Outside { snapshot }),
            Ok(None) => {}
            Err(error) => self.broken = Some(format!("the outside: {error}")),
        }
    }

    fn write(&mut self, disk: usize, offset: usize, data: &[u8]) -> Result<(), Errno> {
        self.look_outside();
        let is_meant = |failing| match failing {
            Failing::Writes => true,
            Failing::Ciphertext => is_ciphertext(data),
            Failing::Reads | Failing::Flushes => false,
        };
        if self.fails(disk, is_meant) {
            return Err(Errno::EIO);
        }
        if !(offset | data.len()).is_multiple_of(PAGE_SIZE) {
            self.broken = Some(format!("a write of {} bytes at {offset}", data.len()));
            return Err(Errno::EINVAL);
        }
        for (nth, bytes) in data.chunks(PAGE_SIZE).enumerate() {
            let (index, page) = (offset / PAGE_SIZE + nth, Page::from(bytes));
            let image = &mut self.images[disk];
            if index >= image.0.len() {
                return Err(Errno::ENOSPC);
            }
            image.put(index, Arc::clone(&page));
            if let Some(log) = &mut self.log {
                log.push(Event::Write { disk, index, page });
            }
        }
        Ok(())
    }

    fn flush(&mut self, disk: usize) -> Result<(), Errno> {
        self.look_outside();
        if self.fails(disk, |failing| failing == Failing::Flushes) {
            return Err(Errno::EIO);
        }
        if let Some(log) = &mut self.log {
            log.push(Event::Flush { disk });
        }
        Ok(())
    }
}

/// Whether it is a long run of pages that have nearly every value of a byte, as random ones do. A
/// page of the queue may be full of digests; sixteen in a row are not.
fn is_ciphertext(data: &[u8]) -> bool {
    let is_random = |page: &[u8]| {
        let mut has = [false; 256];
        page.iter().for_each(|byte| has[usize::from(*byte)] = true);
        has.iter().filter(|has| **has).count() >= 250
    };
    data.len() >= 16 * PAGE_SIZE && data.chunks(PAGE_SIZE).all(is_random)
}

/// The disks of one test. Dropping them ends the file system; what was mounted must be gone.
pub struct Disks {
    state: Arc<Mutex<State>>,
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl Disks {
    /// Serves `images` beneath the folder `at`. `name` is what mountinfo shows as the source.
    pub fn serve(at: &Path, name: &str, images: Vec<Image>) -> Disks {
        let state = Arc::new(Mutex::new(State { images, ..State::default() }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName(name.to_owned())];
        let server = Server(Arc::clone(&state));
        let session = fuser::spawn_mount(server, at, &config).expect("FUSE can be mounted");
        Disks { state, at: at.to_owned(), session: Some(session) }
    }

    /// The file that is a disk.
    pub fn file(&self, disk: usize) -> PathBuf {
        self.at.join(disk.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What the disks hold now. Nothing may be mounted, or all must be synced.
    pub fn images(&self) -> Vec<Image> {
        self.lock().images.clone()
    }

    /// Lets the disks hold something else. Nothing may be mounted.
    pub fn hold(&self, images: Vec<Image>) {
        self.lock().images = images;
    }

    /// Begins a log; what is written from now on is in it. With an outside, it is watched.
    pub fn begin_log(&self, outside: Outside) {
        let mut state = self.lock();
        state.log = Some(Vec::new());
        state.outside = Some(outside);
        state.look_outside();
    }

    /// Ends the log and gives it, with the watched outside as it is at the end.
    pub fn end_log(&self) -> (Vec<Event>, Outside) {
        let mut state = self.lock();
        state.look_outside();
        assert_eq!(state.broken, None, "the harness itself failed");
        (state.log.take().expect("begun"), state.outside.take().expect("begun"))
    }

    /// Has requests fail from now on.
    pub fn fail(&self, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some(fault);
        state.failed = 0;
    }

    /// Lets all requests succeed again; says how many did not.
    pub fn repair(&self) -> u64 {
        let mut state = self.lock();
        state.fault = None;
        state.failed
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        // Forced: requests that are under way fail instead of waiting for ever.
        let unmounted = std::process::Command::new("umount").arg("-f").arg(&self.at).status();
        if unmounted.is_ok_and(|status| status.success()) {
            let _ = session.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Server(Arc<Mutex<State>>);

fn attributes(inode: u64, size_bytes: usize) -> FileAttr {
    let is_root = inode == INodeNo::ROOT.0;
    FileAttr {
        ino: INodeNo(inode),
        size: size_bytes as u64,
        blocks: size_bytes as u64 / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_root { FileType::Directory } else { FileType::RegularFile },
        perm: if is_root { 0o755 } else { 0o600 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: PAGE_SIZE as u32,
        flags: 0,
    }
}

impl Server {
    fn attributes(&self, inode: u64) -> Option<FileAttr> {
        if inode == INodeNo::ROOT.0 {
            return Some(attributes(inode, 0));
        }
        let state = lock(&self.0);
        state.image(inode).map(|(_, image)| attributes(inode, image.size_bytes()))
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = name.to_str().and_then(|name| name.parse::<u64>().ok());
        match disk.and_then(|disk| self.attributes(FIRST_INODE + disk)) {
            Some(attributes) => reply.entry(&TTL, &attributes, fuser::Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the page cache: each request of the block device reaches us, reads too.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = lock(&self.0);
        let Some((disk, _)) = state.image(inode.0) else { return reply.error(Errno::ENOENT) };
        if state.fails(disk, |failing| failing == Failing::Reads) {
            return reply.error(Errno::EIO);
        }
        let bytes = state.images[disk].read(offset as usize, size as usize);
        drop(state);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = lock(&self.0);
        let Some((disk, _)) = state.image(inode.0) else { return reply.error(Errno::ENOENT) };
        match state.write(disk, offset as usize, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = lock(&self.0);
        let Some((disk, _)) = state.image(inode.0) else { return reply.error(Errno::ENOENT) };
        match state.flush(disk) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Of close(2): says nothing of durability.
        reply.ok();
    }
}
