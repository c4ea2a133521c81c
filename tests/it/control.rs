//! What an operator orders of a daemon that runs: `pause`, `resume`, `prioritise`, `eject`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::dock::Finished;
use crate::support::mounted::Mounted;
use crate::support::site::{SOON, Site};
use crate::support::tools::needs;
use crate::support::wait_for;

/// A site whose only bucket carries one clip at a time.
fn one_by_one() -> Site {
    Site::with(|choices| choices.buckets[0].more = "uploads = 1".into())
}

/// Clips in the order in which the bucket got them.
fn pushed(run: &Finished) -> Vec<u64> {
    let lines = run.stderr.lines().filter(|line| line.contains(" pushed clip="));
    let number = |line: &str| line.split("clip=").nth(1)?.split(' ').next()?.parse().ok();
    lines.filter_map(number).collect()
}

/// Starts the daemon, and waits until it has the queue.
fn start(site: &mut Site) {
    site.dock.start();
    site.dock.wait_for_json("the daemon", &["status"], SOON, |s| s["daemon_pid"].is_string());
}

fn count(site: &Site, state: &str) -> usize {
    site.clips().iter().filter(|clip| clip["state"] == state).count()
}

fn paused(said: &Value) -> Vec<(String, bool)> {
    let paused = said["paused"].as_array().unwrap().iter();
    paused.map(|line| (line["bucket"].as_str().unwrap().into(), line["until"].is_null())).collect()
}

#[test]
fn a_paused_bucket_gets_nothing_until_it_is_resumed_also_over_a_restart() {
    let mut site = Site::new();
    let said = site.dock.json(&["pause", "primary"]);
    assert_eq!(paused(&said), [("primary".to_owned(), true)]);
    site.put("Zeuge.mp4", b"waits");
    site.dock.run_until_idle();
    assert_eq!(count(&site, "sealed"), 1, "sealed, and not sent");
    start(&mut site);
    let status = site.dock.finish(&["status"]).expect_code(3).stdout;
    assert!(status.contains("bucket primary is paused until it is resumed"), "{status}");
    let why = site.dock.finish(&["why", "1"]).expect_code(3).stdout;
    assert!(why.contains("do:     when clips may go to it again: dockseal resume"), "{why}");
    let refused = site.dock.finish(&["pause", "secondary"]).expect_code(2);
    assert!(refused.stderr.contains("hint: the config has: primary"), "{}", refused.stderr);
    site.dock.finish(&["pause", "primary", "--for", "tomorrow"]).expect_code(2);
    let resumed = site.dock.finish(&["resume", "primary"]).expect_code(0);
    assert_eq!(resumed.stdout, "no bucket is paused\n");
    site.wait_for_count("erased", 1);
    let again = site.dock.finish(&["resume"]).expect_code(0);
    assert_eq!(again.stderr, "nothing was paused\n");
    site.dock.finish(&["status"]).expect_code(0);
    site.assert_opened(&[("Zeuge.mp4", &b"waits"[..])]);
}

#[test]
fn a_pause_of_all_buckets_ends_by_itself() {
    let mut site = Site::new();
    start(&mut site);
    let said = site.dock.json(&["pause", "--for", "3s"]);
    assert_eq!(paused(&said), [("primary".to_owned(), false)]);
    site.put("Zeuge.mp4", b"soon");
    site.wait_for_count("erased", 1);
    assert!(paused(&site.dock.json(&["resume"])).is_empty());
    site.dock.json(&["pause"]);
    let refused = site.dock.finish(&["resume", "primary"]).expect_code(1);
    assert!(refused.stderr.contains("go on with all of them: dockseal resume"));
}

