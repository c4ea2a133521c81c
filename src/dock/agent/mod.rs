//! The agent: asks the lifecycle what is next for each clip, has it done, and records it.

mod account;
mod closing;
mod context;
mod cosign;
mod courier;
mod deliver;
mod discover;
mod lost;
mod needs;
mod orders;
mod recover;
mod state;
mod status;
mod work;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::config::{Config, Watch};
use super::lifecycle::{Step, next_step};
use super::queue::{Due, OrderEnd, QueueError, Reader};
use super::watch::{Hints, Settling};
use crate::clip::{Clip, ClipId, Fact, State, Timestamp};
use crate::edge::clock::{self, Instant};
use crate::edge::work::blocking;
use crate::edge::{fs, systemd};
use crate::envelope::selftest;
use crate::hold::{Hold, Reason};
use account::Ledger;
pub use account::newest_drill;
pub use closing::{
    Arrived, Closed, Closing, Ending, FolderTrouble, Hindrance, LastWord, Stays, Survey,
};
pub use context::Context;
use courier::Courier;
use deliver::Delivered;
use discover::Looked;
pub use discover::own_folder;
pub use needs::{Need, is_full, needs};
pub use state::{AgentError, files, initialise, remembered_head, running};
use status::Bulletin;
use work::After;

/// Clips that are worked on at once, by the state they are in, beside what the couriers carry.
/// Sealing takes whole cores, the rest is short.
const LANES: [(State, usize); 4] =
    [(State::Seen, 2), (State::Sealed, 4), (State::Stored, 4), (State::Erased, 4)];
/// Rows that a lane looks at before the loop goes round.
const LOOK_COUNT_MAX: u64 = 256;
/// The loop goes round at least this often: an operator's `retry` is seen, the watchdog is fed.
const ROUND: Duration = Duration::from_secs(1);
/// A machine that booted within this may be one of many that had no power.
const BOOTED_JUST_NOW: Duration = Duration::from_secs(600);
/// The shortest time between two looks through the same folder.
const LOOK_SPACING_MIN: Duration = Duration::from_millis(250);
/// How long work in progress may take to end once the process is told to.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// The mode of a watch folder that was let go of.
pub const EJECTED: &str = "ejected";

/// When [`Agent::run`] returns by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunUntil {
    /// When nothing is left that could be done now.
    Idle,
    /// Only when it is told to stop.
    Stopped,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing was left to do.
    Idle,
    /// It was told to stop.
    Stopped,
}

/// The agent, holding the lock of its state directory.
pub struct Agent {
    context: Arc<Context>,
    reader: Reader,
    folders: Vec<FolderState>,
    hints: Arc<Mutex<Hints>>,
    wake: Arc<Notify>,
    tasks: JoinSet<Done>,
    at_work: HashMap<Id, (ClipId, State)>,
    couriers: Vec<Courier>,
    /// Which courier carries which clip in which task.
    carrying: HashMap<Id, (usize, ClipId)>,
    /// Whether uploads that were given up are being removed.
    is_clearing: bool,
    /// When an operator last asked for another attempt, as far as it was noticed.
    retried: Option<Timestamp>,
    /// When a round began last: others' changes were looked for, the service manager was told.
    told: Option<Instant>,
    ledger: Ledger,
    bulletin: Bulletin,
    /// The check of a large queue; nothing is erased before it has ended.
    checking: Option<AbortHandle>,
    /// What the two clocks showed in the last round.
    clocks: (Timestamp, Instant),
    _lock: File,
}

/// One watch folder, as the loop sees it.
struct FolderState {
    watch: Watch,
    settling: Arc<Mutex<Settling>>,
    /// When to look through it next.
    due: Instant,
    /// When the last look began and how long it took.
    last: Option<(Instant, Duration)>,
    is_looking: bool,
    has_unsettled: bool,
    /// Until when an operator had it left alone.
    ejected: Option<OrderEnd>,
    /// Whether that was said, because nothing in it is open.
    is_let_go: bool,
}

/// What a task of the agent ended with.
enum Done {
    Clip(Result<After, AgentError>),
    Delivery { index: usize, id: ClipId, outcome: Result<Delivered, AgentError> },
    Folder { index: usize, began: Instant, looked: Result<Looked, QueueError> },
    Leftovers(Result<(), AgentError>),
    Log(Result<account::Outcome, AgentError>),
    Queue(Result<(), QueueError>),
    Status(Result<status::Outcome, QueueError>),
}

