//! Numbers that a printed seed gives again.

use std::time::{SystemTime, UNIX_EPOCH};

/// splitmix64. Its state is the seed that gives all numbers to come.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    /// From `$DOCKSEAL_TEST_SEED`, else from the time.
    pub fn new() -> Random {
        let seed = std::env::var("DOCKSEAL_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Random(seed.unwrap_or(now.as_nanos() as u64))
    }

    /// A number of 0 to `limit` - 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// So many bytes without a pattern.
    pub fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..size.div_ceil(8)).flat_map(|_| self.below(u64::MAX).to_le_bytes()).collect();
        bytes.truncate(size);
        bytes
    }
}
