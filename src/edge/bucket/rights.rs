//! What a store honours and what the credentials may, found out by trying it harmlessly.
//!
//! All is tried on one small object, `<dock>/check`, which stays: put-only credentials could not
//! remove it.

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, PutMode, PutPayload};

use super::{Bucket, BucketError, Way};
use crate::clip::to_hex;
use crate::error::chain;

/// What the object `<dock>/check` holds.
pub const CHECK: &[u8] = b"dockseal check\n";

/// What an attempt told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is refused, or does not hold.
    No,
    /// The attempt failed for another reason.
    Unknown(String),
    /// It is granted, or holds.
    Yes,
}

impl Answer {
    fn of<T>(result: Result<T, BucketError>) -> Answer {
        match result {
            Ok(_) => Answer::Yes,
            Err(BucketError::Refused(_)) => Answer::No,
            Err(error) => Answer::Unknown(chain(&error)),
        }
    }
}

/// What the credentials may, and what the store honours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Objects may be put.
    pub put: Answer,
    /// Creating an object is refused where one of its name is there.
    pub create_only: Answer,
    /// Completing an upload in parts is refused there too.
    pub complete_only: Answer,
    /// An object may be put over another one, where nothing asks the store not to.
    pub overwrite: Answer,
    /// Objects may be got.
    pub get: Answer,
    /// Objects may be listed.
    pub list: Answer,
    /// Objects may be deleted.
    pub delete: Answer,
}

/// What a store does with "only where no object of this name is there".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Honours {
    /// It refuses what would be put over an object, and so keeps the promise.
    Creates,
    /// It overwrites without a word, in one request or when an upload in parts is completed.
    Nothing,
    /// This could not be found out.
    Unknown(String),
}

impl Honours {
    /// An answer that could not be had says nothing against the store.
    fn of(create_only: &Answer, complete_only: &Answer) -> Honours {
        match (create_only, complete_only) {
            (Answer::No, _) | (_, Answer::No) => Honours::Nothing,
            (Answer::Yes, Answer::Yes) => Honours::Creates,
            (Answer::Unknown(why), _) | (_, Answer::Unknown(why)) => Honours::Unknown(why.clone()),
        }
    }
}

impl Bucket {
    /// What was found out of the store so far: whether it refuses to create over an object.
    pub fn honours_create(&self) -> Option<bool> {
        match self.honours.get()? {
            Honours::Creates => Some(true),
            Honours::Nothing => Some(false),
            Honours::Unknown(_) => None,
        }
    }

    /// Whether we must look before we create, because the store would not.
    pub(super) fn ignores_create(&self) -> bool {
        self.honours_create() == Some(false)
    }

    /// Finds out what the store honours, once, and one at a time: all is tried on one object. What
    /// is created later depends on it. Where the store ignores create-only, each create looks
    /// first whether an object is there.
    ///
    /// Costs at most two small puts and one upload in parts of the same bytes. A policy that lets
    /// clips be put but not this object is no error: clips must not wait for it.
    pub async fn first_contact(&self, dock: &str) -> Result<Honours, BucketError> {
        let find_out = || async {
            let key = check_key(dock);
            let create_only = match self.try_create(&key).await {
                Err(BucketError::Refused(why)) => return Ok(Honours::Unknown(why)),
                tried => tried?,
            };
            Ok(Honours::of(&create_only, &self.try_complete(&key).await))
        };
        self.honours.get_or_try_init(find_out).await.cloned()
    }

    /// Finds out what the credentials may and what the store honours. Leaves `<dock>/check`.
    pub async fn probe_rights(&self, dock: &str) -> Rights {
        let key = check_key(dock);
        let created = self.try_create(&key).await;
        let (put, create_only) = match created {
            Ok(create_only) => (Answer::Yes, create_only),
            Err(error) => {
                let why = Answer::Unknown("nothing could be put".into());
                (Answer::of(Err::<(), _>(error)), why)
            }
        };
        let complete_only = match &put {
            Answer::Yes => self.try_complete(&key).await,
            Answer::No | Answer::Unknown(_) => create_only.clone(),
        };
        if put == Answer::Yes {
            self.learn(Honours::of(&create_only, &complete_only));
        }
        let (get, is_ours) = match self.read_all(&key, CHECK.len() as u64).await {
            Ok(bytes) => (Answer::Yes, bytes == CHECK),
            Err(BucketError::TooLarge { .. }) => (Answer::Yes, false),
            // Where it may not be read, its name says whose it is.
            Err(error) => (Answer::of(Err::<(), _>(error)), true),
        };
        let overwrite = if is_ours {
            match self.replace(&key, Bytes::from_static(CHECK)).await {
                Err(BucketError::AlreadyThere) => Answer::No,
                replaced => Answer::of(replaced),
            }
        } else {
            Answer::Unknown(format!("{key} holds something else, and was left as it is"))
        };
        let (list, delete) = (self.try_list(dock).await, self.try_delete(&key).await);
        Rights { put, create_only, complete_only, overwrite, get, list, delete }
    }

