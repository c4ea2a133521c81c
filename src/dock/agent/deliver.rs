//! One turn at one delivery: a sealed file to a bucket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::orders::Pressure;
use super::work::spool_damaged;
use super::{AgentError, Context};
use crate::clip::{Clip, Fact, Receipt, SealedName};
use crate::custody::place::clip_key;
use crate::dock::lifecycle::{Step, hold_after, next_step, retry_delay};
use crate::dock::queue::{Answered, Leftover, Queue, QueueError, Sending};
use crate::edge::bucket::{BucketError, Journal, Part, Trouble, Upload};
use crate::edge::clock;
use crate::edge::fs::is_absent;
use crate::error::{Disposition, Fault, chain};
use crate::hold::{Hold, Reason};

/// Bytes after which a long upload gives way to clips that wait.
const TURN_BYTES: u64 = 64 << 20;

/// How a turn ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// The bucket has the clip.
    Arrived,
    /// The bucket, or the way to it, failed.
    BucketFailed {
        /// How long the bucket asked us to wait.
        retry_after: Option<Duration>,
    },
    /// Something is wrong with this clip alone.
    ClipHeld,
    /// Others go first.
    TurnOver,
}

/// Sends a clip's sealed file, or more of it, and records what came of it.
pub(super) async fn deliver(
    context: &Context,
    clip: Clip,
    bucket: String,
    pressure: Arc<Pressure>,
) -> Result<Delivered, AgentError> {
    let name = clip.sealed.expect("only sealed clips are delivered").name;
    let sent = send(context, &clip, name, &bucket, pressure).await;
    let now = clock::now();
    let behind_seconds = context.buckets.behind_seconds(&bucket);
    let name_of_bucket = bucket.clone();
    let answered = |problem| {
        Some(Answered { bucket: name_of_bucket.clone(), problem, behind_seconds, at: now })
    };
    let receipt = match sent {
        Ok(Some(receipt)) => receipt,
        Ok(None) => {
            context.queue.turn_over(clip.id, bucket, now).await?;
            return Ok(Delivered::TurnOver);
        }
        Err(error) if is_of_spool(&error) => {
            spool_damaged(context, clip.id, name).await?;
            return Ok(Delivered::ClipHeld);
        }
        Err(error) => {
            let before = clip.delivery(&bucket).and_then(|delivery| delivery.hold.as_ref());
            let hold = hold_after(before, &error, now, context.jitter());
            let (id, attempts) = (clip.id.0, hold.attempts);
            tracing::warn!(clip = id, bucket, attempts, "not pushed: {}", hold.cause);
            let answered = answered(Some(hold.cause.clone()));
            let retry_after = context.buckets.take_retry_after(&bucket);
            let fact = Fact::DeliveryHeld { bucket, hold };
            context.queue.record_of(clip.id, name, vec![fact], answered).await?;
            let is_clips = error.disposition() == Disposition::Park
                || !matches!(error.reason(), Reason::BucketFailed | Reason::BucketRefused);
            return Ok(match is_clips {
                true => Delivered::ClipHeld,
                false => Delivered::BucketFailed { retry_after },
            });
        }
    };
    let answered = answered(None);
    let evidence = receipt.evidence.word();
    tracing::info!(clip = clip.id.0, bucket, evidence, digest = %name, "pushed");
    let is_weak = !context.policy(&clip).suffices(&receipt);
    let mut facts = vec![Fact::Acknowledged(receipt)];
    if is_weak {
        let cause = "acknowledged, but neither digest nor content could be checked";
        let hold = Hold::for_operator(Reason::ReceiptWeak, cause, now);
        facts.push(Fact::DeliveryHeld { bucket, hold });
    }
    if is_stored_by(context, &clip, &facts) {
        tracing::info!(clip = clip.id.0, "stored in every required bucket");
        facts.push(Fact::Stored(now));
    }
    context.queue.record_of(clip.id, name, facts, answered).await?;
    Ok(Delivered::Arrived)
}

/// Whether the sealed file is damaged, or not there.
fn is_of_spool(error: &BucketError) -> bool {
    match error {
        BucketError::SpoolDamaged => true,
        BucketError::Spool(error) => is_absent(error),
        _ => false,
    }
}

