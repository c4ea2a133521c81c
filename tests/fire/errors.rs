//! Each system call that can fail does so once, or does less than it was asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;

use crate::chance::{Random, Tally, depth, on_two_cores, say, until_struck};
use crate::scene::{Place, RUN, Scene};
use crate::support::tools::needs;
use crate::tracer::{self, Call, Fault, Traced, WAITING};
use crate::truth;

/// Exit codes of `dockseal run` (docs/operations.md §4): all done, failed, some clips wait, the
/// state directory cannot be used, the bucket cannot.
const DOCUMENTED: [i32; 5] = [0, 1, 3, 10, 14];
/// Ended by a fault of the disk: the service manager starts it again.
const HALTED: i32 = 1;

/// Where a file lies that a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    Bucket,
    Dock,
    Queue,
    Spool,
    State,
}

/// Calls of one name on files of one room.
type Kind = (&'static str, Room);

fn room(scene: &Scene, path: &Path) -> Option<Room> {
    let state = scene.site.dock.state_dir();
    let rooms = [
        (state.join("spool"), Room::Spool),
        (scene.site.bucket(), Room::Bucket),
        (scene.site.dock.folder(), Room::Dock),
        (state.clone(), Room::State),
    ];
    let is_queue = path.parent() == Some(&state)
        && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("queue.db"));
    if is_queue {
        return Some(Room::Queue);
    }
    rooms.iter().find(|(root, _)| path.starts_with(root)).map(|(_, room)| *room)
}

/// What the kernel may answer.
fn faults(name: &str, creates: bool) -> Vec<Fault> {
    use Errno::{EACCES, EDQUOT, EINTR, EIO, EMFILE, ENOSPC};
    let errors: &[Errno] = match name {
        "write" | "pwrite64" => &[EIO, ENOSPC, EDQUOT, EINTR],
        "read" | "pread64" => &[EIO, EINTR],
        "fsync" | "fdatasync" => &[EIO, EIO, ENOSPC, EDQUOT],
        "rename" | "renameat2" | "mkdir" | "mkdirat" => &[EIO, ENOSPC, EDQUOT, EACCES],
        "unlink" | "unlinkat" | "newfstatat" | "statx" | "access" => &[EIO, EACCES],
        "openat" | "openat2" if creates => &[EIO, EACCES, EMFILE, ENOSPC, EDQUOT],
        "openat" | "openat2" => &[EIO, EACCES, EMFILE, EINTR],
        "ftruncate" | "fallocate" => &[EIO, ENOSPC, EINTR],
        "flock" => &[EIO, EINTR],
        _ => &[EIO],
    };
    let is_partial = matches!(name, "read" | "pread64" | "write" | "pwrite64");
    let short = is_partial.then_some(Fault::Short);
    errors.iter().map(|error| Fault::Error(*error)).chain(short).collect()
}

/// What the system, or SQLite, says of an error.
fn words(error: Errno) -> &'static [&'static str] {
    match error {
        Errno::EACCES => &["ermission denied", "unable to open", "disk I/O error"],
        Errno::EDQUOT => &["uota exceeded", "disk I/O error", "disk is full", "unable to open"],
        Errno::EINTR => &["nterrupted", "disk I/O error", "unable to open"],
        Errno::EMFILE => &["oo many open files", "unable to open"],
        Errno::ENOSPC => &["No space left", "disk is full", "disk I/O error", "unable to open"],
        _ => &["nput/output error", "disk I/O error", "unable to open", "malformed"],
    }
}

/// One fault, and where.
struct Point {
    kind: Kind,
    at: u64,
    fault: Fault,
    seed: u64,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Point { kind: (name, room), at, fault, seed } = self;
        write!(f, "{fault:?} at {name} {at} in {room:?}, seed {seed}")
    }
}

/// Has the call fail. Where there are fewer of its kind, one of those that there were.
fn fail_at(point: &Point) -> Tally {
    let mut at = point.at;
    until_struck(point.seed, |seed| {
        try_fault(&Point { at, seed, ..*point }).map_err(|calls| at %= calls.max(1))
    })
}

/// Has the call fail, or tells how many of its kind there were.
fn try_fault(point: &Point) -> Result<Tally, u64> {
    let scene = Scene::new(Random::of(point.seed), Place::Folder);
    // All of the room, so that what comes after the fault is seen too.
    let (name, in_room) = point.kind;
    let wanted = |call: &Call| room(&scene, &call.path).is_some();
    let is_it = |call: &Call| call.name == name && room(&scene, &call.path) == Some(in_room);
    let (command, log) = scene.run_by(&WAITING, &RUN);
    let traced = tracer::run(command, &wanted, Some((point.at, point.fault, &is_it)));
    let said = std::fs::read_to_string(&log).unwrap();
    let Some(struck) = traced.struck.clone() else {
        truth::all_is_well(&scene, "no fault");
        return Err(traced.calls.iter().filter(|call| is_it(call)).count() as u64);
    };
    let text = format!("{point}: {:?}\n{said}", struck.path);
    let code = traced.code.unwrap_or_else(|| panic!("ended by a signal, {text}"));
    assert!(DOCUMENTED.contains(&code), "exit code {code}, {text}");
    match point.fault {
        Fault::Error(error) => {
            // SQLite opens to read only what it cannot open to write.
            let mut words = words(error).iter().chain(&["readonly database"]);
            let is_named = words.any(|word| said.contains(word));
            assert!(code == 0 || is_named, "exit code {code}, and no cause is named, {text}");
        }
        Fault::Short => assert_eq!(code, 0, "nothing failed, {text}"),
        Fault::Kill => unreachable!("errors only"),
    }
    if is_sync(&struck) {
        check_failed_sync(&traced, &struck, in_room, point.fault, code, &text);
    }
    truth::nothing_is_lost(&scene, &text);
    let last = scene.site.dock.finish(&["retry", "--all"]);
    assert!([0, 1].contains(&last.code), "{last:?}, {text}");
    let last = scene.site.dock.run_until_idle();
    assert_eq!(last.code, 0, "at {text}:\n{}", last.stderr);
    Ok(truth::all_is_well(&scene, &text).and(Tally { tried: 1, ..Tally::default() }))
}

