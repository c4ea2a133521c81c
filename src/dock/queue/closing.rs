//! What the end of a dock asks of its queue: whether the log has ended, and what is left to do.

use std::path::PathBuf;

use rusqlite::{Connection, params};

use super::{Amount, QueueError, Reader, log, rows};
use crate::clip::{Timestamp, path_from_bytes};
use crate::custody::entry::{Entry, Event};

/// When a log of so many entries ended, if it did: by its last entry, and by nothing else.
fn ended(connection: &Connection, log: i64, size: u64) -> Result<Option<Timestamp>, QueueError> {
    let Some(last) = size.checked_sub(1) else { return Ok(None) };
    let sql = "SELECT entry FROM log_entry WHERE log = ?1 AND idx = ?2";
    let last: Option<Vec<u8>> = rows::first(connection, sql, params![log, rows::signed(last)])?;
    let last = last.and_then(|bytes| Entry::decode(&bytes).ok());
    Ok(last.filter(|entry| entry.event == Event::Closed).map(|entry| entry.at))
}

/// Refuses to go on with a log that has ended: an auditor takes what follows for tampering.
pub(super) fn expect_open(tx: &Connection, log: i64, size: u64) -> Result<(), QueueError> {
    ended(tx, log, size)?.map_or(Ok(()), |_| Err(QueueError::Ended))
}

impl Reader {
    /// When the dock was taken out of service, if it was.
    pub fn closed(&self) -> Result<Option<Timestamp>, QueueError> {
        let (log, size) = log::current(&self.0)?;
        ended(&self.0, log, size)
    }

    /// The clips that are stored and whose plaintext is there, by watch folder; `None` is a folder
    /// that is not known.
    pub fn stored_plaintext(&self) -> Result<Vec<(Option<PathBuf>, Amount)>, QueueError> {
        let sql = "SELECT folder, count(*), sum(size_bytes) FROM clip
             WHERE state = 'stored' AND plaintext = 'present' GROUP BY folder";
        let mut statement = self.0.prepare_cached(sql)?;
        let lines = statement.query_map([], |row| {
            let folder = row.get::<_, Option<Vec<u8>>>(0)?.map(path_from_bytes);
            let (count, size): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok((folder, Amount { count: count as u64, size_bytes: size as u64 }))
        })?;
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// How many uploads that were given up a bucket still keeps.
    pub fn leftover_count(&self, bucket: &str) -> Result<u64, QueueError> {
        let sql = "SELECT count(*) FROM leftover WHERE bucket = ?1";
        Ok(rows::first::<i64>(&self.0, sql, [bucket])?.unwrap_or(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::ClipId;
    use crate::dock::queue::{Beginning, Operator, Queue};

    #[tokio::test]
    async fn nothing_follows_the_last_entry_of_a_closed_log() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("queue.db");
        let beginning = Beginning { dock: "d".into(), previous: None, lost: None };
        let queue = Queue::create(&path, beginning).expect("created");
        let reader = queue.reader().expect("opened");
        assert_eq!(reader.closed().expect("read"), None);
        queue.enter(Event::Closed).await.expect("closed");
        let closed = reader.closed().expect("read");
        assert_eq!(closed, Some(reader.latest().expect("read")));
        for event in [Event::Closed, Event::Alive] {
            let refused = queue.enter(event).await;
            assert!(matches!(refused, Err(QueueError::Ended)), "{refused:?}");
        }
        let mut operator = Operator::open(&path, "d").expect("opened");
        let refused = operator.acknowledge("d", None);
        assert!(matches!(refused, Err(QueueError::Ended)), "{refused:?}");
        assert!(operator.forget(ClipId(1)).is_err());
        assert_eq!(reader.log().expect("read").1, 2, "started, closed");
        assert_eq!(reader.closed().expect("read"), closed);
    }
}
