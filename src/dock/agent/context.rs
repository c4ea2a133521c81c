//! What all work of the agent shares.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{AgentError, lost, state};
use crate::clip::{Clip, Timestamp};
use crate::dock::config::{BucketConfig, Config, EraseWhen};
use crate::dock::keys::{Keys, KeysFault, Known, SealTo};
use crate::dock::lifecycle::Policy;
use crate::dock::push::Buckets;
use crate::dock::queue::{Queue, Reader};
use crate::dock::seal::Control;
use crate::dock::signing;
use crate::dock::spool::Spool;
use crate::edge::bucket::{Bucket, BucketError, Honours};
use crate::edge::fs::{self, Folder};
use crate::edge::systemd::Pulse;
use crate::error::chain;
use crate::note::SignerKey;

/// What all work shares.
pub struct Context {
    /// The config.
    pub config: Config,
    /// The queue.
    pub queue: Queue,
    /// Counts and stops sealing.
    pub control: Control,
    /// That the loop goes round.
    pub pulse: Arc<Pulse>,
    pub(super) spool: Spool,
    pub(super) buckets: Buckets,
    pub(super) keys: Keys,
    pub(super) signing_key: SignerKey,
    pub(super) instance: String,
    pub(super) sent_bytes: AtomicU64,
    pub(super) erasing: Erasing,
    /// Whether the log continues what was before, or an operator knows that it does not; and the
    /// queue was checked.
    pub(super) may_erase: AtomicBool,
    /// The latest time that is recorded, in milliseconds.
    pub(super) latest: AtomicI64,
}

/// Clips are erased one at a time: they share the quarantine folder.
#[derive(Default)]
pub(super) struct Erasing {
    turn: tokio::sync::Mutex<()>,
    /// Those that have the turn, or wait for it.
    count: AtomicUsize,
    /// Watch folders, and quarantine folders beneath them, that clips were moved to.
    used: Mutex<BTreeSet<(PathBuf, PathBuf)>>,
}

/// The right to erase now.
pub(super) struct Turn<'a> {
    erasing: &'a Erasing,
    _guard: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Erasing {
    /// Waits for it.
    pub(super) async fn turn(&self) -> Turn<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut turn = Turn { erasing: self, _guard: None };
        turn._guard = Some(self.turn.lock().await);
        turn
    }

    /// Removes a quarantine folder that was found empty, as a power cut leaves it, unless a clip is
    /// being erased.
    pub(super) fn remove_empty(&self, folder: &Folder, quarantine: &Path) {
        if let Ok(_turn) = self.turn.try_lock() {
            let _ = folder.remove_empty_folder(quarantine);
        }
    }

    /// A clip was moved to this place in quarantine. Where nobody waits for a turn, quarantine
    /// folders that are empty are removed.
    pub(super) fn tidy(&self, folder: &Path, moved: &Path) {
        let quarantine = moved.parent().unwrap_or(Path::new("")).to_owned();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert((folder.to_owned(), quarantine));
        if self.count.load(Ordering::Relaxed) > 1 {
            return;
        }
        for (folder, quarantine) in std::mem::take(&mut *used) {
            // It stays while another instance's file lies in it, or the medium is not there.
            let _ = Folder::open(&folder).and_then(|f| f.remove_empty_folder(&quarantine));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.erasing.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Context {
    /// Opens queue, spool and keys for whoever has the lock of the state directory. The queue
    /// continues the log that the disk remembers, or begins a new one.
    pub(super) fn enter(config: Config) -> Result<(Context, Reader), AgentError> {
        let queue = lost::open_queue(&config.state_dir, &config.dock)?;
        // SQLite made its log just now, and ignores a sync of the folder that fails. FAULTS F-13.
        fs::sync_folder(&config.state_dir).map_err(|e| AgentError::Halt(chain(&e)))?;
        // A dock of the version before has none yet.
        let signing_key = signing::create(&config.state_dir, &config.dock)?;
        state::continue_log(&config.state_dir, &config.dock, &queue)?;
        let spool = Spool::open(&config.state_dir).map_err(|e| AgentError::Halt(chain(&e)))?;
        let reader = queue.reader()?;
        let keys = Keys::new(&config.keys, &reader.keyrings()?);
        let may_erase = !queue.is_large() && !reader.is_unacknowledged()?;
        let context = Context {
            instance: reader.instance()?,
            config,
            queue,
            spool,
            control: Control::default(),
            buckets: Buckets::default(),
            keys,
            signing_key,
            sent_bytes: AtomicU64::new(0),
            pulse: Arc::default(),
            erasing: Default::default(),
            may_erase: AtomicBool::new(may_erase),
            latest: AtomicI64::new(reader.latest()?.0),
        };
        Ok((context, reader))
    }

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

    /// The policy for a clip. Nothing is erased while the log's beginning is not acknowledged,
    /// or the queue not checked.
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
