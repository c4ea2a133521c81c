//! The dock's clocks: the one on the wall, and the one that only goes forward.

use std::time::Duration;

use crate::clip::Timestamp;

/// The clock that only goes forward, and does not jump.
pub use tokio::time::Instant;

/// How long ago the machine was started.
pub fn since_boot() -> Duration {
    #[cfg(test)]
    if let Some(world) = super::world::current() {
        return world.since_boot();
    }
    let uptime = rustix::system::sysinfo().uptime;
    Duration::from_secs(u64::try_from(uptime).unwrap_or(0))
}

/// The time now.
pub fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(world) = super::world::current() {
        return world.now();
    }
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// What a clock on this machine's wall shows at a time; in UTC where the machine has no zone.
pub fn local(time: Timestamp) -> jiff::civil::DateTime {
    let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(zone).datetime()
}
