//! Watching dock folders: notifications are a hint, looking through the folder is the truth.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::config::{QUARANTINE, Watch};
use crate::clip::Generation;
use crate::edge::clock::Instant;
use crate::edge::fs::{Facts, Folder, Kind, is_absent, sends_notifications};

/// Folders this deep are not a camera's.
const DEPTH_MAX: usize = 64;

/// What one look through a folder found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Regular files that are clips, by their paths beneath the folder.
    pub clips: BTreeMap<PathBuf, Facts>,
    /// Links, FIFOs, devices and sockets.
    pub others: BTreeMap<PathBuf, Facts>,
    /// Files with names of unfinished ones.
    pub ignored_count: u64,
    /// Names of completion markers that were found, without their suffix.
    pub completed: HashSet<PathBuf>,
    /// Quarantine folders with nothing in them.
    pub empty_quarantines: Vec<PathBuf>,
    /// The first folder that could not be listed; then nothing may be concluded from absence.
    pub problem: Option<io::Error>,
}

/// Looks through a folder and all beneath it. `is_erased` says of a name in quarantine whether an
/// erasure that goes on moved it there; every other file there is a clip.
pub fn scan(folder: &Folder, watch: &Watch, is_erased: impl Fn(&OsStr) -> bool) -> Scan {
    let mut scan = Scan::default();
    let mut folders = vec![PathBuf::new()];
    while let Some(path) = folders.pop() {
        let entries = match folder.entries(&path) {
            Ok(entries) => entries,
            Err(error) => {
                // One that was removed meanwhile holds nothing; anything else is a problem.
                if path.as_os_str().is_empty() || !is_absent(&error) {
                    scan.problem.get_or_insert(error);
                }
                continue;
            }
        };
        let is_quarantine = path.file_name() == Some(OsStr::new(QUARANTINE));
        if is_quarantine && entries.is_empty() {
            scan.empty_quarantines.push(path.clone());
        }
        for (name, facts) in entries {
            if is_quarantine && is_erased(&name) {
                continue;
            }
            let path = path.join(&name);
            match facts.kind {
                Kind::Folder if path.components().count() < DEPTH_MAX => folders.push(path),
                Kind::Folder => {
                    let deep = io::Error::other(format!("folders deeper than {DEPTH_MAX}"));
                    scan.problem.get_or_insert(deep);
                }
                Kind::File => take(&mut scan, watch, path, &name, facts),
                Kind::Other => {
                    scan.others.insert(path, facts);
                }
            }
        }
    }
    scan
}

fn take(scan: &mut Scan, watch: &Watch, path: PathBuf, name: &OsStr, facts: Facts) {
    if let Some(suffix) = &watch.completion_marker
        && let Some(clip) = name.as_encoded_bytes().strip_suffix(suffix.as_bytes())
    {
        let clip = crate::clip::path_from_bytes(clip.to_vec());
        scan.completed.insert(path.with_file_name(clip));
    } else if watch.ignores(name) {
        scan.ignored_count += 1;
    } else {
        scan.clips.insert(path, facts);
    }
}

/// Remembers since when each unfinished file is quiet. Time is the monotonic clock's: a wall clock
/// that jumps must not make a growing file look finished.
#[derive(Debug, Default)]
pub struct Settling {
    quiet: HashMap<PathBuf, (Generation, Instant)>,
}

/// What [`Settling`] says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    /// For long enough.
    Settled,
    /// Look again then.
    Until(Instant),
}

impl Settling {
    /// Takes a look into account.
    pub fn observe(
        &mut self,
        path: &Path,
        generation: &Generation,
        settle: Duration,
        now: Instant,
    ) -> Quiet {
        let entry = self.quiet.entry(path.to_owned()).or_insert((*generation, now));
        if !entry.0.same_content(generation) {
            *entry = (*generation, now);
        }
        let until = entry.1 + settle;
        if until > now {
            return Quiet::Until(until);
        }
        self.quiet.remove(path);
        Quiet::Settled
    }

    /// Forgets the files that are not there any more.
    pub fn keep_only(&mut self, is_there: impl Fn(&Path) -> bool) {
        self.quiet.retain(|path, _| is_there(path));
    }
}

/// Hints from the kernel: which folders to look through before their time.
pub struct Hints {
    watcher: Option<RecommendedWatcher>,
    watched: HashMap<PathBuf, (u64, u64)>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    roots: Mutex<HashSet<PathBuf>>,
    hinted: Mutex<HashSet<PathBuf>>,
    overflows: AtomicU64,
    wake: Arc<Notify>,
}

impl Shared {
    /// Never waits for anybody: a slow consumer must not make the kernel's queue overflow.
    fn event(&self, event: notify::Result<notify::Event>) {
        let roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            // Our own reading.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) && !closes_write(&event) => {
                return;
            }
            Ok(event) if !event.need_rescan() && !event.paths.is_empty() => {
                let touched = |root: &&PathBuf| event.paths.iter().any(|p| p.starts_with(root));
                hinted.extend(roots.iter().filter(touched).cloned());
            }
            // An overflow, or an error: something was missed, so look everywhere.
            Ok(_) | Err(_) => {
                self.overflows.fetch_add(1, Ordering::Relaxed);
                hinted.extend(roots.iter().cloned());
            }
        }
        drop((roots, hinted));
        self.wake.notify_one();
    }
}

fn closes_write(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode};
    event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

