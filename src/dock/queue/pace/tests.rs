//! Tests of what the desk reads of receipts, the spool and what is left.

use super::*;
use crate::clip::{Evidence, Fact, Receipt, SealedFile, Source, examples};
use crate::dock::queue::{Beginning, Queue, Sending};
use crate::edge::bucket::{Part, Upload};

/// Clips 1 to `count`, sealed at so many seconds, each of 1000 bytes more than the one before.
fn queue(count: u8) -> (tempfile::TempDir, Queue, Reader) {
    let dir = tempfile::tempdir().expect("tempdir");
    let beginning = Beginning { dock: "dock-1".into(), previous: None, lost: None };
    let queue = Queue::create(&dir.path().join("queue.db"), beginning).expect("created");
    queue.buckets_are_blocking(vec!["a".into(), "b".into()], Timestamp(0)).expect("configured");
    for number in 1..=count {
        let source = Source { folder: "/srv/dock".into(), path: format!("{number}").into() };
        let generation = examples::generation(number.into());
        let clip = Clip::seen(source, generation, Timestamp(i64::from(number) * 10));
        queue.found_blocking(vec![clip]).expect("found");
        record(&queue, number, Fact::Sealed(sealed(number)));
    }
    let reader = queue.reader().expect("opened");
    (dir, queue, reader)
}

fn sealed(number: u8) -> SealedFile {
    SealedFile {
        size_bytes: u64::from(number) * 1000,
        sealed_at: Timestamp(i64::from(number) * 1000),
        ..examples::sealed(number)
    }
}

fn record(queue: &Queue, number: u8, fact: Fact) {
    queue.record_blocking(ClipId(number.into()), vec![fact]).expect("recorded");
}

fn acknowledge(queue: &Queue, number: u8, bucket: &str, at: i64) {
    let evidence = Evidence::DigestChecked;
    let receipt = Receipt { bucket: bucket.into(), evidence, stored_at: Timestamp(at) };
    record(queue, number, Fact::Acknowledged(receipt));
}

#[test]
fn receipts_and_what_is_left_are_told_bucket_by_bucket() {
    let (_dir, queue, reader) = queue(3);
    acknowledge(&queue, 1, "a", 5000);
    acknowledge(&queue, 2, "a", 6000);
    acknowledge(&queue, 3, "b", 7000);
    let told = |bucket, since| -> Vec<_> {
        let sent = reader.receipts_since(bucket, Timestamp(since)).expect("read");
        sent.iter().map(|sent| (sent.clip.0, sent.size_bytes, sent.sealed_at.0)).collect()
    };
    assert_eq!(told("a", 0), [(2, 2000, 2000), (1, 1000, 1000)]);
    assert_eq!(told("a", 5001), [(2, 2000, 2000)]);
    assert_eq!(told("b", 7000), [(3, 3000, 3000)]);
    let left = |bucket| reader.backlog(bucket).expect("read");
    assert_eq!(left("a"), Amount { count: 1, size_bytes: 3000 });
    assert_eq!(left("b"), Amount { count: 2, size_bytes: 3000 });
    let receipts = reader.receipt_count("a").expect("read");
    assert_eq!((receipts, left("a").count), (2, 1));
    assert_eq!(reader.first_seen().expect("read"), Some(Timestamp(10)));
    record(&queue, 1, Fact::Stored(Timestamp(8000)));
    let waiting: Vec<_> = reader.unsafe_clips(9).expect("read").iter().map(|c| c.id.0).collect();
    assert_eq!(waiting, [2, 3]);
}

#[test]
fn the_spool_grows_by_what_came_less_what_left() {
    let (_dir, queue, reader) = queue(3);
    let grown = |since, kept| reader.spool_growth("a", Timestamp(since), kept).expect("read");
    assert_eq!(reader.spool().expect("read"), Amount { count: 3, size_bytes: 6000 });
    assert_eq!((grown(0, 0), grown(2500, 0)), (6000, 3000));
    acknowledge(&queue, 1, "a", 2600);
    acknowledge(&queue, 2, "a", 1900);
    for number in [1, 2] {
        record(&queue, number, Fact::Unspooled);
    }
    assert_eq!(reader.spool().expect("read"), Amount { count: 1, size_bytes: 3000 });
    // The first clip left after that time; the second before, unless it was kept for a second.
    assert_eq!((grown(2500, 0), grown(2500, 1)), (2000, 0));
}

#[test]
fn an_upload_is_as_far_as_its_parts() {
    let (_dir, queue, reader) = queue(3);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("built");
    let sending = || Sending { clip: ClipId(3), name: sealed(3).name, bucket: "b".into() };
    let part = || Part { content_id: "e".into(), sha256: None, is_checked: true };
    let (parts, is_completing) = (vec![], false);
    let upload = Upload { id: "u".into(), part_size: 1600, parts, is_completing, replaces: false };
    let sent = || reader.uploads().expect("read").iter().map(|u| u.size_bytes).collect::<Vec<_>>();
    runtime.block_on(queue.upload_begun(sending(), "k".into(), upload)).expect("begun");
    assert!(sent().is_empty());
    runtime.block_on(queue.upload_part(sending(), 0, part())).expect("part");
    assert_eq!(sent(), [1600]);
    // The last part is a shorter one.
    runtime.block_on(queue.upload_part(sending(), 1, part())).expect("part");
    assert_eq!(sent(), [3000]);
    runtime.block_on(queue.upload_gone(sending())).expect("gone");
    assert!(sent().is_empty());
}
