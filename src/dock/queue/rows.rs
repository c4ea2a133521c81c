//! Between rows of the queue and clips.

use std::os::unix::ffi::OsStrExt;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{QueueError, deliveries};
use crate::clip::{
    Clip, ClipId, Delivery, Generation, Receipt, SealedFile, SealedName, Source, Timestamp,
    UnknownWord, path_from_bytes,
};
use crate::hold::{Hold, Until};

/// In the order in which [`clip_from`] takes them.
const COLUMNS: &str = "id, plaintext, folder, path, device_number, inode_number, size_bytes, \
    modified_ns, changed_ns, seen_at, settled_at, stored_at, gone_at, \
    hold_reason, hold_until, hold_since, hold_attempts, hold_cause, \
    sealed_name, sealed_size_bytes, commitment, sealed_at, reread, in_spool, keyring_revision";

/// SQLite has signed integers only; sizes, inodes and devices are kept by their bits.
pub(super) fn signed(value: u64) -> i64 {
    value as i64
}

fn unsigned(value: i64) -> u64 {
    value as u64
}

/// The clips that a condition selects, with their deliveries.
pub(super) fn select(
    connection: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Clip>, QueueError> {
    let sql = format!("SELECT {COLUMNS} FROM clip WHERE {condition}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters)?;
    let mut clips = Vec::new();
    while let Some(row) = rows.next()? {
        let mut clip = clip_from(row)?;
        clip.deliveries = deliveries_of(connection, clip.id)?;
        clips.push(clip);
    }
    Ok(clips)
}

/// The number of changes that a row has seen.
pub(super) fn version(connection: &Connection, id: ClipId) -> Result<i64, QueueError> {
    let version = first(connection, "SELECT version FROM clip WHERE id = ?1", [id.0])?;
    version.ok_or(QueueError::NoClip)
}

/// One clip.
pub(super) fn load(connection: &Connection, id: ClipId) -> Result<Option<Clip>, QueueError> {
    Ok(select(connection, "id = ?1", [id.0])?.pop())
}

/// The columns of a row, one after the other: to look each up by its name takes longer than to read
/// it.
struct Columns<'r>(&'r Row<'r>, usize);

impl Columns<'_> {
    fn take<T: FromSql>(&mut self) -> Result<T, rusqlite::Error> {
        self.1 += 1;
        self.0.get(self.1 - 1)
    }

    fn time(&mut self) -> Result<Option<Timestamp>, rusqlite::Error> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp))
    }

    fn hold(&mut self) -> Result<Option<Hold>, QueueError> {
        let reason: Option<String> = self.take()?;
        let (until, since) = (self.time()?, self.time()?);
        let attempts: Option<u32> = self.take()?;
        let cause: Option<String> = self.take()?;
        let Some(reason) = reason else { return Ok(None) };
        let missing = || QueueError::Corrupt("a hold without its time, attempts or cause".into());
        Ok(Some(Hold {
            reason: word(reason)?,
            until: until.map_or(Until::Operator, Until::Time),
            since: since.ok_or_else(missing)?,
            attempts: attempts.ok_or_else(missing)?,
            cause: cause.ok_or_else(missing)?,
        }))
    }
}

fn clip_from(row: &Row<'_>) -> Result<Clip, QueueError> {
    let mut row = Columns(row, 0);
    let id = ClipId(row.take()?);
    let plaintext = word(row.take()?)?;
    let place = row.take::<Option<Vec<u8>>>()?.zip(row.take::<Option<Vec<u8>>>()?);
    let source = place.map(|(folder, path)| Source {
        folder: path_from_bytes(folder),
        path: path_from_bytes(path),
    });
    let generation = Generation {
        device_number: unsigned(row.take()?),
        inode_number: unsigned(row.take()?),
        size_bytes: unsigned(row.take()?),
        modified_ns: row.take()?,
        changed_ns: row.take()?,
    };
    let seen_at = Timestamp(row.take()?);
    let (settled_at, stored_at, gone_at) = (row.time()?, row.time()?, row.time()?);
    let hold = row.hold()?;
    // The rest is NULL before it is sealed.
    let sealed = match row.take::<Option<[u8; 32]>>()? {
        None => None,
        Some(name) => Some(SealedFile {
            name: SealedName(name),
            size_bytes: unsigned(row.take()?),
            commitment: row.take()?,
            sealed_at: Timestamp(row.take()?),
            reread: row.take()?,
            in_spool: row.take()?,
            keyring_revision: row.take::<Option<i64>>()?.map(unsigned),
        }),
    };
    Ok(Clip {
        id,
        source,
        generation,
        plaintext,
        seen_at,
        settled_at,
        stored_at,
        gone_at,
        sealed,
        hold,
        deliveries: vec![],
    })
}

