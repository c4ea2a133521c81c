//! The simulation of a dock: the real agent in a world where everything fails, by a seed.
//!
//! ```text
//! dice      numbers from a seed            plan      the steps of an episode
//! disk      what a power cut takes back    weather   what is wrong with a bucket
//! cameras   who writes and pulls media     world     all of that behind dockseal's doors
//! truth     what is so of each clip        check     what must be so
//! episode   the agent in it, step by step  auditor   what must be so of the buckets
//! ```
//!
//! `DOCKSEAL_SIM_STEPS` says how many steps, `DOCKSEAL_TEST_SEED` which episode comes first: a
//! failure prints the seed that repeats it, and the last `DOCKSEAL_SIM_EVENTS` of what happened.
//!
//! Not proptest's state machines: a step here is some numbers, and leaving steps out of a list
//! until the failure needs all of the rest is thirty lines; theirs would keep a model of the whole
//! world beside the world.

mod auditor;
mod cameras;
mod check;
mod dice;
mod disk;
mod episode;
mod nights;
mod plan;
mod truth;
mod weather;
mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use auditor::When;
use episode::Episode;
use plan::{Step, plan};

/// What clips lie on: two in one watch folder, and one that is a watch folder itself.
const MEDIA: usize = 3;
/// Steps of one episode: few, so that a failure is short.
const EPISODE_STEPS: usize = 200;
/// Steps from one audit to the next.
const AUDIT_SPACING: usize = 50;
/// Steps without a word in the environment.
const STEPS_DEFAULT: usize = 4_000;

/// The last events that are shown of a failure, without a word in the environment.
const EVENTS_SHOWN: u64 = 120;

/// With so many steps every fault comes, or the simulation does not try what it says.
const FAULTS_SURE_FROM: usize = 20_000;
const FAULTS: [&str; 21] = [
    "bucket away",
    "bucket denied",
    "camera in between",
    "clock jumps",
    "effect doubled",
    "halts",
    "kills",
    "no space for a write",
    "operator retries",
    "plaintext erased",
    "power cuts",
    "put forgotten",
    "read failed",
    "reading denied",
    "recovered twice",
    "replug",
    "reply lost",
    "request stalled",
    "sealed file damaged",
    "sync failed",
    "unplug",
];

/// What came of an episode.
#[derive(Debug, Default)]
struct Report {
    tried: BTreeMap<&'static str, u64>,
    effects: u64,
    event_hash: u64,
    events: Vec<String>,
    failure: Option<String>,
}

/// Runs an episode to its end, or to its first failure.
fn run(seed: u64, steps: &[Step]) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let mut builder = tempfile::Builder::new();
    builder.prefix("dockseal-sim-");
    // In memory where there is such a folder: nothing is synced for real.
    let root = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).expect("a folder");
    let world = std::cell::RefCell::new(None);
    let going = AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut episode = Episode::begin(root.path(), seed, MEDIA);
            *world.borrow_mut() = Some(episode.world.clone());
            for (index, step) in steps.iter().enumerate() {
                episode.world.state().tried(step.kind.word());
                episode.step(*step).await?;
                episode.check()?;
                if (index + 1) % AUDIT_SPACING == 0 {
                    episode.audit(When::Meanwhile)?;
                }
            }
            episode.converge().await?;
            episode.audit(When::AtRest)
        })
    });
    let ended = std::panic::catch_unwind(going);
    crate::edge::world::enter(None);
    let failure = match ended {
        Ok(ended) => ended.err(),
        Err(panic) => Some(format!("panicked: {:?}", panic.downcast_ref::<String>())),
    };
    let world = world.into_inner().expect("begun");
    let mut state = world.state();
    let (events, event_hash) = state.events();
    Report {
        tried: std::mem::take(&mut state.tried),
        effects: state.effects,
        event_hash,
        events,
        failure,
    }
}

