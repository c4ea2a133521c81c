//! What all work of the agent shares.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::clip::{Clip, Timestamp};
use crate::dock::config::{BucketConfig, Config, EraseWhen};
use crate::dock::keys::{Keys, KeysFault, Known, SealTo};
use crate::dock::lifecycle::Policy;
use crate::dock::push::Buckets;
use crate::dock::queue::Queue;
use crate::dock::seal::Control;
use crate::dock::spool::Spool;
use crate::edge::bucket::{Bucket, BucketError, Honours};
use crate::note::SignerKey;

/// What all work shares.
pub struct Context {
    /// The config.
    pub config: Config,
    /// The queue.
    pub queue: Queue,
    /// Counts and stops sealing.
    pub control: Control,
    pub(super) spool: Spool,
    pub(super) buckets: Buckets,
    pub(super) keys: Keys,
    pub(super) signing_key: SignerKey,
    pub(super) instance: String,
    pub(super) sent_bytes: AtomicU64,
    pub(super) erasing: tokio::sync::Mutex<()>,
    /// Whether the log continues what was before, or an operator knows that it does not.
    pub(super) may_erase: AtomicBool,
    /// The latest time that is recorded, in milliseconds.
    pub(super) latest: AtomicI64,
}

impl Context {
    /// Bytes of sealed files that buckets took so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count_sent(&self, size_bytes: u64) {
        self.sent_bytes.fetch_add(size_bytes, Ordering::Relaxed);
    }

    /// The bucket of a config, once it is known what its store honours.
    pub(super) async fn bucket(&self, config: &BucketConfig) -> Result<Bucket, BucketError> {
        let bucket = self.buckets.open(config)?;
        let is_new = bucket.honours_create().is_none();
        if bucket.first_contact(&self.config.dock).await? == Honours::Nothing && is_new {
            let name = &config.name;
            tracing::warn!(bucket = name, "overwrites although asked not to: we look first");
        }
        Ok(bucket)
    }

    /// The policy for a clip. Nothing is erased while the log's beginning is not acknowledged.
    pub(super) fn policy(&self, clip: &Clip) -> Policy {
        let mut policy = Policy::of(&self.config, clip);
        if !self.may_erase.load(Ordering::Relaxed) {
            policy.erase = EraseWhen::Never;
        }
        policy
    }

    /// Whom to seal to now.
    pub(super) fn seal_to(&self, now: Timestamp) -> Result<SealTo, KeysFault> {
        let latest = Timestamp(self.latest.load(Ordering::Relaxed));
        let known = Known { latest, behind_seconds: self.buckets.clock_behind_seconds() };
        self.keys.seal_to(&self.signing_key.verifier(), now, known)
    }

    pub(super) fn jitter(&self) -> f64 {
        #[cfg(test)]
        if let Some(world) = crate::edge::world::current() {
            return world.chance();
        }
        let random = getrandom::u32().expect("the kernel has randomness");
        f64::from(random) / f64::from(u32::MAX)
    }
}
