//! `dockseal status --watch`: the status screen live, with its clips, until a key ends it.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::line::Paint;
use super::{StatusJson, gather};
use crate::cli::dock::{load, open, operator, queue_complaint};
use crate::cli::{Complaint, Exit, print_json_line};
use crate::clip::{Clip, Timestamp};
use crate::dock::config::Config;
use crate::dock::queue::{Filter, Held, OrderEnd, QueueError, Reader, Sent};
use crate::edge::clock::{self, Instant};

mod clips;
mod draw;
mod throughput;
mod view;

use view::{Action, Order, View};

/// How often the queue is read at most.
const REFRESH: Duration = Duration::from_secs(1);
/// A large queue takes longer to read: so much of the time is left to the daemon.
const PAUSES_PER_READ: u32 = 9;
/// How soon a key or a signal is noticed.
const NOTICE: Duration = Duration::from_millis(100);
/// Clips of each kind in the list.
const CLIP_COUNT_MAX: u64 = 200;

/// All that one refresh reads of the queue.
struct Snapshot {
    config: Config,
    status: StatusJson,
    now: Timestamp,
    /// Held ones first, then those that are not stored yet, then the newest.
    clips: Vec<Clip>,
    uploads: Vec<Sent>,
    receipts: Vec<Sent>,
}

impl Snapshot {
    /// The config is read each time too: the daemon takes a new one without an end of this.
    fn read(path: &Path, receipts_since: Timestamp) -> Result<Snapshot, Complaint> {
        let config = load(path)?;
        let reader = open(&config)?;
        let status = gather(&config, &reader)?;
        let read = || -> Result<_, QueueError> {
            let mut receipts = Vec::new();
            for bucket in &config.buckets {
                receipts.extend(reader.receipts_since(&bucket.name, receipts_since)?);
            }
            let uploads = reader.uploads()?;
            Ok((clips(&reader, &uploads)?, uploads, receipts))
        };
        let now = clock::now();
        let (clips, uploads, receipts) =
            read().map_err(|error| queue_complaint(&config, &error))?;
        Ok(Snapshot { config, status, now, clips, uploads, receipts })
    }
}

fn clips(reader: &Reader, uploads: &[Sent]) -> Result<Vec<Clip>, QueueError> {
    let count_max = Some(CLIP_COUNT_MAX);
    let held = reader.list(&Filter { held: Some(Held), count_max, state: None })?;
    let newest = reader.list(&Filter { count_max, ..Filter::default() })?;
    Ok(clips::in_order([held, reader.unsafe_clips(CLIP_COUNT_MAX)?, newest], uploads))
}

/// One JSON document a line, for programs that want to follow.
pub(super) fn stream(path: &Path) -> Result<Exit, Complaint> {
    let mut out = io::stdout().lock();
    loop {
        let began = Instant::now();
        let config = load(path)?;
        print_json_line(&mut out, &gather(&config, &open(&config)?)?)?;
        std::thread::sleep(pause(began.elapsed()));
    }
}

/// How long to rest after a reading that took so long.
fn pause(read: Duration) -> Duration {
    REFRESH.saturating_sub(read).max(read * PAUSES_PER_READ)
}

/// The live screen.
pub(super) fn watch(path: &Path) -> Result<Exit, Complaint> {
    if !io::stdout().is_terminal() {
        return Err(Complaint::text(Exit::Usage, "--watch needs a terminal").hint(
            "once: dockseal status; for programs, a line a second: dockseal status --watch --json",
        ));
    }
    // What is wrong from the beginning is said in the ordinary way.
    let first = Snapshot::read(path, throughput::beginning(clock::now()))?;
    let failed = |error: io::Error| Complaint::new(Exit::Failed, "cannot use the terminal", &error);
    let (_runtime, ended) = ended_by_signal().map_err(failed)?;
    let paint = Paint::of_terminal(true);
    // It also restores the terminal before a panic is told.
    let terminal = Terminal(ratatui::try_init().map_err(failed)?);
    follow(terminal, path, View::new(first, paint), &ended).map_err(failed)
}

/// The terminal as it was before, however this ends.
struct Terminal(DefaultTerminal);

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing is left to try where even that fails.
        let _ = ratatui::try_restore();
    }
}

/// Asked to end by a signal: the terminal is to be restored first.
fn ended_by_signal() -> io::Result<(Runtime, Arc<AtomicBool>)> {
    let ended = Arc::new(AtomicBool::new(false));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build()?;
    let guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(guard);
    let flag = Arc::clone(&ended);
    runtime.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        flag.store(true, Ordering::Relaxed);
    });
    Ok((runtime, ended))
}

fn follow(
    mut terminal: Terminal,
    path: &Path,
    mut view: View,
    ended: &AtomicBool,
) -> io::Result<Exit> {
    let mut due = Instant::now() + REFRESH;
    terminal.0.draw(|frame| draw::draw(frame, &mut view))?;
    loop {
        if ended.load(Ordering::Relaxed) {
            return Ok(Exit::Interrupted);
        }
        let mut is_changed = false;
        if event::poll(NOTICE.min(due.saturating_duration_since(Instant::now())))? {
            let action = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => view.key(key),
                _ => None,
            };
            match action {
                None => {}
                Some(Action::End(exit)) => return Ok(exit),
                Some(Action::Order(order)) => {
                    view.message = Some(follow_order(path, order));
                    due = Instant::now();
                }
            }
            is_changed = true;
        }
        if Instant::now() >= due {
            let began = Instant::now();
            view.take(Snapshot::read(path, view.receipts_since()));
            due = Instant::now() + pause(began.elapsed());
            is_changed = true;
        }
        if is_changed {
            terminal.0.draw(|frame| draw::draw(frame, &mut view))?;
        }
    }
}

/// Does what a key asks for; says what came of it.
fn follow_order(path: &Path, order: Order) -> String {
    let done = || -> Result<String, Complaint> {
        let config = load(path)?;
        let failed = |error: QueueError| queue_complaint(&config, &error);
        let mut operator = operator(&config)?;
        Ok(match order {
            Order::Pause => {
                operator.pause(None, OrderEnd(None)).map_err(failed)?;
                "all buckets are paused: clips are sealed, and wait; p: go on".to_owned()
            }
            Order::Prioritise(clip) => {
                let left = operator.prioritise(clip).map_err(failed)?;
                let words =
                    if left == Some(0) { "is in every bucket already" } else { "goes first" };
                format!("clip {clip} {words}")
            }
            Order::Resume => {
                operator.resume(None).map_err(failed)?;
                "all buckets go on".to_owned()
            }
            Order::Retry(clip) => {
                operator.retry(clip, clock::now()).map_err(failed)?;
                format!("clip {clip} is tried again now")
            }
        })
    };
    done().unwrap_or_else(|complaint| complaint.message)
}
