//! What happens in an episode: steps from a seed.
//!
//! Each has dice of its own, so that one can be left out and the others stay what they are.

use super::dice::Dice;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Add,
    ClockJump,
    Corrupt,
    Crash,
    DiskFree,
    DiskFull,
    Grow,
    HardLink,
    Hours,
    Idle,
    Interfere,
    Link,
    Network,
    ReadsFail,
    RecoverTwice,
    Remove,
    Rename,
    RenameOver,
    Replace,
    Replug,
    Retry,
    Seconds,
    Stop,
    SyncFails,
    Unplug,
}

impl Kind {
    /// As it is shown.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Add => "add",
            Kind::ClockJump => "clock-jump",
            Kind::Corrupt => "corrupt",
            Kind::Crash => "crash",
            Kind::DiskFree => "disk-free",
            Kind::DiskFull => "disk-full",
            Kind::Grow => "grow",
            Kind::HardLink => "hard-link",
            Kind::Hours => "hours",
            Kind::Idle => "idle",
            Kind::Interfere => "interfere",
            Kind::Link => "link",
            Kind::Network => "network",
            Kind::ReadsFail => "reads-fail",
            Kind::RecoverTwice => "recover-twice",
            Kind::Remove => "remove",
            Kind::Rename => "rename",
            Kind::RenameOver => "rename-over",
            Kind::Replace => "replace",
            Kind::Replug => "replug",
            Kind::Retry => "retry",
            Kind::Seconds => "seconds",
            Kind::Stop => "stop",
            Kind::SyncFails => "sync-fails",
            Kind::Unplug => "unplug",
        }
    }
}

/// How often each kind comes.
const WEIGHTS: [(Kind, usize); 25] = [
    (Kind::Add, 18),
    (Kind::ClockJump, 3),
    (Kind::Corrupt, 2),
    (Kind::Crash, 9),
    (Kind::DiskFree, 3),
    (Kind::DiskFull, 2),
    (Kind::Grow, 5),
    (Kind::HardLink, 2),
    (Kind::Hours, 5),
    (Kind::Idle, 2),
    (Kind::Interfere, 4),
    (Kind::Link, 1),
    (Kind::Network, 8),
    (Kind::ReadsFail, 2),
    (Kind::RecoverTwice, 1),
    (Kind::Remove, 3),
    (Kind::Rename, 4),
    (Kind::RenameOver, 3),
    (Kind::Replace, 5),
    (Kind::Replug, 5),
    (Kind::Retry, 2),
    (Kind::Seconds, 26),
    (Kind::Stop, 2),
    (Kind::SyncFails, 2),
    (Kind::Unplug, 4),
];

/// A step: what happens, and the dice for its details.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) dice: u64,
}

/// The steps of an episode.
pub(super) fn plan(seed: u64, count: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let all: usize = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut step = || {
        let mut at = dice.below(all);
        let kind = WEIGHTS.iter().find(|(_, weight)| match at.checked_sub(*weight) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        Step { kind: kind.expect("weights add up").0, dice: dice.next() }
    };
    (0..count).map(|_| step()).collect()
}
