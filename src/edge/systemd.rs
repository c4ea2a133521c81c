//! What the service manager is told (sd_notify(3)); all of it is nothing where there is none.

use std::time::Duration;

use sd_notify::NotifyState;

/// Recovery is done; work begins.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The main loop has made its round. Only it may say so: a watchdog that is fed by a thread of
/// its own proves nothing.
pub fn alive(status: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often [`alive`] must be said, if at all.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager nobody listens, and that is fine.
    let _ = sd_notify::notify(states);
}
