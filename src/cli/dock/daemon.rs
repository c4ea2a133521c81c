//! `dockseal init` and `dockseal run`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::{agent_complaint, load, log, metrics, open};
use crate::cli::{Complaint, Exit};
use crate::clip::{State, printable};
use crate::dock::agent::{self, Agent, Context, End, RunUntil};
use crate::dock::config::{BucketConfig, Config, Keys};
use crate::dock::queue::{HeldLine, Reader};
use crate::hold::Reason;
use crate::keyring::ENROLMENT;

pub(super) fn init(path: &Path, config: &Config) -> Result<Exit, Complaint> {
    refuse_example_keys(path, config)?;
    let existed = config.state_dir.join(agent::files::QUEUE).exists();
    let key = agent::initialise(&config.state_dir, &config.dock)
        .map_err(|error| agent_complaint(config, &error))?;
    let mut out = io::stdout().lock();
    let shown = printable(&config.state_dir);
    let word = if existed { "was prepared already" } else { "is prepared" };
    writeln!(out, "dock {}: the state directory {shown} {word}", config.dock)?;
    if let Keys::Keyring { .. } = config.keys {
        writeln!(out, "give this line to the authority, and compare the fingerprint by voice:")?;
        writeln!(out, "  {ENROLMENT} {key}")?;
        writeln!(out, "  fingerprint {}", key.fingerprint())?;
    }
    writeln!(out, "next: dockseal check, then start the service (or: dockseal run)")?;
    Ok(Exit::Ok)
}

pub(super) fn run(path: &Path, until_idle: bool) -> Result<Exit, Complaint> {
    let config = prepare(path)?;
    let until = if until_idle { RunUntil::Idle } else { RunUntil::Stopped };
    let watched = until_idle && io::stderr().is_terminal();
    log::begin(watched.then_some("warn"));
    let bar = if watched { Bar::Shown } else { Bar::Hidden };
    run_agent(config, until, bar)
}

/// What must be so before clips are sealed; gives the config.
pub(super) fn prepare(path: &Path) -> Result<Config, Complaint> {
    // Before any clip byte is in memory: no core file, no other process reading along.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|error| {
            Complaint::new(Exit::Failed, "cannot switch off core dumps", &io::Error::from(error))
        })?;
    let config = load(path)?;
    refuse_example_keys(path, &config)?;
    Ok(config)
}

/// Their private halves are published; clips sealed to them would be readable by anybody.
fn refuse_example_keys(path: &Path, config: &Config) -> Result<(), Complaint> {
    if !config.has_example_recipient() {
        return Ok(());
    }
    let message = format!(
        "{}: the recipient is one of keys-example/: everybody has its private half",
        printable(path)
    );
    Err(Complaint::text(Exit::Config, message)
        .hint("the authority makes its own: dockseal-authority keygen"))
}

/// Whether progress is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bar {
    Hidden,
    Shown,
}

/// Runs the agent to its end on a runtime of its own.
pub(super) fn run_agent(config: Config, until: RunUntil, bar: Bar) -> Result<Exit, Complaint> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .map_err(|error| Complaint::new(Exit::Failed, "cannot start threads", &error))?;
    let complain = |error| agent_complaint(&config, &error);
    // Before recovery, so that a signal in its middle ends the process in order as well.
    let stop = Arc::new(Notify::new());
    let interrupted = runtime.block_on(async { listen(&stop) })?;
    let mut agent = Agent::open(config.clone()).map_err(complain)?;
    if until == RunUntil::Stopped {
        metrics::serve(&agent.context());
    }
    let ended = runtime.block_on(async {
        tracing::info!(dock = config.dock, "dockseal {} runs", env!("CARGO_PKG_VERSION"));
        let drawing = draw(agent.context(), bar);
        let end = agent.run(until, stop).await;
        drawing.abort();
        end.map(|end| (end, interrupted.is_finished() && until == RunUntil::Idle))
    });
    // A hung medium must not keep the process: what is not recorded is done again.
    runtime.shutdown_timeout(Duration::from_secs(1));
    // It had begun, so that config and state directory are right: what failed is the machine, and
    // the service manager, which leaves a wrong config alone, starts it again.
    let failed = |error| Complaint { exit: Exit::Failed, ..complain(error) };
    match ended.map_err(failed)? {
        (End::Stopped, true) => Ok(Exit::Interrupted),
        (End::Stopped, false) => {
            tracing::info!("stopped");
            Ok(Exit::Ok)
        }
        (End::Idle, _) => exit_of(&open(&config)?, &config),
    }
}

/// Turns SIGTERM and Ctrl-C into a wish to stop.
fn listen(stop: &Arc<Notify>) -> Result<tokio::task::JoinHandle<()>, Complaint> {
    let failed = |error| Complaint::new(Exit::Failed, "cannot listen for signals", &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = Arc::clone(stop);
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.notify_one();
    }))
}

/// The exit code of work that is done as far as it could be.
fn exit_of(reader: &Reader, config: &Config) -> Result<Exit, Complaint> {
    let held = reader.held();
    let held =
        held.map_err(|error| Complaint::new(Exit::Failed, "cannot read the queue", &error))?;
    let is_bucket = |line: &HeldLine| line.reason == Reason::BucketFailed;
    match held.len() {
        0 if is_behind(reader, config) => Ok(Exit::Unreachable),
        0 => Ok(Exit::Ok),
        _ if held.iter().all(is_bucket) => Ok(Exit::Unreachable),
        _ => Ok(Exit::Partial),
    }
}

/// Whether a bucket could not be given the custody log.
fn is_behind(reader: &Reader, config: &Config) -> bool {
    let problem = |bucket: &BucketConfig| reader.publish_problem(&bucket.name);
    config.buckets.iter().any(|bucket| problem(bucket).is_ok_and(|problem| problem.is_some()))
}

/// Draws how far the clips are until it is aborted.
fn draw(context: Arc<Context>, bar: Bar) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if bar == Bar::Hidden {
            return;
        }
        let Ok(reader) = context.queue.reader() else { return };
        let drawn = ProgressBar::no_length().with_style(style());
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            let Ok(states) = reader.states() else { continue };
            let count = |wanted: &[State]| -> u64 {
                let lines = states.iter().filter(|line| wanted.contains(&line.state));
                lines.map(|line| line.count).sum()
            };
            let all = count(&[State::Seen, State::Sealed, State::Stored, State::Erased]);
            let stored = count(&[State::Stored, State::Erased]);
            drawn.set_length(all);
            drawn.set_position(stored);
            let read = context.control.read_bytes.load(std::sync::atomic::Ordering::Relaxed);
            drawn.set_message(format!(
                "{} sealed, {} pushed",
                crate::cli::bytes_for_people(read),
                crate::cli::bytes_for_people(context.sent_bytes())
            ));
        }
    })
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos}/{len} clips stored  {msg}  {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
