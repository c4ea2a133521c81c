//! Reading of a bucket: whole objects again, parts of them, and what there is.

use std::ops::Range;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStoreExt};
use sha2::{Digest, Sha256};

use super::{Bucket, BucketError, Level, Object, PART_SIZE, Store, Way};
use crate::clip::{Evidence, SealedName};

impl Bucket {
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
        let mut listing = match self.way() {
            Way::Dav(dav) => return dav.visit(&prefix, see).await,
            Way::Objects(store) => store.list(Some(&prefix)),
        };
        while let Some(meta) = listing.try_next().await.map_err(BucketError::from_store)? {
            let Some(parts) = meta.location.prefix_match(&self.prefix) else { continue };
            let key = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
            let stored = jiff::Timestamp::from_millisecond(meta.last_modified.timestamp_millis());
            let stored = stored.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            see(Object { key, size_bytes: meta.size, stored });
        }
        Ok(())
    }

    /// What lies directly in a folder; nothing where there is none. What lies deeper is not asked
    /// for.
    pub async fn level(&self, folder: &str) -> Result<Level, BucketError> {
        if let Store::Folder { root, .. } = &self.store
            && !root.is_dir()
        {
            return Err(BucketError::NoFolder { root: root.clone() });
        }
        let folder = self.key(folder);
        let found = match self.way() {
            Way::Dav(dav) => return dav.level(&folder).await,
            Way::Objects(store) => store.list_with_delimiter(Some(&folder)).await,
        };
        let found = found.map_err(BucketError::from_store)?;
        let name = |path: &Key| path.filename().unwrap_or_default().to_owned();
        let stored = |meta: &ObjectMeta| {
            let stored = jiff::Timestamp::from_millisecond(meta.last_modified.timestamp_millis());
            stored.unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        };
        Ok(Level {
            folders: found.common_prefixes.iter().map(name).collect(),
            objects: found.objects.iter().map(|o| (name(&o.location), stored(o))).collect(),
        })
    }

    /// Size of an object in bytes.
    pub async fn size(&self, key: &str) -> Result<u64, BucketError> {
        self.size_at(&self.key(key)).await
    }

    /// Some bytes of an object; fewer where it ends earlier.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, BucketError> {
        self.read_at(&self.key(key), range).await
    }

    /// A whole object of at most `size_max` bytes.
    pub async fn read_all(&self, key: &str, size_max: u64) -> Result<Bytes, BucketError> {
        let key = self.key(key);
        let object = match self.way() {
            Way::Dav(dav) => return dav.read_all(&key, size_max).await,
            Way::Objects(store) => store.get(&key).await,
        };
        let object = object.map_err(BucketError::from_store)?;
        if object.meta.size > size_max {
            return Err(BucketError::TooLarge { size_max });
        }
        object.bytes().await.map_err(BucketError::from_store)
    }

    /// Reads the whole object again. Without the right to, the evidence stays what it was.
    pub(super) async fn read_back(
        &self,
        key: &Key,
        size: u64,
        name: SealedName,
    ) -> Result<Evidence, BucketError> {
        match self.sha256(key, size).await {
            Ok(Some(found)) if found == name => Ok(Evidence::ReadBack),
            Ok(_) => Err(BucketError::OtherContent),
            Err(BucketError::Refused(_)) => Ok(Evidence::Acknowledged),
            Err(error) => Err(error),
        }
    }

    /// The digest of an object that has exactly `size` bytes; `None` where it has another size,
    /// because a clip with something behind it is not that clip.
    async fn sha256(&self, key: &Key, size: u64) -> Result<Option<SealedName>, BucketError> {
        if self.size_at(key).await? != size {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < size {
            let end = size.min(at + PART_SIZE);
            hash.update(&self.read_at(key, at..end).await?);
            at = end;
        }
        Ok(Some(SealedName(hash.finalize().into())))
    }

    async fn size_at(&self, key: &Key) -> Result<u64, BucketError> {
        let meta = match self.way() {
            Way::Dav(dav) => return dav.size(key).await,
            Way::Objects(store) => store.head(key).await,
        };
        Ok(meta.map_err(BucketError::from_store)?.size)
    }

    async fn read_at(&self, key: &Key, range: Range<u64>) -> Result<Bytes, BucketError> {
        let bytes = match self.way() {
            Way::Dav(dav) => return dav.read(key, range).await,
            Way::Objects(store) => store.get_range(key, range).await,
        };
        bytes.map_err(BucketError::from_store)
    }
}
