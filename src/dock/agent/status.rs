//! What the dock says of itself beside its log: seldom, at its best, and nothing waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Agent, Context, Done, needs};
use crate::clip::Timestamp;
use crate::custody::LogId;
use crate::custody::status::{CLOSED, Held, KeyringLine, Status, key};
use crate::dock::config::{BucketConfig, Config};
use crate::dock::queue::{HeldLine, QueueError, Reader};
use crate::edge::bucket::BucketError;
use crate::edge::clock::{self, Instant};
use crate::edge::fs;
use crate::edge::work::blocking;
use crate::error::chain;
use crate::hold::Reason;
use crate::keyring::day_of;

/// How often it is looked whether there is something new to say. A verdict that changed is said
/// at the next look, and so at most once within this time.
const LOOK_SPACING: Duration = Duration::from_secs(30);
/// A bucket that does not let the status be replaced is asked again after so long.
const REFUSED_REST: Duration = Duration::from_secs(24 * 3600);

/// When to say what next.
pub(super) struct Bulletin {
    interval: Duration,
    look_at: Instant,
    due: Instant,
    /// What was said last.
    said: Option<Gist>,
    /// Buckets that do not let it be replaced, and until when they are left alone.
    resting: HashMap<String, Instant>,
    is_saying: bool,
    /// Whether all is said that there is to say before a run ends by itself.
    is_done: bool,
    /// Whether nothing is ever said.
    is_off: bool,
}

/// What of a status is worth to be said at once when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gist {
    verdict: String,
    needs: Vec<String>,
    /// Reasons for which clips wait for a person.
    reasons: Vec<String>,
}

/// What came of a look.
pub(super) struct Outcome {
    said: Option<Gist>,
    refused: Vec<String>,
    /// Buckets that took it.
    pub(super) took: Vec<String>,
}

/// What a bucket did with a status.
enum Put {
    Failed,
    Refused(String),
    Took(String),
}

impl Bulletin {
    pub(super) fn new(config: &Config) -> Bulletin {
        let (interval, now) = (Duration::from_secs(config.status_seconds), Instant::now());
        Bulletin {
            interval,
            look_at: now,
            due: now,
            said: None,
            resting: HashMap::new(),
            is_saying: false,
            is_done: false,
            is_off: interval.is_zero() || config.buckets.is_empty(),
        }
    }

    pub(super) fn is_saying(&self) -> bool {
        self.is_saying
    }

    /// Whether the last word of a run that ends by itself is said, or there is nobody to say it to.
    pub(super) fn is_done(&self) -> bool {
        self.is_off || (self.is_done && !self.is_saying)
    }

    pub(super) fn finish(&mut self, outcome: Outcome) {
        self.is_saying = false;
        self.said = outcome.said.or(self.said.take());
        let until = Instant::now() + REFUSED_REST;
        self.resting.extend(outcome.refused.into_iter().map(|bucket| (bucket, until)));
    }

    /// Whether nothing is ever said.
    pub(super) fn is_off(&self) -> bool {
        self.is_off
    }

    /// Within how many seconds the next status is there, where all goes well.
    pub(super) fn promise(&self) -> u64 {
        let spread = self.interval.as_secs().div_ceil(10);
        self.interval.as_secs() + spread + LOOK_SPACING.as_secs()
    }
}

impl Agent {
    /// Says how the dock is, to each bucket that has its log, where it is time to, or there is
    /// something new that a person should know.
    pub(super) fn say_when_due(&mut self, is_idle: bool) {
        let (now, bulletin) = (Instant::now(), &mut self.bulletin);
        bulletin.is_done &= is_idle;
        let is_last = is_idle && !bulletin.is_done;
        if bulletin.is_off || bulletin.is_saying || (now < bulletin.look_at && !is_last) {
            return;
        }
        let mut buckets = self.ledger.up_to_date(&self.context.config);
        buckets.retain(|bucket| bulletin.resting.get(&bucket.name).is_none_or(|&at| at <= now));
        if buckets.is_empty() {
            // Nobody has the log, or none takes a status: the end of a run need not wait for it.
            bulletin.is_done |= is_last && !self.ledger.is_publishing();
            return;
        }
        bulletin.look_at = now + LOOK_SPACING.min(bulletin.interval);
        let is_due = now >= bulletin.due || is_last;
        if is_due {
            // A tenth earlier or later, so that many docks do not come at once.
            bulletin.due = now + bulletin.interval.mul_f64(0.9 + 0.2 * self.context.jitter());
        }
        bulletin.is_saying = true;
        bulletin.is_done |= is_last;
        let (said, promise) = (bulletin.said.clone().filter(|_| !is_due), bulletin.promise());
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move { Done::Status(say(context, buckets, said, promise).await) });
    }
}

