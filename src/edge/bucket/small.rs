//! Small objects: the pieces of a log, checkpoints, keyrings.

use bytes::Bytes;
use object_store::{PutMode, PutOptions, PutPayload};

use super::{Bucket, BucketError, Cloud, Store, blocking, folder};

/// What creating an object came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there now, by us.
    New,
    /// It was there already, with these very bytes.
    Equal,
    /// It was there already, and we may not look at it.
    Unseen,
}

impl Bucket {
    /// Creates a small object, never over another one. [`BucketError::OtherContent`] where one of
    /// this name holds other bytes.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, BucketError> {
        if self.ignores_create() {
            match self.compare(key, &bytes).await {
                // Nothing is there, or we may not look.
                Err(BucketError::Missing) | Ok(Created::Unseen) => {}
                found => return found,
            }
        }
        match self.put(key, bytes.clone(), PutMode::Create).await {
            Ok(()) => Ok(Created::New),
            Err(BucketError::AlreadyThere) => self.compare(key, &bytes).await,
            Err(error) => Err(error),
        }
    }

    /// What an object that is there holds, against what it should.
    async fn compare(&self, key: &str, bytes: &Bytes) -> Result<Created, BucketError> {
        match self.read_all(key, bytes.len() as u64).await {
            Ok(found) if found == *bytes => Ok(Created::Equal),
            Ok(_) | Err(BucketError::TooLarge { .. }) => Err(BucketError::OtherContent),
            Err(BucketError::Refused(_)) => Ok(Created::Unseen),
            Err(error) => Err(error),
        }
    }

    /// Puts a small object, over the one that may be there.
    pub async fn replace(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        self.put(key, bytes, PutMode::Overwrite).await
    }

    pub(super) async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<(), BucketError> {
        let key = self.key(key);
        match &self.store {
            Store::Dav(dav) => dav.put_small(&key, bytes, mode).await,
            Store::Folder { root, swept, .. } => {
                let (root, finished, swept) =
                    (root.clone(), root.join(key.as_ref()), swept.clone());
                blocking(move || {
                    swept.sweep_once(finished.parent().expect("a key has a file name"));
                    folder::put_small(&root, &finished, &bytes, &mode)
                })
                .await
            }
            Store::Cloud(Cloud { store, .. }) => {
                let options = PutOptions { mode, ..PutOptions::default() };
                let put = store.put_opts(&key, PutPayload::from(bytes), options).await;
                put.map(drop).map_err(BucketError::from_store)
            }
        }
    }
}
