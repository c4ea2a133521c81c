//! The limits that an operator set, in the table `meta`: `limit`, and `limit:NAME` for a bucket.
//!
//! The value is `RATE UNTIL`: bytes a second or `unlimited`, and milliseconds since 1970 or `-`.

use super::{Operator, OrderEnd, QueueError, Reader};
use crate::dock::limits::{Override, Overrides};

const WHOLE_DOCK: &str = "limit";
const NO_LIMIT: &str = "unlimited";

impl Operator {
    /// Sets the limit of a bucket, or of the whole dock, in place of the timetable's.
    pub fn set_limit(&mut self, bucket: Option<&str>, set: Override) -> Result<(), QueueError> {
        self.order(&key(bucket), &text(set))
    }

    /// Gives a bucket, or the whole dock, back to its timetable. Says whether a limit was set.
    pub fn clear_limit(&mut self, bucket: Option<&str>) -> Result<bool, QueueError> {
        self.revoke(&key(bucket))
    }
}

impl Reader {
    /// All limits that operators set, also those whose time is over.
    pub fn limits(&self) -> Result<Overrides, QueueError> {
        let sql = "SELECT key, value FROM meta WHERE key = 'limit' OR key GLOB 'limit:*'";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut limits = Overrides::default();
        while let Some(row) = rows.next()? {
            let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
            let set = parse(&value)
                .ok_or_else(|| QueueError::Corrupt(format!("{key} is not a limit")))?;
            match key.split_once(':') {
                Some((_, bucket)) => drop(limits.buckets.insert(bucket.to_owned(), set)),
                None => limits.all = Some(set),
            }
        }
        Ok(limits)
    }
}

fn key(bucket: Option<&str>) -> String {
    bucket.map_or_else(|| WHOLE_DOCK.to_owned(), |bucket| format!("{WHOLE_DOCK}:{bucket}"))
}

fn text(set: Override) -> String {
    let rate = set.bytes_per_second.map_or_else(|| NO_LIMIT.to_owned(), |rate| rate.to_string());
    format!("{rate} {}", OrderEnd(set.until).text())
}

fn parse(text: &str) -> Option<Override> {
    let (rate, until) = text.split_once(' ')?;
    let bytes_per_second = if rate == NO_LIMIT { None } else { Some(rate.parse().ok()?) };
    Some(Override { bytes_per_second, until: OrderEnd::parse(until)?.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Timestamp;
    use crate::dock::queue::{Beginning, Queue};

    #[test]
    fn what_was_set_is_read_back_until_it_is_cleared() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("queue.db");
        let beginning = Beginning { dock: "dock-1".into(), previous: None, lost: None };
        let _daemon = Queue::create(&path, beginning).expect("created");
        let reader = Reader::open(&path).expect("opened");
        let mut operator = Operator::open(&path, "dock-1").expect("opened");
        assert_eq!(reader.limits().expect("read"), Overrides::default());
        let slow = Override { bytes_per_second: Some(2000), until: Some(Timestamp(77)) };
        let free = Override { bytes_per_second: None, until: None };
        operator.set_limit(None, free).expect("set");
        operator.set_limit(None, slow).expect("set");
        operator.set_limit(Some("b.1"), free).expect("set");
        let limits = reader.limits().expect("read");
        assert_eq!(limits, Overrides { all: Some(slow), buckets: [("b.1".into(), free)].into() });
        assert!(operator.clear_limit(None).expect("cleared"));
        assert!(!operator.clear_limit(None).expect("nothing to clear"));
        assert!(operator.clear_limit(Some("b.1")).expect("cleared"));
        assert_eq!(reader.limits().expect("read"), Overrides::default());
    }

    #[test]
    fn a_value_that_is_no_limit_is_not_taken_for_one() {
        for wrong in ["", "1000", "1000 ", " -", "x -", "-1 -", "1000 soon", "1000 - -"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
