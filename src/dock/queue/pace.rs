//! What the desk reads to say how fast it goes, and what is left.

use std::path::PathBuf;

use rusqlite::params;

use super::{QueueError, Reader, rows};
use crate::clip::{Clip, ClipId, Timestamp, path_from_bytes};

/// What was sent lately is summed up from so many receipts of a bucket at most.
const RECEIPT_COUNT_MAX: u64 = 10_000;

/// A clip that a bucket acknowledged, or has parts of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The clip.
    pub clip: ClipId,
    /// The bucket's name.
    pub bucket: String,
    /// How many bytes of its sealed file the bucket has.
    pub size_bytes: u64,
    /// Since when it could be sent.
    pub sealed_at: Timestamp,
    /// When the receipt came; none while parts are missing.
    pub receipt_at: Option<Timestamp>,
}

/// A number of clips or sealed files, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub size_bytes: u64,
}

impl Reader {
    /// What a bucket acknowledged since a time, newest first.
    pub fn receipts_since(&self, bucket: &str, since: Timestamp) -> Result<Vec<Sent>, QueueError> {
        let sql = "SELECT clip.id, bucket, sealed_size_bytes, sealed_at, delivery.stored_at
             FROM delivery JOIN clip ON clip.id = delivery.clip
             WHERE bucket = ?1 AND evidence IS NOT NULL AND delivery.stored_at >= ?2
               AND sealed_at IS NOT NULL
             ORDER BY delivery.stored_at DESC LIMIT ?3";
        let mut statement = self.0.prepare_cached(sql)?;
        let count_max = rows::signed(RECEIPT_COUNT_MAX);
        let found = statement.query_map(params![bucket, since.0, count_max], sent_from)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The uploads of which buckets have some parts.
    pub fn uploads(&self) -> Result<Vec<Sent>, QueueError> {
        let sql = "SELECT clip.id, delivery.bucket,
               min(clip.sealed_size_bytes, coalesce(upload_part_size, 0) * parts), sealed_at, NULL
             FROM (SELECT clip AS sent, bucket AS taker, count(*) AS parts FROM upload_part
                   GROUP BY clip, bucket)
             JOIN delivery ON delivery.clip = sent AND delivery.bucket = taker
             JOIN clip ON clip.id = delivery.clip
             WHERE evidence IS NULL AND in_spool = 1";
        let mut statement = self.0.prepare_cached(sql)?;
        let found = statement.query_map([], sent_from)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// What lies in the spool and a bucket has not acknowledged.
    pub fn backlog(&self, bucket: &str) -> Result<Amount, QueueError> {
        let sql = "SELECT count(*), coalesce(sum(sealed_size_bytes), 0) FROM clip
             WHERE in_spool = 1 AND NOT EXISTS
             (SELECT 1 FROM delivery
              WHERE clip = clip.id AND bucket = ?1 AND evidence IS NOT NULL)";
        self.amount(sql, params![bucket])
    }

    /// What lies in the spool.
    pub fn spool(&self) -> Result<Amount, QueueError> {
        let sql =
            "SELECT count(*), coalesce(sum(sealed_size_bytes), 0) FROM clip WHERE in_spool = 1";
        self.amount(sql, [])
    }

    /// By how many bytes the spool has grown since a time; less than nothing where it shrank. What
    /// left it is told by a bucket's receipts of the `kept_seconds` before that.
    pub fn spool_growth(
        &self,
        bucket: &str,
        since: Timestamp,
        kept_seconds: u64,
    ) -> Result<i64, QueueError> {
        let sql = "SELECT 0, coalesce(sum(sealed_size_bytes), 0) FROM clip
             WHERE in_spool = 1 AND sealed_at >= ?1";
        let came = self.amount(sql, [since.0])?.size_bytes;
        let kept = i64::try_from(kept_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        let sql = "SELECT 0, coalesce(sum(sealed_size_bytes), 0)
             FROM delivery JOIN clip ON clip.id = delivery.clip
             WHERE bucket = ?1 AND evidence IS NOT NULL AND delivery.stored_at >= ?2
               AND in_spool = 0 AND sealed_at < ?3";
        let left = self.amount(sql, params![bucket, since.0.saturating_sub(kept), since.0])?;
        Ok(rows::signed(came).saturating_sub(rows::signed(left.size_bytes)))
    }

    fn amount(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Amount, QueueError> {
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_row(parameters, |row| {
            let (count, size): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Amount { count: count as u64, size_bytes: size as u64 })
        })?)
    }

    /// When the first clip that is still known was found.
    pub fn first_seen(&self) -> Result<Option<Timestamp>, QueueError> {
        let sql = "SELECT seen_at FROM clip ORDER BY id LIMIT 1";
        Ok(rows::first::<i64>(&self.0, sql, [])?.map(Timestamp))
    }

    /// How many clips that lie in each folder are not sealed yet; none where it is not named.
    pub fn not_sealed(&self) -> Result<Vec<(PathBuf, u64)>, QueueError> {
        let sql = "SELECT folder, count(*) FROM clip
             WHERE state = 'seen' AND path IS NOT NULL GROUP BY folder";
        let mut statement = self.0.prepare_cached(sql)?;
        let found = statement.query_map([], |row| {
            Ok((path_from_bytes(row.get(0)?), row.get::<_, i64>(1)? as u64))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The clips that are not stored yet, those that were found first before the others.
    pub fn unsafe_clips(&self, count_max: u64) -> Result<Vec<Clip>, QueueError> {
        let condition = "stored_at IS NULL ORDER BY seen_at, id LIMIT ?1";
        rows::select(&self.0, condition, [rows::signed(count_max)])
    }
}

fn sent_from(row: &rusqlite::Row<'_>) -> rusqlite::Result<Sent> {
    Ok(Sent {
        clip: ClipId(row.get(0)?),
        bucket: row.get(1)?,
        size_bytes: row.get::<_, i64>(2)? as u64,
        sealed_at: Timestamp(row.get(3)?),
        receipt_at: row.get::<_, Option<i64>>(4)?.map(Timestamp),
    })
}

#[cfg(test)]
mod tests;
