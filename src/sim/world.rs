//! The simulated world: clock, disk, buckets and chance behind dockseal's doors.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cameras::Cameras;
use super::dice::Dice;
use super::disk::{Disk, Medium, OWN};
use super::plan::Kind;
use super::truth::Truth;
use super::weather::Weather;
use crate::clip::{Generation, Timestamp};
use crate::dock::queue::Reader;
use crate::edge::bucket::{Ending, Fate, Request, Simulated};
use crate::edge::world::{self, Change};

/// When the first episode's wall clock begins: 2026-03-01T12:00:00Z.
const BEGINNING_MS: i64 = 1_772_366_400_000;
/// Events that are kept to be shown when something went wrong.
const EVENTS_KEPT: usize = 20_000;

/// How the process ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// It is killed; the kernel goes on.
    Kill,
    /// The power fails.
    Power,
}

/// The world of one episode.
pub(super) struct World {
    pub(super) root: PathBuf,
    began: Instant,
    state: RefCell<State>,
    /// Told when the process ended before its time.
    pub(super) crashed: Notify,
}

/// What is so in the world.
pub(super) struct State {
    pub(super) dice: Dice,
    pub(super) disk: Disk,
    pub(super) truth: Truth,
    pub(super) cameras: Cameras,
    /// Reads the queue beside the agent.
    pub(super) reader: Option<Reader>,
    pub(super) buckets: BTreeMap<String, (Simulated, Weather)>,
    /// What the wall clock is off.
    pub(super) off_ms: i64,
    pub(super) booted: Duration,
    /// Effects until the process ends, and how.
    pub(super) crash_in: Option<(u64, Crash)>,
    pub(super) crashed: Option<Crash>,
    /// Effects until a camera does something in the middle of our work, what, and its dice.
    pub(super) interferes_in: Option<(u64, Kind, u64)>,
    pub(super) commits: u64,
    /// Whether the dock's own disk is full.
    pub(super) is_full: bool,
    /// Syncs of files, or of folders, until one fails.
    pub(super) sync_fails_in: Option<u64>,
    pub(super) reads_fail: u64,
    /// Whether a fault since the start explains that the agent ends.
    pub(super) may_halt: bool,
    /// What must never happen, and did.
    pub(super) wrong: Vec<String>,
    pub(super) effects: u64,
    pub(super) tried: BTreeMap<&'static str, u64>,
    events: VecDeque<String>,
    event_hash: u64,
}

impl World {
    pub(super) fn new(root: PathBuf, seed: u64, truth: Truth) -> World {
        let state = State {
            dice: Dice::new(!seed),
            disk: Disk::new(root.join("graveyard")),
            truth,
            cameras: Cameras::new(seed),
            reader: None,
            buckets: BTreeMap::new(),
            off_ms: 0,
            booted: Duration::ZERO,
            crash_in: None,
            crashed: None,
            interferes_in: None,
            commits: 0,
            is_full: false,
            sync_fails_in: None,
            reads_fail: 0,
            may_halt: false,
            wrong: Vec::new(),
            effects: 0,
            tried: BTreeMap::new(),
            events: VecDeque::new(),
            event_hash: 0xcbf2_9ce4_8422_2325,
        };
        World { root, began: Instant::now(), state: RefCell::new(state), crashed: Notify::new() }
    }