    /// What is known already stays, and what could not be found out may be asked again.
    fn learn(&self, honours: Honours) {
        if !matches!(honours, Honours::Unknown(_)) {
            let _ = self.honours.set(honours);
        }
    }

    /// Creates the object twice, or once where it is there already.
    async fn try_create(&self, key: &str) -> Result<Answer, BucketError> {
        let create = || self.put(key, Bytes::from_static(CHECK), PutMode::Create);
        match create().await {
            Ok(()) => {}
            Err(BucketError::AlreadyThere) => return Ok(Answer::Yes),
            Err(error) => return Err(error),
        }
        Ok(match create().await {
            Err(BucketError::AlreadyThere) => Answer::Yes,
            Ok(()) => Answer::No,
            Err(error) => Answer::Unknown(chain(&error)),
        })
    }

    /// Completes an upload of the same bytes over the object. Some stores honour create-only in
    /// one request, and ignore it here.
    async fn try_complete(&self, key: &str) -> Answer {
        match self.in_parts() {
            // Without parts, what is sent is published under its name or not at all.
            None => Answer::Yes,
            Some(many) => complete(many, &self.key(key)).await,
        }
    }

    async fn try_list(&self, dock: &str) -> Answer {
        let prefix = self.key(dock);
        // The first one tells, and so does their absence.
        match self.way() {
            Way::Dav(_) => Answer::of(self.list(dock).await),
            Way::Objects(store) => {
                let first = store.list(Some(&prefix)).try_next().await;
                Answer::of(first.map_err(BucketError::from_store))
            }
        }
    }

    /// Deletes an object that never was: nothing is lost, and a refusal is one all the same.
    async fn try_delete(&self, key: &str) -> Answer {
        if self.is_local() {
            // Whoever may create in a folder may remove in it, and we could create.
            return Answer::Yes;
        }
        let mut random = [0; 16];
        if getrandom::fill(&mut random).is_err() {
            return Answer::Unknown("no randomness for a name that is not taken".into());
        }
        let key = self.key(&format!("{key}-{}", to_hex(&random)));
        let deleted = match self.way() {
            Way::Dav(dav) => dav.delete(&key).await,
            Way::Objects(store) => store.delete(&key).await.map_err(BucketError::from_store),
        };
        match deleted {
            Err(BucketError::Missing) => Answer::Yes,
            deleted => Answer::of(deleted),
        }
    }
}

async fn complete(
    (store, completer): (&dyn MultipartStore, &dyn MultipartStore),
    key: &Key,
) -> Answer {
    let id = match store.create_multipart(key).await.map_err(BucketError::from_store) {
        Ok(id) => id,
        Err(error) => return Answer::Unknown(chain(&error)),
    };
    let sent = store.put_part(key, &id, 0, PutPayload::from_static(CHECK)).await;
    let completed = match sent {
        Ok(part) => completer.complete_multipart(key, &id, vec![part]).await.map(drop),
        Err(error) => Err(error),
    };
    if completed.is_ok() {
        return Answer::No;
    }
    // Best effort: what stays is removed by the bucket's lifecycle rule (docs/operations.md).
    let _ = store.abort_multipart(key, &id).await;
    match completed.map_err(BucketError::from_store) {
        Err(BucketError::AlreadyThere) => Answer::Yes,
        Ok(()) => Answer::No,
        Err(error) => Answer::Unknown(chain(&error)),
    }
}

/// The name of the small object that all is tried on.
fn check_key(dock: &str) -> String {
    format!("{dock}/check")
}
