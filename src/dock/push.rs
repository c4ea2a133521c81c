//! Pushing one sealed file to one bucket.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::{Mutex, PoisonError};

use super::config::BucketConfig;
use crate::clip::{Evidence, Receipt, SealedName, Timestamp};
use crate::edge::bucket::{Bucket, BucketError};
use crate::edge::credentials;

/// The opened buckets. Secrets are read again before each push, so new ones need no restart; the
/// connections are kept as long as nothing changed.
#[derive(Default)]
pub struct Buckets(Mutex<HashMap<String, Opened>>);

/// A bucket, and the options and secrets that it was opened with.
struct Opened {
    options: BTreeMap<String, String>,
    bucket: Bucket,
}

impl Buckets {
    /// The bucket of this config, with the secrets of now.
    pub fn open(&self, config: &BucketConfig) -> Result<Bucket, BucketError> {
        let file = config.credentials_file.as_deref();
        let options = credentials::with_secrets(&config.name, &config.url, &config.options, file)
            .map_err(BucketError::Credentials)?;
        // Secrets for other buckets may be in the environment; a folder takes no options.
        let is_folder = config.url.starts_with("file:");
        let options = if is_folder { config.options.clone() } else { options };
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = opened.get(&config.name).filter(|known| known.options == options) {
            return Ok(known.bucket.clone());
        }
        let bucket = Bucket::open(&config.url, &options)?;
        opened.insert(config.name.clone(), Opened { options, bucket: bucket.clone() });
        Ok(bucket)
    }

    /// How far our clock is behind the servers': of several, the one that is nearest to ours, since
    /// one bucket's operator alone must not stop a dock.
    pub fn clock_behind_seconds(&self) -> Option<i64> {
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = opened.values().filter_map(|opened| opened.bucket.clock_behind_seconds());
        behind.min_by_key(|seconds| seconds.unsigned_abs())
    }
}

/// The object of a sealed clip beneath the bucket's prefix (DESIGN §7).
pub fn key(dock: &str, name: SealedName) -> String {
    let name = name.to_string();
    let first = name.get(..2).expect("64 digits");
    format!("{dock}/clips/{first}/{name}.age")
}

/// Puts the sealed file, and gives the bucket's receipt.
pub async fn push(
    bucket: &Bucket,
    bucket_name: &str,
    dock: &str,
    file: File,
    name: SealedName,
    sent: &(dyn Fn(u64) + Sync),
    now: impl Fn() -> Timestamp,
) -> Result<Receipt, BucketError> {
    let evidence: Evidence = bucket.put_sealed(&key(dock, name), file, name, sent).await?;
    Ok(Receipt { bucket: bucket_name.to_owned(), evidence, stored_at: now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_nothing_but_dock_and_digest() {
        let name = SealedName([0xab; 32]);
        assert_eq!(key("dock-1", name), format!("dock-1/clips/ab/{name}.age"));
    }
}
