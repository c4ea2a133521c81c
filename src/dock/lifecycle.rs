//! The lifecycle: what is to be done next with a clip, decided from facts alone.
//!
//! | state | what is so | next |
//! | --- | --- | --- |
//! | Seen | not settled | wait for the scan |
//! | Seen | settled | seal |
//! | Sealed | every required receipt sufficient | record `Stored` |
//! | Sealed | `when-sealed`, source and spool re-read and equal | erase |
//! | Sealed, Stored | a bucket without receipt | push, beside all else ([`next_delivery`]) |
//! | Stored | plaintext present, policy not `never` | erase |
//! | Stored | sealed file in the spool for `keep_sealed` | unspool |
//! | Stored, Erased | nothing of the above | done |
//! | any | held | wait: until the time, or for the operator |

use std::time::Duration;

use super::config::{Config, EraseWhen};
use crate::clip::{Clip, Evidence, Plaintext, Receipt, Timestamp};
use crate::error::{Disposition, Fault, chain};
use crate::hold::{Hold, Reason, Until};

/// The longest wait after a failure.
const DELAY_SECONDS_MAX: u64 = 900;

/// What a clip's folder and the buckets ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// When its plaintext is removed.
    pub erase: EraseWhen,
    /// The buckets, in the order of the config.
    pub buckets: Vec<BucketPolicy>,
    /// How long its sealed file stays in the spool once it is stored.
    pub keep_sealed_seconds: u64,
}

/// What a bucket's receipt is needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPolicy {
    /// The bucket's name.
    pub name: String,
    /// Whether a clip is stored only with its receipt.
    pub required: bool,
    /// The weakest evidence that counts.
    pub evidence_min: Evidence,
}

impl BucketPolicy {
    fn suffices(&self, receipt: &Receipt) -> bool {
        receipt.bucket == self.name && receipt.evidence >= self.evidence_min
    }
}

impl Policy {
    /// The policy for a clip. A clip whose folder is no longer configured is kept: `never`.
    pub fn of(config: &Config, clip: &Clip) -> Policy {
        let watch = clip.source.as_ref().and_then(|source| config.watch(&source.folder));
        let buckets = config.buckets.iter().map(|bucket| BucketPolicy {
            name: bucket.name.clone(),
            required: bucket.required,
            evidence_min: match bucket.trust_acknowledgement {
                true => Evidence::Acknowledged,
                false => Evidence::ReadBack,
            },
        });
        Policy {
            erase: watch.map_or(EraseWhen::Never, |watch| watch.erase),
            buckets: buckets.collect(),
            keep_sealed_seconds: config.keep_sealed_seconds,
        }
    }

    /// Whether a receipt counts for this policy.
    pub fn suffices(&self, receipt: &Receipt) -> bool {
        self.buckets.iter().any(|bucket| bucket.suffices(receipt))
    }
}

/// The right to erase one clip's plaintext.
///
/// Minted by [`prove`] alone, from the facts in the queue, and never stored: after a restart it is
/// made again.
#[derive(Debug, PartialEq, Eq)]
pub struct EraseProof {
    rests_on_spool: bool,
}

impl EraseProof {
    /// Whether the sealed file in the spool is all that there will be: it must be read once more
    /// just before. What was true when the clip was sealed may be days old, as where its medium was
    /// away.
    pub fn rests_on_spool(&self) -> bool {
        self.rests_on_spool
    }
}

/// What to do next with a clip.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is left to do.
    Done,
    /// Remove the plaintext.
    Erase(EraseProof),
    /// An operator must act.
    Operator,
    /// Seal the file.
    Seal,
    /// Record that it is stored.
    Store,
    /// Remove the sealed file from the spool.
    Unspool,
    /// Look again at this time.
    Wait(Timestamp),
    /// Look again when the folder was looked through.
    WaitForScan,
}

