//! What the service manager is told (sd_notify(3)); all of it is nothing where there is none.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

use super::clock::Instant;

/// After so long without a round the agent is stuck, where no watchdog says otherwise.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// When the main loop came round last.
#[derive(Debug)]
pub struct Pulse(Mutex<Instant>);

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse(Mutex::new(Instant::now()))
    }
}

/// Recovery is done; work begins.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

impl Pulse {
    /// The main loop has made its round. Only it may say so: a watchdog that is fed by a thread of
    /// its own proves nothing.
    pub fn alive(&self, status: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
    }

    /// For how long the main loop has made no round, where that is too long: by the same measure
    /// as the watchdog's.
    pub fn stuck_for(&self) -> Option<Duration> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = watchdog_interval().unwrap_or(SILENCE_MAX);
        Some(last.elapsed()).filter(|silent| *silent > limit)
    }
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often [`Pulse::alive`] must be said, if at all.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager nobody listens, and that is fine.
    let _ = sd_notify::notify(states);
}
