//! The order of what one run does: effect, sync, then fact, and only then an erasure.

use std::path::{Path, PathBuf};

use crate::chance::Random;
use crate::scene::{Place, RUN, Scene};
use crate::support::tools::needs;
use crate::tracer::{self, Call, WAITING};

/// The calls of a run, with the words to ask about them.
struct Order {
    calls: Vec<Call>,
    state: PathBuf,
}

impl Order {
    /// The first call after another one that is such a call and succeeded; it has begun after the
    /// other one ended.
    #[track_caller]
    fn after(&self, earlier: &Call, what: &str, is_it: impl Fn(&Call) -> bool) -> &Call {
        let ended = earlier.ended.expect("nobody was killed").0;
        let mut later = self.calls.iter().filter(|call| call.began > ended && call.succeeded());
        later.find(|call| is_it(call)).unwrap_or_else(|| panic!("no {what} after {earlier:?}"))
    }

    /// Asserts that one call ended before another one began.
    #[track_caller]
    fn assert_before(&self, first: &Call, second: &Call, what: &str) {
        let ended = first.ended.expect("nobody was killed").0;
        assert!(ended < second.began, "{what}: {first:?} came after {second:?}");
    }

    fn all(&self, is_it: impl Fn(&Call) -> bool) -> Vec<&Call> {
        self.calls.iter().filter(|call| call.succeeded() && is_it(call)).collect()
    }

    /// Where the queue becomes durable: each commit ends with it.
    fn is_commit(&self, call: &Call) -> bool {
        is_sync(call) && call.path == self.state.join("queue.db-wal")
    }

    /// A rename, and the syncs that make it durable: of the file before, of the folder after it,
    /// and that before the queue is next made durable.
    #[track_caller]
    fn check_published(&self, rename: &Call) {
        let to = rename.to.as_ref().expect("a rename leads somewhere");
        let synced = self.all(|call| is_sync(call) && call.path == rename.path);
        let is_before = |sync: &&Call| sync.ended.unwrap().0 < rename.began;
        assert!(synced.iter().any(is_before), "renamed before it was synced: {rename:?}");
        let written = self.all(|call| is_write(call) && call.path == rename.path);
        let last_sync = synced.iter().rfind(|sync| is_before(sync)).unwrap();
        for write in written.iter().filter(|write| write.began < rename.began) {
            self.assert_before(write, last_sync, "written after it was synced");
        }
        let folder = to.parent().unwrap();
        let sync =
            self.after(rename, "sync of the folder", |call| is_sync(call) && call.path == folder);
        // The facts of other clips may be written meanwhile; the one of this file is not among
        // what was written before the folder was synced. The file's own thread goes on only then.
        // A sealed file is renamed right after its sidecar: one sync is for both.
        let is_beside = |call: &Call| {
            is_rename(call) && call.to.as_deref().and_then(Path::parent) == Some(folder)
        };
        let next = self.calls.iter().find(|call| {
            let is_later = call.thread == rename.thread && call.began > rename.began;
            is_later && !is_sync(call) && !is_beside(call)
        });
        if let Some(next) = next {
            self.assert_before(sync, next, "something came before the folder was synced");
        }
    }
}

fn is_sync(call: &Call) -> bool {
    matches!(call.name, "fsync" | "fdatasync")
}

fn is_write(call: &Call) -> bool {
    matches!(call.name, "write" | "pwrite64" | "writev")
}

fn is_rename(call: &Call) -> bool {
    matches!(call.name, "rename" | "renameat2")
}

fn ends_with(path: &Path, end: &str) -> bool {
    path.to_string_lossy().ends_with(end)
}

fn traced(scene: &Scene) -> Order {
    let (command, _) = scene.run_by(&WAITING, &RUN);
    let wanted = |call: &Call| call.leaves_something() && scene.has(&call.path);
    let traced = tracer::run(command, &wanted, None);
    assert_eq!(traced.code, Some(0));
    Order { calls: traced.calls, state: scene.site.dock.state_dir() }
}

