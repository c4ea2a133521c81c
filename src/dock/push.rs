//! The opened buckets.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::config::BucketConfig;
use crate::edge::bucket::{Bucket, BucketError};
use crate::edge::credentials;
use crate::edge::limit::Limiter;

/// The opened buckets. Secrets are read again before each push, so new ones need no restart; the
/// connections are kept as long as nothing changed.
#[derive(Default)]
pub struct Buckets {
    opened: Mutex<HashMap<String, Opened>>,
    /// For the whole dock.
    limit: Arc<Limiter>,
    /// For each bucket.
    limits: Mutex<HashMap<String, Arc<Limiter>>>,
}

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
        let mut opened = self.opened();
        if let Some(known) = opened.get(&config.name).filter(|known| known.options == options) {
            return Ok(known.bucket.clone());
        }
        let limits = vec![Arc::clone(&self.limit), self.limit_of(&config.name)];
        let bucket = Bucket::open_limited(&config.url, &options, limits)?;
        opened.insert(config.name.clone(), Opened { options, bucket: bucket.clone() });
        Ok(bucket)
    }

    /// How far our clock is behind a bucket's server, where it said its time.
    pub fn behind_seconds(&self, name: &str) -> Option<i64> {
        self.opened().get(name).and_then(|opened| opened.bucket.clock_behind_seconds())
    }

    /// How long a bucket asked us to wait with its last answer.
    pub fn take_retry_after(&self, name: &str) -> Option<Duration> {
        self.opened().get(name).and_then(|opened| opened.bucket.take_retry_after())
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<String, Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit_of(&self, name: &str) -> Arc<Limiter> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(limits.entry(name.to_owned()).or_default())
    }

    /// Sets how many bytes a second may leave, in all and for each bucket; `None` is no limit.
    pub fn set_rates(&self, (all, each): (Option<u64>, BTreeMap<String, Option<u64>>)) {
        self.limit.set(all);
        each.into_iter().for_each(|(name, rate)| self.limit_of(&name).set(rate));
    }

    /// How far our clock is behind the servers': of several, the one that is nearest to ours, since
    /// one bucket's operator alone must not stop a dock.
    pub fn clock_behind_seconds(&self) -> Option<i64> {
        let opened = self.opened();
        let behind = opened.values().filter_map(|opened| opened.bucket.clock_behind_seconds());
        behind.min_by_key(|seconds| seconds.unsigned_abs())
    }
}
