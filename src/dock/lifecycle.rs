//! The lifecycle: what is to be done next with a clip, decided from facts alone.
//!
//! | state | what is so | next |
//! | --- | --- | --- |
//! | Seen | not settled | wait for the scan |
//! | Seen | settled | seal |
//! | Sealed | every required receipt sufficient | record `Stored` |
//! | Sealed | `when-sealed`, source and spool re-read and equal | erase |
//! | Sealed | a bucket without receipt | push |
//! | Stored | plaintext present, policy not `never` | erase |
//! | Stored | sealed file in the spool for `keep_sealed` | unspool |
//! | Stored, Erased | nothing of the above | done |
//! | any | held | wait: until the time, or for the operator |

use super::config::{Config, EraseWhen};
use crate::clip::{Clip, Evidence, Plaintext, Receipt, Timestamp};
use crate::error::{Disposition, Fault, chain};
use crate::hold::{Hold, Reason, Until};

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
pub struct EraseProof(());

/// What to do next with a clip.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is left to do.
    Done,
    /// Remove the plaintext.
    Erase(EraseProof),
    /// An operator must act.
    Operator,
    /// Push the sealed file to the bucket of this name.
    Push(String),
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
    if sealed.in_spool {
        match next_push(clip, policy, now) {
            Some(Step::Wait(until)) => waits.push(Step::Wait(until)),
            Some(Step::Operator) => waits.push(Step::Operator),
            Some(push) => return push,
            None => {}
        }
        if let Some(stored_at) = clip.stored_at {
            let until = stored_at.plus_seconds(policy.keep_sealed_seconds);
            if now >= until {
                return Step::Unspool;
            }
            waits.push(Step::Wait(until));
        }
    }
    soonest(waits)
}

/// The right to erase, where the facts give it.
///
/// `when-stored`: a sufficient receipt of every required bucket, and there is at least one.
/// `when-sealed`: the sealed file is durable, and source and spool were read again and agreed.
pub fn prove(clip: &Clip, policy: &Policy) -> Option<EraseProof> {
    let sealed = clip.sealed.as_ref()?;
    if clip.plaintext != Plaintext::Present || clip.source.is_none() {
        return None;
    }
    let proven = match policy.erase {
        EraseWhen::Never => false,
        EraseWhen::WhenSealed => {
            (sealed.reread && sealed.in_spool) || has_required_receipts(clip, policy)
        }
        EraseWhen::WhenStored => has_required_receipts(clip, policy),
    };
    proven.then_some(EraseProof(()))
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

/// The first bucket that lacks a receipt and may be tried now; else the soonest wait.
fn next_push(clip: &Clip, policy: &Policy, now: Timestamp) -> Option<Step> {
    let mut waits = Vec::new();
    for bucket in &policy.buckets {
        if has_receipt(clip, bucket) {
            continue;
        }
        let hold = clip.delivery(&bucket.name).and_then(|delivery| delivery.hold.as_ref());
        match held(hold, now) {
            None => return Some(Step::Push(bucket.name.clone())),
            Some(wait) => waits.push(wait),
        }
    }
    (!waits.is_empty()).then(|| soonest(waits))
}

fn held(hold: Option<&Hold>, now: Timestamp) -> Option<Step> {
    match hold?.until {
        Until::Operator => Some(Step::Operator),
        Until::Time(until) if until > now => Some(Step::Wait(until)),
        Until::Time(_) => None,
    }
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
            let delay = retry_delay_seconds(attempts) as f64 * 1000.0;
            let jittered = delay * (0.5 + 0.5 * jitter.clamp(0.0, 1.0));
            Until::Time(Timestamp(now.0.saturating_add(jittered as i64)))
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

/// When to try again after `attempts` failures in a row, without jitter: 2, 4, 8 … 900 seconds.
pub fn retry_delay_seconds(attempts: u32) -> u64 {
    const DELAY_SECONDS_MAX: u64 = 900;
    1u64.checked_shl(attempts.min(32)).map_or(DELAY_SECONDS_MAX, |s| s.min(DELAY_SECONDS_MAX))
}

#[cfg(test)]
mod tests;
