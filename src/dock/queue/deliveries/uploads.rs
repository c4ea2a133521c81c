//! Uploads in parts: how far each has come, and which are to be removed from their buckets.

use rusqlite::{Connection, Row, params};

use super::super::read::Reader;
use super::super::{Queue, QueueError, rows};
use crate::clip::{ClipId, SealedName, Timestamp};
use crate::edge::bucket::{Part, Upload};

/// Which sealed file goes to which bucket. A clip may be sealed anew, or leave the spool, while it
/// is sent: what is said of an upload of before counts no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// The clip.
    pub clip: ClipId,
    /// Its sealed file.
    pub name: SealedName,
    /// The bucket's name.
    pub bucket: String,
}

/// An upload that was given up, and that the bucket still keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The bucket's name.
    pub bucket: String,
    /// The object that it was to become.
    pub key: String,
    /// The bucket's id of it.
    pub upload_id: String,
    /// How often it was tried to give it up.
    pub attempts: u32,
}

impl Reader {
    /// How far the upload of a clip to a bucket has come, if one was begun.
    pub fn upload(&self, id: ClipId, bucket: &str) -> Result<Option<Upload>, QueueError> {
        let tx = self.0.unchecked_transaction()?;
        let sql =
            "SELECT upload_id, upload_part_size, upload_completing, upload_replaces FROM delivery
             WHERE clip = ?1 AND bucket = ?2 AND upload_id IS NOT NULL";
        let mut statement = tx.prepare_cached(sql)?;
        let mut uploads = statement.query_map(params![id.0, bucket], |row| {
            Ok(Upload {
                id: row.get(0)?,
                part_size: row.get::<_, i64>(1)? as u64,
                parts: Vec::new(),
                is_completing: row.get(2)?,
                replaces: row.get(3)?,
            })
        })?;
        let Some(mut upload) = uploads.next().transpose()? else { return Ok(None) };
        let sql = "SELECT number, content_id, sha256, checked FROM upload_part
             WHERE clip = ?1 AND bucket = ?2 ORDER BY number";
        let mut statement = tx.prepare_cached(sql)?;
        let parts = statement.query_map(params![id.0, bucket], part_from)?;
        for (number, part) in parts.enumerate() {
            let (found, part) = part?;
            // They are sent in order: behind a gap nothing is known.
            if found != number as i64 {
                break;
            }
            upload.parts.push(part);
        }
        Ok(Some(upload))
    }

