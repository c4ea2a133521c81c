//! The agent's account: keyrings are taken, and the custody log is published.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::cosign::cosigned;
use super::deliver::clear_leftovers;
use super::{Agent, AgentError, Context, Done, files};
use crate::clip::Timestamp;
use crate::custody::checkpoint::Checkpoint;
use crate::custody::drill::{Drill, RECEIPT_SIZE_MAX, newest_key};
use crate::custody::entry::Event;
use crate::custody::folder;
use crate::dock::config::{BucketConfig, Config};
use crate::dock::keys::{Look, Offer};
use crate::dock::limits::rates;
use crate::dock::publish::{Edition, PublishError, publish};
use crate::dock::queue::Counted;
use crate::edge::bucket::{Bucket, BucketError};
use crate::edge::clock::{self, Instant};
use crate::edge::durable;
use crate::edge::work::blocking;
use crate::error::chain;
use crate::hold::Reason;
use crate::note::{NOTE_SIZE_MAX, VerifierKey};

/// The shortest time between two editions of the log: each costs a few requests a bucket. For a
/// bucket that did not take the last one it doubles each time.
const SPACING_MIN: Duration = Duration::from_secs(10);
/// Doubled at most so often: 10 minutes and 40 seconds.
const DOUBLING_COUNT_MAX: u32 = 6;

/// A clock that is corrected by less makes nobody wait much longer.
const CLOCK_SLACK_SECONDS: u64 = 10;

/// Uploads that were given up and are removed in one go.
const LEFTOVERS_AT_ONCE: u64 = 16;

/// How an edition went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The size of the log that was published.
    size: u64,
    /// Each bucket that it was for, and whether that has it.
    pub(super) buckets: Vec<(String, bool)>,
}

/// When to publish next.
pub(super) struct Ledger {
    heartbeat: Duration,
    heartbeat_due: Instant,
    earliest: Instant,
    /// The size of the log at the last edition.
    last: Option<u64>,
    /// Buckets that did not take the last edition, how often, and when they are asked again. They
    /// hold up no other.
    failing: HashMap<String, (u32, Instant)>,
    is_publishing: bool,
}

impl Ledger {
    pub(super) fn new(config: &Config) -> Ledger {
        let now = Instant::now();
        let heartbeat = Duration::from_secs(config.heartbeat_seconds);
        Ledger {
            heartbeat,
            heartbeat_due: now + heartbeat,
            earliest: now,
            last: None,
            failing: HashMap::new(),
            is_publishing: false,
        }
    }

    pub(super) fn is_publishing(&self) -> bool {
        self.is_publishing
    }

    /// The buckets that have the log as it was published last, and take more.
    pub(super) fn up_to_date(&self, config: &Config) -> Vec<BucketConfig> {
        let has_it = |bucket: &&BucketConfig| !self.failing.contains_key(&bucket.name);
        let is_settled = self.last.is_some() && !self.is_publishing;
        config.buckets.iter().filter(|_| is_settled).filter(has_it).cloned().collect()
    }

    pub(super) fn finish(&mut self, outcome: Outcome) {
        self.is_publishing = false;
        self.last = Some(outcome.size);
        let now = Instant::now();
        self.earliest = now + SPACING_MIN;
        for (bucket, has_it) in outcome.buckets {
            if has_it {
                self.failing.remove(&bucket);
                continue;
            }
            let (count, again_at) = self.failing.entry(bucket).or_insert((0, now));
            *count += 1;
            *again_at = now + SPACING_MIN * 2u32.pow((*count).min(DOUBLING_COUNT_MAX));
        }
    }

    /// Whether every bucket has the log up to `size`, or failed to take it a moment ago.
    fn is_done(&self, size: u64) -> bool {
        self.last.is_some_and(|last| last >= size) && !self.is_publishing
    }

    /// The buckets that an edition of the log at `size` is for: all that are asked at `now`.
    fn wanted(&self, config: &Config, size: u64, now: Instant) -> Vec<BucketConfig> {
        let is_new = now >= self.earliest && self.last.is_none_or(|last| last < size);
        let is_wanted = |bucket: &&BucketConfig| match self.failing.get(&bucket.name) {
            Some((_, again_at)) => now >= *again_at,
            None => is_new,
        };
        config.buckets.iter().filter(is_wanted).cloned().collect()
    }
}

