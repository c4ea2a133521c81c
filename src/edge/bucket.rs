//! Buckets: the one door to `object_store`, for every kind of bucket.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use sha2::{Digest, Sha256};

use crate::clip::{Evidence, SealedName};
use crate::edge::limit::Limiter;

mod error;
mod folder;
mod line;
mod open;
mod s3;
mod small;
mod trouble;

pub use error::BucketError;
pub use small::Created;
pub use trouble::Trouble;

/// Bytes of a part, and the largest object that is sent in one request. S3 wants at least 5 MiB.
const PART_SIZE: u64 = 8 << 20;

/// One bucket, opened; no request was made yet.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Store,
    prefix: Key,
}

#[derive(Debug, Clone)]
enum Store {
    Cloud(Cloud),
    Folder { store: Arc<LocalFileSystem>, root: PathBuf },
}

/// A bucket that `object_store` speaks to, over our line. Nothing is tried again by itself:
/// "already there" is never an echo of an own first try.
#[derive(Clone)]
struct Cloud {
    kind: Kind,
    store: Arc<dyn ObjectStore>,
    /// The same one, for uploads in parts.
    parts: Arc<dyn MultipartStore>,
    /// Completes uploads, and only where no object of the name is there, as far as the kind can:
    /// not at Google, and not at Azure with an account's key.
    completer: Arc<dyn MultipartStore>,
    line: line::Line,
}

/// Whose protocol a bucket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Azure,
    Google,
    S3,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Cloud").field(&self.kind).field(&self.store).finish()
    }
}

/// One attempt to put a sealed file.
struct Put<'a> {
    key: &'a Key,
    name: SealedName,
    mode: PutMode,
    /// Told of each batch of bytes that the bucket took.
    sent: &'a (dyn Fn(u64) + Sync),
}

/// An object as a listing names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The name beneath the bucket's prefix.
    pub key: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// When the bucket stored it.
    pub stored: jiff::Timestamp,
}

impl Object {
    /// Whether it is a folder's put that is under way, or was killed half-way; no key of ours ends
    /// like this.
    pub fn is_unfinished(&self) -> bool {
        self.key.ends_with(folder::UNFINISHED)
    }
}

impl Bucket {
    /// Opens the bucket of a URL: `s3://`, `gs://` or `az://` with `BUCKET/PREFIX`,
    /// `file:///PATH`.
    ///
    /// `options` are named as `object_store` names them (`aws_endpoint`, `aws_region`, …), beside
    /// those of the line: `allow_http`, `ca_file`, `connect_timeout`, `proxy_url`,
    /// `stall_timeout`, `timeout`.
    pub fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Bucket, BucketError> {
        Bucket::open_limited(url, options, Vec::new())
    }

    /// As [`Bucket::open`]. What is sent leaves no faster than any of the limits allows.
    pub fn open_limited(
        url: &str,
        options: &BTreeMap<String, String>,
        limits: Vec<Arc<Limiter>>,
    ) -> Result<Bucket, BucketError> {
        open::open(url, options, limits)
    }

    /// Whether the bucket is a folder of this machine, where reading back costs no traffic.
    pub fn is_local(&self) -> bool {
        matches!(self.store, Store::Folder { .. })
    }

    /// Seconds that our clock was behind the server's at its last answer; negative where ahead.
    pub fn clock_behind_seconds(&self) -> Option<i64> {
        self.line()?.behind_seconds()
    }

    /// Bytes that were sent to the bucket since it was opened, in vain or not; a folder's are not
    /// counted.
    pub fn sent_bytes(&self) -> u64 {
        self.line().map_or(0, line::Line::sent_bytes)
    }

    /// How long the server asked us to wait (`Retry-After`), if it did since the last call.
    pub fn take_retry_after(&self) -> Option<Duration> {
        self.line()?.take_retry_after()
    }

    fn line(&self) -> Option<&line::Line> {
        match &self.store {
            Store::Cloud(cloud) => Some(&cloud.line),
            Store::Folder { .. } => None,
        }
    }