/// Leaves out steps for as long as the rest still fails, and in the same words.
fn shrink(seed: u64, mut steps: Vec<Step>, failure: &str) -> Vec<Step> {
    let words = |failure: &str| failure.split(':').next().unwrap_or_default().to_owned();
    let is_same = |other: Option<String>| other.is_some_and(|o| words(&o) == words(failure));
    let mut size = steps.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < steps.len() {
            let end = (at + size).min(steps.len());
            let fewer = [&steps[..at], &steps[end..]].concat();
            if is_same(run(seed, &fewer).failure) {
                steps = fewer;
            } else {
                at = end;
            }
        }
        if size == 1 {
            return steps;
        }
        size = size.div_ceil(2);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn first_seed() -> u64 {
    let random = || getrandom::u32().expect("the kernel has randomness");
    number("DOCKSEAL_TEST_SEED").unwrap_or_else(|| u64::from(random()))
}

fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("stderr takes it");
}

/// Runs one seed; a failure is shrunk, shown, and ends the test.
fn run_seed(seed: u64) -> Report {
    let steps = plan(seed, EPISODE_STEPS);
    let report = run(seed, &steps);
    if let Some(failure) = &report.failure {
        say(&format!("sim: seed {seed}: {failure}; leaving out what it does not need"));
        let steps = shrink(seed, steps, failure);
        let short = run(seed, &steps);
        let shown = number("DOCKSEAL_SIM_EVENTS").unwrap_or(EVENTS_SHOWN) as usize;
        let kinds: Vec<_> = steps.iter().map(|step| step.kind.word()).collect();
        panic!(
            "seed {seed}: {}\nsteps: {}\n{}\nrepeat it: DOCKSEAL_TEST_SEED={seed} \
             DOCKSEAL_SIM_STEPS=1 cargo test --lib sim::",
            short.failure.as_ref().unwrap_or(failure),
            kinds.join(" "),
            short.events[short.events.len().saturating_sub(shown)..].join("\n"),
        );
    }
    report
}

#[test]
fn nothing_is_lost_whatever_fails() {
    let seed = first_seed();
    let wanted = number("DOCKSEAL_SIM_STEPS").map_or(STEPS_DEFAULT, |steps| steps as usize);
    let (began, mut tried, mut effects) = (Instant::now(), BTreeMap::<_, u64>::new(), 0);
    let episodes = wanted.div_ceil(EPISODE_STEPS).max(1);
    say(&format!("sim: seed {seed}, {episodes} episodes"));
    // An episode is of one thread, and they know nothing of each other.
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let seeds = |first: usize| {
        (first..episodes).step_by(workers).map(|index| seed.wrapping_add(index as u64))
    };
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let counts = |seed| Report { events: Vec::new(), ..run_seed(seed) };
        let work = |first| scope.spawn(move || seeds(first).map(counts).collect::<Vec<_>>());
        let working: Vec<_> = (0..workers).map(work).collect();
        let end = |reports: std::thread::Result<_>| {
            reports.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        working.into_iter().flat_map(|worker| end(worker.join())).collect()
    });
    for report in reports {
        effects += report.effects;
        for (what, count) in report.tried {
            *tried.entry(what).or_default() += count;
        }
    }
    let steps = episodes * EPISODE_STEPS;
    let took = began.elapsed().as_secs_f64();
    say(&format!("sim: {episodes} episodes, {steps} steps, {effects} effects, {took:.1} s"));
    let shown: Vec<_> = tried.iter().map(|(what, count)| format!("{what} {count}")).collect();
    say(&format!("sim: tried: {}", shown.join(", ")));
    let missing: Vec<_> = FAULTS.iter().filter(|what| !tried.contains_key(**what)).collect();
    assert!(steps < FAULTS_SURE_FROM || missing.is_empty(), "never came: {missing:?}");
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    let seed = first_seed();
    for seed in (0..3).map(|index| seed.wrapping_add(index)) {
        let steps = plan(seed, EPISODE_STEPS);
        let (one, other) = (run(seed, &steps), run(seed, &steps));
        let differs = one.events.iter().zip(&other.events).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.event_hash, other.event_hash, "seed {seed}");
    }
}