    pub(super) fn state(&self) -> std::cell::RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// How long the episode has lasted.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// One effect: it happens, or the process ended before it.
    fn effect(&self, what: &str) -> io::Result<()> {
        let ended = || io::Error::other("the simulated process has ended");
        let mut state = self.state();
        if state.crashed.is_some() {
            return Err(ended());
        }
        state.effects += 1;
        let at = self.elapsed().as_millis();
        state.event(format!("{at} {what}"));
        match &mut state.interferes_in {
            Some((0, kind, dice)) => {
                let (kind, mut dice) = (*kind, Dice::new(*dice));
                state.interferes_in = None;
                state.tried("camera in between");
                state.event(format!("-- {kind:?} in between"));
                state.camera(kind, &mut dice);
            }
            Some((left, _, _)) => *left -= 1,
            None => {}
        }
        match &mut state.crash_in {
            Some((0, crash)) => {
                let crash = *crash;
                state.crash_in = None;
                state.crashed = Some(crash);
                state.event(format!("-- {crash:?}"));
                self.crashed.notify_one();
                Err(ended())
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A name beneath the root, without what differs from run to run.
    fn shown(&self, folder: std::os::fd::BorrowedFd<'_>, name: &Path) -> String {
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
        let path = match name.is_absolute() {
            true => name.to_owned(),
            false => std::fs::read_link(link).unwrap_or_default().join(name),
        };
        let path = path.strip_prefix(&self.root).unwrap_or(&path).display().to_string();
        masked(&path)
    }

    fn change_of(&self, change: Change<'_>) -> io::Result<()> {
        let what = match &change {
            Change::Create(folder, name) => format!("create {}", self.shown(*folder, name)),
            Change::MakeFolder(folder, name) => format!("mkdir {}", self.shown(*folder, name)),
            Change::Remove(folder, name) => format!("remove {}", self.shown(*folder, name)),
            Change::Rename(from, old, to, new) => {
                format!("rename {} {}", self.shown(*from, old), self.shown(*to, new))
            }
            Change::Sync(what) => format!("sync {}", self.shown(*what, Path::new(""))),
            Change::Write => "write".to_owned(),
        };
        self.effect(&what)?;
        let state = &mut *self.state();
        state.may_be_full(&change)?;
        match change {
            Change::Create(folder, name) => state.disk.create(folder, name),
            Change::MakeFolder(folder, name) => state.disk.make_folder(folder, name),
            Change::Remove(folder, name) => {
                let removed = state.disk.remove(folder, name)?;
                let medium = removed.map_or(OWN, |inode| state.disk.medium(inode));
                match removed.filter(|_| medium != OWN) {
                    Some(inode) => state.plaintext_removed(inode, medium),
                    None => Ok(()),
                }
            }
            Change::Rename(from, old, to, new) => {
                let inode = state.disk.rename((from, old), (to, new))?;
                if inode.is_some_and(|inode| state.disk.failed.contains(&inode)) {
                    state.wrong.push(format!("a file whose sync failed was published: {what}"));
                }
                Ok(())
            }
            Change::Sync(file) => state.sync(file, &what),
            Change::Write => Ok(()),
        }
    }
}

/// Names that are digests, and the instance's, differ from run to run.
fn masked(path: &str) -> String {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = path.split('/').map(|part| {
        if part.len() == 2 && is_hex(part) {
            return "#".to_owned();
        }
        let (stem, rest) = part.split_at(part.find(['.', '-']).unwrap_or(part.len()));
        let is_digest = stem.len() >= 16 && is_hex(stem);
        if is_digest { format!("#{rest}") } else { part.to_owned() }
    });
    parts.collect::<Vec<_>>().join("/")
}

impl State {
    /// Notes what happened.
    pub(super) fn event(&mut self, event: String) {
        for byte in event.bytes() {
            self.event_hash = (self.event_hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The last events, and a hash of all.
    pub(super) fn events(&self) -> (Vec<String>, u64) {
        (self.events.iter().cloned().collect(), self.event_hash)
    }

    /// Counts that something was tried.
    pub(super) fn tried(&mut self, what: &'static str) {
        *self.tried.entry(what).or_default() += 1;
    }

    fn may_be_full(&mut self, change: &Change<'_>) -> io::Result<()> {
        if self.is_full && matches!(change, Change::Create(..) | Change::Write) {
            self.tried("no space for a write");
            self.may_halt = true;
            return Err(io::Error::from(rustix::io::Errno::NOSPC));
        }
        Ok(())
    }

    fn sync(&mut self, file: std::os::fd::BorrowedFd<'_>, what: &str) -> io::Result<()> {
        let stat = rustix::fs::fstat(file)?;
        if self.disk.failed.contains(&stat.st_ino) {
            self.wrong.push(format!("a failed sync was tried again: {what}"));
        }
        let medium = self.disk.medium(stat.st_ino);
        if self.cameras.places.get(&medium).is_some_and(|place| !place.is_plugged) {
            // Pulled since it was opened: what it had not written it never will.
            return Err(io::Error::from(rustix::io::Errno::IO));
        }
        match &mut self.sync_fails_in {
            Some(0) => {
                self.sync_fails_in = None;
                self.tried("sync failed");
                self.may_halt = true;
                if rustix::fs::FileType::from_raw_mode(stat.st_mode)
                    == rustix::fs::FileType::RegularFile
                {
                    self.disk.failed.insert(stat.st_ino);
                }
                return Err(io::Error::from(rustix::io::Errno::IO));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.disk.sync(file).map(drop)
    }

    /// The plaintext of an inode is about to be removed: only where the promise allows it.
    fn plaintext_removed(&mut self, inode: u64, medium: Medium) -> io::Result<()> {
        self.tried("plaintext erased");
        let allowed = self.truth.may_erase(inode, medium, &self.buckets, &self.disk);
        if let Err(why) = allowed {
            self.wrong.push(format!("plaintext erased too early: {why}"));
        }
        self.truth.erased(inode);
        Ok(())
    }
}

impl world::World for World {
    fn now(&self) -> Timestamp {
        let elapsed = self.elapsed().as_millis() as i64;
        Timestamp(BEGINNING_MS + elapsed + self.state().off_ms)
    }

    fn since_boot(&self) -> Duration {
        self.elapsed() - self.state().booted
    }

    fn chance(&self) -> f64 {
        self.state().dice.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    fn change(&self, change: Change<'_>) -> io::Result<()> {
        self.change_of(change)
    }

    fn read(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.reads_fail > 0 {
            state.reads_fail -= 1;
            state.tried("read failed");
            state.may_halt = true;
            return Err(io::Error::from(rustix::io::Errno::IO));
        }
        Ok(())
    }

    fn look(&self, generation: &mut Generation) {
        self.state().disk.look(generation);
    }

    fn free_bytes(&self) -> u64 {
        if self.state().is_full { 1 << 20 } else { 1 << 40 }
    }

    fn commit(&self) -> io::Result<()> {
        self.effect("commit")?;
        self.state().commits += 1;
        Ok(())
    }

    fn bucket(&self, url: &str) -> Simulated {
        let name = url.rsplit('/').next().unwrap_or_default();
        self.state().buckets[name].0.clone()
    }

    fn request(&self, bucket: &str, request: Request<'_>) -> Fate {
        let what = format!("{bucket} {:?} {}", request.verb, masked(request.key));
        let is_heard = self.effect(&what).is_ok();
        let state = &mut *self.state();
        if !is_heard {
            let end = Ending::Unheard(state.dice.percent(50));
            return Fate { takes: Duration::ZERO, end, tells_digest: true };
        }
        let weather = &state.buckets[bucket].1;
        let (mut fate, mut what) = weather.fate(request.verb, &mut state.dice);
        // A piece of the log that was put twice, and may not be looked at by then, is taken for
        // another dock's: that stops the agent until somebody has looked (docs/faults.md §5).
        if matches!(fate.end, Ending::DoneTwice) && request.key.contains("/log/") {
            (fate.end, what) = (Ending::Done, None);
        }
        if let Some(what) = what {
            state.tried(what);
            state.event(format!("  {what}"));
        }
        fate
    }
}
