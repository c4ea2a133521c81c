//! Numbers that a printed seed gives again.

use std::time::{SystemTime, UNIX_EPOCH};

/// Replays a run.
const SEED: &str = "DOCKSEAL_TEST_SEED";

/// splitmix64.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// From the seed that was given, or from the clock.
    pub fn new() -> Random {
        let given = std::env::var(SEED).ok().map(|text| text.parse().expect("a number"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Random(given.unwrap_or(now.as_nanos() as u64))
    }

    /// From a seed.
    pub fn of(seed: u64) -> Random {
        Random(seed)
    }

    /// What gives all numbers to come.
    pub fn seed(&self) -> u64 {
        self.0
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of 0 to `limit` - 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// So many bytes without a pattern.
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

#[test]
fn a_sample_has_each_number_once_before_any_comes_twice() {
    let mut sample = Random::of(7).sample(10, 20);
    assert_eq!(sample, Random::of(7).sample(10, 20));
    sample.sort_unstable();
    assert_eq!(sample, (0..20).map(|n| n / 2).collect::<Vec<u64>>());
}
