//! Tests that the amounts are what counting gives, whoever changed what.

use std::path::Path;

use super::*;
use crate::clip::{Clip, ClipId, Evidence, Fact, Generation, Receipt, Source, Timestamp, examples};
use crate::dock::queue::{Beginning, Filter, Held, Queue, read, schema};

const BUCKETS: [&str; 2] = ["a", "b"];

fn beginning() -> Beginning {
    Beginning { dock: "dock-1".into(), previous: None, lost: None }
}

fn clip(number: u8) -> Clip {
    let source = Source { folder: "/srv/dock".into(), path: number.to_string().into() };
    let generation = Generation { size_bytes: 1 << number, ..examples::generation(number.into()) };
    Clip::seen(source, generation, Timestamp(1))
}

fn sealed(number: u8) -> Fact {
    Fact::Sealed(examples::sealed(number))
}

fn receipt(bucket: &str) -> Fact {
    let (evidence, stored_at) = (Evidence::ReadBack, Timestamp(10));
    Fact::Acknowledged(Receipt { bucket: bucket.into(), evidence, stored_at })
}

type Told = (Vec<StateLine>, [u64; 2]);

/// What is told; it is what counting gives.
fn told(reader: &Reader, after: &str) -> Told {
    assert!(are_kept(&reader.0).expect("read"), "nothing is kept after {after}");
    let counted = |bucket| {
        let count = rows::first::<i64>(&reader.0, RECEIPTS_COUNTED, [bucket]).expect("read");
        count.expect("a count") as u64
    };
    let by_word = |mut lines: Vec<StateLine>| {
        lines.sort_by_key(|line| line.state.word());
        lines
    };
    let told = (
        by_word(reader.states().expect("read")),
        BUCKETS.map(|bucket| reader.receipt_count(bucket).expect("read")),
    );
    let states = by_word(reader.state_lines(STATES_COUNTED).expect("read"));
    assert_eq!(told, (states, BUCKETS.map(counted)), "after {after}");
    told
}

/// Six clips: two seen, then up to stored in both buckets.
fn filled(path: &Path) -> (Queue, Reader) {
    let queue = Queue::create(path, beginning()).expect("created");
    let reader = queue.reader().expect("opened");
    assert_eq!(told(&reader, "the creation"), (vec![], [0, 0]));
    queue.buckets_are_blocking(BUCKETS.map(str::to_owned).into(), Timestamp(1)).expect("ok");
    queue.found_blocking((1..=6).map(clip).collect()).expect("found");
    told(&reader, "six clips");
    let record = |number: u8, fact: Fact| {
        let after = format!("{number}: {fact:?}");
        queue.record_blocking(ClipId(number.into()), vec![fact]).expect("recorded");
        told(&reader, &after);
    };
    for number in 3..=6 {
        record(number, sealed(number));
    }
    for number in 4..=6 {
        record(number, receipt("a"));
    }
    for number in 5..=6 {
        record(number, receipt("b"));
        record(number, Fact::Stored(Timestamp(11)));
    }
    (queue, reader)
}

#[test]
fn amounts_are_what_counting_gives_after_facts() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (queue, reader) = filled(&dir.path().join("queue.db"));
    let (states, receipts) = told(&reader, "all facts");
    assert_eq!(receipts, [3, 2]);
    let of = |word| states.iter().find(|line| line.state.word() == word).expect("there");
    assert_eq!((of("seen").count, of("seen").size_bytes), (2, 0b110));
    assert_eq!((of("sealed").count, of("sealed").size_bytes), (2, 0b1_1000));
    let rewritten = Generation { size_bytes: 7, ..clip(1).generation };
    queue.record_blocking(ClipId(1), vec![Fact::Rewritten(rewritten)]).expect("recorded");
    told(&reader, "another size");
    queue.forget_blocking(ClipId(1)).expect("forgotten");
    queue.forget_blocking(ClipId(2)).expect("forgotten");
    assert_eq!(told(&reader, "forgetting").0.len(), 2, "a state without a clip has no line");
    queue.record_blocking(ClipId(4), vec![Fact::SealLost]).expect("recorded");
    assert_eq!(told(&reader, "a seal that was lost").1, [2, 2]);
}