/// Says it to all buckets at once; not at all where it is what was said before.
pub(super) async fn say(
    context: Arc<Context>,
    buckets: Vec<BucketConfig>,
    said: Option<Gist>,
    promise: u64,
) -> Result<Outcome, QueueError> {
    let reading = Arc::clone(&context);
    let (status, sizes) = blocking(move || {
        let reader = reading.queue.reader()?;
        let status = gather(&reading, &reader, promise)?;
        let sizes = buckets.into_iter().map(|bucket| {
            let size = reader.published(&bucket.name)?.size;
            Ok((bucket, size))
        });
        Ok::<_, QueueError>((status, sizes.collect::<Result<Vec<_>, QueueError>>()?))
    })
    .await?;
    let gist = Gist::of(&status);
    if said.as_ref() == Some(&gist) {
        return Ok(Outcome { said, refused: Vec::new(), took: Vec::new() });
    }
    let has_log = sizes.into_iter().filter(|(_, size)| *size > 0);
    let puts = has_log.map(|(bucket, log_size)| {
        let status = Status { log_size, ..status.clone() };
        put(&context, bucket, status)
    });
    let (mut refused, mut took) = (Vec::new(), Vec::new());
    for put in join_all(puts).await {
        match put {
            Put::Failed => {}
            Put::Refused(bucket) => refused.push(bucket),
            Put::Took(bucket) => took.push(bucket),
        }
    }
    Ok(Outcome { said: Some(gist), refused, took })
}

/// Puts it into one bucket.
async fn put(context: &Context, config: BucketConfig, status: Status) -> Put {
    let bytes = Bytes::from(status.sign(&context.signing_key).to_string());
    let put = match context.buckets.open(&config) {
        Ok(bucket) => bucket.replace(&key(&status.dock), bytes).await,
        Err(error) => Err(error),
    };
    let bucket = config.name;
    match put {
        Ok(()) => Put::Took(bucket),
        Err(BucketError::AlreadyThere | BucketError::Refused(_)) => {
            tracing::info!(bucket, "does not let the status be replaced; the fleet is not told");
            Put::Refused(bucket)
        }
        Err(error) => {
            tracing::debug!(bucket, "the status is not said: {}", chain(&error));
            Put::Failed
        }
    }
}

/// What there is to say.
fn gather(context: &Context, reader: &Reader, next_seconds: u64) -> Result<Status, QueueError> {
    let (config, now) = (&context.config, clock::now());
    let (log, log_size): (LogId, u64) = reader.log()?;
    let lines = reader.held()?;
    let keyring = context.keys.keyring();
    let is_closed = reader.closed()?.is_some();
    // Nobody goes to a dock that is no longer in service.
    let needs = match is_closed {
        true => Vec::new(),
        false => needs(config, reader, keyring.as_ref(), now)?,
    };
    let verdict = match lines.iter().map(|line| line.operator_count).sum() {
        _ if is_closed => CLOSED,
        1u64.. => "attention",
        0 if !needs.is_empty() => "attention",
        0 if !lines.is_empty() => "waiting",
        0 => "ok",
    };
    let unsafe_count = reader.unsafe_count()?;
    let required = config.buckets.iter().filter(|bucket| bucket.required);
    let required: Vec<_> = required.map(|bucket| bucket.name.as_str()).collect();
    Ok(Status {
        dock: config.dock.clone(),
        at: whole_seconds(now),
        next_seconds,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log,
        log_size,
        verdict: verdict.to_owned(),
        needs: needs.iter().map(|need| need.word().to_owned()).collect(),
        unsafe_count,
        oldest_unsafe_seconds: reader.oldest_unsafe()?.map_or(0, |at| now.seconds_since(at)),
        at_risk_count: reader.at_risk_count(&required)?.min(unsafe_count),
        held: by_reason(&lines),
        backlog_bytes: reader.waiting()?.iter().map(|line| line.size_bytes).sum(),
        free_bytes: fs::free_bytes(&config.state_dir).ok(),
        keyring: keyring.map(|keyring| KeyringLine {
            revision: keyring.revision,
            days_left: keyring.days_left(day_of(now)).into(),
        }),
        drilled_seconds: reader.drilled()?.map(|at| now.seconds_since(at)),
    })
}

/// The waits by reason alone: the names of buckets are the dock's own.
fn by_reason(lines: &[HeldLine]) -> Vec<Held> {
    let count = |reason: Reason| {
        let of_it = lines.iter().filter(|line| line.reason == reason);
        of_it.fold((0, 0), |sum, line| (sum.0 + line.count, sum.1 + line.operator_count))
    };
    let held = Reason::ALL.into_iter().map(|reason| (reason.code().to_owned(), count(reason)));
    held.filter(|(_, (count, _))| *count > 0)
        .map(|(reason, (count, operator_count))| Held { reason, count, operator_count })
        .collect()
}

fn whole_seconds(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(time.0.div_euclid(1000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

impl Gist {
    fn of(status: &Status) -> Gist {
        let for_a_person = status.held.iter().filter(|held| held.operator_count > 0);
        Gist {
            verdict: status.verdict.clone(),
            needs: status.needs.clone(),
            reasons: for_a_person.map(|held| held.reason.clone()).collect(),
        }
    }
}