    /// Puts a sealed file under `key`, never over another object, and says what that proves.
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
        let size = file.metadata().map_err(BucketError::Spool)?.len();
        let key = self.key(key);
        let again = file.try_clone().map_err(BucketError::Spool)?;
        let put = Put { key: &key, name, mode: PutMode::Create, sent };
        let evidence = match self.put_once(file, size, put).await {
            Ok(Evidence::Acknowledged) => return self.read_back(&key, size, name).await,
            Err(BucketError::AlreadyThere) => self.read_back(&key, size, name).await?,
            put => return put,
        };
        if evidence != Evidence::Acknowledged {
            return Ok(evidence);
        }
        // The answer to an earlier attempt was lost, and we may not look at what it left. Only
        // sending the same bytes once more gives evidence; where that is refused, the weak one
        // stands and the clip is not erased.
        let rewind = |mut file: File| std::io::Seek::rewind(&mut file).map(|()| file);
        let again = rewind(again).map_err(BucketError::Spool)?;
        let put = Put { key: &key, name, mode: PutMode::Overwrite, sent };
        match self.put_once(again, size, put).await {
            Err(BucketError::AlreadyThere | BucketError::Refused(_)) => Ok(Evidence::Acknowledged),
            put => put,
        }
    }

    async fn put_once(&self, file: File, size: u64, put: Put<'_>) -> Result<Evidence, BucketError> {
        match &self.store {
            Store::Folder { root, .. } => folder::put(root, file, put).await,
            Store::Cloud(cloud) if size <= PART_SIZE => s3::put_small(cloud, file, put).await,
            Store::Cloud(cloud) => s3::put_parts(cloud, file, size, put).await,
        }
    }

    /// Reads the whole object again. Without the right to, the evidence stays what it was.
    async fn read_back(
        &self,
        key: &Key,
        size: u64,
        name: SealedName,
    ) -> Result<Evidence, BucketError> {
        match self.sha256(key, size).await {
            Ok(Some(found)) if found == name => Ok(Evidence::ReadBack),
            Ok(_) => Err(BucketError::OtherContent),
            Err(
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. },
            ) => Ok(Evidence::Acknowledged),
            Err(error) => Err(BucketError::from_store(error)),
        }
    }

    /// The digest of an object that has exactly `size` bytes; `None` where it has another size,
    /// because a clip with something behind it is not that clip.
    async fn sha256(&self, key: &Key, size: u64) -> object_store::Result<Option<SealedName>> {
        if self.store().head(key).await?.size != size {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < size {
            let end = size.min(at + PART_SIZE);
            hash.update(&self.store().get_range(key, at..end).await?);
            at = end;
        }
        Ok(Some(SealedName(hash.finalize().into())))
    }

    /// Whether objects may be put: begins an upload and gives it up, so that nothing stays.
    pub async fn probe(&self, key: &str) -> Result<(), BucketError> {
        match &self.store {
            Store::Folder { root, .. } => folder::probe(root).await,
            Store::Cloud(Cloud { parts, .. }) => {
                let key = self.key(key);
                let id = parts.create_multipart(&key).await.map_err(BucketError::from_store)?;
                parts.abort_multipart(&key, &id).await.map_err(BucketError::from_store)
            }
        }
    }

    /// All objects beneath `prefix`, in no order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>, BucketError> {
        let mut objects = Vec::new();
        let see = &mut |object: Object| {
            if !object.is_unfinished() {
                objects.push(object);
            }
        };
        self.visit(prefix, see).await?;
        Ok(objects)
    }

    /// As [`Bucket::list`], one after the other: a million objects need not be held at once.
    /// Unfinished ones too.
    pub async fn visit(
        &self,
        prefix: &str,
        see: &mut (dyn FnMut(Object) + Send),
    ) -> Result<(), BucketError> {
        let prefix = self.key(prefix);
        let mut listing = self.store().list(Some(&prefix));
        while let Some(meta) = listing.try_next().await.map_err(BucketError::from_store)? {
            let Some(parts) = meta.location.prefix_match(&self.prefix) else { continue };
            let key = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
            let stored = jiff::Timestamp::from_millisecond(meta.last_modified.timestamp_millis());
            let stored = stored.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            see(Object { key, size_bytes: meta.size, stored });
        }
        Ok(())
    }

    /// Size of an object in bytes.
    pub async fn size(&self, key: &str) -> Result<u64, BucketError> {
        let meta = self.store().head(&self.key(key)).await.map_err(BucketError::from_store)?;
        Ok(meta.size)
    }

    /// Some bytes of an object; fewer where it ends earlier.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, BucketError> {
        self.store().get_range(&self.key(key), range).await.map_err(BucketError::from_store)
    }

    fn store(&self) -> &dyn ObjectStore {
        match &self.store {
            Store::Folder { store, .. } => store.as_ref(),
            Store::Cloud(cloud) => cloud.store.as_ref(),
        }
    }

    fn key(&self, key: &str) -> Key {
        self.prefix.parts().chain(Key::from(key).parts()).collect()
    }
}

/// Reads `size` bytes, or fewer at the end of the file.
fn read_block(file: &mut File, size: u64) -> std::io::Result<Vec<u8>> {
    refill_block(Vec::new(), file, size)
}

/// As [`read_block`], into the memory of a block that is done with.
fn refill_block(mut block: Vec<u8>, file: &mut File, size: u64) -> std::io::Result<Vec<u8>> {
    block.clear();
    block.reserve_exact(size as usize);
    file.take(size).read_to_end(&mut block)?;
    Ok(block)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
