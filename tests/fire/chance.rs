//! What is left to chance, from a seed; how deep a run goes; and the line that tells what it found.

use std::io::Write;
use std::time::{Duration, Instant};

pub use crate::support::random::Random;

/// Set by `tests/run --deep`.
const DEEP: &str = "DOCKSEAL_DEEP";

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
        assert!(missed <= tried / 3, "{what}: too many of the faults never struck");
    }
}

/// How often a point is tried until its fault strikes.
const ATTEMPTS: u64 = 3;

/// Tries a point, each time with another seed, until its fault strikes: a run that ended before it
/// says so with an `Err`, having chosen a nearer point. Then it was in vain, which is counted.
pub fn until_struck(seed: u64, mut try_it: impl FnMut(u64) -> Result<Tally, ()>) -> Tally {
    (0..ATTEMPTS)
        .find_map(|attempt| try_it(seed.wrapping_add(attempt)).ok())
        .unwrap_or(Tally { missed: 1, ..Tally::default() })
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
