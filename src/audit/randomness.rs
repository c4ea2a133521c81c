//! Whether bytes can be ciphertext: a chi-square test of how often each value occurs.

/// Fewer bytes say too little.
pub const SIZE_MIN: usize = 512;
/// More bytes than this are not needed.
pub const SIZE_MAX: usize = 64 << 10;
/// From this size on, each value is expected 16 times or more, and the limit can be close.
const SIZE_MANY: usize = 4096;
/// Of ciphertext, the statistic has 255 degrees of freedom: mean 255, deviation 22.6. By
/// Wilson-Hilferty, 450 lies 7 deviations out: one false alarm in 10^12 tests.
const LIMIT: f64 = 450.0;
/// With 2 to 16 expected of each value the tail is heavier; this is far beyond it.
const LIMIT_OF_FEW: f64 = 650.0;

/// The statistic where it is too high for ciphertext; `None` where it is not, or where there are
/// too few bytes to tell.
pub fn not_random(bytes: &[u8]) -> Option<u64> {
    if bytes.len() < SIZE_MIN {
        return None;
    }
    let mut counts = [0u32; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let expected = bytes.len() as f64 / 256.0;
    let square = |count: u32| (f64::from(count) - expected).powi(2) / expected;
    let score: f64 = counts.into_iter().map(square).sum();
    let limit = if bytes.len() < SIZE_MANY { LIMIT_OF_FEW } else { LIMIT };
    (score > limit).then_some(score as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn ciphertext(seed: u64, size: usize) -> Vec<u8> {
        let block = |index: u64| {
            let digest = Sha256::new().chain_update(seed.to_le_bytes());
            <[u8; 32]>::from(digest.chain_update(index.to_le_bytes()).finalize())
        };
        let mut bytes: Vec<u8> = (0..size.div_ceil(32) as u64).flat_map(block).collect();
        bytes.truncate(size);
        bytes
    }

    #[test]
    fn ciphertext_passes_at_every_size() {
        for seed in 0..400 {
            for size in [0, 511, 512, 700, 4095, 4096, 20_000, SIZE_MAX] {
                let bytes = ciphertext(seed, size);
                assert_eq!(not_random(&bytes), None, "{seed}, {size} bytes");
            }
        }
    }

    #[test]
    fn what_cameras_and_people_write_does_not() {
        let text = "{\"officer\":\"4711\",\"start\":\"2026-11-21T09:00:00Z\"}\n".repeat(20);
        assert!(not_random(text.as_bytes()).is_some());
        assert!(not_random(&[0; 512]).is_some());
        let counting: Vec<u8> = (0..SIZE_MAX).map(|index| (index / 300) as u8).collect();
        assert!(not_random(&counting).is_some());
        // A film's boxes between compressed pictures: one zero byte in thirty is enough.
        let mut film = ciphertext(1, SIZE_MAX);
        film.iter_mut().step_by(30).for_each(|byte| *byte = 0);
        assert!(not_random(&film).is_some());
        let base64: Vec<u8> = ciphertext(2, 4096).iter().map(|byte| byte % 64 + 48).collect();
        assert!(not_random(&base64).is_some());
    }
}
