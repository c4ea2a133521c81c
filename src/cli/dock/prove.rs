//! `dockseal init --prove`: a test clip goes the whole way, from a folder of its own to the bucket.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::clips::holds;
use super::daemon::{Bar, run_agent};
use super::limit::for_seconds;
use super::why::Cause;
use super::{agent_complaint, log, open, queue_complaint};
use crate::cli::{Complaint, Exit, seconds_for_people};
use crate::clip::{Clip, SealedName, State, Timestamp, harmless};
use crate::dock::agent::{self, RunUntil, newest_drill};
use crate::dock::config::{Config, EraseWhen, Keys, Watch};
use crate::dock::push::Buckets;
use crate::dock::queue::{Filter, QueueError};
use crate::edge::bucket::BucketError;
use crate::edge::clock::Instant;
use crate::edge::{clock, durable, fs};
use crate::hold::{Hold, Until};
use crate::note::VerifierKey;

/// How the name of a test clip begins: the authority's list shows it, and nobody takes it for
/// evidence.
const NAME: &str = "dockseal-test-clip";

/// How often it is looked for a drill's receipt.
const INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn prove(config: &Config, drill: Option<&str>) -> Result<Exit, Complaint> {
    let awaited = match drill {
        Some(patience) => Some((authority(config)?, for_seconds(patience)?)),
        None => None,
    };
    let clip = pass(config)?;
    let mut out = io::stdout().lock();
    let id = clip.id;
    if clip.stored_at.is_none() || clip.state() != State::Erased {
        let how_far = match clip.state() {
            State::Seen => "was not sealed",
            State::Sealed => "was sealed, and is not stored",
            State::Stored | State::Erased => "is stored, and its plaintext is there",
        };
        writeln!(out, "proof of life: not yet: test clip {id} {how_far}")?;
        for cause in causes(&clip, clock::now()) {
            writeln!(out, "  cause      {}", harmless(&cause.what))?;
            writeln!(out, "  do         {}", harmless(&cause.command()))?;
        }
        writeln!(out, "then again: dockseal init --prove")?;
        return Ok(Exit::Partial);
    }
    writeln!(out, "proof of life: test clip {id} was sealed, stored and erased here")?;
    for receipt in clip.deliveries.iter().filter_map(|delivery| delivery.receipt.as_ref()) {
        writeln!(out, "  receipt    bucket {}: {}", receipt.bucket, receipt.evidence.word())?;
    }
    for bucket in &config.buckets {
        writeln!(out, "the authority confirms that it opens:")?;
        writeln!(out, "  dockseal-authority drill {} --keyring KEYRING \\", bucket.url)?;
        writeln!(out, "    -i FILE --signing-key ROOT.key")?;
    }
    let (Some((authority, seconds)), Some(sealed)) = (awaited, &clip.sealed) else {
        let shown = "`dockseal status` shows it within an hour";
        writeln!(out, "where this dock may read its receipt, {shown}")?;
        return Ok(Exit::Ok);
    };
    let patience = seconds_for_people(seconds);
    writeln!(out, "waiting for its receipt, {patience} at most; Ctrl-C: it may come later")?;
    out.flush()?;
    match wait_for_drill(config, authority, sealed.name, Duration::from_secs(seconds))? {
        Heard::Opened(at) => writeln!(out, "confirmed: the authority opened the test clip, {at}")?,
        Heard::MayNotRead => {
            writeln!(out, "not confirmed here: this dock may not read the authority's receipts")?;
            return Ok(Exit::Partial);
        }
        Heard::Nothing => {
            writeln!(out, "not confirmed: no drill of this clip within {patience}")?;
            return Ok(Exit::Partial);
        }
    }
    Ok(Exit::Ok)
}

/// Whose drills count.
fn authority(config: &Config) -> Result<&VerifierKey, Complaint> {
    match &config.keys {
        Keys::Keyring { authority, .. } => Ok(authority),
        Keys::Here(_) => {
            let message = "without a keyring it cannot be told whose drill it was";
            Err(Complaint::text(Exit::Config, message)
                .hint("leave out --drill, or have `authority` and `keyring` in the config"))
        }
    }
}

/// What came of waiting for a drill.
enum Heard {
    /// It opened the clip, at this time of the authority's clock.
    Opened(jiff::Timestamp),
    /// No bucket lets the dock read it.
    MayNotRead,
    /// The time was over.
    Nothing,
}

/// Waits for a receipt that names the clip as the newest of those that were opened.
fn wait_for_drill(
    config: &Config,
    authority: &VerifierKey,
    clip: SealedName,
    patience: Duration,
) -> Result<Heard, Complaint> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Complaint::new(Exit::Failed, "cannot start the network", &error))?;
    let (opened, began) = (Buckets::default(), Instant::now());
    loop {
        let mut refusals = 0;
        for bucket in &config.buckets {
            let looked = runtime.block_on(async {
                newest_drill(&opened.open(bucket)?, &config.dock, authority).await
            });
            match looked {
                Ok(Some(drill)) if drill.newest == clip => return Ok(Heard::Opened(drill.at)),
                Err(BucketError::Refused(_)) => refusals += 1,
                Ok(_) | Err(_) => {}
            }
        }
        if refusals == config.buckets.len() {
            return Ok(Heard::MayNotRead);
        }
        if began.elapsed() >= patience {
            return Ok(Heard::Nothing);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Puts a test clip into a folder of its own, and runs until nothing is left to do.
fn pass(config: &Config) -> Result<Clip, Complaint> {
    let folder = config.state_dir.join(agent::files::PROOF);
    let failed = |error: io::Error| Complaint::new(Exit::Failed, "cannot make a test clip", &error);
    let queue_failed = |error: QueueError| queue_complaint(config, &error);
    let reader = open(config)?;
    if let Some(pid) = agent::running(&config.state_dir).ok().flatten() {
        let error = agent::AgentError::AlreadyRunning { pid };
        return Err(agent_complaint(config, &error)
            .hint("put a clip into a watch folder, then: dockseal wait --safe"));
    }
    let newest = || {
        let filter = Filter { count_max: Some(1), ..Filter::default() };
        reader.list(&filter).map(|mut clips| clips.pop()).map_err(queue_failed)
    };
    let before = newest()?;
    fs::create_private_folder(&folder).map_err(failed)?;
    let (dock, now) = (&config.dock, clock::now());
    let text = format!("A test clip of dock {dock}, made by dockseal at {now}.\n");
    let name = format!("{NAME}-{now}.txt");
    durable::replace(&folder.join(name), text.as_bytes()).map_err(failed)?;
    log::begin(Some("error"));
    let alone = Config { watches: vec![watch(folder)], ..config.clone() };
    // What became of the clip says more than its exit code.
    run_agent(alone, RunUntil::Idle, Bar::Hidden)?;
    newest()?.filter(|clip| before.as_ref().is_none_or(|before| before.id < clip.id)).ok_or_else(
        || Complaint::text(Exit::Failed, "the test clip was not found").hint("dockseal check"),
    )
}

fn watch(path: PathBuf) -> Watch {
    Watch {
        path,
        camera: None,
        settle_seconds: 0,
        erase: EraseWhen::WhenStored,
        first: vec![],
        ignore: vec!["*.unfinished".into()],
        completion_marker: None,
    }
}

fn causes(clip: &Clip, now: Timestamp) -> Vec<Cause> {
    let cause = |hold: &Hold| {
        let needs_you = hold.until == Until::Operator;
        let since = now.seconds_since(hold.since);
        Cause::of_hold(hold.reason, &hold.cause, None, since, needs_you)
    };
    holds(clip).map(cause).collect()
}