#[test]
fn nothing_is_recorded_before_it_is_durable_and_nothing_erased_before_it_is_recorded() {
    needs!(Root, Setpriv);
    let scene = Scene::new(Random::of(5), Place::Folder);
    let order = traced(&scene);
    let spool = order.state.join("spool");
    let sealed = |call: &Call| {
        let to = call.to.as_deref();
        is_rename(call) && to.is_some_and(|to| to.starts_with(&spool) && ends_with(to, ".age"))
    };
    let spooled = order.all(sealed);
    assert_eq!(spooled.len(), scene.clips.len(), "each clip is spooled once");
    let bucket = scene.site.bucket();
    let folder = scene.site.dock.folder();
    // Everything that gets its last name: in the spool, in the bucket, in the state directory.
    let published = order.all(|call| is_rename(call) && !call.is_in(&folder));
    assert!(published.len() > 3 * scene.clips.len());
    for rename in published {
        order.check_published(rename);
    }
    let quarantined = order.all(|call| is_rename(call) && call.is_in(&folder));
    assert_eq!(quarantined.len(), scene.clips.len(), "each clip is moved aside once");
    for (spooled, moved) in spooled.iter().zip(&quarantined) {
        check_erasure(&order, &scene, spooled, moved, &bucket);
    }
}

/// The way of the clip that was sealed as the nth, and erased as the nth: as many receipts were
/// durable before, and the erasure itself becomes durable.
#[track_caller]
fn check_erasure(order: &Order, scene: &Scene, spooled: &Call, moved: &Call, bucket: &Path) {
    // The fact of the sealed file.
    let folder = order.after(spooled, "sync of the spool", |call| {
        is_sync(call) && Some(call.path.as_path()) == spooled.to.as_deref().unwrap().parent()
    });
    let fact = order.after(folder, "commit of the sealed file", |call| order.is_commit(call));
    order.assert_before(fact, moved, "moved aside before its seal was recorded");
    // Its object, that object's folder, and the receipt.
    let name = spooled.to.as_deref().unwrap().file_name().unwrap();
    let object = order.after(fact, "object", |call| {
        let to = call.to.as_deref();
        is_rename(call) && call.is_in(bucket) && to.and_then(Path::file_name) == Some(name)
    });
    let synced = order.after(object, "sync of the object's folder", |call| {
        is_sync(call) && Some(call.path.as_path()) == object.to.as_deref().unwrap().parent()
    });
    order.after(synced, "commit of the receipt", |call| order.is_commit(call));
    // As many receipts were durable as clips are moved aside by now.
    let receipts = order.all(|call| {
        let is_clip = |to: &PathBuf| to.starts_with(bucket) && ends_with(to, ".age");
        is_rename(call) && call.to.as_ref().is_some_and(is_clip)
    });
    let durable = receipts.iter().filter(|object| {
        let receipt = order.after(object, "commit of the receipt", |call| order.is_commit(call));
        receipt.ended.unwrap().0 < moved.began
    });
    let is_earlier = |call: &Call| {
        is_rename(call) && call.is_in(&scene.site.dock.folder()) && call.began <= moved.began
    };
    let moved_count = order.all(is_earlier).len();
    assert!(durable.count() >= moved_count, "moved aside without a receipt: {moved:?}");
    // Both folders are synced before the file goes, and its folder after it went.
    let target = moved.to.as_deref().unwrap();
    let removed =
        order.after(moved, "removal", |call| call.name == "unlinkat" && call.path == target);
    for folder in [target.parent(), moved.path.parent()] {
        let is_it = |call: &Call| is_sync(call) && Some(call.path.as_path()) == folder;
        let synced = order.after(moved, "sync of a folder of the move", is_it);
        order.assert_before(synced, removed, "removed before the move was durable");
    }
    let synced = order.after(removed, "sync of the quarantine", |call| {
        is_sync(call) && Some(call.path.as_path()) == target.parent()
    });
    order.after(synced, "commit of the erasure", |call| order.is_commit(call));
}