impl Hints {
    /// Prepares notifications; `wake` is told when a folder is worth a look. Where the kernel
    /// gives none (its limits are used up), looking at intervals goes on alone.
    pub fn new(wake: Arc<Notify>) -> Hints {
        let shared = Arc::new(Shared { wake, ..Shared::default() });
        // The kernel's hints come when they like: a simulation looks at intervals alone.
        #[cfg(test)]
        if crate::edge::world::current().is_some() {
            return Hints { watcher: None, watched: HashMap::new(), shared };
        }
        let handler = Arc::clone(&shared);
        // Not the default: a link in a dock folder could have the whole machine watched.
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(move |event| handler.event(event), config).ok();
        Hints { watcher, watched: HashMap::new(), shared }
    }

    /// Watches a folder, again when another medium or another folder lies at its path. Returns
    /// `inotify` or `poll`, for the status.
    pub fn watch(&mut self, path: &Path, root: (u64, u64)) -> &'static str {
        let notifies = sends_notifications(path);
        let Some(watcher) = self.watcher.as_mut().filter(|_| notifies) else { return "poll" };
        if self.watched.get(path) == Some(&root) {
            return "inotify";
        }
        if self.watched.remove(path).is_some() {
            // Fails where the folder is gone, and the watch with it.
            let _ = watcher.unwatch(path);
        }
        // With the dot it is the folder also where the configured path ends in a link.
        match watcher.watch(&path.join("."), RecursiveMode::Recursive) {
            Ok(()) => {
                self.watched.insert(path.to_owned(), root);
                let roots = self.shared.roots.lock();
                roots.unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
                "inotify"
            }
            Err(_) => "poll",
        }
    }

    /// Lets go of a folder: the next [`Hints::watch`] begins anew.
    pub fn forget(&mut self, path: &Path) {
        if self.watched.remove(path).is_some()
            && let Some(watcher) = &mut self.watcher
        {
            let _ = watcher.unwatch(path);
        }
    }

    /// Whether any folder was hinted at and not taken yet.
    pub fn has_any(&self) -> bool {
        !self.shared.hinted.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// How often hints were missed since the last call.
    pub fn take_overflows(&self) -> u64 {
        self.shared.overflows.swap(0, Ordering::Relaxed)
    }

    /// The folders that were hinted at since the last call.
    pub fn take(&self) -> HashSet<PathBuf> {
        let hinted = self.shared.hinted.lock();
        std::mem::take(&mut *hinted.unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dock::config::EraseWhen;
    use std::os::unix::fs::symlink;

    fn watch(path: &Path) -> Watch {
        Watch {
            path: path.to_owned(),
            camera: None,
            settle_seconds: 5,
            erase: EraseWhen::Never,
            first: vec![],
            ignore: vec!["*.part".into()],
            completion_marker: Some(".done".into()),
        }
    }

    #[test]
    fn a_scan_tells_clips_from_everything_else() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("cam/deep")).expect("created");
        std::fs::create_dir(path(QUARANTINE)).expect("created");
        let files = ["a", "b.part", "a.done", "cam/deep/c", ".dockseal-erasing/own-1"];
        for name in files.iter().chain(&[".dockseal-erasing/other-1"]) {
            std::fs::write(path(name), b"x").expect("written");
        }
        symlink("/etc", path("link")).expect("linked");
        let folder = Folder::open(dir.path()).expect("opened");
        let scan = scan(&folder, &watch(dir.path()), |name| name == "own-1");
        let mut clips: Vec<_> = scan.clips.keys().map(|p| p.display().to_string()).collect();
        clips.sort();
        assert_eq!(clips, [".dockseal-erasing/other-1", "a", "cam/deep/c"]);
        assert!(scan.others.contains_key(Path::new("link")) && scan.others.len() == 1);
        assert_eq!(scan.ignored_count, 1);
        assert!(scan.completed.contains(Path::new("a")));
        assert!(scan.problem.is_none());
    }

    #[test]
    fn a_file_settles_when_it_was_quiet_and_not_before() {
        let mut settling = Settling::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let settle = Duration::from_secs(5);
        let first = Generation {
            device_number: 1,
            inode_number: 1,
            size_bytes: 1,
            modified_ns: 1,
            changed_ns: 1,
        };
        let grown = Generation { size_bytes: 2, changed_ns: 2, ..first };
        let path = Path::new("a");
        assert_eq!(settling.observe(path, &first, settle, at(0)), Quiet::Until(at(5)));
        assert_eq!(settling.observe(path, &grown, settle, at(4)), Quiet::Until(at(9)));
        assert_eq!(settling.observe(path, &grown, settle, at(8)), Quiet::Until(at(9)));
        assert_eq!(settling.observe(path, &grown, settle, at(9)), Quiet::Settled);
    }

    #[test]
    fn after_an_overflow_every_folder_is_hinted_at_and_it_is_counted() {
        let hints = Hints::new(Arc::new(Notify::new()));
        let roots = ["/srv/a", "/srv/b"].map(PathBuf::from);
        hints.shared.roots.lock().expect("one thread").extend(roots.clone());
        let overflow = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        hints.shared.event(Ok(overflow));
        assert_eq!(hints.take(), HashSet::from(roots));
        assert_eq!([hints.take_overflows(), hints.take_overflows()], [1, 0]);
    }

    #[test]
    fn a_written_file_is_hinted_at_and_a_read_one_is_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let wake = Arc::new(Notify::new());
        let mut hints = Hints::new(Arc::clone(&wake));
        let root = Folder::open(dir.path()).expect("opened").device_and_inode();
        assert_eq!(hints.watch(dir.path(), root), "inotify");
        std::fs::write(dir.path().join("a"), b"x").expect("written");
        let deadline = Instant::now() + Duration::from_secs(10);
        while hints.take().is_empty() {
            assert!(Instant::now() < deadline, "no hint came");
            std::thread::yield_now();
        }
    }
}