    /// Uploads that were given up and are to be removed from their buckets now.
    pub fn leftovers(&self, now: Timestamp, count_max: u64) -> Result<Vec<Leftover>, QueueError> {
        let sql = "SELECT bucket, key, upload_id, attempts FROM leftover WHERE due_at <= ?1
             ORDER BY due_at LIMIT ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        let rows = statement.query_map(params![now.0, rows::signed(count_max)], |row| {
            Ok(Leftover {
                bucket: row.get(0)?,
                key: row.get(1)?,
                upload_id: row.get(2)?,
                attempts: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn part_from(row: &Row<'_>) -> rusqlite::Result<(i64, Part)> {
    let part = Part { content_id: row.get(1)?, sha256: row.get(2)?, is_checked: row.get(3)? };
    Ok((row.get(0)?, part))
}

impl Queue {
    /// An upload was begun; what was known of an earlier one is forgotten.
    pub async fn upload_begun(
        &self,
        sending: Sending,
        key: String,
        upload: Upload,
    ) -> Result<(), QueueError> {
        self.ask(move |tx| {
            if !sending.is_wanted(tx)? {
                let sql = "INSERT OR IGNORE INTO leftover (bucket, key, upload_id)
                     VALUES (?1, ?2, ?3)";
                tx.execute(sql, params![sending.bucket, key, upload.id])?;
                return Ok(());
            }
            let Sending { clip, bucket, .. } = sending;
            forget(tx, clip, Some(&bucket))?;
            let sql = "UPDATE delivery SET upload_key = ?3, upload_id = ?4, upload_part_size = ?5,
                 upload_replaces = ?6
                 WHERE clip = ?1 AND bucket = ?2";
            let size = rows::signed(upload.part_size);
            tx.execute(sql, params![clip.0, bucket, key, upload.id, size, upload.replaces])?;
            Ok(())
        })
        .await
    }

    /// The bucket has one more part of an upload.
    pub async fn upload_part(
        &self,
        sending: Sending,
        number: usize,
        part: Part,
    ) -> Result<(), QueueError> {
        self.change_upload(sending, move |tx, clip, bucket| {
            let sql = "INSERT OR REPLACE INTO upload_part VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let number = number as i64;
            let Part { content_id, sha256, is_checked } = part;
            let row = params![clip.0, bucket, number, content_id, sha256, is_checked];
            tx.prepare_cached(sql)?.execute(row)?;
            Ok(())
        })
        .await
    }

    /// The bucket is about to be asked to make the parts an object.
    pub async fn upload_completing(&self, sending: Sending) -> Result<(), QueueError> {
        self.change_upload(sending, |tx, clip, bucket| {
            let sql = "UPDATE delivery SET upload_completing = 1 WHERE clip = ?1 AND bucket = ?2";
            tx.execute(sql, params![clip.0, bucket])?;
            Ok(())
        })
        .await
    }

    /// An upload is an object now, or unknown to the bucket.
    pub async fn upload_gone(&self, sending: Sending) -> Result<(), QueueError> {
        self.change_upload(sending, |tx, clip, bucket| forget(tx, clip, Some(bucket))).await
    }

    /// An upload will not be finished: the bucket is to let go of it.
    pub async fn upload_given_up(&self, sending: Sending) -> Result<(), QueueError> {
        self.change_upload(sending, |tx, clip, bucket| give_up(tx, clip, Some(bucket))).await
    }

    async fn change_upload(
        &self,
        sending: Sending,
        change: impl FnOnce(&Connection, ClipId, &str) -> Result<(), QueueError> + Send + 'static,
    ) -> Result<(), QueueError> {
        self.ask(move |tx| {
            if sending.is_wanted(tx)? { change(tx, sending.clip, &sending.bucket) } else { Ok(()) }
        })
        .await
    }

    /// The bucket let go of a leftover; or it did not, and is asked again at `again_at`.
    pub async fn leftover_asked(
        &self,
        leftover: Leftover,
        again_at: Option<Timestamp>,
    ) -> Result<(), QueueError> {
        self.ask(move |tx| {
            let Leftover { bucket, key, upload_id, .. } = leftover;
            let place = "bucket = ?1 AND key = ?2 AND upload_id = ?3";
            match again_at {
                None => tx.execute(
                    &format!("DELETE FROM leftover WHERE {place}"),
                    params![bucket, key, upload_id],
                )?,
                Some(time) => tx.execute(
                    &format!(
                        "UPDATE leftover SET attempts = attempts + 1, due_at = ?4 WHERE {place}"
                    ),
                    params![bucket, key, upload_id, time.0],
                )?,
            };
            Ok(())
        })
        .await
    }
}

impl Sending {
    /// Whether the sealed file is still the clip's, and still to be sent.
    fn is_wanted(&self, tx: &Connection) -> Result<bool, QueueError> {
        let sql = "SELECT EXISTS
             (SELECT 1 FROM clip WHERE id = ?1 AND sealed_name = ?2 AND in_spool = 1)";
        let mut statement = tx.prepare_cached(sql)?;
        Ok(statement.query_row(params![self.clip.0, self.name.0], |row| row.get(0))?)
    }
}

/// The delivery of a clip to a bucket, or to all of them, ends: what was begun is left over.
pub(in super::super) fn give_up(
    tx: &Connection,
    id: ClipId,
    bucket: Option<&str>,
) -> Result<(), QueueError> {
    let sql = "INSERT OR IGNORE INTO leftover (bucket, key, upload_id)
         SELECT bucket, upload_key, upload_id FROM delivery
         WHERE clip = ?1 AND (?2 IS NULL OR bucket = ?2) AND upload_id <> ''";
    tx.prepare_cached(sql)?.execute(params![id.0, bucket])?;
    forget(tx, id, bucket)
}

/// Buckets are asked to let go of their leftovers now, whenever that was to be.
pub(super) fn ask_again(tx: &Connection, now: Timestamp) -> Result<(), QueueError> {
    tx.execute("UPDATE leftover SET due_at = ?1 WHERE due_at > ?1", [now.0])?;
    Ok(())
}

fn forget(tx: &Connection, id: ClipId, bucket: Option<&str>) -> Result<(), QueueError> {
    let sql = "UPDATE delivery SET upload_key = NULL, upload_id = NULL, upload_part_size = NULL,
         upload_completing = 0, upload_replaces = 0
         WHERE clip = ?1 AND (?2 IS NULL OR bucket = ?2)";
    tx.prepare_cached(sql)?.execute(params![id.0, bucket])?;
    let sql = "DELETE FROM upload_part WHERE clip = ?1 AND (?2 IS NULL OR bucket = ?2)";
    tx.prepare_cached(sql)?.execute(params![id.0, bucket])?;
    Ok(())
}
