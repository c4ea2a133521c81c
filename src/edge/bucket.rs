//! Buckets: the one door to `object_store`, for every kind of bucket.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use tokio::sync::OnceCell;

use crate::edge::limit::Limiter;
use crate::edge::work::blocking;

pub mod dav;
mod error;
mod folder;
mod line;
mod open;
mod parts;
mod put;
mod read;
mod rights;
#[cfg(test)]
mod simulated;
mod small;
mod trouble;

pub use error::BucketError;
pub use parts::{Journal, Part, Upload};
pub use rights::{Answer, CHECK, Honours, Rights};
#[cfg(test)]
pub(crate) use simulated::{Ending, Fate, Request, Simulated, Verb};
pub use small::Created;
pub use trouble::Trouble;

/// The smallest part of an object, and what is surely sent in one request. S3 wants at least 5 MiB;
/// a simulated clip is smaller than that and shall have parts all the same.
const PART_SIZE: u64 = if cfg!(test) { 48 << 10 } else { 5 << 20 };
/// The largest part where the line is fast: two of them are in memory for each upload.
const PART_SIZE_MAX: u64 = 12 << 20;
/// The largest object that is sent in one request, where the line is fast.
const WHOLE_SIZE_MAX: u64 = 32 << 20;

/// One bucket, opened; no request was made yet.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Store,
    prefix: Key,
    /// What the store does with "only where no object of this name is there", once it was asked.
    honours: Arc<OnceCell<Honours>>,
}

#[derive(Debug, Clone)]
enum Store {
    Cloud(Cloud),
    Dav(Arc<dav::Dav>),
    Folder { store: Arc<LocalFileSystem>, root: PathBuf, swept: Arc<folder::Swept> },
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
    /// Whether the line compares what leaves with its promise; a simulated store has no line.
    keeps_promises: bool,
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

/// Whose code reads objects.
enum Way<'a> {
    Dav(&'a dav::Dav),
    Objects(&'a dyn ObjectStore),
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

/// What lies directly in a folder of a bucket, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Level {
    /// Folders.
    pub folders: Vec<String>,
    /// Objects, and when the bucket stored them.
    pub objects: Vec<(String, jiff::Timestamp)>,
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
    /// `https://HOST/PATH` (WebDAV), `file:///PATH`.
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
        #[cfg(test)]
        if let Some(world) = crate::edge::world::current() {
            return Ok(world.bucket(url).open());
        }
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
            Store::Dav(dav) => Some(dav.line()),
            Store::Folder { .. } => None,
        }
    }

    /// Whether objects may be put. Begins an upload and gives it up, so that nothing stays; but on
    /// WebDAV an empty folder, and where none may be removed an unfinished file of a few bytes.
    pub async fn probe(&self, key: &str) -> Result<(), BucketError> {
        match &self.store {
            Store::Dav(dav) => dav.probe(&self.key(key)).await,
            Store::Folder { root, .. } => folder::probe(root).await,
            Store::Cloud(Cloud { parts, .. }) => {
                let key = self.key(key);
                let id = parts.create_multipart(&key).await.map_err(BucketError::from_store)?;
                parts.abort_multipart(&key, &id).await.map_err(BucketError::from_store)
            }
        }
    }

    /// Has the bucket let go of an upload that was given up; one that it does not know is gone.
    pub async fn abandon(&self, key: &str, upload_id: &str) -> Result<(), BucketError> {
        let Some((store, _)) = self.in_parts() else { return Ok(()) };
        let gone = store.abort_multipart(&self.key(key), &upload_id.to_owned()).await;
        match gone.map_err(BucketError::from_store) {
            Err(BucketError::Missing) => Ok(()),
            gone => gone,
        }
    }

    /// How its objects are read.
    fn way(&self) -> Way<'_> {
        match &self.store {
            Store::Dav(dav) => Way::Dav(dav),
            Store::Folder { store, .. } => Way::Objects(store.as_ref()),
            Store::Cloud(cloud) => Way::Objects(cloud.store.as_ref()),
        }
    }

    /// Where objects can be put in parts: what sends them, and what makes them an object only where
    /// there is none.
    fn in_parts(&self) -> Option<(&dyn MultipartStore, &dyn MultipartStore)> {
        match &self.store {
            Store::Dav(_) | Store::Folder { .. } => None,
            Store::Cloud(cloud) => Some((cloud.parts.as_ref(), cloud.completer.as_ref())),
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
