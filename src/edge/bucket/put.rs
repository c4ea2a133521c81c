//! Putting a sealed file into a bucket, and what that proves.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use md5::Md5;
use object_store::path::Path as Key;
use object_store::{PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};

use super::line::Promise;
use super::parts::{Forgetful, Job, Journal, Turn};
use super::{
    Bucket, BucketError, Cloud, PART_SIZE, Store, WHOLE_SIZE_MAX, blocking, folder, read_block,
};
use crate::clip::{Evidence, SealedName, to_hex};
use crate::edge::fs::{from_start, sha256};

/// A sealed file, and the object that it is to become.
pub(super) struct Put<'a> {
    /// The whole name of the object.
    pub(super) key: &'a Key,
    /// Its name beneath the bucket's prefix.
    pub(super) key_in_bucket: &'a str,
    /// The digest that it must have.
    pub(super) name: SealedName,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Where the progress is kept.
    pub(super) journal: &'a dyn Journal,
    /// Whether it may take the place of another object, of which we believe that it is equal.
    pub(super) replaces: bool,
}

impl Put<'_> {
    /// How `object_store` says it.
    pub(super) fn mode(&self) -> PutMode {
        if self.replaces { PutMode::Overwrite } else { PutMode::Create }
    }
}

impl Bucket {
    /// Puts a sealed file under `key`, never over another one, and says what that proves.
    ///
    /// The file is hashed as it is sent, and becomes an object only where it is still what its
    /// name says. `sent` is told of each batch of bytes that the bucket took.
    pub async fn put_sealed(
        &self,
        key: &str,
        file: File,
        name: SealedName,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Evidence, BucketError> {
        let evidence = self.put_in_turns(key, file, name, &Forgetful(sent)).await?;
        Ok(evidence.expect("a turn without others that wait does not end"))
    }

    /// As [`Bucket::put_sealed`], going on where the journal says that an earlier attempt was.
    /// `None` where the journal let others go first.
    pub async fn put_in_turns(
        &self,
        key: &str,
        file: File,
        name: SealedName,
        journal: &dyn Journal,
    ) -> Result<Option<Evidence>, BucketError> {
        match self.attempt(key, &file, name, journal).await {
            // Not the bucket's fault where ours is no longer what its name says.
            Err(BucketError::OtherContent) if !is_intact(&file, name).await? => {
                Err(BucketError::SpoolDamaged)
            }
            attempted => attempted,
        }
    }

    async fn attempt(
        &self,
        key: &str,
        file: &File,
        name: SealedName,
        journal: &dyn Journal,
    ) -> Result<Option<Evidence>, BucketError> {
        let size = file.metadata().map_err(BucketError::Spool)?.len();
        let key_in_bucket = key;
        let key = &self.key(key);
        let put = |replaces| Put { key, key_in_bucket, name, size, journal, replaces };
        if self.ignores_create() {
            match self.read_back(key, size, name).await {
                // Nothing is there, or we may not look.
                Err(BucketError::Missing) | Ok(Evidence::Acknowledged) => {}
                found => return found.map(Some),
            }
        }
        let evidence = match self.turn(file, put(false)).await {
            Ok(Turn::Over) => return Ok(None),
            Ok(Turn::Done(Evidence::Acknowledged)) => {
                return self.read_back(key, size, name).await.map(Some);
            }
            Ok(Turn::Done(evidence)) => return Ok(Some(evidence)),
            // "Missing" after this: it never became an object, and its next turn begins anew.
            Ok(Turn::Uncertain) | Err(BucketError::AlreadyThere) => {
                self.read_back(key, size, name).await?
            }
            Err(error) => return Err(error),
        };
        if evidence != Evidence::Acknowledged {
            return Ok(Some(evidence));
        }
        // The answer to an earlier attempt was lost, and we may not look at what it left. Only
        // sending the same bytes once more gives evidence; where that is refused, the weak one
        // stands and the clip is not erased.
        match self.turn(file, put(true)).await {
            Ok(Turn::Over) => Ok(None),
            Ok(Turn::Done(evidence)) => Ok(Some(evidence)),
            Ok(Turn::Uncertain) | Err(BucketError::AlreadyThere | BucketError::Refused(_)) => {
                Ok(Some(Evidence::Acknowledged))
            }
            Err(error) => Err(error),
        }
    }

    async fn turn(&self, file: &File, put: Put<'_>) -> Result<Turn, BucketError> {
        let file = from_start(file).map_err(BucketError::Spool)?;
        match &self.store {
            Store::Cloud(cloud) => put_cloud(cloud, file, put).await,
            Store::Dav(dav) => dav.put(file, put).await.map(Turn::Done),
            Store::Folder { root, .. } => folder::put(root, file, put).await.map(Turn::Done),
        }
    }
}

async fn is_intact(file: &File, name: SealedName) -> Result<bool, BucketError> {
    let mut file = from_start(file).map_err(BucketError::Spool)?;
    let hashed = blocking(move || sha256(&mut file)).await.map_err(BucketError::Spool)?;
    Ok(SealedName(hashed) == name)
}

/// In parts where the object is larger than one, or was begun so.
async fn put_cloud(cloud: &Cloud, file: File, put: Put<'_>) -> Result<Turn, BucketError> {
    let Cloud { parts, completer, line, .. } = cloud;
    let known = if put.size > PART_SIZE { put.journal.upload().await? } else { None };
    if known.is_none() && put.size <= line.carries(2, PART_SIZE, WHOLE_SIZE_MAX) {
        return put_whole(cloud, file, put).await.map(Turn::Done);
    }
    let (store, completer) = (parts.as_ref(), completer.as_ref());
    Job { store, completer, line, put }.put(file, known).await
}

/// Puts an object in one request.
async fn put_whole(cloud: &Cloud, mut file: File, put: Put<'_>) -> Result<Evidence, BucketError> {
    let _room = cloud.line.room(put.size).await;
    let block = blocking(move || read_block(&mut file, put.size + 1)).await;
    let block = Bytes::from(block.map_err(BucketError::Spool)?);
    let promise = Arc::new(Promise::of(put.name.0));
    let mut options = PutOptions { mode: put.mode(), ..PutOptions::default() };
    if cloud.keeps_promises {
        options.extensions.insert(Arc::clone(&promise));
    } else if SealedName(Sha256::digest(&block).into()) != put.name {
        return Err(BucketError::SpoolDamaged);
    }
    let result = cloud.store.put_opts(put.key, PutPayload::from(block.clone()), options).await;
    if promise.is_broken() {
        return Err(BucketError::SpoolDamaged);
    }
    let result = result.map_err(BucketError::from_store)?;
    put.journal.sent(put.size);
    let is_checked = cloud.line.was_checked(&put.name.0) || {
        // S3's ETag of an object sent in one request is the MD5 that the server computed of what
        // it received (not with SSE-KMS or SSE-C; then the object is read back).
        let md5 = md5(&block);
        let is_etag = result.e_tag.is_some_and(|etag| etag.trim_matches('"') == to_hex(&md5));
        is_etag || cloud.line.was_checked_md5(&md5)
    };
    Ok(if is_checked { Evidence::DigestChecked } else { Evidence::Acknowledged })
}

pub(super) fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}
