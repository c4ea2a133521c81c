//! How fast bytes may leave: a token bucket whose rate can change at any moment.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::Instant;

/// What may leave at once after a pause, as time at the full rate.
const BURST: Duration = Duration::from_millis(250);

/// A limit that several senders share.
#[derive(Debug)]
pub struct Limiter(Mutex<State>);

#[derive(Debug)]
struct State {
    bytes_per_second: Option<u64>,
    /// When all that was admitted has left, at the rate of its time.
    free_at: Instant,
}

impl Default for Limiter {
    /// Without a limit.
    fn default() -> Limiter {
        Limiter(Mutex::new(State { bytes_per_second: None, free_at: Instant::now() }))
    }
}

impl Limiter {
    /// Sets the rate, for what is not yet admitted; `None` is no limit.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        self.state().bytes_per_second = bytes_per_second;
    }

    /// The rate in bytes a second.
    pub fn bytes_per_second(&self) -> Option<u64> {
        self.state().bytes_per_second
    }

    /// Takes `size` bytes out of the bucket; they may leave after the wait that it returns.
    ///
    /// Sizes should be small against a second's bytes, or senders wait for each other long.
    pub fn admit(&self, size: usize) -> Duration {
        self.admit_at(size, Instant::now())
    }

    fn admit_at(&self, size: usize, now: Instant) -> Duration {
        let mut state = self.state();
        let Some(rate) = state.bytes_per_second else { return Duration::ZERO };
        let start = state.free_at.max(now.checked_sub(BURST).unwrap_or(now));
        state.free_at = start + Duration::from_secs_f64(size as f64 / rate.max(1) as f64);
        state.free_at.saturating_duration_since(now)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_share_a_rate_and_a_change_holds_at_once() {
        let limiter = Limiter::default();
        let begun = Instant::now() + Duration::from_secs(60);
        assert_eq!(limiter.admit_at(1 << 30, begun), Duration::ZERO);
        limiter.set(Some(1000));
        let mut now = begun;
        for _ in 0..20 {
            now += limiter.admit_at(500, now);
        }
        let took = now - begun;
        assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&took), "{took:?}");
        limiter.set(None);
        assert_eq!(limiter.admit_at(1 << 30, now), Duration::ZERO);
    }
}
