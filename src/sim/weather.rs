//! What is wrong with one bucket, or the way to it, for a while.

use std::time::Duration;

use super::dice::Dice;
use crate::edge::bucket::{Ending, Fate, Trouble, Verb};

/// How often, in a hundred requests, something goes wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather {
    /// Nobody is reached.
    pub(super) is_away: bool,
    /// Our credentials are refused.
    pub(super) is_denied: bool,
    /// Nothing may be read.
    pub(super) is_write_only: bool,
    fails: usize,
    loses: usize,
    doubles: usize,
    forgets: usize,
    stalls: usize,
    /// The server tells no digest.
    hides_digest: usize,
    slow_ms: usize,
}

impl Weather {
    /// What a network flip may bring.
    pub(super) fn of(dice: &mut Dice) -> Weather {
        let calm = Weather::default();
        match dice.below(9) {
            0 | 1 => calm,
            2 | 3 => Weather { is_away: true, ..calm },
            4 => Weather { is_denied: true, ..calm },
            5 => Weather { is_write_only: true, hides_digest: 50, loses: 10, ..calm },
            6 => Weather { hides_digest: 100, forgets: 20, doubles: 20, ..calm },
            7 => Weather { slow_ms: 60_000, stalls: 20, ..calm },
            _ => Weather {
                fails: dice.below(40),
                loses: dice.below(40),
                doubles: dice.below(20),
                forgets: dice.below(10),
                hides_digest: dice.below(100),
                slow_ms: dice.below(5000),
                ..calm
            },
        }
    }

    /// What becomes of a request, and the name of the fault, if it is one.
    pub(super) fn fate(&self, verb: Verb, dice: &mut Dice) -> (Fate, Option<&'static str>) {
        let mut takes = Duration::from_millis(5 + dice.below(50 + self.slow_ms) as u64);
        let tells_digest = !dice.percent(self.hides_digest);
        let (end, what) = self.ending(verb, dice);
        if let Ending::Failed(Trouble::Stalled) = end {
            takes = Duration::from_secs(60);
        }
        (Fate { takes, end, tells_digest }, what)
    }

    fn ending(&self, verb: Verb, dice: &mut Dice) -> (Ending, Option<&'static str>) {
        let failed = |trouble| Ending::Failed(trouble);
        if self.is_away {
            return (failed(Trouble::Connect), Some("bucket away"));
        }
        if self.is_denied {
            return (Ending::Denied, Some("bucket denied"));
        }
        if self.is_write_only && verb == Verb::Get {
            return (Ending::Denied, Some("reading denied"));
        }
        if dice.percent(self.fails) {
            let troubles = [Trouble::Broken, Trouble::Server, Trouble::Throttled, Trouble::Quota];
            let trouble = *dice.pick(&troubles).expect("some");
            return (failed(trouble), Some("request failed"));
        }
        if dice.percent(self.stalls) {
            return (failed(Trouble::Stalled), Some("request stalled"));
        }
        if dice.percent(self.loses) {
            return (Ending::Lost, Some("reply lost"));
        }
        if dice.percent(self.doubles) {
            return (Ending::DoneTwice, Some("effect doubled"));
        }
        // A server that forgets tells no digest of what it has not.
        if dice.percent(self.forgets) && verb == Verb::Put {
            return (Ending::Forgotten, Some("put forgotten"));
        }
        (Ending::Done, None)
    }
}