/// The lifecycle. Pure: the same facts and time always give the same step.
pub fn next_step(clip: &Clip, policy: &Policy, now: Timestamp) -> Step {
    let Some(sealed) = clip.sealed else {
        return match held(clip.hold.as_ref(), now) {
            Some(wait) => wait,
            None if clip.settled_at.is_none() => Step::WaitForScan,
            None => Step::Seal,
        };
    };
    // First of all: the log says "stored" before it says "erased".
    if clip.stored_at.is_none() && has_required_receipts(clip, policy) {
        return Step::Store;
    }
    let mut waits = Vec::new();
    match held(clip.hold.as_ref(), now) {
        // Without its sealed file nothing else can go on; any other hold only blocks erasing.
        Some(wait) if clip.hold.as_ref().is_some_and(|h| h.reason == Reason::SpoolDamaged) => {
            return wait;
        }
        Some(wait) => waits.push(wait),
        None => {
            if let Some(proof) = prove(clip, policy) {
                return Step::Erase(proof);
            }
        }
    }
    if let Some(stored_at) = clip.stored_at.filter(|_| sealed.in_spool) {
        match leaves_spool_at(clip, policy, stored_at) {
            Some(time) if now >= time => return Step::Unspool,
            Some(time) => waits.push(Step::Wait(time)),
            None => {}
        }
    }
    soonest(waits)
}

/// Whether a clip may be in the middle of its erasure right now.
pub fn is_erasing(clip: &Clip, policy: &Policy, now: Timestamp) -> bool {
    prove(clip, policy).is_some() && held(clip.hold.as_ref(), now).is_none()
}

/// The right to erase, where the facts give it.
///
/// `when-stored`: a sufficient receipt of every required bucket, and there is at least one.
/// `when-sealed`: the sealed file is durable, and the source was read again and agreed.
pub fn prove(clip: &Clip, policy: &Policy) -> Option<EraseProof> {
    let sealed = clip.sealed.as_ref()?;
    if clip.plaintext != Plaintext::Present || clip.source.is_none() {
        return None;
    }
    let rests_on_spool = !has_required_receipts(clip, policy);
    let proven = match policy.erase {
        EraseWhen::Never => false,
        EraseWhen::WhenSealed => !rests_on_spool || (sealed.reread && sealed.in_spool),
        EraseWhen::WhenStored => !rests_on_spool,
    };
    proven.then_some(EraseProof { rests_on_spool })
}

/// Whether every required bucket gave a sufficient receipt. Without any required bucket there is
/// nothing that a receipt could prove.
fn has_required_receipts(clip: &Clip, policy: &Policy) -> bool {
    let mut required = policy.buckets.iter().filter(|bucket| bucket.required).peekable();
    required.peek().is_some() && required.all(|bucket| has_receipt(clip, bucket))
}

fn has_receipt(clip: &Clip, bucket: &BucketPolicy) -> bool {
    let delivery = clip.delivery(&bucket.name);
    delivery.and_then(|d| d.receipt.as_ref()).is_some_and(|r| bucket.suffices(r))
}

/// When a stored clip's sealed file may leave the spool; not while a required bucket, that was
/// added since, has no receipt. Other buckets have an hour in which it is kept for their first try.
fn leaves_spool_at(clip: &Clip, policy: &Policy, stored_at: Timestamp) -> Option<Timestamp> {
    const FIRST_TRY_SECONDS: u64 = 3600;
    let was_tried = |bucket: &BucketPolicy| {
        clip.delivery(&bucket.name).is_some_and(|d| d.receipt.is_some() || d.hold.is_some())
    };
    let mut kept_seconds = policy.keep_sealed_seconds;
    for bucket in &policy.buckets {
        if bucket.required && !has_receipt(clip, bucket) {
            return None;
        }
        if !was_tried(bucket) {
            kept_seconds = kept_seconds.max(FIRST_TRY_SECONDS);
        }
    }
    Some(stored_at.plus_seconds(kept_seconds))
}

