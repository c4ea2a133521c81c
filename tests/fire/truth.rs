//! What must be true of a dock after a fault, and what must be true when all faults are over.

use std::path::Path;

use crate::chance::Tally;
use crate::scene::Scene;
use crate::support::files_beneath;

/// What may lie in a state directory when nothing is left to do.
const AT_REST: [&str; 5] = ["lock", "log-head", "queue.db", "queue.db-shm", "queue.db-wal"];

/// In the middle of it, while no daemon runs: no plaintext is gone that is not in the bucket, with
/// a receipt that says so.
#[track_caller]
pub fn nothing_is_lost(scene: &Scene, point: &str) {
    // The folder first, then what the bucket has: clips only ever go that way.
    let here = scene.plaintexts();
    let gone: Vec<_> = scene.clips.iter().filter(|clip| !here.contains(&clip.digest)).collect();
    if gone.is_empty() {
        return;
    }
    let clips = scene.listed();
    let has_receipt = |clip: &&serde_json::Value| {
        let deliveries = clip["deliveries"].as_array().unwrap();
        let is_proof = |word: &str| matches!(word, "read-back" | "digest-checked");
        deliveries.iter().any(|delivery| delivery["evidence"].as_str().is_some_and(is_proof))
    };
    let receipts = clips.iter().filter(has_receipt).count();
    assert!(gone.len() <= receipts, "{} gone, {receipts} receipts, at {point}", gone.len());
    let opened = scene.opened();
    for clip in gone {
        assert!(opened.contains(&clip.digest), "a wrong erasure: {:?} at {point}", clip.path);
    }
}

/// At the end, after a run without faults: every clip opens from the bucket, no plaintext is left
/// anywhere, nothing is left over, and `status` says so.
#[track_caller]
pub fn all_is_well(scene: &Scene, point: &str) -> Tally {
    let status = scene.site.dock.json(&["status"]);
    assert_eq!(status["verdict"], "ok", "at {point}: {status:#}");
    let opened = scene.opened();
    for clip in &scene.clips {
        assert!(opened.contains(&clip.digest), "a loss: {:?} at {point}", clip.path);
    }
    let keys = scene.keys();
    let is_clip = |key: &&String| key.contains("/clips/") && key.ends_with(".age");
    let objects = keys.iter().filter(is_clip).count();
    assert!(scene.plaintexts().is_empty(), "not erased, at {point}");
    nothing_is_left_over(scene, &keys, point);
    nothing_is_in_clear(scene, point);
    let duplicates = objects - scene.clips.len();
    Tally { duplicates, ..Tally::default() }
}

/// No unfinished file, and nothing that nobody knows.
#[track_caller]
fn nothing_is_left_over(scene: &Scene, keys: &[String], point: &str) {
    let state = scene.site.dock.state_dir();
    let name = |path: &Path| path.strip_prefix(&state).unwrap().display().to_string();
    let left: Vec<_> = files_beneath(&state).iter().map(|path| name(path)).collect();
    let is_known = |name: &&String| AT_REST.contains(&name.as_str()) || *name == "signing-key";
    let strange: Vec<_> = left.iter().filter(|name| !is_known(name)).collect();
    assert!(strange.is_empty(), "left in the state directory, at {point}: {strange:?}");
    // A piece of the log that was cut short stays in a folder bucket when the log grew meanwhile:
    // its next piece has another name. Nobody reads it.
    let is_clip = |key: &&String| key.contains("/clips/") && key.ends_with(".unfinished");
    let unfinished: Vec<_> = keys.iter().filter(is_clip).collect();
    assert!(unfinished.is_empty(), "left in the bucket, at {point}: {unfinished:?}");
}

/// No marker of a clip, of its bytes or its name, is anywhere but in the dock folder. The queue may
/// know names: its path is a fact until the plaintext is gone, and SQLite wipes nothing.
#[track_caller]
pub fn nothing_is_in_clear(scene: &Scene, point: &str) {
    let (objects, _folder) = scene.objects();
    let dock = &scene.site.dock;
    let is_queue = |path: &Path| path.to_string_lossy().contains("/queue.db");
    for folder in [dock.state_dir(), dock.log_dir(), objects] {
        let [content, name] = &scene.markers;
        let mut found = content.files_with(&folder);
        found.extend(name.files_with(&folder).into_iter().filter(|path| !is_queue(path)));
        assert!(found.is_empty(), "in clear, at {point}: {found:?}");
    }
}
