//! How many clips are in each state, and how many receipts each bucket gave, without counting.
//!
//! SQLite's triggers keep the amounts, in the transaction of whatever changes them, also where an
//! older dockseal writes that knows nothing of them.

use rusqlite::Connection;

use super::{QueueError, Reader, StateLine, rows};

const TABLE: &str = "
CREATE TABLE amount (
  what TEXT PRIMARY KEY,
  count INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO amount SELECT 'state ' || state, count(*), sum(size_bytes) FROM clip GROUP BY state;
INSERT INTO amount SELECT 'receipts ' || bucket, count(*), 0 FROM delivery
  WHERE evidence IS NOT NULL GROUP BY bucket;
";

/// Deliveries that go with their clip are counted too: SQLite fires triggers for them.
const TRIGGERS: &str = "
CREATE TRIGGER IF NOT EXISTS amount_clip_new AFTER INSERT ON clip BEGIN
  INSERT INTO amount VALUES ('state ' || new.state, 1, new.size_bytes) ON CONFLICT (what)
    DO UPDATE SET count = count + 1, size_bytes = size_bytes + new.size_bytes;
END;
CREATE TRIGGER IF NOT EXISTS amount_clip_changed AFTER UPDATE OF state, size_bytes ON clip
  WHEN old.state <> new.state OR old.size_bytes <> new.size_bytes BEGIN
  UPDATE amount SET count = count - 1, size_bytes = size_bytes - old.size_bytes
    WHERE what = 'state ' || old.state;
  INSERT INTO amount VALUES ('state ' || new.state, 1, new.size_bytes) ON CONFLICT (what)
    DO UPDATE SET count = count + 1, size_bytes = size_bytes + new.size_bytes;
END;
CREATE TRIGGER IF NOT EXISTS amount_clip_gone AFTER DELETE ON clip BEGIN
  UPDATE amount SET count = count - 1, size_bytes = size_bytes - old.size_bytes
    WHERE what = 'state ' || old.state;
END;
CREATE TRIGGER IF NOT EXISTS amount_receipt_new AFTER INSERT ON delivery
  WHEN new.evidence IS NOT NULL BEGIN
  INSERT INTO amount VALUES ('receipts ' || new.bucket, 1, 0) ON CONFLICT (what)
    DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS amount_receipt_changed AFTER UPDATE OF evidence, bucket ON delivery
  WHEN (old.evidence IS NULL) <> (new.evidence IS NULL) OR old.bucket <> new.bucket BEGIN
  UPDATE amount SET count = count - 1
    WHERE old.evidence IS NOT NULL AND what = 'receipts ' || old.bucket;
  INSERT INTO amount SELECT 'receipts ' || new.bucket, 1, 0 WHERE new.evidence IS NOT NULL
    ON CONFLICT (what) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS amount_receipt_gone AFTER DELETE ON delivery
  WHEN old.evidence IS NOT NULL BEGIN
  UPDATE amount SET count = count - 1 WHERE what = 'receipts ' || old.bucket;
END;
";

const STATES: &str = "SELECT substr(what, length('state ') + 1), count, size_bytes FROM amount
     WHERE what GLOB 'state *' AND count > 0";
const RECEIPTS: &str = "SELECT count FROM amount WHERE what = 'receipts ' || ?1";
/// As every amount was told before.
const STATES_COUNTED: &str = "SELECT state, count(*), sum(size_bytes) FROM clip GROUP BY state";
const RECEIPTS_COUNTED: &str =
    "SELECT count(*) FROM delivery WHERE bucket = ?1 AND evidence IS NOT NULL";

/// Sees that the amounts are kept; they are counted once, where that begins. A queue without them
/// says the same, later; so they are no new version.
pub(super) fn keep(tx: &Connection) -> Result<(), QueueError> {
    if !are_kept(tx)? {
        tx.execute_batch(TABLE)?;
    }
    Ok(tx.execute_batch(TRIGGERS)?)
}

fn are_kept(connection: &Connection) -> Result<bool, QueueError> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'amount'";
    Ok(rows::first::<i64>(connection, sql, [])?.is_some())
}

impl Reader {
    /// The number and size of clips by state; a state without any has no line.
    pub fn states(&self) -> Result<Vec<StateLine>, QueueError> {
        self.state_lines(if are_kept(&self.0)? { STATES } else { STATES_COUNTED })
    }

    /// Number of receipts that a bucket gave.
    pub fn receipt_count(&self, bucket: &str) -> Result<u64, QueueError> {
        let count = if are_kept(&self.0)? {
            rows::first::<i64>(&self.0, RECEIPTS, [bucket])?
        } else {
            rows::first::<i64>(&self.0, RECEIPTS_COUNTED, [bucket])?
        };
        Ok(count.unwrap_or(0) as u64)
    }
}

#[cfg(test)]
mod tests;
