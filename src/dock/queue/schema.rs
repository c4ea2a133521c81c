//! The queue's tables, and the checks before a database is touched.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{Beginning, QueueError, amounts, log};
use crate::clip::to_hex;
use crate::edge::{clock, durable, fs};

/// `dks1`: marks the file as a queue of dockseal (SQLite file format §1.3).
const APPLICATION_ID: i64 = 0x646b_7331;
/// The newest schema that this version reads and writes.
const USER_VERSION: i64 = 3;
/// The oldest schema that is brought up to date when the daemon opens it.
const USER_VERSION_MIN: i64 = 1;
/// A larger queue is checked while it is used: all of it is read for that, which takes seconds for
/// a million clips, and minutes where it lies on a memory card.
const CHECKED_FIRST_BYTES_MAX: u64 = 64 << 20;
/// More than there are: each keeps a few KiB.
const STATEMENT_COUNT_MAX: usize = 128;

/// `clip.due_at` says when the agent should look again: NULL is never. It is only a hint; all rows
/// that are not done are looked at after a start. `clip.version` counts the changes of a row.
/// Paths are bytes, and leave with the plaintext.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE clip (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL CHECK (state IN ('seen', 'sealed', 'stored', 'erased')),
  plaintext TEXT NOT NULL CHECK (plaintext IN ('present', 'erased', 'absent', 'changed')),
  folder BLOB,
  path BLOB,
  device_number INTEGER NOT NULL,
  inode_number INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  modified_ns INTEGER NOT NULL,
  changed_ns INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  settled_at INTEGER,
  stored_at INTEGER,
  gone_at INTEGER,
  sealed_name BLOB UNIQUE,
  sealed_size_bytes INTEGER,
  commitment BLOB,
  sealed_at INTEGER,
  reread INTEGER,
  in_spool INTEGER,
  keyring_revision INTEGER,
  hold_reason TEXT,
  hold_until INTEGER,
  hold_since INTEGER,
  hold_attempts INTEGER,
  hold_cause TEXT,
  due_at INTEGER,
  version INTEGER NOT NULL DEFAULT 0,
  CHECK ((folder IS NULL) = (path IS NULL)),
  CHECK ((state = 'seen') = (sealed_name IS NULL)),
  CHECK ((hold_reason IS NULL) = (hold_since IS NULL))
) STRICT;
CREATE UNIQUE INDEX clip_place ON clip (folder, path) WHERE path IS NOT NULL;
CREATE INDEX clip_due ON clip (state, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX clip_state ON clip (state, size_bytes);
CREATE INDEX clip_unsafe ON clip (seen_at) WHERE stored_at IS NULL;
CREATE INDEX clip_held ON clip (hold_reason, hold_since, hold_until) WHERE hold_reason IS NOT NULL;
CREATE INDEX clip_inode ON clip (inode_number) WHERE state = 'seen' OR path IS NULL;
CREATE TABLE delivery (
  clip INTEGER NOT NULL REFERENCES clip (id) ON DELETE CASCADE,
  bucket TEXT NOT NULL,
  evidence TEXT,
  stored_at INTEGER,
  hold_reason TEXT,
  hold_until INTEGER,
  hold_since INTEGER,
  hold_attempts INTEGER,
  hold_cause TEXT,
  PRIMARY KEY (clip, bucket),
  CHECK ((evidence IS NULL) = (stored_at IS NULL)),
  CHECK ((hold_reason IS NULL) = (hold_since IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_held ON delivery (bucket, hold_reason, hold_since, hold_until)
  WHERE hold_reason IS NOT NULL;
CREATE TABLE folder (
  path BLOB PRIMARY KEY,
  looked_at INTEGER NOT NULL,
  mode TEXT NOT NULL,
  files INTEGER NOT NULL,
  ignored INTEGER NOT NULL,
  problem TEXT,
  problem_since INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE bucket (
  name TEXT PRIMARY KEY,
  receipt_at INTEGER,
  problem TEXT,
  problem_since INTEGER
) STRICT, WITHOUT ROWID;
";

/// The custody log. `log_node` has the hashes of the tile levels above the entries. Of the logs
/// that a queue began, the last one is written to.
const LOG_TABLES: &str = "
CREATE TABLE log (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, began_at INTEGER NOT NULL)
  STRICT;
CREATE TABLE log_entry (
  log INTEGER NOT NULL REFERENCES log (number),
  idx INTEGER NOT NULL,
  entry BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (log, idx)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_node (
  log INTEGER NOT NULL REFERENCES log (number),
  level INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (log, level, idx)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_published (
  log INTEGER NOT NULL REFERENCES log (number),
  bucket TEXT NOT NULL,
  attempted INTEGER NOT NULL,
  size INTEGER NOT NULL,
  problem TEXT,
  problem_since INTEGER,
  PRIMARY KEY (log, bucket)
) STRICT, WITHOUT ROWID;
CREATE TABLE keyring (revision INTEGER PRIMARY KEY, note TEXT NOT NULL, source TEXT NOT NULL)
  STRICT;
";

/// How far deliveries have come. A delivery of a sealed clip exists for each configured bucket;
/// `due_at` says when to try it, NULL is never; of those that are due the lowest `rank` goes first.
/// The parts of an upload that the bucket has are kept here, so that it goes on after a restart; an
/// upload that was given up is a leftover until the bucket has let go of it.
const DELIVERY_TABLES: &str = "
ALTER TABLE bucket ADD COLUMN configured INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bucket ADD COLUMN behind_seconds INTEGER;
ALTER TABLE delivery ADD COLUMN due_at INTEGER;
ALTER TABLE delivery ADD COLUMN rank INTEGER NOT NULL DEFAULT 1;
ALTER TABLE delivery ADD COLUMN upload_key TEXT;
ALTER TABLE delivery ADD COLUMN upload_id TEXT;
ALTER TABLE delivery ADD COLUMN upload_part_size INTEGER;
ALTER TABLE delivery ADD COLUMN upload_completing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN upload_replaces INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_due ON delivery (bucket, rank, due_at, clip) WHERE due_at IS NOT NULL;
CREATE TABLE upload_part (
  clip INTEGER NOT NULL,
  bucket TEXT NOT NULL,
  number INTEGER NOT NULL,
  content_id TEXT NOT NULL,
  sha256 BLOB,
  checked INTEGER NOT NULL,
  PRIMARY KEY (clip, bucket, number),
  FOREIGN KEY (clip, bucket) REFERENCES delivery (clip, bucket) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE TABLE leftover (
  bucket TEXT NOT NULL,
  key TEXT NOT NULL,
  upload_id TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_at INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (bucket, key, upload_id)
) STRICT, WITHOUT ROWID;
";

/// For the desk, which is to answer at once however many clips there were: the spool, and what each
/// bucket acknowledged when. A queue without them says the same, later; so they are no new version.
const DESK_INDEXES: &str = "
CREATE INDEX IF NOT EXISTS clip_spool ON clip (sealed_at, sealed_size_bytes) WHERE in_spool = 1;
CREATE INDEX IF NOT EXISTS delivery_receipt ON delivery (bucket, stored_at)
  WHERE evidence IS NOT NULL;
";

/// What SQLite keeps beside a database: its write-ahead log, and the index of that. They belong
/// together: a log beside another database would be taken for its own.
pub fn beside(path: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|suffix| {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        PathBuf::from(beside)
    })
}

/// Creates the database and begins its log; an existing one is opened as it is.
///
/// It is made under another name: what was cut short by a full disk or a power cut is no queue,
/// and would be taken for another program's.
pub(super) fn create(path: &Path, beginning: Beginning) -> Result<Connection, QueueError> {
    if !path.exists() {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = Path::new(&unfinished);
        // Over the one that an earlier attempt may have left, and without its log.
        for path in beside(unfinished) {
            fs::remove_if_there(&path).map_err(QueueError::Create)?;
        }
        let file = fs::create_over(unfinished).map_err(QueueError::Create)?;
        fill(unfinished, beginning.clone())?;
        fs::publish(&file, unfinished, path).map_err(QueueError::Create)?;
    }
    open(path, &beginning.dock)
}

/// Makes an empty file a queue. It is in WAL mode before it has its name: to change it later takes
/// a journal that only a writer could undo.
fn fill(path: &Path, beginning: Beginning) -> Result<(), QueueError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    // Room taken back in steps: only settable now.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;")?;
    let instance = random_hex();
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(&format!(
        "{TABLES} {LOG_TABLES} {DELIVERY_TABLES} {DESK_INDEXES}
         INSERT INTO meta VALUES ('instance', '{instance}');
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {USER_VERSION};"
    ))?;
    amounts::keep(&tx)?;
    log::begin(&tx, beginning, clock::now())?;
    tx.commit()?;
    // All of it into the file itself: closing would do so too, and say nothing where it failed.
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
    Ok(connection.close().map_err(|(_, error)| error)?)
}

/// Brings a queue of an earlier dockseal up to date; a later one was refused before.
fn upgrade(connection: &mut Connection, dock: &str) -> Result<(), QueueError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = tx.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))?;
    if version < 2 {
        tx.execute_batch(&format!(
            "ALTER TABLE clip ADD COLUMN keyring_revision INTEGER; {LOG_TABLES}"
        ))?;
        let beginning = Beginning { dock: dock.to_owned(), previous: None, lost: None };
        log::begin(&tx, beginning, clock::now())?;
    }
    if version < 3 {
        tx.execute_batch(DELIVERY_TABLES)?;
    }
    tx.execute_batch(DESK_INDEXES)?;
    amounts::keep(&tx)?;
    tx.execute_batch(&format!("PRAGMA user_version = {USER_VERSION};"))?;
    tx.commit()?;
    if version < USER_VERSION {
        // Into the file's own header: there the packages look for the version before they put an
        // older dockseal over this one (packaging/scripts/preinst).
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
    }
    Ok(())
}

/// Opens the database for the one writer. It is looked at read-only first, so that a file of a
/// newer version, or of another program, is refused without a byte written.
pub(super) fn open(path: &Path, dock: &str) -> Result<Connection, QueueError> {
    drop(open_from(path, USER_VERSION_MIN)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    upgrade(&mut connection, dock)?;
    let suspect = suspect(path);
    if !is_large(path) || suspect.exists() {
        check(&connection)?;
        if suspect.exists() {
            // Where it cannot be removed, a whole check comes once more.
            let _ = fs::remove_if_there(&suspect);
        }
    }
    Ok(connection)
}

fn check(connection: &Connection) -> Result<(), QueueError> {
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check == "ok" { Ok(()) } else { Err(QueueError::Corrupt(check)) }
}

/// Whether a whole check takes too long before the daemon is ready.
pub(super) fn is_large(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() > CHECKED_FIRST_BYTES_MAX)
}

/// Lies beside a queue that was found damaged while it was used: whoever opens that next, checks
/// it before anything else. A queue that is begun in its place is checked as well, and found whole.
fn suspect(path: &Path) -> PathBuf {
    path.with_extension("suspect")
}

/// Checks a queue that is in use; one that is damaged becomes a suspect.
pub(super) fn check_in_use(path: &Path) -> Result<(), QueueError> {
    let checked = open_to_read(path).and_then(|connection| check(&connection));
    if checked.as_ref().is_err_and(QueueError::is_damage) {
        durable::replace(&suspect(path), b"").map_err(QueueError::Create)?;
    }
    checked
}

/// Opens the database for reading, also while no daemon runs.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, QueueError> {
    open_from(path, USER_VERSION)
}

fn open_from(path: &Path, version_min: i64) -> Result<Connection, QueueError> {
    if !path.try_exists().map_err(QueueError::Closed)? {
        return Err(QueueError::Missing);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    plan_once(&connection)?;
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    if number("PRAGMA application_id")? != APPLICATION_ID {
        // Of nobody: what SQLite leaves where its write-ahead log was lost.
        return Err(match number("SELECT count(*) FROM sqlite_schema")? {
            0 => QueueError::Corrupt("it is empty".into()),
            _ => QueueError::Foreign,
        });
    }
    let version = number("PRAGMA user_version")?;
    if !(version_min..=USER_VERSION).contains(&version) {
        return Err(QueueError::Version { found: version, known: USER_VERSION });
    }
    Ok(connection)
}

/// A statement is planned once, not again for each value that is bound to it: a partial index with
/// `IS NOT NULL` makes SQLite look into every one. It was a seventh of the daemon's time. Nor again
/// because others were used since: a round of the loop alone has more than the 16 that are kept by
/// default.
fn plan_once(connection: &Connection) -> Result<(), QueueError> {
    connection.set_prepared_statement_cache_capacity(STATEMENT_COUNT_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Sets what durability rests on, and reads it back: a pragma that did not take says nothing.
fn prepare(connection: &Connection) -> Result<(), QueueError> {
    connection.busy_timeout(std::time::Duration::from_secs(30))?;
    plan_once(connection)?;
    // Closing after a sync that failed would sync the same log again. FAULTS F-13.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 33554432;
         PRAGMA trusted_schema = OFF;",
    )?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    const FULL: i64 = 2;
    if mode != "wal" || synchronous != FULL {
        return Err(QueueError::NotDurable { mode, synchronous });
    }
    Ok(())
}

fn random_hex() -> String {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).expect("the kernel has randomness");
    to_hex(&bytes)
}