/// Whether this was the last receipt that was required: both facts are then one transaction.
fn is_stored_by(context: &Context, clip: &Clip, facts: &[Fact]) -> bool {
    let is_stored =
        |clip: Clip| next_step(&clip, &context.policy(&clip), clock::now()) == Step::Store;
    clip.with(facts).is_ok_and(is_stored)
}

async fn send(
    context: &Context,
    clip: &Clip,
    name: SealedName,
    bucket: &str,
    pressure: Arc<Pressure>,
) -> Result<Option<Receipt>, BucketError> {
    let config = context.config.bucket(bucket).expect("couriers have configured buckets");
    let opened = context.bucket(config).await?;
    let file = context.spool.read(name).map_err(BucketError::Spool)?;
    let sending = Sending { clip: clip.id, name, bucket: bucket.to_owned() };
    let journal = UploadJournal { context, sending, pressure };
    let key = clip_key(&context.config.dock, name);
    let evidence = opened.put_in_turns(&key, file, name, &journal).await?;
    let stored_at = clock::now();
    let bucket = bucket.to_owned();
    Ok(evidence.map(|evidence| Receipt { bucket, evidence, stored_at }))
}

/// Keeps the progress of one delivery in the queue.
struct UploadJournal<'a> {
    context: &'a Context,
    sending: Sending,
    pressure: Arc<Pressure>,
}

impl UploadJournal<'_> {
    fn queue(&self) -> &Queue {
        &self.context.queue
    }

    fn sending(&self) -> Sending {
        self.sending.clone()
    }
}

/// A queue that fails ends the agent at its next word; the upload only has to stop.
fn stop(error: QueueError) -> BucketError {
    BucketError::failed(Trouble::Broken, chain(&error))
}

#[async_trait]
impl Journal for UploadJournal<'_> {
    async fn upload(&self) -> Result<Option<Upload>, BucketError> {
        let read = || self.queue().reader()?.upload(self.sending.clip, &self.sending.bucket);
        read().map_err(stop)
    }

    async fn begun(&self, key: &str, upload: &Upload) -> Result<(), BucketError> {
        self.queue().upload_begun(self.sending(), key.into(), upload.clone()).await.map_err(stop)
    }

    async fn has_part(&self, number: usize, part: &Part) -> Result<(), BucketError> {
        self.queue().upload_part(self.sending(), number, part.clone()).await.map_err(stop)
    }

    async fn completing(&self) -> Result<(), BucketError> {
        self.queue().upload_completing(self.sending()).await.map_err(stop)
    }

    async fn gone(&self) -> Result<(), BucketError> {
        self.queue().upload_gone(self.sending()).await.map_err(stop)
    }

    async fn given_up(&self) -> Result<(), BucketError> {
        self.queue().upload_given_up(self.sending()).await.map_err(stop)
    }

    fn sent(&self, size_bytes: u64) {
        self.context.count_sent(size_bytes);
    }

    fn may_go_on(&self, turn_bytes: u64) -> bool {
        self.pressure.may_go_on(turn_bytes >= TURN_BYTES)
    }
}

/// Asks buckets to let go of uploads that were given up. What fails is asked again later, for ever.
pub(super) async fn clear_leftovers(
    context: &Context,
    leftovers: Vec<Leftover>,
) -> Result<(), AgentError> {
    for leftover in leftovers {
        let config = context.config.bucket(&leftover.bucket);
        let asked = match config.map(|config| context.buckets.open(config)) {
            Some(Ok(bucket)) => bucket.abandon(&leftover.key, &leftover.upload_id).await,
            Some(Err(error)) => Err(error),
            // It is no longer configured, and nobody knows how to reach it.
            None => Ok(()),
        };
        let again_at = asked.err().map(|error| {
            tracing::debug!(bucket = leftover.bucket, "an upload stays: {}", chain(&error));
            let delay = retry_delay(leftover.attempts + 5, context.jitter());
            clock::now().plus_seconds(delay.as_secs() + 1)
        });
        context.queue.leftover_asked(leftover, again_at).await?;
    }
    Ok(())
}
