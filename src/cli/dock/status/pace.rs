//! How fast clips leave, and when nothing is left: what receipts and uploads allow to say.

use serde::Serialize;

use crate::clip::Timestamp;
use crate::dock::config::Config;
use crate::dock::queue::{Amount, QueueError, Reader, Sent};
use crate::dock::spool::RESERVE_BYTES;
use crate::edge::fs;

/// Receipts of so many seconds say how fast it goes now.
pub(super) const WINDOW_SECONDS: u64 = 300;
/// The spool's growth is told over a day, for a dock has its shifts; not before it has worked for
/// so long.
const GROWTH_SECONDS: (u64, u64) = (3600, 24 * 3600);

/// The disk of the spool.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Disk {
    /// Sealed files in the spool, and their bytes.
    pub spool_count: u64,
    pub spool_size_bytes: u64,
    /// What the spool may still take: what is free, less what is kept free.
    pub spool_room_bytes: Option<u64>,
    /// By how much it grew in the last day, or in as much of it as the dock has worked; null where
    /// that is too short to say.
    pub spool_growth_bytes_per_day: Option<i64>,
    /// When it is full at this growth.
    pub spool_full_seconds: Option<u64>,
}

pub(super) fn window(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(WINDOW_SECONDS as i64 * 1000))
}

/// Bytes a second that a bucket took, from the time on at which there was something to send: the
/// receipts of the last minutes; where one clip takes longer than that, its parts.
pub(super) fn rate(
    receipts: &[Sent],
    uploads: &[&Sent],
    receipt_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<u64> {
    let (bytes, since) = if receipts.is_empty() {
        let first = uploads.iter().map(|sent| sent.sealed_at).min()?;
        let since = receipt_at.map_or(first, |receipt_at| first.max(receipt_at));
        (uploads.iter().map(|sent| sent.size_bytes).sum::<u64>(), since)
    } else {
        let first = receipts.iter().map(|sent| sent.sealed_at).min()?;
        (receipts.iter().map(|sent| sent.size_bytes).sum(), first.max(window(now)))
    };
    let milliseconds = u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0).max(1000);
    Some(bytes.saturating_mul(1000) / milliseconds).filter(|rate| *rate > 0)
}

/// In how many seconds all that waits is stored at a rate.
pub(super) fn drained(backlog: &Amount, uploads: &[&Sent], rate: u64) -> Option<u64> {
    let sent: u64 = uploads.iter().map(|sent| sent.size_bytes).sum();
    let left = backlog.size_bytes.saturating_sub(sent);
    (backlog.count > 0 && rate > 0).then(|| left.div_ceil(rate))
}

pub(super) fn disk(config: &Config, reader: &Reader, now: Timestamp) -> Result<Disk, QueueError> {
    let Amount { count, size_bytes } = reader.spool()?;
    let free = fs::free_bytes(&config.state_dir).ok();
    let room = free.map(|free| free.saturating_sub(RESERVE_BYTES));
    let worked = reader.first_seen()?.map_or(0, |first| now.seconds_since(first));
    let (seconds_min, seconds_max) = GROWTH_SECONDS;
    let mut growth = None;
    let required = config.buckets.iter().find(|bucket| bucket.required);
    if let Some(bucket) = required.filter(|_| worked >= seconds_min) {
        let seconds = worked.min(seconds_max);
        let since = Timestamp(now.0.saturating_sub(seconds as i64 * 1000));
        let grown = reader.spool_growth(&bucket.name, since, config.keep_sealed_seconds)?;
        growth = Some(grown.saturating_mul(seconds_max as i64) / seconds as i64);
    }
    Ok(Disk {
        spool_count: count,
        spool_size_bytes: size_bytes,
        spool_room_bytes: room,
        spool_growth_bytes_per_day: growth,
        spool_full_seconds: room.zip(growth).and_then(|(room, growth)| full(room, growth)),
    })
}

/// When so much room is gone at a growth a day; never, where it does not grow.
fn full(room: u64, growth: i64) -> Option<u64> {
    let growth = u64::try_from(growth).ok().filter(|growth| *growth > 0)?;
    Some(((u128::from(room) * 86_400) / u128::from(growth)).try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::ClipId;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn sent(size_bytes: u64, sealed_seconds_ago: i64) -> Sent {
        Sent {
            clip: ClipId(1),
            bucket: "a".into(),
            size_bytes,
            sealed_at: Timestamp(NOW.0 - sealed_seconds_ago * 1000),
            receipt_at: None,
        }
    }

    #[test]
    fn a_rate_counts_from_when_there_was_something_to_send() {
        let rate_of = |receipts: &[Sent]| rate(receipts, &[], None, NOW);
        assert_eq!(rate_of(&[]), None);
        assert_eq!(rate_of(&[sent(600, 10), sent(400, 5)]), Some(100));
        // Sealed long ago: then the whole window counts.
        assert_eq!(rate_of(&[sent(600_000, 9000)]), Some(2000));
        assert_eq!(rate_of(&[sent(600, 0)]), Some(600), "no time at all is a second");
    }

    #[test]
    fn where_one_clip_takes_long_its_parts_count() {
        let upload = sent(50_000, 1000);
        assert_eq!(rate(&[], &[&upload], None, NOW), Some(50));
        let receipt_at = Some(Timestamp(NOW.0 - 500_000));
        assert_eq!(rate(&[], &[&upload], receipt_at, NOW), Some(100));
        assert_eq!(rate(&[sent(600, 1)], &[&upload], receipt_at, NOW), Some(600));
    }

    #[test]
    fn what_is_sent_already_needs_no_time() {
        let backlog = Amount { count: 2, size_bytes: 1000 };
        assert_eq!(drained(&backlog, &[], 100), Some(10));
        assert_eq!(drained(&backlog, &[&sent(350, 1)], 100), Some(7));
        assert_eq!(drained(&Amount::default(), &[], 100), None);
    }

    #[test]
    fn a_spool_that_does_not_grow_is_never_full() {
        assert_eq!(full(1000, 0), None);
        assert_eq!(full(1000, -5), None);
        assert_eq!(full(1000, 500), Some(2 * 86_400));
        assert_eq!(full(u64::MAX, 1), Some(u64::MAX));
    }
}
