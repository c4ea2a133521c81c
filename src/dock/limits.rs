//! Which rate holds now: what the timetables say, unless an operator said otherwise.

use std::collections::BTreeMap;

use jiff::civil::DateTime;

use super::config::Config;
use crate::clip::Timestamp;
use crate::edge::clock;

/// What an operator set in place of a timetable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    /// `None` is no limit.
    pub bytes_per_second: Option<u64>,
    /// When the timetable counts again; `None` is once it is cleared.
    pub until: Option<Timestamp>,
}

impl Override {
    /// Whether its time is not over.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// All that operators set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// For the whole dock.
    pub all: Option<Override>,
    /// For single buckets, by name.
    pub buckets: BTreeMap<String, Override>,
}

/// The rates in bytes a second that hold now: of the whole dock, and of each bucket by name.
/// `None` is no limit. Both count: a bucket is never faster than the whole dock.
pub fn rates(
    config: &Config,
    overrides: &Overrides,
    now: Timestamp,
) -> (Option<u64>, BTreeMap<String, Option<u64>>) {
    rates_at(config, overrides, now, clock::local(now))
}

fn rates_at(
    config: &Config,
    overrides: &Overrides,
    now: Timestamp,
    local: DateTime,
) -> (Option<u64>, BTreeMap<String, Option<u64>>) {
    let set = |set: Option<&Override>| set.copied().filter(|set| set.holds(now));
    let all = match set(overrides.all.as_ref()) {
        Some(set) => set.bytes_per_second,
        None => config.limit.rate_at(local),
    };
    let of_bucket = config.buckets.iter().map(|bucket| {
        let rate = match set(overrides.buckets.get(&bucket.name)) {
            Some(set) => set.bytes_per_second,
            None => bucket.limit.rate_at(local),
        };
        (bucket.name.clone(), rate)
    });
    (all, of_bucket.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"dock = "d-1"
state_dir = "/state"
recipients = ["age1j9mdfsjntxpqyyucjy7zw730ysdl4zduphj8kdvk4nj78smklc9sysfnem"]
limit = ["08:00-18:00 = 2 KB/s", "9 KB/s"]
[[watch]]
path = "/dock"
[[bucket]]
name = "a"
url = "file:///a"
limit = ["12:00-13:00 = 1 KB/s"]
[[bucket]]
name = "b"
url = "file:///b"
"#;

    #[test]
    fn what_an_operator_set_counts_until_its_time_is_over() {
        let config = Config::parse(CONFIG).expect("well formed");
        let noon = jiff::civil::date(2026, 11, 22).at(12, 0, 0, 0);
        let night = jiff::civil::date(2026, 11, 22).at(2, 0, 0, 0);
        let rates = |overrides: &Overrides, now, local| {
            let (all, buckets) = rates_at(&config, overrides, Timestamp(now), local);
            assert_eq!(buckets.keys().collect::<Vec<_>>(), ["a", "b"]);
            [all, buckets["a"], buckets["b"]]
        };
        let mut set = Overrides::default();
        assert_eq!(rates(&set, 0, noon), [Some(2000), Some(1000), None]);
        assert_eq!(rates(&set, 0, night), [Some(9000), None, None]);
        set.all = Some(Override { bytes_per_second: None, until: Some(Timestamp(10)) });
        let for_b = Override { bytes_per_second: Some(5000), until: None };
        set.buckets.insert("b".into(), for_b);
        set.buckets.insert("of an earlier config".into(), for_b);
        assert_eq!(rates(&set, 9, noon), [None, Some(1000), Some(5000)]);
        assert_eq!(rates(&set, 10, noon), [Some(2000), Some(1000), Some(5000)]);
    }
}
