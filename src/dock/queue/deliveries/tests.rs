//! Tests of the order of deliveries and of the progress of uploads.

use super::*;
use crate::clip::{Receipt, SealedFile, Source, examples};
use crate::dock::queue::Beginning;
use crate::edge::bucket::{Part, Upload};
use crate::hold::{Hold, Reason, Until};

struct Place {
    dir: tempfile::TempDir,
    queue: Queue,
    reader: Reader,
    runtime: tokio::runtime::Runtime,
}

/// A queue with sealed clips 1 to `count`, sealed at that many milliseconds.
fn place(count: u8, buckets: &[&str]) -> Place {
    let dir = tempfile::tempdir().expect("tempdir");
    let beginning = Beginning { dock: "dock-1".into(), previous: None, lost: None };
    let queue = Queue::create(&dir.path().join("queue.db"), beginning).expect("created");
    let reader = queue.reader().expect("opened");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("built");
    let place = Place { dir, queue, reader, runtime };
    place.configure(buckets);
    for byte in 1..=count {
        place.seal(byte);
    }
    place
}

fn sealed(byte: u8) -> SealedFile {
    SealedFile { sealed_at: Timestamp(i64::from(byte)), ..examples::sealed(byte) }
}

impl Place {
    fn configure(&self, buckets: &[&str]) {
        let buckets = buckets.iter().map(|bucket| (*bucket).to_owned()).collect();
        self.queue.buckets_are_blocking(buckets, Timestamp(100)).expect("ok");
    }

    fn seal(&self, byte: u8) {
        let source = Source { folder: "/srv/dock".into(), path: format!("{byte}").into() };
        let generation = examples::generation(byte.into());
        let clip = Clip::seen(source, generation, Timestamp(0));
        self.queue.found_blocking(vec![clip]).expect("found");
        let fact = Fact::Sealed(sealed(byte));
        self.queue.record_blocking(ClipId(byte.into()), vec![fact]).expect("recorded");
    }

    fn due(&self, bucket: &str, order: Order) -> Vec<i64> {
        let due = self.reader.due_deliveries(bucket, Timestamp(100), order, 9).expect("read");
        due.into_iter().map(|due| due.clip.id.0).collect()
    }
}

#[test]
fn a_bucket_that_is_added_gets_what_is_still_in_the_spool() {
    let place = place(2, &["a"]);
    assert_eq!(place.due("a", Order::FlaggedFirst), [1, 2]);
    assert!(place.due("b", Order::FlaggedFirst).is_empty());
    place.queue.record_blocking(ClipId(1), vec![Fact::Unspooled]).expect("recorded");
    place.configure(&["a", "b"]);
    assert_eq!(place.due("b", Order::FlaggedFirst), [2]);
    place.seal(3);
    assert_eq!(place.due("b", Order::FlaggedFirst), [2, 3]);
}

#[test]
fn flagged_clips_go_first_and_a_turn_that_is_over_goes_last() {
    let place = place(4, &["a"]);
    place.runtime.block_on(place.queue.push_first(ClipId(3))).expect("ok");
    assert_eq!(place.due("a", Order::FlaggedFirst), [3, 1, 2, 4]);
    assert_eq!(place.due("a", Order::Others), [1, 2, 4]);
    place
        .runtime
        .block_on(place.queue.turn_over(ClipId(1), "a".into(), Timestamp(50)))
        .expect("ok");
    assert_eq!(place.due("a", Order::FlaggedFirst), [3, 2, 4, 1]);
}

#[test]
fn a_receipt_of_a_sealed_file_that_was_replaced_counts_for_nothing() {
    let place = place(1, &["a"]);
    let receipt = Receipt {
        bucket: "a".into(),
        evidence: crate::clip::Evidence::DigestChecked,
        stored_at: Timestamp(9),
    };
    let facts = vec![Fact::Acknowledged(receipt)];
    let of = |name| place.queue.record_of(ClipId(1), SealedName(name), facts.clone(), None);
    place.runtime.block_on(of([9; 32])).expect("dropped");
    assert_eq!(place.due("a", Order::FlaggedFirst), [1]);
    place.runtime.block_on(of([1; 32])).expect("recorded");
    assert!(place.due("a", Order::FlaggedFirst).is_empty());
}

#[test]
fn what_waited_for_a_bucket_is_released_when_it_works_again() {
    let place = place(1, &["a"]);
    let hold = Hold {
        reason: Reason::BucketFailed,
        until: Until::Time(Timestamp(5000)),
        since: Timestamp(1),
        attempts: 3,
        cause: "no route".into(),
    };
    let fact = Fact::DeliveryHeld { bucket: "a".into(), hold };
    place.queue.record_blocking(ClipId(1), vec![fact]).expect("recorded");
    assert!(place.due("a", Order::FlaggedFirst).is_empty());
    let release = place.queue.release_deliveries("a".into(), Timestamp(20));
    place.runtime.block_on(release).expect("released");
    assert_eq!(place.due("a", Order::FlaggedFirst), [1]);
    assert!(place.reader.held().expect("read").is_empty());
}

