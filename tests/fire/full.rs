//! A state directory without room: too few bytes, or too few files, at every size of the disk.

use std::time::Instant;

use crate::chance::{Random, Tally, depth, on_two_cores, say};
use crate::scene::{Place, Scene};
use crate::support::mounted::Mounted;
use crate::support::tools::needs;
use crate::truth;

/// What is always left free for the queue and the logs, in KiB: below it no clip is sealed.
const RESERVE_KIB: u64 = 64 << 10;
/// Room for everything.
const AMPLE: &str = "size=256m,nr_inodes=1000";
/// What names the cause.
const WORDS: [&str; 5] =
    ["No space left", "disk is full", "spool-full", "the spool is full", "state_dir is full"];

/// The disk of one dock: options of a tmpfs, and a seed for its clips.
struct Disk {
    options: String,
    seed: u64,
}

fn names_it(text: &str) -> bool {
    WORDS.iter().any(|word| text.contains(word))
}

/// Begins and works on a disk that is too small, then on the same one when it has room.
fn fill(disk: &Disk) -> Tally {
    let mut scene = Scene::bare(Random::of(disk.seed), Place::Folder, |_| {});
    let mounted = Mounted::memory(&scene.site.dock.state_dir(), &disk.options);
    scene.put_three();
    let mut tally = Tally::default();
    let dock = &scene.site.dock;
    let init = dock.finish(&["init"]);
    let mut text = format!("{}, seed {}: init {init:?}", disk.options, disk.seed);
    if init.code == 0 {
        let run = dock.run_until_idle();
        let status = dock.finish(&["status"]);
        text.push_str(&format!("; run {run:?}; status {status:?}"));
        assert!([0, 1, 3].contains(&run.code), "at {text}");
        if run.code == 0 {
            tally.missed += 1;
        } else {
            tally.tried += 1;
            assert!(names_it(&run.stderr), "no cause is named, at {text}");
            let said = format!("{}{}", status.stdout, status.stderr);
            assert!(status.code != 0 && names_it(&said), "status is silent, at {text}");
        }
    } else {
        tally.tried += 1;
        assert!(init.code == 1 && names_it(&init.stderr), "at {text}");
    }
    mounted.remount(AMPLE);
    let init = scene.site.dock.finish(&["init"]);
    assert_eq!(init.code, 0, "init again {init:?}, at {text}");
    truth::nothing_is_lost(&scene, &text);
    let retry = scene.site.dock.finish(&["retry", "--all"]);
    assert!([0, 1].contains(&retry.code), "{retry:?}, at {text}");
    let last = scene.site.dock.run_until_idle();
    assert_eq!(last.code, 0, "at {text}\n{}", last.stderr);
    tally.and(truth::all_is_well(&scene, &text))
}

#[test]
fn a_disk_of_any_size_is_told_to_be_full_and_loses_nothing() {
    needs!(Root);
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    say(&format!("fire: full disks: seed {seed}"));
    let kib = |kib: u64| format!("{kib}k");
    // The queue alone, up to where it is done; the spool's reserve and a little more; files.
    let queue = random.sample(250, depth(12, 250)).into_iter().map(|step| kib(4 + 4 * step));
    let queue: Vec<_> = queue.collect();
    let spool = random.sample(100, depth(6, 100)).into_iter();
    let spool: Vec<_> = spool.map(|step| kib(RESERVE_KIB + 16 * step)).collect();
    let files = random.sample(14, depth(8, 14)).into_iter();
    let files: Vec<_> = files.map(|count| format!("256m,nr_inodes={}", 2 + count)).collect();
    let disks: Vec<_> = [queue, spool, files]
        .concat()
        .into_iter()
        .map(|options| Disk { options, seed: random.next() })
        .collect();
    on_two_cores(&disks, fill).print("full disks", began, seed);
}