/// Not all of it is done today; an older dockseal, or a later one, may.
#[test]
fn amounts_are_what_counting_gives_after_any_change() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("queue.db");
    let (queue, reader) = filled(&path);
    drop(queue);
    let writer = schema::open(&path, "dock-1").expect("opened");
    let changes = [
        ("UPDATE delivery SET evidence = NULL, stored_at = NULL WHERE clip = 4", [2, 2]),
        ("UPDATE delivery SET bucket = 'c' WHERE clip = 5 AND bucket = 'a'", [1, 2]),
        ("UPDATE delivery SET bucket = 'a' WHERE clip = 5 AND bucket = 'c'", [2, 2]),
        ("DELETE FROM delivery WHERE clip = 5 AND bucket = 'b'", [2, 1]),
        (
            "INSERT INTO delivery (clip, bucket, evidence, stored_at) VALUES (2, 'b', 'x', 1)",
            [2, 2],
        ),
        // Its deliveries go with it.
        ("DELETE FROM clip WHERE id = 6", [1, 1]),
        ("UPDATE clip SET size_bytes = size_bytes + id, state = 'erased' WHERE id > 3", [1, 1]),
        ("DELETE FROM clip", [0, 0]),
    ];
    for (sql, receipts) in changes {
        writer.execute(sql, []).expect(sql);
        assert_eq!(told(&reader, sql).1, receipts, "after {sql}");
    }
    assert_eq!(told(&reader, "all"), (vec![], [0, 0]));
}

#[test]
fn a_queue_without_amounts_says_the_same_and_is_given_them() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("queue.db");
    let (queue, reader) = filled(&path);
    let before = told(&reader, "all facts");
    drop((queue, reader));
    let older = Connection::open(&path).expect("opened");
    older.busy_timeout(std::time::Duration::from_secs(5)).expect("set");
    for trigger in TRIGGERS.split_whitespace().filter(|word| word.starts_with("amount_")) {
        older.execute_batch(&format!("DROP TRIGGER {trigger}")).expect("dropped");
    }
    older.execute_batch("DROP TABLE amount").expect("dropped");
    older.execute("DELETE FROM clip WHERE id = 1", []).expect("deleted");
    drop(older);
    let reader = Reader::open(&path).expect("opened");
    assert!(!are_kept(&reader.0).expect("read"));
    let counted: u64 = reader.states().expect("read").iter().map(|line| line.count).sum();
    let receipts = BUCKETS.map(|bucket| reader.receipt_count(bucket).expect("read"));
    assert_eq!((counted, receipts), (5, before.1));
    let queue = Queue::open(&path, "dock-1").expect("given them");
    assert_eq!(told(&reader, "an older queue").1, before.1);
    queue.found_blocking(vec![clip(7)]).expect("found");
    told(&reader, "one clip more");
}

fn plan(reader: &Reader, sql: &str) -> Vec<String> {
    let mut statement = reader.0.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("planned");
    // Nothing is bound: the plan is the same for every value.
    let (mut rows, mut lines) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next().expect("ran") {
        lines.push(row.get(3).expect("text"));
    }
    lines
}

/// A history of a million clips costs the desk nothing.
#[test]
fn the_desk_looks_at_no_clip_to_tell_amounts() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (_queue, reader) = filled(&dir.path().join("queue.db"));
    for sql in [STATES, RECEIPTS] {
        let lines = plan(&reader, sql);
        assert!(lines.iter().all(|line| line.contains("amount")), "{lines:#?}");
    }
    let held = Filter { held: Some(Held), ..Filter::default() };
    assert_eq!(reader.list(&held).expect("read"), []);
    let listed = format!("SELECT * FROM clip WHERE {}", held.condition());
    for sql in [listed.as_str(), read::AT_RISK] {
        let lines = plan(&reader, sql);
        let walked = lines.iter().find(|line| ["SCAN clip", "SCAN delivery"].contains(&&***line));
        assert_eq!(walked, None, "{lines:#?}");
    }
}
