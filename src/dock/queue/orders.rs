//! What operators ordered: buckets that rest, folders that are let go of, clips that go first.
//!
//! As rows of `meta`, so that a restart forgets none of it.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::{Operator, QueueError, Reader, rows};
use crate::clip::{ClipId, State, Timestamp, from_hex, path_from_bytes, to_hex};

/// Keys of `meta`: every bucket; one bucket, before its name; a folder, before the hex of its
/// path; a clip that is not sealed yet, before its number.
const PAUSE: &str = "pause";
const PAUSE_ONE: &str = "pause:";
const EJECT: &str = "eject:";
const FIRST: &str = "first:";
/// The end of an order that holds until it is taken back.
const NO_END: &str = "-";

/// How long an order holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderEnd(pub Option<Timestamp>);

impl OrderEnd {
    /// Whether it holds still.
    pub fn holds(self, now: Timestamp) -> bool {
        self.0.is_none_or(|until| now < until)
    }

    /// As it stands in the table.
    pub(super) fn text(self) -> String {
        self.0.map_or_else(|| NO_END.to_owned(), |until| until.0.to_string())
    }

    pub(super) fn parse(text: &str) -> Option<OrderEnd> {
        if text == NO_END {
            return Some(OrderEnd(None));
        }
        Some(OrderEnd(Some(Timestamp(text.parse().ok()?))))
    }
}

/// What operators ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Nothing goes to any bucket.
    pub all_paused: Option<OrderEnd>,
    /// Nothing goes to these buckets.
    pub paused: BTreeMap<String, OrderEnd>,
    /// These watch folders are left alone.
    pub ejected: BTreeMap<PathBuf, OrderEnd>,
}

impl Orders {
    /// OrderEnd when nothing goes to a bucket.
    pub fn pause(&self, bucket: &str, now: Timestamp) -> Option<OrderEnd> {
        let own = self.paused.get(bucket).copied();
        let orders = [self.all_paused, own].into_iter().flatten().filter(|until| until.holds(now));
        orders.max_by_key(|until| until.0.map_or(i64::MAX, |until| until.0))
    }

    /// Until when a watch folder is left alone.
    pub fn ejection(&self, folder: &Path, now: Timestamp) -> Option<OrderEnd> {
        self.ejected.get(folder).copied().filter(|until| until.holds(now))
    }
}

impl Operator {
    /// Nothing goes to a bucket, or to any, for a while.
    pub fn pause(&mut self, bucket: Option<&str>, until: OrderEnd) -> Result<(), QueueError> {
        self.order(&bucket.map_or(PAUSE.to_owned(), pause_key), &until.text())
    }

    /// Goes on with a bucket; without a name with all of them. Says whether one was paused.
    pub fn resume(&mut self, bucket: Option<&str>) -> Result<bool, QueueError> {
        if let Some(bucket) = bucket {
            return self.revoke(&pause_key(bucket));
        }
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "DELETE FROM meta WHERE key = 'pause' OR key GLOB 'pause:*'";
        let removed = tx.execute(sql, [])?;
        tx.commit()?;
        Ok(removed > 0)
    }

    /// The daemon leaves a watch folder alone for a while.
    pub fn eject(&mut self, folder: &Path, until: OrderEnd) -> Result<(), QueueError> {
        self.order(&eject_key(folder), &until.text())
    }

    /// The daemon looks into a watch folder again. Says whether it had been let go of.
    pub fn take_back(&mut self, folder: &Path) -> Result<bool, QueueError> {
        self.revoke(&eject_key(folder))
    }

