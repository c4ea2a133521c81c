//! Reading the queue, on a connection of one's own, with or without a daemon.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::{QueueError, rows, schema};
use crate::clip::{Clip, ClipId, SealedName, Source, State, Timestamp, path_from_bytes};
use crate::hold::Reason;

/// Each `SELECT` by the held ones: for a `UNION` SQLite would walk both tables in its order.
pub(super) const AT_RISK: &str = "SELECT count(DISTINCT id) FROM (
     SELECT id FROM clip
       WHERE hold_reason IS NOT NULL AND hold_until IS NULL AND stored_at IS NULL
     UNION ALL SELECT clip FROM delivery JOIN clip ON clip.id = delivery.clip
       WHERE delivery.hold_reason IS NOT NULL AND delivery.hold_until IS NULL
       AND clip.stored_at IS NULL AND bucket IN (SELECT value FROM json_each(?1)))";

/// A reading connection.
pub struct Reader(pub(super) Connection);

/// A clip to look at, and which version of its row was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The clip.
    pub clip: Clip,
    pub(super) version: i64,
}

/// Which clips to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only in this state.
    pub state: Option<State>,
    /// Only those that wait, themselves or one of their deliveries.
    pub held: Option<Held>,
    /// At most so many; the newest.
    pub count_max: Option<u64>,
}

impl Filter {
    /// For a state or none, and the most clips.
    pub(super) fn condition(&self) -> String {
        // By the held ones, not by all clips, newest first: `+` keeps SQLite from that order; and
        // it would walk both tables for the order of a `UNION`.
        let (held, order) = match self.held {
            Some(Held) => (
                "AND id IN (SELECT id FROM clip WHERE hold_reason IS NOT NULL UNION ALL
                 SELECT clip FROM delivery WHERE hold_reason IS NOT NULL)",
                "+id",
            ),
            None => ("", "id"),
        };
        format!("(?1 IS NULL OR state = ?1) {held} ORDER BY {order} DESC LIMIT ?2")
    }
}

/// Marks a filter for clips that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held;

/// How many clips are in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLine {
    /// The state.
    pub state: State,
    /// Number of clips.
    pub count: u64,
    /// Their plaintext bytes.
    pub size_bytes: u64,
}

/// How many clips wait for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLine {
    /// Why.
    pub reason: Reason,
    /// The bucket, where a delivery waits.
    pub bucket: Option<String>,
    /// Number of clips.
    pub count: u64,
    /// Number of them that wait for an operator.
    pub operator_count: u64,
    /// Since when the first of them waits.
    pub since: Timestamp,
    /// The first of them.
    pub first: ClipId,
    /// Its cause in words.
    pub cause: String,
}

/// What the last look through a watch folder gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderLine {
    /// The folder.
    pub path: PathBuf,
    /// When.
    pub looked_at: Timestamp,
    /// `inotify` or `poll`.
    pub mode: String,
    /// Regular files that are clips.
    pub file_count: u64,
    /// Files with names of unfinished ones.
    pub ignored_count: u64,
    /// What was wrong, in words.
    pub problem: Option<String>,
    /// Since when.
    pub problem_since: Option<Timestamp>,
}

/// What the last attempts at a bucket gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketLine {
    /// Its name.
    pub name: String,
    /// The last receipt.
    pub receipt_at: Option<Timestamp>,
    /// What is wrong, in words.
    pub problem: Option<String>,
    /// Since when.
    pub problem_since: Option<Timestamp>,
    /// How many seconds our clock was behind its server's, when that last said its time.
    pub behind_seconds: Option<i64>,
}

impl Reader {
    /// Opens the queue for reading.
    pub fn open(path: &Path) -> Result<Reader, QueueError> {
        Ok(Reader(schema::open_to_read(path)?))
    }

    /// A value of the queue's own: `instance`.
    pub fn instance(&self) -> Result<String, QueueError> {
        let value = rows::first(&self.0, "SELECT value FROM meta WHERE key = 'instance'", [])?;
        value.ok_or_else(|| QueueError::Corrupt("it has no instance".into()))
    }