#[test]
fn a_prioritised_clip_goes_first_whether_it_is_sealed_or_not() {
    let mut site = one_by_one();
    site.dock.json(&["pause"]);
    for number in 1..=6 {
        site.put(format!("{number}.mp4"), format!("clip {number}").as_bytes());
    }
    site.dock.run_until_idle();
    assert_eq!(count(&site, "sealed"), 6);
    let said = site.dock.finish(&["prioritise", "5", "3"]).expect_code(0);
    assert_eq!(said.stdout, "clip 5 goes first now\nclip 3 goes first now\n");
    site.put("7.mp4", b"not sealed yet");
    site.choices.settle_seconds = 3600;
    site.dock.reconfigure(&site.choices);
    start(&mut site);
    wait_for("clip 7", SOON, || site.clip("7.mp4"));
    let said = site.dock.json(&["prioritise", "7"]);
    assert_eq!(said["prioritised"], serde_json::json!([7]));
    assert_eq!(site.dock.stop(), 0);
    site.choices.settle_seconds = 0;
    site.dock.reconfigure(&site.choices);
    site.dock.run_until_idle();
    assert_eq!(count(&site, "sealed"), 7);
    site.dock.json(&["resume"]);
    let order = pushed(&site.dock.run_until_idle());
    // Of four, one is taken past those that go first.
    let mut first = order[..4].to_vec();
    first.retain(|number| [3, 5, 7].contains(number));
    first.sort_unstable();
    assert_eq!(first, [3, 5, 7], "{order:?}");
    let said = site.dock.finish(&["prioritise", "3"]).expect_code(0);
    assert_eq!(said.stdout, "clip 3 is in every bucket already\n");
    site.dock.finish(&["prioritise", "99"]).expect_code(1);
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_ejected_folder_can_be_unmounted_and_is_looked_at_again() {
    needs!(Root);
    let mut site = Site::new();
    let folder: PathBuf = site.dock.folder();
    let _mounted = Mounted::memory(&folder, "8m");
    site.put("cam/Zeuge.mp4", b"of the first medium");
    start(&mut site);
    let shown = folder.to_str().unwrap().to_owned();
    let said = site.dock.finish(&["eject", &shown]).expect_code(0);
    assert!(said.stdout.contains("may be unmounted and unplugged now"), "{}", said.stdout);
    assert_eq!(count(&site, "seen"), 0, "what lay in it is sealed");
    // Ordered again, at once too: the daemon answers each order.
    site.dock.finish(&["eject", &shown, "--now"]).expect_code(0);
    site.dock.finish(&["eject", &shown, "--undo"]).expect_code(0);
    site.dock.finish(&["eject", &shown, "--now"]).expect_code(0);
    // Not lazily: this fails where anything is open.
    run(Command::new("umount").arg(&folder));
    run(Command::new("mount").args(["-t", "tmpfs", "dockseal-test"]).arg(&folder));
    site.put("cam/Zeuge2.mp4", b"of the second medium");
    let folders = site.dock.json(&["status"])["folders"].clone();
    assert_eq!(folders[0]["mode"], "ejected", "{folders}");
    assert!(site.clip("cam/Zeuge2.mp4").is_none(), "left alone");
    let said = site.dock.json(&["eject", &shown, "--undo"]);
    assert_eq!(said["ejected"], false);
    wait_for("the second medium", SOON, || (site.clips().len() == 2).then_some(()));
    site.dock.finish(&["eject", "/nowhere"]).expect_code(1);
    // With a clip that cannot be sealed yet it is refused, unless it must be now.
    assert_eq!(site.dock.stop(), 0);
    let refused = site.dock.finish(&["eject", &shown]).expect_code(1);
    assert!(refused.stderr.contains("the daemon does not run"), "{}", refused.stderr);
}

#[test]
fn a_folder_with_a_growing_clip_is_ejected_by_force_alone() {
    let mut site = Site::with(|choices| choices.settle_seconds = 3600);
    site.put("Zeuge.mp4", b"grows");
    start(&mut site);
    wait_for("the clip", SOON, || site.clip("Zeuge.mp4"));
    let folder = site.dock.folder().to_str().unwrap().to_owned();
    let refused = site.dock.finish(&["eject", &folder, "--timeout", "1"]).expect_code(3);
    assert_eq!(refused.stdout, "not ejected: 1 clip not safe yet; why: dockseal why\n");
    let said = site.dock.json(&["eject", &folder, "--now", "--for", "1s"]);
    assert_eq!(said["ejected"], true);
    wait_for("the next look", SOON, || {
        (site.dock.json(&["status"])["folders"][0]["mode"] != "ejected").then_some(())
    });
}
