//! `dockseal init --prove`: a test clip goes the whole way, from a folder of its own to the bucket.

use std::io::{self, Write};
use std::path::PathBuf;

use super::clips::holds;
use super::daemon::{Bar, run_agent};
use super::why::Cause;
use super::{agent_complaint, log, open, queue_complaint};
use crate::cli::{Complaint, Exit};
use crate::clip::{Clip, State, Timestamp, harmless};
use crate::dock::agent::{self, RunUntil};
use crate::dock::config::{Config, EraseWhen, Watch};
use crate::dock::queue::{Filter, QueueError};
use crate::edge::{clock, durable, fs};
use crate::hold::{Hold, Until};

/// How the name of a test clip begins: the authority's list shows it, and nobody takes it for
/// evidence.
const NAME: &str = "dockseal-test-clip";

pub(super) fn prove(config: &Config) -> Result<Exit, Complaint> {
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
    let drilled = open(config)?.drilled().map_err(|error| queue_complaint(config, &error))?;
    match drilled.filter(|at| *at >= clip.seen_at) {
        Some(at) => writeln!(out, "its receipt of {at} is there: clips of this dock open")?,
        None => writeln!(
            out,
            "where this dock may read its receipt, `dockseal status` shows it within an hour"
        )?,
    }
    Ok(Exit::Ok)
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