fn deliveries_of(connection: &Connection, id: ClipId) -> Result<Vec<Delivery>, QueueError> {
    let mut statement = connection.prepare_cached(
        "SELECT bucket, evidence, stored_at, hold_reason, hold_until, hold_since, hold_attempts,
         hold_cause FROM delivery WHERE clip = ?1 ORDER BY bucket",
    )?;
    let mut rows = statement.query([id.0])?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = Columns(row, 0);
        let bucket: String = row.take()?;
        let evidence = row.take::<Option<String>>()?.map(word).transpose()?;
        let receipt = evidence.zip(row.time()?).map(|(evidence, stored_at)| Receipt {
            bucket: bucket.clone(),
            evidence,
            stored_at,
        });
        deliveries.push(Delivery { bucket, receipt, hold: row.hold()? });
    }
    Ok(deliveries)
}

/// Inserts a clip; its `id` is ignored, the new one is returned.
pub(super) fn insert(
    connection: &Connection,
    clip: &Clip,
    due_at: Option<Timestamp>,
) -> Result<ClipId, QueueError> {
    let sql = "INSERT INTO clip (state, plaintext, device_number, inode_number, size_bytes,
        modified_ns, changed_ns, seen_at) VALUES ('seen', 'present', 0, 0, 0, 0, 0, ?1)";
    connection.prepare_cached(sql)?.execute([clip.seen_at.0])?;
    let id = ClipId(connection.last_insert_rowid());
    save(connection, &Clip { id, ..clip.clone() }, due_at)?;
    Ok(id)
}

/// Writes all that is known of a clip over what was known before.
pub(super) fn save(
    connection: &Connection,
    clip: &Clip,
    due_at: Option<Timestamp>,
) -> Result<(), QueueError> {
    let sql = "UPDATE clip SET state = :state, plaintext = :plaintext, folder = :folder,
        path = :path, device_number = :device, inode_number = :inode, size_bytes = :size,
        modified_ns = :modified, changed_ns = :changed, settled_at = :settled,
        stored_at = :stored, gone_at = :gone, sealed_name = :name,
        sealed_size_bytes = :sealed_size, commitment = :commitment, sealed_at = :sealed_at,
        reread = :reread, in_spool = :in_spool, keyring_revision = :keyring,
        hold_reason = :reason, hold_until = :until,
        hold_since = :since, hold_attempts = :attempts, hold_cause = :cause, due_at = :due,
        version = version + 1 WHERE id = :id";
    let sealed = clip.sealed.as_ref();
    let hold = HoldColumns::new(clip.hold.as_ref());
    let time = |time: Option<Timestamp>| time.map(|time| time.0);
    connection.prepare_cached(sql)?.execute(named_params! {
        ":id": clip.id.0,
        ":state": clip.state().word(),
        ":plaintext": clip.plaintext.word(),
        ":folder": clip.source.as_ref().map(|s| s.folder.as_os_str().as_bytes()),
        ":path": clip.source.as_ref().map(|s| s.path.as_os_str().as_bytes()),
        ":device": signed(clip.generation.device_number),
        ":inode": signed(clip.generation.inode_number),
        ":size": signed(clip.generation.size_bytes),
        ":modified": clip.generation.modified_ns,
        ":changed": clip.generation.changed_ns,
        ":settled": time(clip.settled_at),
        ":stored": time(clip.stored_at),
        ":gone": time(clip.gone_at),
        ":name": sealed.map(|s| s.name.0),
        ":sealed_size": sealed.map(|s| signed(s.size_bytes)),
        ":commitment": sealed.map(|s| s.commitment),
        ":sealed_at": sealed.map(|s| s.sealed_at.0),
        ":reread": sealed.map(|s| s.reread),
        ":in_spool": sealed.map(|s| s.in_spool),
        ":keyring": sealed.and_then(|s| s.keyring_revision).map(signed),
        ":reason": hold.reason,
        ":until": hold.until,
        ":since": hold.since,
        ":attempts": hold.attempts,
        ":cause": hold.cause,
        ":due": time(due_at),
    })?;
    save_deliveries(connection, clip)
}

