//! Deliveries: which clips go to a bucket next.

use rusqlite::{Connection, params};

use super::read::Reader;
use super::{Queue, QueueError, look_at_all, record, rows, totals};
use crate::clip::{Clip, ClipId, Fact, SealedName, Timestamp};

mod uploads;

use uploads::ask_again;
pub(super) use uploads::give_up;
pub use uploads::{Leftover, Sending};

/// A delivery to try, and which version of the clip's row was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDelivery {
    /// The clip.
    pub clip: Clip,
    version: i64,
}

/// Which deliveries go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Those of clips that are to go first, then the others.
    FlaggedFirst,
    /// The others alone: a stream of flagged clips must not starve them.
    Others,
}

/// What an attempt at a bucket gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The bucket's name.
    pub bucket: String,
    /// What is wrong, in words; none where it gave a receipt.
    pub problem: Option<String>,
    /// How many seconds our clock is behind the server's, where that said its time.
    pub behind_seconds: Option<i64>,
    /// When.
    pub at: Timestamp,
}

impl Reader {
    /// The next deliveries to a bucket, those that wait longest first.
    pub fn due_deliveries(
        &self,
        bucket: &str,
        now: Timestamp,
        order: Order,
        count_max: u64,
    ) -> Result<Vec<DueDelivery>, QueueError> {
        // One snapshot for the clips and their versions.
        let tx = self.0.unchecked_transaction()?;
        let ranks = match order {
            Order::FlaggedFirst => "rank >= 0",
            Order::Others => "rank = 1",
        };
        let sql = format!(
            "SELECT clip FROM delivery WHERE bucket = ?1 AND {ranks}
             AND due_at IS NOT NULL AND due_at <= ?2 ORDER BY rank, due_at, clip LIMIT ?3"
        );
        let mut statement = tx.prepare_cached(&sql)?;
        let ids = statement.query_map(params![bucket, now.0, rows::signed(count_max)], |row| {
            Ok(ClipId(row.get(0)?))
        })?;
        let mut due = Vec::new();
        for id in ids {
            let id = id?;
            if let Some(clip) = rows::load(&tx, id)? {
                due.push(DueDelivery { clip, version: rows::version(&tx, id)? });
            }
        }
        Ok(due)
    }

    /// How many deliveries to a bucket are due.
    pub fn due_delivery_count(&self, bucket: &str, now: Timestamp) -> Result<u64, QueueError> {
        let sql = "SELECT count(*) FROM delivery
             WHERE bucket = ?1 AND due_at IS NOT NULL AND due_at <= ?2";
        Ok(rows::first::<i64>(&self.0, sql, params![bucket, now.0])?.unwrap_or(0) as u64)
    }

    /// When an operator last asked for another attempt.
    pub fn retried(&self) -> Result<Option<Timestamp>, QueueError> {
        let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'retried'";
        Ok(rows::first(&self.0, sql, [])?.map(Timestamp))
    }
}

impl Queue {
    /// Says which buckets there are: every sealed clip in the spool is to go to each of them, also
    /// to one that was added since.
    pub fn buckets_are_blocking(
        &self,
        buckets: Vec<String>,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        self.do_blocking(move |tx| {
            tx.execute("UPDATE bucket SET configured = 0", [])?;
            for bucket in &buckets {
                let sql = "INSERT INTO bucket (name, configured) VALUES (?1, 1)
                     ON CONFLICT DO UPDATE SET configured = 1";
                tx.execute(sql, [bucket])?;
                let sql = "INSERT OR IGNORE INTO delivery (clip, bucket, due_at)
                     SELECT id, ?1, sealed_at FROM clip WHERE in_spool = 1";
                tx.execute(sql, [bucket])?;
            }
            // The clock may have been put back while nobody looked.
            ask_again(tx, now)?;
            // Deliveries of a queue that is older than this table, too.
            look_at_waiting(tx, now)
        })
    }

    /// The clock was put back: what is to be done at a time is looked at now, or it would wait for
    /// as long as that was.
    pub async fn clock_went_back(&self, now: Timestamp) -> Result<(), QueueError> {
        self.ask(move |tx| {
            look_at_all(tx, now)?;
            ask_again(tx, now)?;
            look_at_waiting(tx, now)
        })
        .await
    }

