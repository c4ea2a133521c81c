//! What a person must see to beside held clips: one rule for `status` and for the fleet.

use std::path::Path;

use crate::clip::Timestamp;
use crate::custody::drill::OVERDUE_SECONDS;
use crate::dock::config::{BucketConfig, Config};
use crate::dock::queue::{FolderLine, QueueError, Reader};
use crate::dock::spool::RESERVE_BYTES;
use crate::edge::fs;
use crate::keyring::{Keyring, WARNING_DAYS, day_of};

/// One thing that a person must see to, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let is_troubled = |line: &FolderLine| line.problem.is_some() && is_watched(&line.path);
    let orders = reader.orders()?;
    let is_paused = |bucket: &BucketConfig| orders.pause(&bucket.name, now).is_some();
    let facts = Facts {
        is_full: is_full(config),
        is_troubled: reader.folders()?.iter().any(is_troubled),
        is_forked: reader.forked()?.is_some(),
        is_lost: reader.lost()?.is_some(),
        is_unacknowledged: reader.is_unacknowledged()?,
        days_left: keyring.map(|keyring| keyring.days_left(day_of(now))),
        drilled_seconds: reader.drilled()?.map(|at| now.seconds_since(at)),
        is_paused: config.buckets.iter().any(is_paused),
    };
    Ok(facts.needs())
}

/// What the needs follow from.
#[derive(Debug, Default)]
struct Facts {
    is_full: bool,
    is_troubled: bool,
    is_forked: bool,
    is_lost: bool,
    is_unacknowledged: bool,
    days_left: Option<i32>,
    drilled_seconds: Option<u64>,
    is_paused: bool,
}

impl Facts {
    fn needs(&self) -> Vec<Need> {
        let is_so = |need: &Need| match need {
            Need::DiskFull => self.is_full,
            Need::Folder => self.is_troubled,
            Need::LogForked => self.is_forked,
            Need::QueueLost => self.is_lost,
            // A new queue begins a new log: that is told once.
            Need::LogAnew => self.is_unacknowledged && !self.is_lost,
            Need::KeyringEnds => self.days_left.is_some_and(|days| days <= WARNING_DAYS),
            Need::DrillOld => self.drilled_seconds.is_some_and(|since| since > OVERDUE_SECONDS),
            Need::Paused => self.is_paused,
        };
        Need::ALL.into_iter().filter(is_so).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_see_to_comes_in_the_order_of_its_gravity() {
        let worst = || Facts {
            is_full: true,
            is_troubled: true,
            is_forked: true,
            is_lost: true,
            is_unacknowledged: true,
            days_left: Some(-1),
            drilled_seconds: Some(OVERDUE_SECONDS + 1),
            is_paused: true,
        };
        let without_anew: Vec<_> =
            Need::ALL.into_iter().filter(|need| *need != Need::LogAnew).collect();
        assert_eq!(worst().needs(), without_anew, "a lost queue begins the log anew");
        assert_eq!(Facts { is_lost: false, ..worst() }.needs()[3], Need::LogAnew);
        assert_eq!(Facts::default().needs(), []);
    }

    #[test]
    fn a_keyring_and_a_drill_have_their_days() {
        let keyring = |days| Facts { days_left: Some(days), ..Facts::default() }.needs();
        assert_eq!(keyring(-1), [Need::KeyringEnds]);
        assert_eq!(keyring(WARNING_DAYS), [Need::KeyringEnds]);
        assert_eq!(keyring(WARNING_DAYS + 1), []);
        let drill = |since| Facts { drilled_seconds: Some(since), ..Facts::default() }.needs();
        assert_eq!(drill(OVERDUE_SECONDS + 1), [Need::DrillOld]);
        assert_eq!(drill(OVERDUE_SECONDS), []);
    }
}