    /// A clip goes to its buckets before others, also where it is not sealed yet. Says to how many
    /// buckets it has still to go; `None` where that is not known before it is sealed.
    pub fn prioritise(&mut self, id: ClipId) -> Result<Option<u64>, QueueError> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let clip = rows::load(&tx, id)?.ok_or(QueueError::NoClip)?;
        let left = if clip.state() == State::Seen {
            tx.execute("INSERT OR REPLACE INTO meta VALUES (?1, '')", [first_key(id)])?;
            None
        } else {
            let sql = "UPDATE delivery SET rank = 0 WHERE clip = ?1 AND evidence IS NULL";
            Some(tx.execute(sql, [id.0])? as u64)
        };
        tx.commit()?;
        Ok(left)
    }

    /// Writes down an order, over an earlier one of its key.
    pub(super) fn order(&mut self, key: &str, value: &str) -> Result<(), QueueError> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
        Ok(tx.commit()?)
    }

    /// Takes an order back. Says whether there was one.
    pub(super) fn revoke(&mut self, key: &str) -> Result<bool, QueueError> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let removed = tx.execute("DELETE FROM meta WHERE key = ?1", [key])?;
        tx.commit()?;
        Ok(removed > 0)
    }
}

impl Reader {
    /// All that operators ordered, also what does not hold any more.
    pub fn orders(&self) -> Result<Orders, QueueError> {
        let sql = "SELECT key, value FROM meta WHERE key = 'pause' OR key GLOB 'pause:*'
             OR key GLOB 'eject:*'";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut orders = Orders::default();
        while let Some(row) = rows.next()? {
            let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
            let wrong = || QueueError::Corrupt(format!("{key} is no order"));
            let until = OrderEnd::parse(&value).ok_or_else(wrong)?;
            if let Some(bucket) = key.strip_prefix(PAUSE_ONE) {
                orders.paused.insert(bucket.to_owned(), until);
            } else if let Some(hex) = key.strip_prefix(EJECT) {
                let bytes = from_hex(hex).ok_or_else(wrong)?;
                orders.ejected.insert(path_from_bytes(bytes), until);
            } else {
                orders.all_paused = Some(until);
            }
        }
        Ok(orders)
    }
}

/// A clip is sealed now, or forgotten: where an operator had said that it goes first, it does.
pub(super) fn apply_first(tx: &Connection, id: ClipId) -> Result<(), QueueError> {
    let sql = "DELETE FROM meta WHERE key = ?1";
    if tx.prepare_cached(sql)?.execute([first_key(id)])? > 0 {
        tx.execute("UPDATE delivery SET rank = 0 WHERE clip = ?1", [id.0])?;
    }
    Ok(())
}

fn pause_key(bucket: &str) -> String {
    format!("{PAUSE_ONE}{bucket}")
}

fn eject_key(folder: &Path) -> String {
    format!("{EJECT}{}", to_hex(folder.as_os_str().as_bytes()))
}

fn first_key(id: ClipId) -> String {
    format!("{FIRST}{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dock::queue::{Beginning, Queue};

    #[test]
    fn an_order_holds_until_its_end_or_until_it_is_taken_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("queue.db");
        let beginning = Beginning { dock: "dock-1".into(), previous: None, lost: None };
        let _daemon = Queue::create(&path, beginning).expect("created");
        let reader = Reader::open(&path).expect("opened");
        let mut operator = Operator::open(&path, "dock-1").expect("opened");
        let soon = OrderEnd(Some(Timestamp(10)));
        operator.pause(None, soon).expect("paused");
        operator.pause(Some("b:1"), OrderEnd(None)).expect("paused");
        let folder = path_from_bytes(b"/srv/\xff:dock".to_vec());
        operator.eject(&folder, soon).expect("let go of");
        let orders = reader.orders().expect("read");
        assert_eq!(orders.pause("a", Timestamp(9)), Some(soon));
        assert_eq!(orders.pause("a", Timestamp(10)), None);
        assert_eq!(orders.pause("b:1", Timestamp(9)), Some(OrderEnd(None)), "the longer one");
        assert_eq!(orders.ejection(&folder, Timestamp(9)), Some(soon));
        assert_eq!(orders.ejection(&folder, Timestamp(10)), None);
        assert_eq!(orders.ejection(Path::new("/srv"), Timestamp(9)), None);
        assert!(operator.resume(Some("b:1")).expect("resumed"));
        assert!(!operator.resume(Some("b:1")).expect("was not paused"));
        assert!(operator.resume(None).expect("resumed"));
        assert!(operator.take_back(&folder).expect("taken back"));
        assert_eq!(reader.orders().expect("read"), Orders::default());
    }
}
