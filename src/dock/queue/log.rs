//! The custody log in the queue: an entry is written in the transaction of its fact.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{Operator, Queue, QueueError, Reader, closing, lost, rows, totals};
use crate::clip::{Clip, Fact, SealedName, Timestamp};
use crate::custody::account::event_of;
use crate::custody::entry::{Entry, Event};
use crate::custody::merkle::{self, Frontier, Hash};
use crate::custody::tile::{self, HEIGHT, Holds, LEVEL_COUNT, Piece, WIDTH};
use crate::custody::{Head, LogId};
use crate::edge::clock;
use crate::hold::Reason;

/// How a log begins.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The dock's name.
    pub dock: String,
    /// The end of an earlier log of this dock that this queue does not continue.
    pub previous: Option<Head>,
    /// What was wrong with the queue before this one, where that one was lost.
    pub lost: Option<String>,
}

/// How far a bucket has the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// The size that was about to be published: pieces up to here in the bucket are ours.
    pub attempted: u64,
    /// The size whose pieces and checkpoint are all there.
    pub size: u64,
}

/// Where an entry stands in its log, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Counted from 0.
    pub index: u64,
    /// The entry.
    pub entry: Entry,
}

/// Begins a log in a queue: everything after this is in it.
pub(super) fn begin(
    tx: &Connection,
    beginning: Beginning,
    now: Timestamp,
) -> Result<(), QueueError> {
    let mut id = [0u8; 8];
    getrandom::fill(&mut id).expect("the kernel has randomness");
    let id = LogId(id).to_string();
    tx.execute("INSERT INTO log (id, began_at) VALUES (?1, ?2)", params![id, now.0])?;
    if beginning.previous.is_some() || beginning.lost.is_some() {
        set(tx, "unacknowledged", "1")?;
    }
    if let Some(cause) = beginning.lost {
        lost::note(tx, cause, now)?;
    }
    let event = Event::Started {
        dock: beginning.dock,
        dockseal: env!("CARGO_PKG_VERSION").to_owned(),
        previous: beginning.previous.map(Into::into),
    };
    append(tx, event)
}

/// Appends one entry to the current log, unless that has ended.
pub(super) fn append(tx: &Connection, event: Event) -> Result<(), QueueError> {
    let now = clock::now();
    let entry = Entry::new(now, event).encode();
    let hash = merkle::leaf_hash(&entry);
    let (log, size) = current(tx)?;
    closing::expect_open(tx, log, size)?;
    tx.prepare_cached("INSERT INTO log_entry VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        log,
        rows::signed(size),
        entry,
        hash.0
    ])?;
    let latest = "INSERT INTO meta VALUES ('latest', ?1)
         ON CONFLICT DO UPDATE SET value = max(CAST(value AS INTEGER), ?1)";
    tx.prepare_cached(latest)?.execute([now.0])?;
    Ok(())
}

/// Writes the entry of a fact that is about to become true, and counts it.
pub(super) fn account(tx: &Connection, clip: &Clip, fact: &Fact) -> Result<(), QueueError> {
    totals::count(tx, clip, fact)?;
    event_of(clip, fact).map_or(Ok(()), |event| append(tx, event))
}

/// The number of the current log and of its entries.
pub(super) fn current(connection: &Connection) -> Result<(i64, u64), QueueError> {
    let log = rows::first::<Option<i64>>(connection, "SELECT max(number) FROM log", [])?.flatten();
    let log = log.ok_or_else(|| QueueError::Corrupt("it has no log".into()))?;
    let sql = "SELECT max(idx) FROM log_entry WHERE log = ?1";
    let last = rows::first::<Option<i64>>(connection, sql, [log])?.flatten();
    Ok((log, last.map_or(0, |last| last as u64 + 1)))
}

pub(super) fn set(tx: &Connection, key: &str, value: &str) -> Result<(), QueueError> {
    tx.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
    Ok(())
}

pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>, QueueError> {
    rows::first(connection, "SELECT value FROM meta WHERE key = ?1", [key])
}