impl Agent {
    /// What others may have changed since the last round: an operator, the authority.
    pub(super) async fn look_around(&mut self) -> Result<(), AgentError> {
        let context = Arc::clone(&self.context);
        self.look_at_clock().await?;
        context.latest.store(self.reader.latest()?.0, Ordering::Relaxed);
        let may_erase = self.checking.is_none() && !self.reader.is_unacknowledged()?;
        if may_erase && !context.may_erase.swap(true, Ordering::Relaxed) {
            tracing::info!("nothing speaks against erasing any more; it goes on");
            context.queue.look_at_all(clock::now()).await?;
        }
        context.buckets.set_rates(rates(&context.config, &self.reader.limits()?, clock::now()));
        self.follow_orders().await?;
        let retried = self.reader.retried()?;
        if retried != std::mem::replace(&mut self.retried, retried) {
            self.wake_couriers();
        }
        let overflows = self.hints().take_overflows();
        if overflows > 0 {
            context.queue.count(Counted::Overflows, overflows).await?;
        }
        let leftovers = self.reader.leftovers(clock::now(), LEFTOVERS_AT_ONCE)?;
        if !leftovers.is_empty() && !std::mem::replace(&mut self.is_clearing, true) {
            let context = Arc::clone(&context);
            self.tasks
                .spawn(async move { Done::Leftovers(clear_leftovers(&context, leftovers).await) });
        }
        match context.keys.look_at_file() {
            Look::Same | Look::Refused => Ok(()),
            Look::Usable(None) => Ok(context.queue.release(Reason::KeyringUnusable).await?),
            Look::Usable(Some(offer)) => take(&context, offer).await,
        }
    }

    /// Notices a wall clock that was put back.
    async fn look_at_clock(&mut self) -> Result<(), AgentError> {
        let (wall, steady) = (clock::now(), Instant::now());
        let (wall_before, steady_before) = std::mem::replace(&mut self.clocks, (wall, steady));
        let expected = wall_before.plus_seconds(steady.duration_since(steady_before).as_secs());
        if expected.seconds_since(wall) < CLOCK_SLACK_SECONDS {
            return Ok(());
        }
        tracing::warn!("the clock was put back; nothing waits for the time that it showed before");
        Ok(self.context.queue.clock_went_back(wall).await?)
    }

    /// Whether the log is published as far as it can be.
    pub(super) fn is_published(&self) -> Result<bool, AgentError> {
        let nobody = self.context.config.buckets.is_empty();
        Ok(nobody || self.ledger.is_done(self.reader.log()?.1))
    }

    /// Begins an edition where there is something to say, or it is time for a heartbeat.
    pub(super) fn publish_when_due(&mut self, is_idle: bool) -> Result<(), AgentError> {
        let now = Instant::now();
        if self.ledger.is_publishing || self.context.config.buckets.is_empty() {
            return Ok(());
        }
        let heartbeat = now >= self.ledger.heartbeat_due;
        let size = self.reader.log()?.1;
        let is_last = is_idle && !self.ledger.is_done(size);
        let buckets = match heartbeat || is_last {
            true => self.context.config.buckets.clone(),
            false => self.ledger.wanted(&self.context.config, size, now),
        };
        if buckets.is_empty() {
            return Ok(());
        }
        if heartbeat {
            self.ledger.heartbeat_due = now + self.ledger.heartbeat;
        }
        self.ledger.is_publishing = true;
        let context = Arc::clone(&self.context);
        let ask = heartbeat || self.ledger.last.is_none();
        // A log that just began says so itself; a daemon that began says that it runs.
        let is_first = self.ledger.last.is_none() && size > 1;
        let beat = (heartbeat || is_first).then_some(Event::Alive);
        self.tasks.spawn(async move {
            let asking = async { if ask { ask_the_authority(&context).await } else { Ok(()) } };
            let (asked, outcome) = tokio::join!(asking, edition(&context, beat, buckets));
            Done::Log(asked.and(outcome))
        });
        Ok(())
    }
}

/// Records a keyring, then uses it.
async fn take(context: &Context, offer: Offer) -> Result<(), AgentError> {
    let (note, from) = (offer.note.clone(), offer.from.word());
    context.queue.keyring_taken(note, from, offer.revision, offer.sha256).await?;
    tracing::info!(revision = offer.revision, from, "took a keyring");
    context.keys.take(offer);
    Ok(context.queue.release(Reason::KeyringUnusable).await?)
}

/// Looks for what the authority left in the buckets.
async fn ask_the_authority(context: &Context) -> Result<(), AgentError> {
    if !context.keys.is_keyring() {
        return Ok(());
    }
    let asked = context.config.buckets.iter().map(|bucket| async move {
        look_for_keyring(context, bucket).await?;
        look_for_drill(context, bucket).await
    });
    try_join_all(asked).await.map(|_| ())
}