fn save_deliveries(connection: &Connection, clip: &Clip) -> Result<(), QueueError> {
    let in_spool = clip.sealed.is_some_and(|sealed| sealed.in_spool);
    if clip.deliveries.is_empty() || !in_spool {
        // Sealed anew, or not needed any more: nobody goes on with what was begun.
        deliveries::give_up(connection, clip.id, None)?;
    }
    if clip.deliveries.is_empty() {
        connection.prepare_cached("DELETE FROM delivery WHERE clip = ?1")?.execute([clip.id.0])?;
    }
    // Without a word about it, a delivery stays due when it was; one with a receipt only where an
    // operator wants a better one.
    let sql = "INSERT INTO delivery (clip, bucket, evidence, stored_at, hold_reason, hold_until,
          hold_since, hold_attempts, hold_cause, due_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
          iif(?10 OR ?3 IS NOT NULL, NULL, coalesce(?6, ?11)))
        ON CONFLICT DO UPDATE SET evidence = ?3, stored_at = ?4, hold_reason = ?5, hold_until = ?6,
          hold_since = ?7, hold_attempts = ?8, hold_cause = ?9,
          due_at = CASE WHEN ?10 THEN NULL WHEN ?3 IS NULL THEN coalesce(?6, due_at, ?11)
            WHEN evidence IS ?3 THEN due_at END";
    let mut statement = connection.prepare_cached(sql)?;
    for Delivery { bucket, receipt, hold } in &clip.deliveries {
        let waits_for_operator = hold.as_ref().is_some_and(|hold| hold.until == Until::Operator);
        let is_never = waits_for_operator || !in_spool;
        let hold = HoldColumns::new(hold.as_ref());
        statement.execute(params![
            clip.id.0,
            bucket,
            receipt.as_ref().map(|receipt| receipt.evidence.word()),
            receipt.as_ref().map(|receipt| receipt.stored_at.0),
            hold.reason,
            hold.until,
            hold.since,
            hold.attempts,
            hold.cause,
            is_never,
            clip.sealed.map(|sealed| sealed.sealed_at.0),
        ])?;
    }
    if in_spool { deliveries::address(connection, clip) } else { Ok(()) }
}

/// The five columns of a hold, all NULL without one.
struct HoldColumns<'a> {
    reason: Option<&'static str>,
    until: Option<i64>,
    since: Option<i64>,
    attempts: Option<u32>,
    cause: Option<&'a str>,
}

impl HoldColumns<'_> {
    fn new(hold: Option<&Hold>) -> HoldColumns<'_> {
        let until = match hold.map(|hold| hold.until) {
            Some(Until::Time(time)) => Some(time.0),
            Some(Until::Operator) | None => None,
        };
        HoldColumns {
            reason: hold.map(|hold| hold.reason.code()),
            until,
            since: hold.map(|hold| hold.since.0),
            attempts: hold.map(|hold| hold.attempts),
            cause: hold.map(|hold| hold.cause.as_str()),
        }
    }
}

/// One value, where a query may find none.
pub(super) fn first<T: FromSql>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<T>, QueueError> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(parameters, |row| row.get(0)).optional()?)
}

pub(super) fn word<T: std::str::FromStr<Err = UnknownWord>>(text: String) -> Result<T, QueueError> {
    text.parse().map_err(|error: UnknownWord| QueueError::Corrupt(error.to_string()))
}