    /// One clip.
    pub fn clip(&self, id: ClipId) -> Result<Option<Clip>, QueueError> {
        rows::load(&self.0, id)
    }

    /// The clip whose plaintext lies at a place.
    pub fn at(&self, source: &Source) -> Result<Option<Clip>, QueueError> {
        let place = (source.folder.as_os_str().as_bytes(), source.path.as_os_str().as_bytes());
        Ok(rows::select(&self.0, "folder = ?1 AND path = ?2", place)?.pop())
    }

    /// The clips whose sealed name begins with these hex digits; at most `count_max`.
    pub fn named(&self, prefix: &str, count_max: u64) -> Result<Vec<Clip>, QueueError> {
        let condition = "sealed_name IS NOT NULL AND substr(lower(hex(sealed_name)), 1, ?2) = ?1
             LIMIT ?3";
        let count_max = rows::signed(count_max);
        rows::select(
            &self.0,
            condition,
            params![prefix, rows::signed(prefix.len() as u64), count_max],
        )
    }

    /// The next clips of a state to look at, those that wait longest first.
    pub fn due(
        &self,
        state: State,
        now: Timestamp,
        count_max: u64,
    ) -> Result<Vec<Due>, QueueError> {
        // One snapshot for the clip and its version.
        let tx = self.0.unchecked_transaction()?;
        // The state as a literal: SQLite looks into a bound one, to see whether a partial index
        // fits, and compiles the statement again each time.
        let state = state.word();
        let condition = format!("state = '{state}' AND due_at <= ?1 ORDER BY due_at, id LIMIT ?2");
        let clips = rows::select(&tx, &condition, params![now.0, rows::signed(count_max)])?;
        let due = clips.into_iter().map(|clip| {
            let version = rows::version(&tx, clip.id)?;
            Ok(Due { clip, version })
        });
        due.collect()
    }

    /// Clips whose plaintext lies in a folder, in the order of their numbers, from behind `after`.
    pub fn in_folder(
        &self,
        folder: &Path,
        after: ClipId,
        count_max: u64,
    ) -> Result<Vec<Clip>, QueueError> {
        let condition = "folder = ?1 AND path IS NOT NULL AND id > ?2 ORDER BY id LIMIT ?3";
        let folder = folder.as_os_str().as_bytes();
        rows::select(&self.0, condition, params![folder, after.0, rows::signed(count_max)])
    }

    /// Clips of an inode that are not sealed yet, wherever: a file may have been renamed.
    pub fn seen_of_inode(&self, inode_number: u64) -> Result<Vec<Clip>, QueueError> {
        let condition = "inode_number = ?1 AND state = 'seen'";
        rows::select(&self.0, condition, [rows::signed(inode_number)])
    }