    /// As [`Queue::record`], for what was found out of the sealed file of this name. Where the
    /// clip has been sealed anew meanwhile, it says nothing of the new one and is dropped.
    /// `answered` is what the bucket's attempt gave besides.
    pub async fn record_of(
        &self,
        id: ClipId,
        name: SealedName,
        facts: Vec<Fact>,
        answered: Option<Answered>,
    ) -> Result<(), QueueError> {
        self.ask(move |tx| {
            if let Some(answered) = answered {
                note_answer(tx, answered)?;
            }
            let clip = rows::load(tx, id)?.ok_or(QueueError::NoClip)?;
            match clip.sealed {
                Some(sealed) if sealed.name == name => record(tx, id, facts),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Says when to try deliveries to a bucket again; `None` is never. One whose clip changed since
    /// it was read is left as it is.
    pub async fn put_off(
        &self,
        bucket: String,
        due: Vec<(DueDelivery, Option<Timestamp>)>,
    ) -> Result<(), QueueError> {
        self.ask(move |tx| {
            let sql = "UPDATE delivery SET due_at = ?3 WHERE clip = ?1 AND bucket = ?2
                 AND ?4 = (SELECT version FROM clip WHERE id = ?1)";
            let mut statement = tx.prepare_cached(sql)?;
            for (due, time) in due {
                let time = time.map(|time| time.0);
                statement.execute(params![due.clip.id.0, bucket, time, due.version])?;
            }
            Ok(())
        })
        .await
    }

    /// A delivery had its turn and is not done: it goes behind those that wait.
    pub async fn turn_over(
        &self,
        id: ClipId,
        bucket: String,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        self.ask(move |tx| {
            let sql = "UPDATE delivery SET due_at = ?3
                 WHERE clip = ?1 AND bucket = ?2 AND due_at IS NOT NULL";
            tx.execute(sql, params![id.0, bucket, now.0])?;
            Ok(())
        })
        .await
    }

    /// The deliveries of a clip go before those of others.
    pub async fn push_first(&self, id: ClipId) -> Result<(), QueueError> {
        self.ask(move |tx| {
            tx.execute("UPDATE delivery SET rank = 0 WHERE clip = ?1", [id.0])?;
            Ok(())
        })
        .await
    }

    /// A bucket works again: what waited for it waits no longer.
    pub async fn release_deliveries(
        &self,
        bucket: String,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        self.ask(move |tx| {
            let sql =
                "UPDATE delivery SET hold_reason = NULL, hold_until = NULL, hold_since = NULL,
                 hold_attempts = NULL, hold_cause = NULL, due_at = ?2
                 WHERE bucket = ?1 AND hold_until IS NOT NULL AND evidence IS NULL
                   AND hold_reason IN ('bucket-failed', 'bucket-refused')";
            tx.execute(sql, params![bucket, now.0])?;
            Ok(())
        })
        .await
    }
}

fn note_answer(tx: &Connection, answered: Answered) -> Result<(), QueueError> {
    let sql = "INSERT INTO bucket (name, receipt_at, problem, problem_since, behind_seconds)
        VALUES (?1, iif(?2 IS NULL, ?3, NULL), ?2, iif(?2 IS NULL, NULL, ?3), ?4)
        ON CONFLICT DO UPDATE SET
        receipt_at = iif(?2 IS NULL, ?3, receipt_at), problem = ?2,
        problem_since = iif(?2 IS NULL, NULL, coalesce(problem_since, ?3)),
        behind_seconds = coalesce(?4, behind_seconds)";
    let Answered { bucket, problem, behind_seconds, at } = answered;
    if let Some(problem) = &problem {
        totals::count_failure(tx, &bucket, problem)?;
    }
    tx.prepare_cached(sql)?.execute(params![bucket, problem, at.0, behind_seconds])?;
    Ok(())
}

/// Has deliveries that wait for a time looked at; those that still have to are put off again.
fn look_at_waiting(tx: &Connection, now: Timestamp) -> Result<(), QueueError> {
    let sql = "UPDATE delivery SET due_at = ?1
         WHERE (due_at > ?1 OR due_at IS NULL AND evidence IS NULL
             AND (hold_reason IS NULL OR hold_until IS NOT NULL))
           AND clip IN (SELECT id FROM clip WHERE in_spool = 1)";
    tx.execute(sql, [now.0])?;
    Ok(())
}

/// A sealed clip is to go to every configured bucket.
pub(super) fn address(tx: &Connection, clip: &Clip) -> Result<(), QueueError> {
    let sql = "INSERT OR IGNORE INTO delivery (clip, bucket, due_at)
         SELECT ?1, name, ?2 FROM bucket WHERE configured = 1";
    let sealed_at = clip.sealed.map(|sealed| sealed.sealed_at.0);
    tx.prepare_cached(sql)?.execute(params![clip.id.0, sealed_at])?;
    Ok(())
}

/// The deliveries of a clip are tried at once.
pub(super) fn look_at(tx: &Connection, id: ClipId, now: Timestamp) -> Result<(), QueueError> {
    let sql = "UPDATE delivery SET due_at = ?2 WHERE clip = ?1
         AND clip IN (SELECT id FROM clip WHERE in_spool = 1)";
    tx.execute(sql, params![id.0, now.0])?;
    Ok(())
}

/// An operator wants another attempt now: whoever rests is to wake.
pub(super) fn note_retry(tx: &Connection, now: Timestamp) -> Result<(), QueueError> {
    let sql = "INSERT INTO meta VALUES ('retried', ?1) ON CONFLICT DO UPDATE SET value = ?1";
    tx.execute(sql, [now.0.to_string()])?;
    Ok(())
}

#[cfg(test)]
mod tests;