/// One edition: every bucket gets what it has not, all at once.
pub(super) async fn edition(
    context: &Context,
    beat: Option<Event>,
    buckets: Vec<BucketConfig>,
) -> Result<Outcome, AgentError> {
    if let Some(beat) = beat {
        context.queue.enter(beat).await?;
    }
    let size = context.queue.reader()?.log()?.1;
    context.queue.close_tiles(size).await?;
    let head = context.queue.reader()?.head(size)?;
    let checkpoint = Checkpoint::new(&context.config.dock, head);
    // Before any bucket knows of it: a queue that is put back later is known by it.
    let remember = {
        let (path, text) = (context.config.state_dir.join(files::HEAD), checkpoint.to_string());
        blocking(move || durable::replace(&path, text.as_bytes()))
    };
    remember.await.map_err(|error| AgentError::Halt(chain(&error)))?;
    let note = cosigned(context, head, checkpoint.sign(&context.signing_key)).await?.to_string();
    let folder = folder(&context.config.dock, head.log);
    let (folder, note) = (&folder, &note);
    let published = buckets.iter().map(|bucket| async move {
        let has_it = publish_to(context, bucket, folder, size, note).await?;
        Ok::<_, AgentError>((bucket.name.clone(), has_it))
    });
    Ok(Outcome { size, buckets: try_join_all(published).await? })
}

/// Publishes to one bucket; `false` where it failed and is to be tried again.
async fn publish_to(
    context: &Context,
    config: &BucketConfig,
    folder: &str,
    size: u64,
    checkpoint: &str,
) -> Result<bool, AgentError> {
    let name = &config.name;
    let reader = context.queue.reader()?;
    let known = reader.published(name)?;
    if known.size == size {
        return Ok(true);
    }
    context.queue.publishing(name.clone(), size).await?;
    let edition = Edition {
        folder,
        published: known.size,
        attempted: known.attempted,
        size,
        checkpoint,
        piece: move |piece| reader.piece(piece),
    };
    let published = match context.bucket(config).await {
        Ok(bucket) => publish(&bucket, edition).await,
        Err(error) => Err(PublishError::Bucket(error)),
    };
    match published {
        Ok(()) => {
            tracing::debug!(bucket = name, size, "the log is published");
            context.queue.published(name.clone(), Ok(size)).await?;
            Ok(true)
        }
        Err(PublishError::Bucket(error)) => {
            let cause = chain(&error);
            tracing::warn!(bucket = name, "the log is not published: {cause}");
            context.queue.published(name.clone(), Err(cause)).await?;
            Ok(false)
        }
        Err(PublishError::Forked { key }) => {
            context.queue.forked(key.clone()).await?;
            Err(AgentError::Forked { key })
        }
        Err(PublishError::Log(error)) => Err(error.into()),
    }
}

/// Notes when the authority last proved that clips of this dock can be opened, where its receipt
/// may be read.
async fn look_for_drill(context: &Context, config: &BucketConfig) -> Result<(), AgentError> {
    let Ok(bucket) = context.buckets.open(config) else { return Ok(()) };
    let Some(keyring) = context.keys.keyring() else { return Ok(()) };
    match newest_drill(&bucket, &context.config.dock, &keyring.authority).await {
        Ok(Some(drill)) => Ok(context.queue.drilled(Timestamp(drill.at.as_millisecond())).await?),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// The receipt of the last drill of a dock, where this authority left one and it may be read.
pub async fn newest_drill(
    bucket: &Bucket,
    dock: &str,
    authority: &VerifierKey,
) -> Result<Option<Drill>, BucketError> {
    let receipt = match bucket.read_all(&newest_key(dock), RECEIPT_SIZE_MAX).await {
        Ok(receipt) => receipt,
        Err(BucketError::Missing) => return Ok(None),
        Err(error) => return Err(error),
    };
    match Drill::verify(&receipt, authority) {
        Ok(drill) => Ok(Some(drill).filter(|drill| drill.dock == dock)),
        Err(error) => {
            tracing::warn!(dock, "a drill's receipt is of no use: {error}");
            Ok(None)
        }
    }
}

/// Takes the keyring that a bucket has, where it may be read and is a later one. What a bucket
/// says is worth only its signature: anything else changes nothing.
async fn look_for_keyring(context: &Context, config: &BucketConfig) -> Result<(), AgentError> {
    let Ok(bucket) = context.buckets.open(config) else { return Ok(()) };
    let note = match bucket.read_all("keyring", NOTE_SIZE_MAX as u64).await {
        Ok(note) => note,
        Err(BucketError::Missing | BucketError::Refused(_)) => return Ok(()),
        Err(error) => {
            tracing::debug!(bucket = config.name, "cannot look for a keyring: {}", chain(&error));
            return Ok(());
        }
    };
    match context.keys.look_at(&note) {
        Ok(Some(offer)) => take(context, offer).await,
        Ok(None) => Ok(()),
        Err(error) => {
            tracing::debug!(bucket = config.name, "its keyring is of no use: {}", chain(&error));
            Ok(())
        }
    }
}
