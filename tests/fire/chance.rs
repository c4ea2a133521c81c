//! What is left to chance, from a seed; how deep a run goes; and the line that tells what it found.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Set by `tests/run --deep`.
const DEEP: &str = "DOCKSEAL_DEEP";
/// Replays a run.
const SEED: &str = "DOCKSEAL_TEST_SEED";

/// Numbers that a printed seed gives again (splitmix64).
#[derive(Clone)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// From the seed that was given, or from the clock.
    pub fn new() -> Random {
        let given = std::env::var(SEED).ok().map(|text| text.parse().expect("a number"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Random::of(given.unwrap_or(now.as_nanos() as u64))
    }

    /// From a seed.
    pub fn of(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    /// What it began with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(count).collect()
    }

    /// `count` of the numbers below `limit`: each once before any comes twice.
    pub fn sample(&mut self, limit: u64, count: usize) -> Vec<u64> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let mut round: Vec<u64> = (0..limit).collect();
            for last in (1..round.len()).rev() {
                round.swap(last, self.below(last as u64 + 1) as usize);
            }
            round.truncate(count - taken.len());
            taken.append(&mut round);
        }
        taken
    }
}

/// How many points to try: what every run samples, or what a nightly job does.
pub fn depth(sampled: usize, deep: usize) -> usize {
    if std::env::var_os(DEEP).is_some() { deep } else { sampled }
}

/// How often the plain words of the last line were true.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Faults that struck.
    pub tried: usize,
    /// Points that the run never came to.
    pub missed: usize,
    /// Clips that lie in the bucket more than once.
    pub duplicates: usize,
}

impl Tally {
    /// Both together.
    pub fn and(self, other: Tally) -> Tally {
        Tally {
            tried: self.tried + other.tried,
            missed: self.missed + other.missed,
            duplicates: self.duplicates + other.duplicates,
        }
    }

    /// Prints the line. A loss or a wrong erasure ends a test before it comes here.
    pub fn print(self, what: &str, began: Instant, seed: u64) {
        let Tally { tried, missed, duplicates } = self;
        let seconds = began.elapsed().as_secs();
        say(&format!(
            "fire: {what}: tried {tried}, losses 0, duplicates {duplicates}, wrong erasures 0, \
             not reached {missed}, {seconds} s, seed {seed}"
        ));
    }
}

/// A line on standard error that the test runner does not capture.
pub fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).expect("standard error is open");
}

/// How long the soak lasts.
pub fn soak_time() -> Duration {
    let given = std::env::var("DOCKSEAL_SOAK_SECONDS").ok();
    let given = given.map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(given.unwrap_or(depth(120, 1800) as u64))
}

/// Has two threads try each point, so that both cores are busy; gives what all of them found.
pub fn on_two_cores<T: Sync>(points: &[T], try_it: impl Fn(&T) -> Tally + Sync) -> Tally {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut tally = Tally::default();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(point) = points.get(index) else { return tally };
            tally = tally.and(try_it(point));
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        let tallies = workers.map(|worker| match worker.join() {
            Ok(tally) => tally,
            Err(panic) => {
                // The other one need not go on.
                next.store(points.len(), std::sync::atomic::Ordering::Relaxed);
                std::panic::resume_unwind(panic)
            }
        });
        tallies.into_iter().fold(Tally::default(), Tally::and)
    })
}

#[test]
fn a_sample_has_each_number_once_before_any_comes_twice() {
    let mut sample = Random::of(7).sample(10, 20);
    assert_eq!(sample, Random::of(7).sample(10, 20));
    sample.sort_unstable();
    assert_eq!(sample, (0..20).map(|n| n / 2).collect::<Vec<u64>>());
}
