//! SIGTERM at any moment, again and again; and a second daemon beside the first.

use std::time::{Duration, Instant};

use crate::chance::{Random, Tally, depth, on_two_cores, say};
use crate::scene::{Place, Scene};
use crate::support::tools::needs;
use crate::truth;

/// How long three clips take at most, mostly.
const RUN_TAKES: Duration = Duration::from_millis(900);
/// What a second daemon ends with: docs/operations.md §4.
const RUNS_ALREADY: i32 = 11;

/// Some starts that are ended by SIGTERM, one of them with a second daemon beside it.
fn storm(seed: &u64) -> Tally {
    let mut random = Random::of(*seed);
    let mut scene = Scene::new(random.clone(), Place::Folder);
    let text = format!("storm, seed {seed}");
    let mut tally = Tally::default();
    for _ in 0..4 {
        let dock = &mut scene.site.dock;
        dock.start();
        let moment = random.below(RUN_TAKES.as_micros() as u64);
        std::thread::sleep(Duration::from_micros(moment));
        let pid = dock.pid().to_string();
        let lock = std::fs::read_to_string(dock.state_dir().join("lock"));
        if lock.is_ok_and(|text| text.trim() == pid) {
            let second = dock.finish(&["run"]);
            assert_eq!(second.code, RUNS_ALREADY, "{second:?}, {text}");
            assert!(second.stderr.contains(&pid), "the holder is not named: {second:?}, {text}");
            assert!(dock.is_running(), "the first one ended, {text}");
        }
        tally.tried += 1;
        let ended = dock.terminate();
        // Before it listens, SIGTERM ends it as it ends any program.
        assert!(ended.is_none_or(|code| code == 0), "exit code {ended:?}, {text}");
        truth::nothing_is_lost(&scene, &text);
    }
    let last = scene.site.dock.run_until_idle();
    assert_eq!(last.code, 0, "{text}\n{}", last.stderr);
    tally.and(truth::all_is_well(&scene, &text))
}

#[test]
fn sigterm_at_any_moment_ends_it_in_order() {
    needs!(Setpriv);
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    say(&format!("fire: SIGTERM storm: seed {seed}"));
    let seeds: Vec<_> = (0..depth(10, 100)).map(|_| random.next()).collect();
    on_two_cores(&seeds, storm).print("SIGTERM storm", began, seed);
}
