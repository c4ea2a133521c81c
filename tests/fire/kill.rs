//! SIGKILL before each call that leaves something behind, in the run and again in the recovery.

use std::time::Instant;

use crate::chance::{Random, Tally, depth, on_two_cores, say};
use crate::scene::{Place, RUN, Scene};
use crate::support::tools::needs;
use crate::tracer::{self, Call, Fault, Traced, WAITING, Which};
use crate::truth;

/// Points of one run in the folder variant for each one of S3, whose runs take longer.
const FOLDERS_TO_ONE_S3: usize = 4;

/// Where one run, and perhaps its recovery, is killed.
struct Point {
    place: Place,
    /// Before which call that leaves something.
    at: u64,
    /// And before which one of the recovery.
    again_at: Option<u64>,
    seed: u64,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Point { place, at, again_at, seed } = self;
        write!(f, "{place:?} call {at}, then {again_at:?}, seed {seed}")
    }
}

/// Runs a command to its end, or to its kill.
fn run(scene: &Scene, place: Place, arguments: &[&str], at: Option<u64>) -> Traced {
    let wanted = |call: &Call| {
        let is_sent = place == Place::S3 && call.path.to_string_lossy().starts_with("socket:[");
        call.leaves_something() && (is_sent || scene.has(&call.path))
    };
    let (command, log) = scene.run_by(&WAITING, arguments);
    let traced =
        tracer::run(command, &wanted, at.map(|at| (at, Fault::Kill, &wanted as Which<'_>)));
    let ended = if traced.struck.is_some() { None } else { Some(0) };
    let said = || std::fs::read_to_string(&log).unwrap();
    assert_eq!(traced.code, ended, "{:?}\n{}", traced.struck, said());
    traced
}

fn kill_at(point: &Point) -> Tally {
    let scene = Scene::new(Random::of(point.seed), point.place);
    let mut tally = Tally::default();
    let mut text = point.to_string();
    for at in [Some(point.at), point.again_at].into_iter().flatten() {
        let traced = run(&scene, point.place, &RUN, Some(at));
        match traced.struck {
            Some(call) => {
                tally.tried += 1;
                text.push_str(&format!("; killed before {} {:?}", call.name, call.path));
            }
            None => tally.missed += 1,
        }
        truth::nothing_is_lost(&scene, &text);
    }
    let last = scene.site.dock.run_until_idle();
    assert_eq!(last.code, 0, "at {text}:\n{}", last.stderr);
    tally.and(truth::all_is_well(&scene, &text))
}

/// The calls of a run that nobody disturbs.
fn undisturbed(random: &mut Random, place: Place) -> u64 {
    let scene = Scene::new(Random::of(random.next()), place);
    let calls = run(&scene, place, &RUN, None).calls;
    truth::all_is_well(&scene, "no fault");
    let mut names: Vec<_> = calls.iter().map(|call| call.name).collect();
    names.sort_unstable();
    let kinds: Vec<_> =
        names.chunk_by(|a, b| a == b).map(|n| format!("{} {}", n[0], n.len())).collect();
    say(&format!(
        "fire: one run, {place:?}: {} calls to die at: {}",
        calls.len(),
        kinds.join(", ")
    ));
    calls.len() as u64
}

/// `count` points: each call of a run before any comes twice; every third run is killed once more.
fn points(random: &mut Random, place: Place, count: usize) -> Vec<Point> {
    let calls = undisturbed(random, place);
    let sample = random.sample(calls, count);
    let mut points = Vec::new();
    let mut left = count;
    for at in sample {
        if left == 0 {
            break;
        }
        let again_at = (left > 1 && random.below(3) == 0).then(|| random.below(calls - at + 40));
        left -= 1 + usize::from(again_at.is_some());
        points.push(Point { place, at, again_at, seed: random.next() });
    }
    points
}

/// Runs a command of the desk twice, and kills it at a call each time.
fn kill_twice(scene: &Scene, command: &str, calls: [u64; 2]) -> Tally {
    let mut tally = Tally::default();
    for at in calls {
        let struck = run(scene, Place::Folder, &[command], Some(at)).struck.is_some();
        *(if struck { &mut tally.tried } else { &mut tally.missed }) += 1;
    }
    tally
}

/// Runs a command of the desk whole, and draws of its calls where to kill it first, where again,
/// and a seed.
fn points_of(scene: &Scene, command: &str, random: &mut Random) -> Vec<(u64, u64, u64)> {
    let calls = run(scene, Place::Folder, &[command], None).calls.len() as u64;
    let points = random.sample(calls, depth(12, 2 * calls as usize));
    points.into_iter().map(|at| (at, random.below(calls), random.next())).collect()
}

/// `dockseal init` that is killed twice, is done again, and the dock works.
fn kill_init_at(&(at, again_at, seed): &(u64, u64, u64)) -> Tally {
    let mut scene = Scene::bare(Random::of(seed), Place::Folder, |_| {});
    scene.put_three();
    let text = format!("init, call {at}, then {again_at}, seed {seed}");
    let tally = kill_twice(&scene, "init", [at, again_at]);
    let init = scene.site.dock.finish(&["init"]);
    assert_eq!(init.code, 0, "{text}: {init:?}");
    let last = scene.site.dock.run_until_idle();
    assert_eq!(last.code, 0, "at {text}:\n{}", last.stderr);
    tally.and(truth::all_is_well(&scene, &text))
}

#[test]
fn init_killed_before_any_call_can_be_done_again() {
    needs!(Root);
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    let scene = Scene::bare(random.clone(), Place::Folder, |_| {});
    let points = points_of(&scene, "init", &mut random);
    on_two_cores(&points, kill_init_at).print("kill points of init", began, seed);
}

/// `dockseal close` that is killed twice goes on, and its last entry is written once.
fn kill_close_at(&(at, again_at, seed): &(u64, u64, u64)) -> Tally {
    let scene = Scene::new(Random::of(seed), Place::Folder);
    assert_eq!(scene.site.dock.run_until_idle().code, 0);
    let text = format!("close, call {at}, then {again_at}, seed {seed}");
    let tally = kill_twice(&scene, "close", [at, again_at]);
    let close = scene.site.dock.finish(&["close"]);
    assert_eq!(close.code, 0, "{text}: {close:?}");
    let log = scene.site.dock.json(&["log", "-n", "1000"]);
    let entries = log["entries"].as_array().unwrap().iter();
    let closed: Vec<_> = entries.filter(|entry| entry["event"] == "closed").collect();
    assert_eq!(closed.len(), 1, "{text}: {log:#}");
    assert_eq!(log["entries"][0]["event"], "closed", "{text}: {log:#}");
    tally.and(truth::all_is_well(&scene, &text))
}

#[test]
fn close_killed_before_any_call_goes_on_and_ends_the_log_once() {
    needs!(Root);
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    let scene = Scene::new(Random::of(random.next()), Place::Folder);
    assert_eq!(scene.site.dock.run_until_idle().code, 0);
    let points = points_of(&scene, "close", &mut random);
    on_two_cores(&points, kill_close_at).print("kill points of close", began, seed);
}

#[test]
fn a_dock_killed_before_any_call_loses_nothing() {
    needs!(Root, Weed, Setpriv);
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    say(&format!("fire: kill points: seed {seed}"));
    // More than the 300 and 2,000 that are promised: some calls do not come a second time.
    let count = depth(310, 2050);
    let s3 = count / (FOLDERS_TO_ONE_S3 + 1);
    let mut all = points(&mut random, Place::S3, s3);
    all.extend(points(&mut random, Place::Folder, count - s3));
    on_two_cores(&all, kill_at).print("kill points", began, seed);
}
