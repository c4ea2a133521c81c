//! Putting a sealed file into a cloud's bucket, whole or part by part.

use std::fs::File;

use bytes::Bytes;
use md5::Md5;
use object_store::multipart::{MultipartStore, PartId};
use object_store::{PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};

use super::{BucketError, Cloud, PART_SIZE, Put, blocking, read_block, refill_block};
use crate::clip::{Evidence, SealedName, to_hex};

/// S3 takes at most this many parts of one object.
const PART_COUNT_MAX: u64 = 10_000;

/// Puts an object of at most one part in one request.
pub(super) async fn put_small(
    Cloud { store, line, .. }: &Cloud,
    mut file: File,
    put: Put<'_>,
) -> Result<Evidence, BucketError> {
    let block = blocking(move || read_block(&mut file, PART_SIZE + 1)).await;
    let block = block.map_err(BucketError::Spool)?;
    if SealedName(Sha256::digest(&block).into()) != put.name {
        return Err(BucketError::SpoolDamaged);
    }
    let md5 = <[u8; 16]>::from(Md5::digest(&block));
    let size = block.len() as u64;
    let options = PutOptions { mode: put.mode, ..PutOptions::default() };
    let result = store.put_opts(put.key, PutPayload::from(block), options).await;
    let result = result.map_err(BucketError::from_store)?;
    (put.sent)(size);
    // S3's ETag of an object sent in one request is the MD5 that the server computed of what it
    // received (not with SSE-KMS or SSE-C; then the object is read back).
    let is_md5 = result.e_tag.is_some_and(|etag| etag.trim_matches('"') == to_hex(&md5));
    let checked = is_md5 || line.was_checked(&put.name.0) || line.was_checked_md5(&md5);
    Ok(if checked { Evidence::DigestChecked } else { Evidence::Acknowledged })
}

/// Puts an object part by part.
pub(super) async fn put_parts(
    Cloud { parts: store, completer, .. }: &Cloud,
    file: File,
    size: u64,
    put: Put<'_>,
) -> Result<Evidence, BucketError> {
    let key = put.key;
    let id = store.create_multipart(key).await.map_err(BucketError::from_store)?;
    let parts = send_parts(store.as_ref(), &id, file, size, &put).await;
    let (parts, evidence) = match parts {
        Ok(done) => done,
        Err(error) => {
            // Best effort: what stays is removed by the bucket's lifecycle rule
            // (docs/operations.md). The first error is the one that counts.
            let _ = store.abort_multipart(key, &id).await;
            return Err(error);
        }
    };
    let by = if put.mode == PutMode::Create { completer } else { store };
    let completed = by.complete_multipart(key, &id, parts).await;
    match completed.map_err(BucketError::from_store) {
        Ok(_) => Ok(evidence),
        Err(BucketError::AlreadyThere) => {
            // Best effort, as above. Not after other errors: it may have been completed all the
            // same, and its answer been lost.
            let _ = store.abort_multipart(key, &id).await;
            Err(BucketError::AlreadyThere)
        }
        Err(error) => Err(error),
    }
}

/// Sends part after part, and reads the next one while one is on its way.
///
/// The two blocks of memory change places and are never given back in between: freed on one thread
/// and allocated on another, they would leave a hole of their size in each thread's heap, and the
/// daemon would grow with the number of parts.
async fn send_parts(
    store: &dyn MultipartStore,
    id: &String,
    mut file: File,
    size: u64,
    put: &Put<'_>,
) -> Result<(Vec<PartId>, Evidence), BucketError> {
    let part_size = PART_SIZE.max(size.div_ceil(PART_COUNT_MAX).next_multiple_of(1 << 20));
    let mut hash = Sha256::new();
    let mut parts = Vec::new();
    let mut evidence = Evidence::DigestChecked;
    let mut block = Bytes::new();
    let mut spare = Vec::new();
    loop {
        let next = blocking(move || {
            let read = refill_block(spare, &mut file, part_size);
            let block = Bytes::from(read.map_err(BucketError::Spool)?);
            hash.update(&block);
            Ok::<_, BucketError>((file, hash, block))
        });
        let sending = async {
            if block.is_empty() {
                return Ok(());
            }
            let (md5, size) = (md5_hex(&block), block.len() as u64);
            let payload = PutPayload::from(block.clone());
            let part = store.put_part(put.key, id, parts.len(), payload).await;
            let part = part.map_err(BucketError::from_store)?;
            if !part.content_id.contains(&md5) {
                evidence = Evidence::Acknowledged;
            }
            parts.push(part);
            (put.sent)(size);
            Ok(())
        };
        let (read, sent) = tokio::join!(next, sending);
        sent?;
        // Where a connection still holds the block, it is let go and another one is made.
        spare = block.try_into_mut().map_or(Vec::new(), Vec::from);
        (file, hash, block) = read?;
        if block.is_empty() {
            break;
        }
    }
    // Before it is completed: a damaged spool file never becomes an object.
    if SealedName(hash.finalize().into()) != put.name {
        return Err(BucketError::SpoolDamaged);
    }
    Ok((parts, evidence))
}

fn md5_hex(bytes: &[u8]) -> String {
    to_hex(&Md5::digest(bytes))
}