    /// The clips that a filter lets through, newest first.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Clip>, QueueError> {
        let count_max = filter.count_max.map_or(-1, rows::signed);
        rows::select(
            &self.0,
            &filter.condition(),
            params![filter.state.map(State::word), count_max],
        )
    }

    pub(super) fn state_lines(&self, sql: &str) -> Result<Vec<StateLine>, QueueError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(StateLine {
                state: rows::word(row.get(0)?)?,
                count: row.get::<_, i64>(1)? as u64,
                size_bytes: row.get::<_, i64>(2)? as u64,
            });
        }
        Ok(lines)
    }

    /// The waits by reason and bucket.
    pub fn held(&self) -> Result<Vec<HeldLine>, QueueError> {
        // SQLite fills bare columns from the row of the min(): the first cause, and its clip.
        let sql = "SELECT hold_reason, NULL, count(*), sum(hold_until IS NULL), min(hold_since),
               id, hold_cause FROM clip WHERE hold_reason IS NOT NULL GROUP BY hold_reason
             UNION ALL
             SELECT hold_reason, bucket, count(*), sum(hold_until IS NULL), min(hold_since),
               clip, hold_cause FROM delivery WHERE hold_reason IS NOT NULL
               GROUP BY bucket, hold_reason";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(HeldLine {
                reason: rows::word(row.get(0)?)?,
                bucket: row.get(1)?,
                count: row.get::<_, i64>(2)? as u64,
                operator_count: row.get::<_, i64>(3)? as u64,
                since: Timestamp(row.get(4)?),
                first: ClipId(row.get(5)?),
                cause: row.get(6)?,
            });
        }
        Ok(lines)
    }

    /// When the oldest clip that is not yet stored was found.
    pub fn oldest_unsafe(&self) -> Result<Option<Timestamp>, QueueError> {
        let sql = "SELECT min(seen_at) FROM clip WHERE stored_at IS NULL";
        Ok(rows::first::<Option<i64>>(&self.0, sql, [])?.flatten().map(Timestamp))
    }

    /// How many clips are not stored yet.
    pub fn unsafe_count(&self) -> Result<u64, QueueError> {
        let sql = "SELECT count(*) FROM clip WHERE stored_at IS NULL";
        Ok(rows::first::<i64>(&self.0, sql, [])?.unwrap_or(0) as u64)
    }

    /// How many clips are not stored yet, and wait for an operator: themselves, or in front of one
    /// of these buckets.
    pub fn at_risk_count(&self, required: &[&str]) -> Result<u64, QueueError> {
        let required = serde_json::to_string(required).expect("texts are JSON");
        Ok(rows::first::<i64>(&self.0, AT_RISK, [required])?.unwrap_or(0) as u64)
    }

    /// How many clips there are that are to be looked at now or later.
    pub fn due_count(&self, now: Timestamp) -> Result<u64, QueueError> {
        let sql = "SELECT count(*) FROM clip WHERE due_at <= ?1";
        Ok(rows::first::<i64>(&self.0, sql, [now.0])?.unwrap_or(0) as u64)
    }

    /// How many clips are found but not yet taken as finished.
    pub fn unsettled_count(&self) -> Result<u64, QueueError> {
        let sql = "SELECT count(*) FROM clip WHERE state = 'seen' AND settled_at IS NULL
             AND hold_reason IS NULL";
        Ok(rows::first::<i64>(&self.0, sql, [])?.unwrap_or(0) as u64)
    }

    /// The sealed files that should lie in the spool.
    pub fn in_spool(&self) -> Result<Vec<(ClipId, SealedName)>, QueueError> {
        let mut statement =
            self.0.prepare_cached("SELECT id, sealed_name FROM clip WHERE in_spool = 1")?;
        let rows =
            statement.query_map([], |row| Ok((ClipId(row.get(0)?), SealedName(row.get(1)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether the clip of a sealed file is known, and needs it no longer.
    pub fn has_left_spool(&self, name: SealedName) -> Result<bool, QueueError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM clip WHERE sealed_name = ?1 AND in_spool = 0)";
        Ok(self.0.prepare_cached(sql)?.query_row([name.0], |row| row.get(0))?)
    }

    /// What the last looks through the folders gave.
    pub fn folders(&self) -> Result<Vec<FolderLine>, QueueError> {
        let mut statement = self.0.prepare_cached("SELECT * FROM folder ORDER BY path")?;
        let rows = statement.query_map([], |row| {
            Ok(FolderLine {
                path: path_from_bytes(row.get("path")?),
                looked_at: Timestamp(row.get("looked_at")?),
                mode: row.get("mode")?,
                file_count: row.get::<_, i64>("files")? as u64,
                ignored_count: row.get::<_, i64>("ignored")? as u64,
                problem: row.get("problem")?,
                problem_since: row.get::<_, Option<i64>>("problem_since")?.map(Timestamp),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What the last attempts at the buckets gave.
    pub fn buckets(&self) -> Result<Vec<BucketLine>, QueueError> {
        let mut statement = self.0.prepare_cached("SELECT * FROM bucket ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            Ok(BucketLine {
                name: row.get("name")?,
                behind_seconds: row.get("behind_seconds")?,
                receipt_at: row.get::<_, Option<i64>>("receipt_at")?.map(Timestamp),
                problem: row.get("problem")?,
                problem_since: row.get::<_, Option<i64>>("problem_since")?.map(Timestamp),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