impl Agent {
    /// Tests the sealing path, then begins.
    pub fn open(config: Config) -> Result<Agent, AgentError> {
        selftest::run()?;
        Agent::begin(config)
    }

    /// Takes the lock, opens queue and spool, and brings them to agree.
    pub(crate) fn begin(config: Config) -> Result<Agent, AgentError> {
        let lock = state::take_lock(&config.state_dir)?;
        state::expect_openat2(&config.state_dir)?;
        let (context, reader) = Context::enter(config)?;
        state::expect_open(&context.config, &reader)?;
        let now = Instant::now();
        let folders = context.config.watches.iter().map(|watch| FolderState {
            watch: watch.clone(),
            settling: Arc::default(),
            due: now,
            last: None,
            is_looking: false,
            has_unsettled: false,
            ejected: None,
            is_let_go: false,
        });
        let folders = folders.collect();
        let (ledger, bulletin) = (Ledger::new(&context.config), Bulletin::new(&context.config));
        recover::recover(&context)?;
        let names = context.config.buckets.iter().map(|bucket| bucket.name.clone()).collect();
        context.queue.buckets_are_blocking(names, clock::now())?;
        let couriers = Courier::all(&context.config);
        let retried = reader.retried()?;
        let wake = Arc::new(Notify::new());
        Ok(Agent {
            context: Arc::new(context),
            reader,
            folders,
            hints: Arc::new(Mutex::new(Hints::new(Arc::clone(&wake)))),
            wake,
            tasks: JoinSet::new(),
            at_work: HashMap::new(),
            couriers,
            carrying: HashMap::new(),
            is_clearing: false,
            retried,
            told: None,
            ledger,
            bulletin,
            checking: None,
            clocks: (clock::now(), Instant::now()),
            _lock: lock,
        })
    }

