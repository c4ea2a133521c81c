//! The dock's wall clock.

use std::time::Duration;

use crate::clip::Timestamp;

/// How long ago the machine was started.
pub fn since_boot() -> Duration {
    let uptime = rustix::system::sysinfo().uptime;
    Duration::from_secs(u64::try_from(uptime).unwrap_or(0))
}

/// The time now.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// What a clock on this machine's wall shows at a time; in UTC where the machine has no zone.
pub fn local(time: Timestamp) -> jiff::civil::DateTime {
    let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(zone).datetime()
}
