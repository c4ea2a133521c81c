//! What a monitor asks: running totals, and backlogs by partial indexes.
//!
//! Nothing here looks at clips that are done, of which there may be a million.
//!
//! A total grows in the transaction of the fact that it counts. It lies in `meta` and began with
//! the version that first counted it: only its growth says something.

use rusqlite::{Connection, params};

use super::{Queue, QueueError, Reader, StateLine, rows};
use crate::clip::{Clip, Fact, Plaintext};
use crate::edge::bucket::Trouble;

/// Begins the keys of totals in `meta`; behind it its words, apart by blanks.
const PREFIX: &str = "total ";
/// The character behind the blank: where the keys with the prefix end.
const PREFIX_END: &str = "total!";
/// A failure whose cause names no trouble.
pub const TROUBLE_UNNAMED: &str = "other";

const WAITING: &str = "SELECT state, count(*), sum(size_bytes) FROM clip
     WHERE state IN ('seen', 'sealed') GROUP BY state";

/// Something that is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// Clips whose plaintext was erased.
    Erased,
    /// Attempts at a bucket that failed.
    Failures {
        /// The bucket.
        bucket: String,
        /// What was wrong.
        trouble: String,
    },
    /// Times that the kernel dropped notifications of what happens in watch folders.
    Overflows,
    /// Bytes of the sealed clips that a bucket gave receipts for.
    ReceiptBytes(String),
    /// Receipts of a bucket.
    Receipts(String),
    /// Sealed clips.
    Sealed,
    /// Their plaintext bytes.
    SealedBytes,
    /// Clips that every required bucket has.
    Stored,
}

impl Counted {
    fn key(&self) -> String {
        match self {
            Counted::Erased => format!("{PREFIX}erased"),
            Counted::Failures { bucket, trouble } => format!("{PREFIX}failures {bucket} {trouble}"),
            Counted::Overflows => format!("{PREFIX}overflows"),
            Counted::ReceiptBytes(bucket) => format!("{PREFIX}receipt-bytes {bucket}"),
            Counted::Receipts(bucket) => format!("{PREFIX}receipts {bucket}"),
            Counted::Sealed => format!("{PREFIX}sealed"),
            Counted::SealedBytes => format!("{PREFIX}sealed-bytes"),
            Counted::Stored => format!("{PREFIX}stored"),
        }
    }

    /// None where a later version counted something that is not known here.
    fn parse(key: &str) -> Option<Counted> {
        let words: Vec<&str> = key.strip_prefix(PREFIX)?.split(' ').collect();
        Some(match words.as_slice() {
            ["erased"] => Counted::Erased,
            ["failures", bucket, trouble] => {
                Counted::Failures { bucket: (*bucket).into(), trouble: (*trouble).into() }
            }
            ["overflows"] => Counted::Overflows,
            ["receipt-bytes", bucket] => Counted::ReceiptBytes((*bucket).into()),
            ["receipts", bucket] => Counted::Receipts((*bucket).into()),
            ["sealed"] => Counted::Sealed,
            ["sealed-bytes"] => Counted::SealedBytes,
            ["stored"] => Counted::Stored,
            _ => return None,
        })
    }
}

/// Counts a fact that is about to become true of a clip.
pub(super) fn count(tx: &Connection, clip: &Clip, fact: &Fact) -> Result<(), QueueError> {
    match fact {
        Fact::Acknowledged(receipt) => {
            let size_bytes = clip.sealed.map_or(0, |sealed| sealed.size_bytes);
            add(tx, &Counted::Receipts(receipt.bucket.clone()), 1)?;
            add(tx, &Counted::ReceiptBytes(receipt.bucket.clone()), size_bytes)
        }
        Fact::Gone { plaintext: Plaintext::Erased, .. } => add(tx, &Counted::Erased, 1),
        Fact::Sealed(_) => {
            add(tx, &Counted::Sealed, 1)?;
            add(tx, &Counted::SealedBytes, clip.generation.size_bytes)
        }
        Fact::Stored(_) => add(tx, &Counted::Stored, 1),
        Fact::DeliveryHeld { .. }
        | Fact::Gone { .. }
        | Fact::Held(_)
        | Fact::Moved(_)
        | Fact::Rewritten(_)
        | Fact::SealLost
        | Fact::Settled(_)
        | Fact::Unspooled => Ok(()),
    }
}

/// Counts an attempt at a bucket that failed.
pub(super) fn count_failure(
    tx: &Connection,
    bucket: &str,
    problem: &str,
) -> Result<(), QueueError> {
    let trouble = Trouble::named_in(problem).map_or(TROUBLE_UNNAMED, Trouble::code);
    add(tx, &Counted::Failures { bucket: bucket.into(), trouble: trouble.into() }, 1)
}

fn add(tx: &Connection, counted: &Counted, more: u64) -> Result<(), QueueError> {
    let sql = "INSERT INTO meta VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET value = CAST(value AS INTEGER) + ?2";
    tx.prepare_cached(sql)?.execute(params![counted.key(), rows::signed(more)])?;
    Ok(())
}

impl Queue {
    /// Counts what is no fact of a clip.
    pub async fn count(&self, counted: Counted, more: u64) -> Result<(), QueueError> {
        self.ask(move |tx| add(tx, &counted, more)).await
    }
}

impl Reader {
    /// All totals, in a stable order.
    pub fn totals(&self) -> Result<Vec<(Counted, u64)>, QueueError> {
        let sql = "SELECT key, CAST(value AS INTEGER) FROM meta WHERE key >= ?1 AND key < ?2
             ORDER BY key";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut found = statement.query([PREFIX, PREFIX_END])?;
        let mut totals = Vec::new();
        while let Some(row) = found.next()? {
            if let Some(counted) = Counted::parse(&row.get::<_, String>(0)?) {
                totals.push((counted, row.get::<_, i64>(1)? as u64));
            }
        }
        Ok(totals)
    }