/// The roots of tiles that are full by now and were not yet kept: they are the hashes of the tiles
/// above. Without them, each checkpoint would read the whole log.
fn keep_nodes(tx: &Connection, log: i64, size: u64) -> Result<(), QueueError> {
    for level in 1..LEVEL_COUNT {
        let sql = "SELECT max(idx) FROM log_node WHERE log = ?1 AND level = ?2";
        let last = rows::first::<Option<i64>>(tx, sql, params![log, level])?.flatten();
        let from = last.map_or(0, |last| last as u64 + 1);
        for index in from..size >> (HEIGHT * level) {
            let below = Piece { holds: Holds::Hashes(level - 1), index, width: WIDTH };
            let root = tile::perfect_root(&hashes(tx, log, level - 1, below)?);
            tx.prepare_cached("INSERT INTO log_node VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                log,
                level,
                rows::signed(index),
                root.0
            ])?;
        }
    }
    Ok(())
}

/// The hashes of a tile.
fn hashes(
    connection: &Connection,
    log: i64,
    level: u32,
    piece: Piece,
) -> Result<Vec<Hash>, QueueError> {
    let (from, width) = (rows::signed(piece.index * WIDTH), rows::signed(piece.width));
    let sql = match level {
        0 => {
            "SELECT hash FROM log_entry WHERE log = ?1 AND idx >= ?2 AND idx < ?2 + ?3 AND ?4 = 0
              ORDER BY idx"
        }
        _ => {
            "SELECT hash FROM log_node WHERE log = ?1 AND idx >= ?2 AND idx < ?2 + ?3
              AND level = ?4 ORDER BY idx"
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let found =
        statement.query_map(params![log, from, width, level], |row| row.get(0).map(Hash))?;
    let found: Vec<Hash> = found.collect::<Result<_, _>>()?;
    if found.len() as u64 == piece.width {
        Ok(found)
    } else {
        Err(QueueError::Corrupt(format!("the log has a gap in {}", piece.path())))
    }
}

impl Queue {
    /// Begins a new log, because this queue does not continue the one that the disk remembers.
    pub fn begin_log_blocking(&self, beginning: Beginning) -> Result<(), QueueError> {
        self.do_blocking(move |tx| begin(tx, beginning, clock::now()))
    }

    /// Appends an entry that is about no clip.
    pub async fn enter(&self, event: Event) -> Result<(), QueueError> {
        self.ask(move |tx| append(tx, event)).await
    }

    /// Prepares a checkpoint: after it, all tiles up to `size` can be read.
    pub async fn close_tiles(&self, size: u64) -> Result<(), QueueError> {
        self.ask(move |tx| keep_nodes(tx, current(tx)?.0, size)).await
    }

    /// As [`Queue::close_tiles`], on a thread that may block.
    pub fn close_tiles_blocking(&self, size: u64) -> Result<(), QueueError> {
        self.do_blocking(move |tx| keep_nodes(tx, current(tx)?.0, size))
    }

    /// Notes that the log is about to be published to a bucket up to a size.
    pub async fn publishing(&self, bucket: String, size: u64) -> Result<(), QueueError> {
        let sql = "INSERT INTO log_published VALUES (?1, ?2, ?3, 0, NULL, NULL)
             ON CONFLICT DO UPDATE SET attempted = max(attempted, ?3)";
        self.ask(move |tx| {
            let log = current(tx)?.0;
            tx.prepare_cached(sql)?.execute(params![log, bucket, rows::signed(size)])?;
            Ok(())
        })
        .await
    }

    /// Notes how publishing went.
    pub async fn published(
        &self,
        bucket: String,
        outcome: Result<u64, String>,
    ) -> Result<(), QueueError> {
        let sql = "UPDATE log_published SET size = max(size, coalesce(?3, size)), problem = ?4,
             problem_since = iif(?4 IS NULL, NULL, coalesce(problem_since, ?5))
             WHERE log = ?1 AND bucket = ?2";
        self.ask(move |tx| {
            let size = outcome.as_ref().ok().map(|size| rows::signed(*size));
            let (log, problem) = (current(tx)?.0, outcome.err());
            let now = clock::now().0;
            tx.prepare_cached(sql)?.execute(params![log, bucket, size, problem, now])?;
            Ok(())
        })
        .await
    }

    /// Notes what the witness said: up to which size it cosigned, or why it did not.
    pub async fn witnessed(&self, outcome: Result<u64, String>) -> Result<(), QueueError> {
        self.ask(move |tx| match outcome {
            Ok(size) => {
                tx.execute("DELETE FROM meta WHERE key = 'witness_problem'", [])?;
                let log = current(tx)?.0;
                set(tx, "witnessed", &format!("{log} {size}"))
            }
            Err(problem) => set(tx, "witness_problem", &problem),
        })
        .await
    }

    /// Notes that the authority opened clips of this dock at a time.
    pub async fn drilled(&self, at: Timestamp) -> Result<(), QueueError> {
        let sql = "INSERT INTO meta VALUES ('drilled', ?1)
             ON CONFLICT DO UPDATE SET value = max(CAST(value AS INTEGER), ?1)";
        self.ask(move |tx| {
            tx.prepare_cached(sql)?.execute([at.0])?;
            Ok(())
        })
        .await
    }

    /// Remembers that another log of this name is in a bucket: this one must not go on.
    pub async fn forked(&self, key: String) -> Result<(), QueueError> {
        self.ask(move |tx| set(tx, "forked", &key)).await
    }

    /// Keeps a keyring that was taken, and says so in the log.
    pub async fn keyring_taken(
        &self,
        note: String,
        source: &'static str,
        revision: u64,
        sha256: SealedName,
    ) -> Result<(), QueueError> {
        self.ask(move |tx| {
            let kept = "INSERT OR IGNORE INTO keyring VALUES (?1, ?2, ?3)";
            if tx.execute(kept, params![rows::signed(revision), note, source])? == 1 {
                append(tx, Event::Keyring { revision, sha256 })?;
            }
            Ok(())
        })
        .await
    }

    /// Lifts all holds of a reason, so that their clips are tried at once.
    pub async fn release(&self, reason: Reason) -> Result<(), QueueError> {
        self.ask(move |tx| {
            for mut clip in rows::select(tx, "hold_reason = ?1", [reason.code()])? {
                clip.hold = None;
                rows::save(tx, &clip, Some(Timestamp(0)))?;
            }
            Ok(())
        })
        .await
    }
}

impl Reader {
    /// The current log's id and number of entries.
    pub fn log(&self) -> Result<(LogId, u64), QueueError> {
        let (log, size) = current(&self.0)?;
        let id: Option<String> =
            rows::first(&self.0, "SELECT id FROM log WHERE number = ?1", [log])?;
        let id = id.expect("just found").parse().map_err(|_| corrupt_id())?;
        Ok((id, size))
    }

    /// The head of the current log at a size. Its tiles must have been closed up to there.
    pub fn head(&self, size: u64) -> Result<Head, QueueError> {
        let (number, known) = current(&self.0)?;
        let (log, _) = self.log()?;
        assert!(size <= known, "a log has no head beyond its end");
        let mut frontier = Frontier::default();
        for level in (0..LEVEL_COUNT).rev() {
            // What of this level stands right of the full tiles of the level above.
            let (from, to) = ((frontier.size() >> (HEIGHT * level)), size >> (HEIGHT * level));
            let mut at = from;
            while at < to {
                let width = (to - at).min(WIDTH);
                let piece = Piece { holds: Holds::Hashes(level), index: at / WIDTH, width };
                for hash in hashes(&self.0, number, level, piece)? {
                    frontier.push_subtree(HEIGHT * level, hash);
                }
                at += width;
            }
        }
        Ok(Head { log, size, root: frontier.root() })
    }

    /// The hashes of a tile of the current log.
    pub fn tile(&self, piece: Piece) -> Result<Vec<Hash>, QueueError> {
        match piece.holds {
            Holds::Hashes(level) => hashes(&self.0, current(&self.0)?.0, level, piece),
            Holds::Entries => panic!("a bundle has entries, not hashes"),
        }
    }

    /// The bytes of a piece of the current log, as a bucket keeps them.
    pub fn piece(&self, piece: Piece) -> Result<Vec<u8>, QueueError> {
        match piece.holds {
            Holds::Hashes(_) => Ok(tile::encode_tile(&self.tile(piece)?)),
            Holds::Entries => {
                let entries = self.entries_bytes(piece.index * WIDTH, piece.width)?;
                Ok(tile::encode_bundle(entries.iter().map(Vec::as_slice)))
            }
        }
    }

    fn entries_bytes(&self, from: u64, count: u64) -> Result<Vec<Vec<u8>>, QueueError> {
        let sql = "SELECT entry FROM log_entry WHERE log = ?1 AND idx >= ?2 ORDER BY idx LIMIT ?3";
        let mut statement = self.0.prepare_cached(sql)?;
        let log = current(&self.0)?.0;
        let found = statement
            .query_map(params![log, rows::signed(from), rows::signed(count)], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Some entries of the current log, in order.
    pub fn entries(&self, from: u64, count: u64) -> Result<Vec<Numbered>, QueueError> {
        let entries = self.entries_bytes(from, count)?;
        let numbered = entries.iter().zip(from..).map(|(bytes, index)| {
            let entry = Entry::decode(bytes);
            let entry = entry.map_err(|error| QueueError::Corrupt(error.to_string()))?;
            Ok(Numbered { index, entry })
        });
        numbered.collect()
    }

    /// The latest time of any entry: what is before it is over.
    pub fn latest(&self) -> Result<Timestamp, QueueError> {
        let latest = meta(&self.0, "latest")?.and_then(|latest| latest.parse().ok());
        Ok(Timestamp(latest.unwrap_or(0)))
    }

    /// How far a bucket has the current log.
    pub fn published(&self, bucket: &str) -> Result<Published, QueueError> {
        let sql = "SELECT attempted, size FROM log_published WHERE log = ?1 AND bucket = ?2";
        let log = current(&self.0)?.0;
        let mut statement = self.0.prepare_cached(sql)?;
        let found = statement
            .query_row(params![log, bucket], |row| {
                let (attempted, size): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok(Published { attempted: attempted as u64, size: size as u64 })
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }

    /// What hinders publishing the log to a bucket, and since when.
    pub fn publish_problem(&self, bucket: &str) -> Result<Option<(String, Timestamp)>, QueueError> {
        let sql = "SELECT problem, problem_since FROM log_published
             WHERE log = ?1 AND bucket = ?2 AND problem IS NOT NULL";
        let log = current(&self.0)?.0;
        let mut statement = self.0.prepare_cached(sql)?;
        let found = statement
            .query_row(params![log, bucket], |row| Ok((row.get(0)?, Timestamp(row.get(1)?))))
            .optional()?;
        Ok(found)
    }

    /// Whether this log does not continue an earlier one, and nobody acknowledged that yet.
    pub fn is_unacknowledged(&self) -> Result<bool, QueueError> {
        Ok(meta(&self.0, "unacknowledged")?.is_some())
    }

    /// The size up to which the witness cosigned the current log.
    pub fn witnessed(&self) -> Result<u64, QueueError> {
        let (log, _) = current(&self.0)?;
        let known = meta(&self.0, "witnessed")?;
        let known = known.as_deref().and_then(|known| known.split_once(' '));
        let size = known.filter(|(of, _)| *of == log.to_string()).map(|(_, size)| size.parse());
        Ok(size.and_then(Result::ok).unwrap_or(0))
    }

    /// When the authority last proved that clips of this dock can be opened, as far as it is known.
    pub fn drilled(&self) -> Result<Option<Timestamp>, QueueError> {
        Ok(meta(&self.0, "drilled")?.and_then(|at| at.parse().ok()).map(Timestamp))
    }

    /// Why the last checkpoint has no cosignature.
    pub fn witness_problem(&self) -> Result<Option<String>, QueueError> {
        meta(&self.0, "witness_problem")
    }

    /// The object that shows that another log has this one's name.
    pub fn forked(&self) -> Result<Option<String>, QueueError> {
        meta(&self.0, "forked")
    }

    /// The keyrings that were taken, in the order of their revisions, and where each came from.
    pub fn keyrings(&self) -> Result<Vec<(String, String)>, QueueError> {
        let sql = "SELECT note, source FROM keyring ORDER BY revision";
        let mut statement = self.0.prepare_cached(sql)?;
        let notes = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(notes.collect::<Result<_, _>>()?)
    }
}

impl Operator {
    /// Acknowledges that this log does not continue the earlier one, which allows erasing. Where
    /// the log was forked, a new one begins; `previous` is the head of the forked one.
    pub fn acknowledge(&mut self, dock: &str, previous: Option<Head>) -> Result<(), QueueError> {
        let tx = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if meta(&tx, "forked")?.is_some() {
            let beginning = Beginning { dock: dock.to_owned(), previous, lost: None };
            begin(&tx, beginning, clock::now())?;
        }
        // The clock may have been wrong: from now on its time counts again.
        let known = "DELETE FROM meta WHERE key IN ('forked', 'unacknowledged', 'lost', 'latest')";
        tx.execute(known, [])?;
        append(&tx, Event::Acknowledged)?;
        Ok(tx.commit()?)
    }
}

fn corrupt_id() -> QueueError {
    QueueError::Corrupt("a log's id is not one".into())
}