fn is_sync(call: &Call) -> bool {
    matches!(call.name, "fsync" | "fdatasync")
}

/// After a sync that failed nobody knows what the disk has: the process ends, and does not ask
/// once more for the same file. FAULTS F-13. The media of clips and buckets are not the dock's own
/// disk: there the clip waits, and is tried again from its beginning.
fn check_failed_sync(
    traced: &Traced,
    struck: &Call,
    in_room: Room,
    fault: Fault,
    code: i32,
    text: &str,
) {
    let is_own = matches!(in_room, Room::Queue | Room::Spool | Room::State);
    let after = traced.calls.iter().skip_while(|call| call.began <= struck.began);
    let mut after = after.filter(|call| call.path == struck.path);
    // SQLite ignores it where it syncs the folder of a log that it began: we sync it after that.
    if is_own && in_room == Room::State && code == 0 {
        let synced = after.any(|call| is_sync(call) && call.succeeded());
        assert!(synced, "never synced, {text}");
        return;
    }
    // Every fact was durable before the queue was tidied up at the end: it is left as it is.
    let is_last = |call: &&Call| call.began > struck.began && call.leaves_something();
    let mut later = traced.calls.iter().filter(is_last);
    let is_at_end = in_room == Room::Queue && !later.any(|call| call.path == struck.path);
    if is_own && fault == Fault::Error(Errno::EIO) && !(code == 0 && is_at_end) {
        assert_eq!(code, HALTED, "not halted, {text}");
    }
    // A new file of the same name is another file. Another thread may be on its way to the same
    // folder when the process ends.
    let retried = after
        .filter(|call| call.thread == struck.thread)
        .find(|call| is_sync(call) || matches!(call.name, "unlink" | "rename" | "renameat2"))
        .filter(|call| is_sync(call));
    // A folder is everybody's: before the process has ended, the same thread of the pool may have
    // begun with another clip, whose name is new in it.
    let may_retry = !is_own || struck.path.is_dir();
    assert!(may_retry || retried.is_none(), "synced once more, {text}");
}

/// The kinds of calls of a run that nobody disturbs, and how many there are of each.
fn undisturbed(random: &mut Random) -> BTreeMap<Kind, (u64, bool)> {
    let scene = Scene::new(Random::of(random.next()), Place::Folder);
    let (command, _) = scene.run_by(&WAITING, &RUN);
    let traced = tracer::run(command, &|call| scene.has(&call.path), None);
    assert_eq!(traced.code, Some(0));
    let mut kinds: BTreeMap<Kind, (u64, bool)> = BTreeMap::new();
    for call in &traced.calls {
        if let Some(room) = room(&scene, &call.path) {
            let (count, creates) = kinds.entry((call.name, room)).or_default();
            *count += 1;
            *creates |= call.name == "openat" && call.leaves_something();
        }
    }
    kinds
}

/// The places of our own syncs, each of them once: fsync after fsync, file after file.
#[test]
fn a_sync_that_failed_ends_the_daemon_and_is_never_tried_again() {
    needs!(Root, Setpriv);
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    let kinds = undisturbed(&mut random);
    let own = [Room::Queue, Room::Spool, Room::State].map(|room| ("fsync", room));
    let mut points = Vec::new();
    for kind in own {
        let (count, _) = kinds[&kind];
        // All of the spool, which are few; of the queue, which syncs with each fact, some.
        let places = random.sample(count, depth(count.min(16) as usize, count as usize));
        points.extend(places.into_iter().map(|at| {
            let fault = Fault::Error(Errno::EIO);
            Point { kind, at, fault, seed: random.next() }
        }));
    }
    on_two_cores(&points, fail_at).print("failed syncs", began, seed);
}

#[test]
fn each_call_may_fail_and_nothing_is_lost() {
    needs!(Root, Setpriv);
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    say(&format!("fire: call errors: seed {seed}"));
    let kinds = undisturbed(&mut random);
    let pairs: Vec<_> = kinds
        .iter()
        .flat_map(|(kind, (count, creates))| {
            faults(kind.0, *creates).into_iter().map(move |fault| (*kind, *count, fault))
        })
        .collect();
    say(&format!("fire: {} kinds of calls, {} faults", kinds.len(), pairs.len()));
    // Each kind with each of its faults once, before any comes again at another call. More than
    // the 100 and 500 that are promised: some calls may not come a second time.
    let sample = random.sample(pairs.len() as u64, depth(104, 510));
    let points: Vec<_> = sample
        .into_iter()
        .map(|index| {
            let (kind, count, fault) = pairs[index as usize];
            Point { kind, at: random.below(count), fault, seed: random.next() }
        })
        .collect();
    on_two_cores(&points, fail_at).print("call errors", began, seed);
}