    /// How many clips were ever found.
    pub fn found_count(&self) -> Result<u64, QueueError> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'clip'";
        Ok(rows::first::<i64>(&self.0, sql, [])?.unwrap_or(0) as u64)
    }

    /// The clips that are not stored yet, by state; a state without any has no line.
    pub fn waiting(&self) -> Result<Vec<StateLine>, QueueError> {
        self.state_lines(WAITING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{Evidence, Receipt, Source, Timestamp, examples};
    use crate::dock::queue::Beginning;
    use crate::hold::{Hold, Reason};

    fn queue() -> (tempfile::TempDir, Queue, Reader) {
        let dir = tempfile::tempdir().expect("tempdir");
        let beginning = Beginning { dock: "dock-1".into(), previous: None, lost: None };
        let queue = Queue::create(&dir.path().join("queue.db"), beginning).expect("created");
        let buckets = ["a", "b"].map(str::to_owned).into();
        queue.buckets_are_blocking(buckets, Timestamp(1)).expect("ok");
        let reader = queue.reader().expect("opened");
        (dir, queue, reader)
    }

    /// Adds a clip with 3 bytes, which were sealed to 200.
    fn seal(queue: &Queue, reader: &Reader, byte: u8) -> Clip {
        let source = Source { folder: "/srv/dock".into(), path: format!("{byte}").into() };
        let generation = examples::generation(byte.into());
        let clip = Clip::seen(source.clone(), generation, Timestamp(1));
        queue.found_blocking(vec![clip]).expect("found");
        let clip = reader.at(&source).expect("read").expect("there");
        let sealed = examples::sealed(byte);
        let facts = vec![Fact::Settled(Timestamp(1)), Fact::Sealed(sealed)];
        queue.record_blocking(clip.id, facts).expect("sealed");
        clip
    }

    fn receipt(bucket: &str) -> Fact {
        let (evidence, stored_at) = (Evidence::ReadBack, Timestamp(10));
        Fact::Acknowledged(Receipt { bucket: bucket.into(), evidence, stored_at })
    }

    #[test]
    fn totals_grow_with_the_facts_and_backlogs_shrink() {
        let (_dir, queue, reader) = queue();
        let [first, second, third] = [1, 2, 3].map(|byte| seal(&queue, &reader, byte));
        let backlog = |bucket| {
            let left = reader.backlog(bucket).expect("read");
            (left.count, left.size_bytes)
        };
        assert_eq!((backlog("a"), backlog("b")), ((3, 600), (3, 600)));
        let facts = vec![receipt("a"), receipt("b"), Fact::Stored(Timestamp(11))];
        queue.record_blocking(first.id, facts).expect("stored");
        let gone = Fact::Gone { plaintext: Plaintext::Erased, at: Timestamp(12) };
        queue.record_blocking(first.id, vec![gone]).expect("erased");
        queue.record_blocking(second.id, vec![receipt("a")]).expect("acknowledged");
        // It still waits for its bucket, though nobody tries it.
        let hold = Hold::for_operator(Reason::BucketRefused, "the bucket refused", Timestamp(13));
        let held = Fact::DeliveryHeld { bucket: "b".into(), hold };
        queue.record_blocking(third.id, vec![held]).expect("held");
        assert_eq!((backlog("a"), backlog("b")), ((1, 200), (2, 400)));
        let waiting = reader.waiting().expect("read");
        let waiting: Vec<_> = waiting.iter().map(|line| (line.count, line.size_bytes)).collect();
        assert_eq!(waiting, [(2, 6)]);
        assert_eq!(reader.found_count().expect("read"), 3);
        let expected = [
            (Counted::Erased, 1),
            (Counted::ReceiptBytes("a".into()), 400),
            (Counted::ReceiptBytes("b".into()), 200),
            (Counted::Receipts("a".into()), 2),
            (Counted::Receipts("b".into()), 1),
            (Counted::Sealed, 3),
            (Counted::SealedBytes, 9),
            (Counted::Stored, 1),
        ];
        assert_eq!(reader.totals().expect("read"), expected);
    }

    /// A history of a million clips costs a monitor nothing.
    #[test]
    fn nothing_here_looks_at_clips_that_are_done() {
        let (_dir, _queue, reader) = queue();
        let mut plan = reader.0.prepare(&format!("EXPLAIN QUERY PLAN {WAITING}")).expect("planned");
        let lines = plan.query_map([], |row| row.get(3));
        let lines: Vec<String> = lines.expect("ran").map(|line| line.expect("text")).collect();
        assert!(lines.iter().any(|line| line.contains("clip_state")), "{lines:#?}");
        assert_eq!(lines.iter().find(|line| line.starts_with("SCAN ")), None, "{lines:#?}");
    }

    #[test]
    fn what_is_counted_is_known_again_by_its_key() {
        let all = [
            Counted::Erased,
            Counted::Failures { bucket: "a.b-c_d".into(), trouble: TROUBLE_UNNAMED.into() },
            Counted::Overflows,
            Counted::ReceiptBytes("primary".into()),
            Counted::Receipts("primary".into()),
            Counted::Sealed,
            Counted::SealedBytes,
            Counted::Stored,
        ];
        for counted in all {
            assert_eq!(Counted::parse(&counted.key()), Some(counted));
        }
        assert_eq!(Counted::parse("total tomorrow 1"), None);
        assert_eq!(Counted::parse("drilled"), None);
    }
}