    /// What the front desk may look at while the agent runs.
    pub fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// Runs until there is nothing left to do, or until `stop` is told.
    pub async fn run(&mut self, until: RunUntil, stop: Arc<Notify>) -> Result<End, AgentError> {
        if until == RunUntil::Stopped && clock::since_boot() < BOOTED_JUST_NOW {
            self.spread_couriers(Duration::from_secs(self.context.config.start_spread_seconds));
        }
        systemd::ready();
        self.check_large_queue();
        let round = systemd::watchdog_interval().map_or(ROUND, |limit| ROUND.min(limit / 3));
        let end = loop {
            if self.told.is_none_or(|told| told.elapsed() >= round) {
                self.told = Some(Instant::now());
                self.look_around().await?;
                self.tell_status()?;
            }
            self.take_hints();
            self.look_through_due_folders();
            let started = self.start_due_clips().await? + self.start_due_deliveries().await?;
            let is_idle = until == RunUntil::Idle && started == 0 && self.is_idle()?;
            self.publish_when_due(is_idle)?;
            self.say_when_due(is_idle);
            if is_idle && self.is_published()? && self.bulletin.is_done() {
                break End::Idle;
            }
            let now = Instant::now();
            let folder_due = self.folders.iter().filter(|f| !f.is_looking).map(|f| f.due).min();
            let rest = folder_due.map_or(round, |due| due.saturating_duration_since(now));
            // A round begun just before the watchdog is due must not sleep for a whole one more.
            let told = self.told.map_or(round, |told| now.saturating_duration_since(told));
            // What was put off may have hidden what is due.
            let rest =
                if started > 0 { Duration::ZERO } else { rest.min(round.saturating_sub(told)) };
            // In this order, so that a simulation does the same each time. Nobody starves: hints
            // are taken in every round.
            tokio::select! {
                biased;
                () = stop.notified() => break End::Stopped,
                Some(done) = self.tasks.join_next_with_id() => self.finish(done).await?,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        };
        systemd::stopping();
        self.stop_work().await;
        Ok(end)
    }

    /// A small one was checked when it was opened.
    fn check_large_queue(&mut self) {
        if self.context.queue.is_large() {
            let queue = self.context.queue.clone();
            let checking = async { Done::Queue(blocking(move || queue.check_blocking()).await) };
            self.checking = Some(self.tasks.spawn(checking));
        }
    }

    fn hints(&self) -> std::sync::MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_hints(&mut self) {
        let hinted = self.hints().take();
        for folder in self.folders.iter_mut().filter(|f| hinted.contains(&f.watch.path)) {
            folder.due = folder.due.min(folder.earliest());
        }
    }

    fn look_through_due_folders(&mut self) {
        let now = Instant::now();
        for (index, folder) in self.folders.iter_mut().enumerate() {
            if folder.is_looking || folder.ejected.is_some() || folder.due > now {
                continue;
            }
            folder.is_looking = true;
            let interval = Duration::from_secs(self.context.config.rescan_seconds);
            folder.due = now + interval;
            let (context, hints) = (Arc::clone(&self.context), Arc::clone(&self.hints));
            let (watch, settling) = (folder.watch.clone(), Arc::clone(&folder.settling));
            self.tasks.spawn(async move {
                let looked = blocking(move || look(&context, &hints, &watch, &settling)).await;
                Done::Folder { index, began: now, looked }
            });
        }
    }

    /// Starts what is due, lane by lane; returns how many clips were started.
    async fn start_due_clips(&mut self) -> Result<usize, AgentError> {
        let mut started = 0;
        for (state, size) in LANES {
            let busy: HashSet<ClipId> =
                self.at_work.values().filter(|work| work.1 == state).map(|work| work.0).collect();
            let mut free = size.saturating_sub(busy.len());
            if free == 0 {
                continue;
            }
            let mut postponed = Vec::new();
            let now = clock::now();
            for due in self.due(state, now, size + busy.len())? {
                if free == 0 {
                    break;
                }
                if self.at_work.values().any(|work| work.0 == due.clip.id) {
                    continue;
                }
                let policy = self.context.policy(&due.clip);
                let ejected_until = self.ejected_until(&due.clip);
                match next_step(&due.clip, &policy, now) {
                    Step::Done | Step::Operator | Step::WaitForScan => postponed.push((due, None)),
                    Step::Wait(until) => postponed.push((due, Some(until))),
                    Step::Erase(_) | Step::Seal if ejected_until.is_some() => {
                        postponed.push((due, ejected_until));
                    }
                    step @ (Step::Erase(_) | Step::Seal | Step::Store | Step::Unspool) => {
                        self.start(due.clip, step, state);
                        free -= 1;
                        started += 1;
                    }
                }
            }
            if !postponed.is_empty() {
                started += postponed.len();
                self.context.queue.postpone(postponed).await?;
            }
        }
        Ok(started)
    }

    /// The next clips of a state to look at; more than `count` where those all wait, so that a
    /// thousand clips that wait are not a thousand transactions.
    fn due(&self, state: State, now: Timestamp, count: usize) -> Result<Vec<Due>, QueueError> {
        let due = self.reader.due(state, now, count as u64)?;
        let waits = |clip: &Clip| {
            let step = next_step(clip, &self.context.policy(clip), now);
            matches!(step, Step::Done | Step::Operator | Step::WaitForScan | Step::Wait(_))
        };
        if due.len() < count || !due.iter().all(|due| waits(&due.clip)) {
            return Ok(due);
        }
        self.reader.due(state, now, LOOK_COUNT_MAX)
    }

    fn start(&mut self, clip: Clip, step: Step, state: State) {
        let id = clip.id;
        let context = Arc::clone(&self.context);
        let task =
            self.tasks.spawn(async move { Done::Clip(work::act(context, clip, step).await) });
        self.at_work.insert(task.id(), (id, state));
    }

    async fn finish(&mut self, done: Result<(Id, Done), JoinError>) -> Result<(), AgentError> {
        match done {
            Ok((id, Done::Clip(result))) => {
                self.at_work.remove(&id);
                if result? == After::LookAgain {
                    for folder in &mut self.folders {
                        folder.due = folder.due.min(folder.earliest());
                    }
                }
                Ok(())
            }
            Ok((_, Done::Folder { index, began, looked })) => {
                let looked = looked?;
                let folder = &mut self.folders[index];
                folder.is_looking = false;
                folder.last = Some((began, began.elapsed()));
                folder.has_unsettled = looked.settles_at.is_some();
                if let Some(settles_at) = looked.settles_at {
                    folder.due = folder.due.min(settles_at.max(folder.earliest()));
                }
                Ok(())
            }
            Ok((task, Done::Delivery { index, id, outcome })) => {
                self.carrying.remove(&task);
                self.delivered(index, id, outcome).await
            }
            Ok((_, Done::Leftovers(cleared))) => {
                self.is_clearing = false;
                cleared
            }
            Ok((_, Done::Log(outcome))) => {
                self.ledger.finish(outcome?);
                Ok(())
            }
            Ok((_, Done::Queue(checked))) => {
                checked?;
                // The round that begins now allows to erase.
                (self.checking, self.told) = (None, None);
                Ok(())
            }
            Ok((_, Done::Status(outcome))) => {
                self.bulletin.finish(outcome?);
                Ok(())
            }
            Err(error) if error.is_panic() && self.delivery_panicked(error.id()).await? => Ok(()),
            Err(error) => match self.at_work.remove(&error.id()) {
                // A clip that panics a worker waits for an operator; the others go on.
                Some((clip, _)) if error.is_panic() => {
                    tracing::error!(clip = clip.0, "the worker panicked");
                    let cause = "a fault of dockseal: the worker panicked";
                    let hold = Hold::for_operator(Reason::Internal, cause, clock::now());
                    Ok(self.context.queue.record(clip, vec![Fact::Held(hold)]).await?)
                }
                _ => Err(AgentError::Halt("a task of the agent panicked".into())),
            },
        }
    }

    /// Whether nothing is in progress, and nothing is due or will be without a new event.
    fn is_idle(&self) -> Result<bool, AgentError> {
        let is_settled = |f: &FolderState| {
            f.is_let_go
                || !f.is_looking && f.last.is_some() && !f.has_unsettled && f.due > Instant::now()
        };
        let hinted = self.hints().has_any();
        let beside = [self.ledger.is_publishing(), self.bulletin.is_saying()];
        let busy = self.tasks.len() - beside.into_iter().filter(|is_going| *is_going).count();
        Ok(busy == 0
            && !hinted
            && self.folders.iter().all(is_settled)
            && self.couriers_are_idle()?
            && self.reader.leftovers(clock::now(), 1)?.is_empty()
            && self.reader.due_count(clock::now())? == 0)
    }

    fn tell_status(&self) -> Result<(), AgentError> {
        let states = self.reader.states()?;
        let count = |state| states.iter().find(|line| line.state == state).map_or(0, |l| l.count);
        let status = format!(
            "{} to seal, {} to push, {} stored or erased",
            count(State::Seen),
            count(State::Sealed),
            count(State::Stored) + count(State::Erased)
        );
        self.context.pulse.alive(&status);
        Ok(())
    }

    /// Lets sealing stop at the next block and pushes end or be dropped. Nothing depends on it:
    /// what is not recorded is done again.
    async fn stop_work(&mut self) {
        self.context.control.stop.store(true, Ordering::Relaxed);
        // It only reads: nobody waits for it.
        self.checking.iter().for_each(AbortHandle::abort);
        let ending = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_PATIENCE, ending).await.is_err() {
            tracing::warn!("work in progress is dropped, and will be done again");
            self.tasks.abort_all();
        }
    }
}

impl FolderState {
    /// The earliest time of the next look: one that takes long is not repeated all the time.
    fn earliest(&self) -> Instant {
        match self.last {
            None => Instant::now(),
            Some((began, took)) => began + took + LOOK_SPACING_MIN.max(took * 10),
        }
    }
}

fn look(
    context: &Context,
    hints: &Mutex<Hints>,
    watch: &Watch,
    settling: &Mutex<Settling>,
) -> Result<Looked, QueueError> {
    // Watched before it is looked through: what comes in between is hinted at.
    let root = fs::Folder::open(&watch.path).ok().map(|folder| folder.device_and_inode());
    let mode = root.map_or("poll", |root| {
        hints.lock().unwrap_or_else(PoisonError::into_inner).watch(&watch.path, root)
    });
    let mut settling = settling.lock().unwrap_or_else(PoisonError::into_inner);
    discover::look_through(context, watch, &mut settling, mode)
}