#[test]
fn a_clock_that_was_put_back_leaves_nothing_for_later() {
    let place = place(2, &["a"]);
    let until = Until::Time(Timestamp(5000));
    let hold = Hold { until, ..Hold::for_operator(Reason::BucketFailed, "x", Timestamp(1)) };
    let fact = Fact::DeliveryHeld { bucket: "a".into(), hold };
    place.queue.record_blocking(ClipId(1), vec![fact]).expect("recorded");
    let turn = place.queue.turn_over(ClipId(2), "a".into(), Timestamp(7000));
    place.runtime.block_on(turn).expect("over");
    assert!(place.due("a", Order::FlaggedFirst).is_empty());
    place.runtime.block_on(place.queue.clock_went_back(Timestamp(90))).expect("noted");
    assert_eq!(place.due("a", Order::FlaggedFirst), [1, 2]);
}

#[test]
fn a_better_receipt_that_an_operator_asked_for_is_not_forgotten() {
    let place = place(1, &["a"]);
    let evidence = crate::clip::Evidence::Acknowledged;
    let receipt = Receipt { bucket: "a".into(), evidence, stored_at: Timestamp(9) };
    let hold = Hold::for_operator(Reason::ReceiptWeak, "x", Timestamp(1));
    let weak = Fact::DeliveryHeld { bucket: "a".into(), hold };
    let facts = vec![Fact::Acknowledged(receipt), weak];
    place.queue.record_blocking(ClipId(1), facts).expect("recorded");
    assert!(place.due("a", Order::FlaggedFirst).is_empty());
    let path = place.dir.path().join("queue.db");
    let mut operator = crate::dock::queue::Operator::open(&path, "dock-1").expect("opened");
    operator.retry(ClipId(1), Timestamp(50)).expect("asked for");
    assert_eq!(place.due("a", Order::FlaggedFirst), [1]);
    // Something else becomes true of the clip before the delivery is tried.
    let gone = Fact::Gone { plaintext: crate::clip::Plaintext::Absent, at: Timestamp(60) };
    place.queue.record_blocking(ClipId(1), vec![gone]).expect("recorded");
    assert_eq!(place.due("a", Order::FlaggedFirst), [1]);
}

#[test]
fn an_upload_goes_on_where_it_was_and_one_given_up_is_left_over() {
    let place = place(1, &["a"]);
    let (id, bucket) = (ClipId(1), || "a".to_owned());
    let name = place.reader.clip(id).expect("read").expect("there").sealed.expect("sealed").name;
    let sending = || Sending { clip: id, name, bucket: bucket() };
    let part = |byte| Part {
        content_id: format!("etag-{byte}"),
        sha256: Some([byte; 32]),
        is_checked: byte % 2 == 0,
    };
    let upload = Upload {
        id: "u1".into(),
        part_size: 5 << 20,
        parts: vec![],
        is_completing: false,
        replaces: true,
    };
    let (queue, late) = (&place.queue, upload.clone());
    place.runtime.block_on(async {
        queue.upload_begun(sending(), "k".into(), upload.clone()).await.expect("begun");
        for number in [0, 1, 3] {
            queue.upload_part(sending(), number, part(number as u8)).await.expect("part");
        }
        queue.upload_completing(sending()).await.expect("completing");
    });
    let found = place.reader.upload(id, "a").expect("read").expect("there");
    let parts = vec![part(0), part(1)];
    assert_eq!(found, Upload { parts, is_completing: true, ..upload });
    // A hold in between changes nothing of it.
    let hold = Hold::for_operator(Reason::BucketFailed, "x", Timestamp(1));
    let fact = Fact::DeliveryHeld { bucket: bucket(), hold };
    queue.record_blocking(id, vec![fact]).expect("recorded");
    assert!(place.reader.upload(id, "a").expect("read").is_some());
    queue.record_blocking(id, vec![Fact::SealLost]).expect("recorded");
    assert!(place.reader.upload(id, "a").expect("read").is_none());
    let left = place.reader.leftovers(Timestamp(0), 9).expect("read");
    assert_eq!((left.len(), left[0].upload_id.as_str(), left[0].key.as_str()), (1, "u1", "k"));
    // Whoever still sends the sealed file of before has nothing to say of the next one.
    let late = Upload { id: "u2".into(), ..late };
    place.runtime.block_on(queue.upload_begun(sending(), "k".into(), late)).expect("noted");
    let left = place.reader.leftovers(Timestamp(0), 9).expect("read");
    assert_eq!(left.iter().map(|left| left.upload_id.as_str()).collect::<Vec<_>>(), ["u1", "u2"]);
    place.runtime.block_on(queue.leftover_asked(left[1].clone(), None)).expect("gone");
    let again = queue.leftover_asked(left[0].clone(), Some(Timestamp(60)));
    place.runtime.block_on(again).expect("noted");
    assert!(place.reader.leftovers(Timestamp(59), 9).expect("read").is_empty());
    let left = place.reader.leftovers(Timestamp(60), 9).expect("read");
    assert_eq!(left[0].attempts, 1);
    place.runtime.block_on(queue.leftover_asked(left[0].clone(), None)).expect("gone");
    assert!(place.reader.leftovers(Timestamp(60), 9).expect("read").is_empty());
}
