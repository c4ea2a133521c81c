//! What a person must see to beside held clips: one rule for `status` and for the fleet.

use std::path::Path;

use crate::clip::Timestamp;
use crate::custody::drill::OVERDUE_SECONDS;
use crate::dock::config::{BucketConfig, Config};
use crate::dock::queue::{QueueError, Reader};
use crate::dock::spool::RESERVE_BYTES;
use crate::edge::fs;
use crate::keyring::{Keyring, WARNING_DAYS, day_of};

/// One thing that a person must see to, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The disk of the state directory is full.
    DiskFull,
    /// A watch folder of the config cannot be used.
    Folder,
    /// Another dock writes this dock's log.
    LogForked,
    /// The queue before this one was lost, and nobody acknowledged it.
    QueueLost,
    /// The log does not continue an earlier one, and nobody acknowledged it.
    LogAnew,
    /// The keyring ended, or ends soon.
    KeyringEnds,
    /// Nobody proved lately that clips of this dock open.
    DrillOld,
    /// An operator paused a bucket of the config.
    Paused,
}

impl Need {
    /// All of them, worst first.
    pub const ALL: [Need; 8] = [
        Need::DiskFull,
        Need::Folder,
        Need::LogForked,
        Need::QueueLost,
        Need::LogAnew,
        Need::KeyringEnds,
        Need::DrillOld,
        Need::Paused,
    ];

    /// Its word in the dock's status (docs/custody.md §9) and in `dockseal why --list`.
    pub const fn word(self) -> &'static str {
        match self {
            Need::DiskFull => "disk-full",
            Need::Folder => "folder",
            Need::LogForked => "log-forked",
            Need::QueueLost => "queue-lost",
            Need::LogAnew => "log-anew",
            Need::KeyringEnds => "keyring-ends",
            Need::DrillOld => "drill-old",
            Need::Paused => "paused",
        }
    }
}

/// Whether no clip is sealed, for want of room on the disk of the state directory.
pub fn is_full(config: &Config) -> bool {
    fs::has_room(&config.state_dir, RESERVE_BYTES).is_ok_and(|has_room| !has_room)
}

/// What a dock needs, worst first. `keyring` is the last good one.
pub fn needs(
    config: &Config,
    reader: &Reader,
    keyring: Option<&Keyring>,
    now: Timestamp,
) -> Result<Vec<Need>, QueueError> {
    let is_watched = |path: &Path| config.watches.iter().any(|watch| watch.path == path);
    let is_troubled =
        reader.folders()?.iter().any(|line| line.problem.is_some() && is_watched(&line.path));
    let (is_lost, is_anew) = (reader.lost()?.is_some(), reader.is_unacknowledged()?);
    let days_left = keyring.map(|keyring| keyring.days_left(day_of(now)));
    let drilled_seconds = reader.drilled()?.map(|at| now.seconds_since(at));
    let orders = reader.orders()?;
    let is_paused = |bucket: &BucketConfig| orders.pause(&bucket.name, now).is_some();
    let needs = [
        (Need::DiskFull, is_full(config)),
        (Need::Folder, is_troubled),
        (Need::LogForked, reader.forked()?.is_some()),
        (Need::QueueLost, is_lost),
        (Need::LogAnew, is_anew && !is_lost),
        (Need::KeyringEnds, days_left.is_some_and(|days| days <= WARNING_DAYS)),
        (Need::DrillOld, drilled_seconds.is_some_and(|seconds| seconds > OVERDUE_SECONDS)),
        (Need::Paused, config.buckets.iter().any(is_paused)),
    ];
    Ok(needs.into_iter().filter(|(_, is_so)| *is_so).map(|(need, _)| need).collect())
}
