//! How many bytes the buckets took, second by second, as far as receipts and parts tell it.

use std::collections::{BTreeMap, VecDeque};

use super::super::pace::WINDOW_SECONDS;
use crate::clip::{ClipId, Timestamp};
use crate::dock::queue::Sent;

/// Seconds that one column of the curve stands for.
const STEP_SECONDS: u64 = 5;
/// Columns that are kept: more than a terminal shows.
const STEP_COUNT_MAX: usize = 400;
/// A receipt may be committed so much later than its time says.
const LATE_SECONDS: u64 = 30;

/// From when on receipts are read at first.
pub(super) fn beginning(now: Timestamp) -> Timestamp {
    Timestamp(now.0 - WINDOW_SECONDS as i64 * 1000)
}

/// What the buckets took.
pub(super) struct Throughput {
    /// Bytes of each step, the newest last.
    steps: VecDeque<u64>,
    /// When the newest step began.
    step_at: Timestamp,
    /// Bytes that are counted already, of each clip on its way to each bucket.
    counted: BTreeMap<(ClipId, String), (u64, Timestamp)>,
    is_new: bool,
}

impl Throughput {
    pub(super) fn new(now: Timestamp) -> Throughput {
        let steps = VecDeque::from(vec![0; (WINDOW_SECONDS / STEP_SECONDS) as usize]);
        Throughput { steps, step_at: now, counted: BTreeMap::new(), is_new: true }
    }

    /// From when on receipts are to be read.
    pub(super) fn receipts_since(&self) -> Timestamp {
        Timestamp(self.step_at.0 - LATE_SECONDS as i64 * 1000)
    }

    /// Counts what was taken since the last time. The receipts of the window are put where they
    /// belong at first; what is on its way by then was taken some time before, nobody knows when.
    pub(super) fn count(&mut self, receipts: &[Sent], uploads: &[Sent], now: Timestamp) {
        self.go_on(now);
        for sent in receipts.iter().chain(uploads) {
            let key = (sent.clip, sent.bucket.clone());
            let before = self.counted.get(&key).map_or(0, |(bytes, _)| *bytes);
            let taken = sent.size_bytes.saturating_sub(before);
            self.counted.insert(key, (before.max(sent.size_bytes), now));
            let ago = match (self.is_new, sent.receipt_at) {
                (true, None) => continue,
                (true, Some(at)) => now.seconds_since(at) / STEP_SECONDS,
                (false, _) => 0,
            };
            let index = self.steps.len().checked_sub(1 + ago as usize);
            if let Some(step) = index.and_then(|index| self.steps.get_mut(index)) {
                *step += taken;
            }
        }
        self.is_new = false;
        // What was not told again for so long is not on its way any more.
        self.counted.retain(|_, (_, told)| now.seconds_since(*told) <= 2 * LATE_SECONDS);
    }

    /// Begins as many steps as have passed.
    fn go_on(&mut self, now: Timestamp) {
        // A clock that was put back begins a step, no more.
        if now < self.step_at {
            self.step_at = now;
        }
        while now.seconds_since(self.step_at) >= STEP_SECONDS {
            self.step_at = self.step_at.plus_seconds(STEP_SECONDS);
            self.steps.push_back(0);
            if self.steps.len() > STEP_COUNT_MAX {
                self.steps.pop_front();
            }
            // After a long sleep of the machine, nothing of before is shown.
            if now.seconds_since(self.step_at) > STEP_SECONDS * STEP_COUNT_MAX as u64 {
                self.steps.iter_mut().for_each(|step| *step = 0);
                self.step_at = now;
            }
        }
    }

    /// Bytes a second of the last steps, oldest first; the newest is not over and left out.
    pub(super) fn curve(&self, step_count: usize) -> Vec<u64> {
        let over = self.steps.len().saturating_sub(1);
        let first = over.saturating_sub(step_count);
        self.steps.range(first..over).map(|bytes| bytes / STEP_SECONDS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(START + seconds * 1000)
    }

    fn sent(clip: i64, size_bytes: u64, receipt_at: Option<i64>) -> Sent {
        let (bucket, sealed_at) = ("a".into(), at(-900));
        let receipt_at = receipt_at.map(at);
        Sent { clip: ClipId(clip), bucket, size_bytes, sealed_at, receipt_at }
    }

    fn end(throughput: &Throughput, count: usize) -> Vec<u64> {
        throughput.curve(count)
    }

    #[test]
    fn what_was_before_is_put_where_it_belongs() {
        let mut throughput = Throughput::new(at(0));
        throughput.count(&[sent(1, 500, Some(-12))], &[sent(2, 900, None)], at(0));
        assert_eq!(end(&throughput, 4), [0, 0, 100, 0]);
        assert_eq!(throughput.curve(1000).len(), 59);
    }

    #[test]
    fn parts_count_as_they_come_and_are_not_counted_again_by_the_receipt() {
        let mut throughput = Throughput::new(at(0));
        throughput.count(&[], &[sent(2, 900, None)], at(0));
        throughput.count(&[], &[sent(2, 1000, None)], at(5));
        throughput.count(&[], &[sent(2, 1000, None)], at(10));
        throughput.count(&[sent(2, 1500, Some(14))], &[], at(15));
        // The same receipt, read once more.
        throughput.count(&[sent(2, 1500, Some(14))], &[], at(20));
        throughput.count(&[], &[], at(25));
        assert_eq!(end(&throughput, 5), [0, 20, 0, 100, 0]);
    }

    #[test]
    fn a_clock_that_jumps_does_no_harm() {
        let mut throughput = Throughput::new(at(0));
        throughput.count(&[], &[], at(-1_000_000));
        throughput.count(&[sent(1, 50, Some(0))], &[], at(-1_000_000));
        throughput.count(&[], &[], at(10_000_000));
        assert!(throughput.steps.len() <= STEP_COUNT_MAX);
        assert_eq!(throughput.curve(STEP_COUNT_MAX).iter().sum::<u64>(), 0);
    }
}
