//! SIGKILL before each call that leaves something behind, in the run and again in the recovery.

use std::time::Instant;

use crate::chance::{Random, Tally, depth, on_two_cores, say, until_struck};
use crate::scene::{Place, RUN, Scene};
use crate::support::tools::needs;
use crate::tracer::{self, Call, Fault, Traced, WAITING, Which};
use crate::truth;

/// Points of one run in the folder variant for each one of S3, whose runs take longer.
const FOLDERS_TO_ONE_S3: usize = 4;

/// What is killed, and what must be true when it is over.
struct Story {
    command: &'static [&'static str],
    begin: fn(Random, Place) -> Scene,
    /// Goes on without a kill.
    end: fn(&Scene, &str),
}

/// Where a command is killed, and perhaps once more when it goes on.
struct Point {
    place: Place,
    /// Before which calls that leave something.
    kills: Vec<u64>,
    seed: u64,
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

/// Kills it at each call of the point; or tells which kill did not strike, and of how many calls.
fn try_kills(
    story: &Story,
    place: Place,
    kills: &[u64],
    seed: u64,
) -> Result<Tally, (usize, usize)> {
    let scene = (story.begin)(Random::of(seed), place);
    let mut text = format!("{:?}, {place:?}, calls {kills:?}, seed {seed}", story.command);
    let mut missed = None;
    for (index, at) in kills.iter().enumerate() {
        let traced = run(&scene, place, story.command, Some(*at));
        truth::nothing_is_lost(&scene, &text);
        let Some(call) = traced.struck else {
            missed = Some((index, traced.calls.len()));
            break;
        };
        text.push_str(&format!("; killed before {} {:?}", call.name, call.path));
    }
    (story.end)(&scene, &text);
    let found = truth::all_is_well(&scene, &text);
    missed.map_or(Ok(found.and(Tally { tried: kills.len(), ..Tally::default() })), Err)
}

/// Kills it there. No two runs make as many calls: where one ended before its kill, another is
/// killed at one of those that there were.
fn kill_at(story: &Story, point: &Point) -> Tally {
    let mut kills = point.kills.clone();
    until_struck(point.seed, |seed| {
        try_kills(story, point.place, &kills, seed).map_err(|(index, calls)| {
            kills[index] %= calls.max(1) as u64;
        })
    })
}

/// The dock's main job, from three clips to the end of all work.
const WORK: Story = Story {
    command: &RUN,
    begin: Scene::new,
    end: |scene, text| {
        let last = scene.site.dock.run_until_idle();
        assert_eq!(last.code, 0, "at {text}:\n{}", last.stderr);
    },
};

/// `dockseal init` that is killed twice, is done again, and the dock works.
const INIT: Story = Story {
    command: &["init"],
    begin: |random, place| {
        let mut scene = Scene::bare(random, place, |_| {});
        scene.put_three();
        scene
    },
    end: |scene, text| {
        let init = scene.site.dock.finish(&["init"]);
        assert_eq!(init.code, 0, "{text}: {init:?}");
        (WORK.end)(scene, text);
    },
};

/// `dockseal close` that is killed twice goes on, and its last entry is written once.
const CLOSE: Story = Story {
    command: &["close"],
    begin: |random, place| {
        let scene = Scene::new(random, place);
        assert_eq!(scene.site.dock.run_until_idle().code, 0);
        scene
    },
    end: |scene, text| {
        let close = scene.site.dock.finish(&["close"]);
        assert_eq!(close.code, 0, "{text}: {close:?}");
        let log = scene.site.dock.json(&["log", "-n", "1000"]);
        let entries = log["entries"].as_array().unwrap().iter();
        let closed: Vec<_> = entries.filter(|entry| entry["event"] == "closed").collect();
        assert_eq!(closed.len(), 1, "{text}: {log:#}");
        assert_eq!(log["entries"][0]["event"], "closed", "{text}: {log:#}");
    },
};

/// The calls of a run that nobody disturbs.
fn undisturbed(story: &Story, random: &mut Random, place: Place) -> u64 {
    let scene = (story.begin)(Random::of(random.next()), place);
    let calls = run(&scene, place, story.command, None).calls;
    (story.end)(&scene, "no fault");
    truth::all_is_well(&scene, "no fault");
    let mut names: Vec<_> = calls.iter().map(|call| call.name).collect();
    names.sort_unstable();
    let kinds: Vec<_> =
        names.chunk_by(|a, b| a == b).map(|n| format!("{} {}", n[0], n.len())).collect();
    say(&format!(
        "fire: one run, {:?}, {place:?}: {} calls to die at: {}",
        story.command,
        calls.len(),
        kinds.join(", ")
    ));
    calls.len() as u64
}

/// `count` points: each call of a run before any comes twice; every third run is killed once more.
fn points(random: &mut Random, place: Place, count: usize) -> Vec<Point> {
    let calls = undisturbed(&WORK, random, place);
    let sample = random.sample(calls, count);
    let mut points = Vec::new();
    let mut left = count;
    for at in sample {
        if left == 0 {
            break;
        }
        let mut kills = vec![at];
        if left > 1 && random.below(3) == 0 {
            kills.push(random.below(calls - at + 40));
        }
        left -= kills.len();
        points.push(Point { place, kills, seed: random.next() });
    }
    points
}

/// Kills a command of the desk twice at each of some points, or at all of its calls.
fn kill_command(story: &Story, what: &str) {
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    let place = Place::Folder;
    let calls = undisturbed(story, &mut random, place);
    let sample = random.sample(calls, depth(12, 2 * calls as usize));
    let points: Vec<_> = sample
        .into_iter()
        .map(|at| Point { place, kills: vec![at, random.below(calls)], seed: random.next() })
        .collect();
    on_two_cores(&points, |point| kill_at(story, point)).print(what, began, seed);
}

#[test]
fn init_killed_before_any_call_can_be_done_again() {
    needs!(Root);
    kill_command(&INIT, "kill points of init");
}

#[test]
fn close_killed_before_any_call_goes_on_and_ends_the_log_once() {
    needs!(Root);
    kill_command(&CLOSE, "kill points of close");
}

#[test]
fn a_dock_killed_before_any_call_loses_nothing() {
    needs!(Root, Weed, Setpriv);
    let began = Instant::now();
    let mut random = Random::new();
    let seed = random.seed();
    say(&format!("fire: kill points: seed {seed}"));
    // More than the 300 and 2,000 that are promised: a recovery may have nothing left to do.
    let count = depth(304, 2010);
    let s3 = count / (FOLDERS_TO_ONE_S3 + 1);
    let mut all = points(&mut random, Place::S3, s3);
    all.extend(points(&mut random, Place::Folder, count - s3));
    on_two_cores(&all, |point| kill_at(&WORK, point)).print("kill points", began, seed);
}