/// Whether, and when, to push a clip's sealed file to a bucket.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivering {
    /// Now.
    Now,
    /// Not before this time.
    Later(Timestamp),
    /// Not until something else happens to the clip.
    Not,
}

/// What is next in a clip's delivery to one bucket. Pure, as [`next_step`] is.
pub fn next_delivery(clip: &Clip, bucket: &str, policy: &Policy, now: Timestamp) -> Delivering {
    let Some(bucket) = policy.buckets.iter().find(|known| known.name == bucket) else {
        return Delivering::Not;
    };
    let has_file = clip.sealed.is_some_and(|sealed| sealed.in_spool);
    if !has_file || has_receipt(clip, bucket) {
        return Delivering::Not;
    }
    // Damaged: sealed again as soon as the medium with the plaintext is back, or never.
    let damaged = clip.hold.as_ref().filter(|hold| hold.reason == Reason::SpoolDamaged);
    let own = clip.delivery(&bucket.name).and_then(|delivery| delivery.hold.as_ref());
    match held(damaged, now).or_else(|| held(own, now)) {
        None => Delivering::Now,
        Some(Step::Wait(until)) => Delivering::Later(until),
        Some(_) => Delivering::Not,
    }
}

fn held(hold: Option<&Hold>, now: Timestamp) -> Option<Step> {
    match hold?.until {
        Until::Operator => Some(Step::Operator),
        Until::Time(until) if is_ahead(until, now) => Some(Step::Wait(until)),
        Until::Time(_) => None,
    }
}

/// Whether the end of a wait is still to come. One that lies further ahead than any wait is long
/// comes from a clock that was put back since: nobody waits for years because of it.
pub fn is_ahead(until: Timestamp, now: Timestamp) -> bool {
    until > now && until <= now.plus_seconds(DELAY_SECONDS_MAX)
}

/// Of several waits the one that ends first; for the operator last.
fn soonest(waits: Vec<Step>) -> Step {
    let mut soonest = Step::Done;
    for wait in waits {
        soonest = match (soonest, wait) {
            (Step::Wait(a), Step::Wait(b)) => Step::Wait(a.min(b)),
            (Step::Wait(until), _) | (_, Step::Wait(until)) => Step::Wait(until),
            (_, wait) => wait,
        };
    }
    soonest
}

/// The wait after a failure, given the one before it. `jitter` is a random number of 0 to 1, so
/// that a thousand clips, or four hundred docks, do not all come back at the same moment.
pub fn hold_after(before: Option<&Hold>, fault: &impl Fault, now: Timestamp, jitter: f64) -> Hold {
    let before = before.filter(|before| before.reason == fault.reason());
    let attempts = before.map_or(0, |before| before.attempts).saturating_add(1);
    let until = match fault.disposition() {
        // A process that must end holds no clip; should it be asked, waiting is the safe answer.
        Disposition::Halt | Disposition::Park => Until::Operator,
        Disposition::Retry => {
            let delay = retry_delay(attempts, jitter).as_millis() as i64;
            Until::Time(Timestamp(now.0.saturating_add(delay)))
        }
    };
    Hold {
        reason: fault.reason(),
        until,
        since: before.map_or(now, |before| before.since),
        attempts,
        cause: chain(fault),
    }
}

/// How long to wait after `attempts` failures in a row: anything up to 2, 4, 8 … 900 seconds. The
/// jitter, of 0 to 1, is full: what failed together does not come back together.
pub fn retry_delay(attempts: u32, jitter: f64) -> Duration {
    const DELAY_MIN: Duration = Duration::from_millis(250);
    let limit =
        1u64.checked_shl(attempts.min(32)).map_or(DELAY_SECONDS_MAX, |s| s.min(DELAY_SECONDS_MAX));
    Duration::from_secs(limit).mul_f64(jitter.clamp(0.0, 1.0)).max(DELAY_MIN)
}

#[cfg(test)]
mod tests;
