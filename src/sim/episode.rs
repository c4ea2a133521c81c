//! One episode: a fresh world, the real agent in it, and what happens to both.

use std::collections::{BTreeMap, HashSet};
use std::mem::take;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::auditor::Auditor;
use super::dice::Dice;
use super::plan::{Kind, Step};
use super::truth::Truth;
use super::weather::Weather;
use super::world::{Crash, World};
use crate::clip::{Clip, ClipId, Timestamp};
use crate::dock::agent::{self, Agent, AgentError, End, RunUntil, files};
use crate::dock::config::Config;
use crate::dock::queue::{Filter, Operator, Reader};
use crate::edge::bucket::Simulated;
use crate::edge::world;

const RECIPIENT: &str = include_str!("../../keys-example/classic.recipient");
pub(super) const DOCK: &str = "dock-1";

/// A running daemon.
struct Running {
    run: Pin<Box<dyn Future<Output = Result<End, AgentError>>>>,
    stop: Arc<Notify>,
}

/// One episode.
pub(super) struct Episode {
    pub(super) world: Rc<World>,
    pub(super) config: Config,
    pub(super) auditor: Auditor,
    running: Option<Running>,
    /// The queue's rows at the last check, and how often it had committed by then.
    pub(super) rows: Vec<Clip>,
    pub(super) rows_at: u64,
    /// What each row said at the last check.
    pub(super) before: BTreeMap<ClipId, Clip>,
}

impl Drop for Episode {
    fn drop(&mut self) {
        world::enter(None);
    }
}

/// The config of an episode: what differs from one to the other comes from the seed.
fn config(root: &Path, dice: &mut Dice) -> Config {
    let erase = ["when-stored", "when-stored", "when-sealed", "never"];
    let mut erase = || *dice.pick(&erase).expect("some");
    let (docks, solo) = (erase(), erase());
    let keep = *dice.pick(&["0s", "0s", "10m"]).expect("some");
    let second = if dice.percent(50) { "true" } else { "false" };
    let trusts = if dice.percent(20) { "true" } else { "false" };
    let root = root.display();
    let recipient = RECIPIENT.trim_end();
    let text = format!(
        "dock = \"{DOCK}\"\nstate_dir = \"{root}/state\"\nrecipients = [\"{recipient}\"]\n\
         keep_sealed = \"{keep}\"\nstart_spread = \"0s\"\n\
         [[watch]]\npath = \"{root}/docks\"\nerase = \"{docks}\"\n\
         [[watch]]\npath = \"{root}/solo\"\nerase = \"{solo}\"\nfirst = [\"*again*\"]\n\
         [[bucket]]\nname = \"one\"\nurl = \"s3://simulated/one\"\n\
         [[bucket]]\nname = \"two\"\nurl = \"s3://simulated/two\"\nrequired = {second}\n\
         trust_acknowledgement = {trusts}\n"
    );
    Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

impl Episode {
    /// A fresh world with so many media, three or more, and a state directory in it.
    pub(super) fn begin(root: &Path, seed: u64, media: usize) -> Episode {
        let mut dice = Dice::new(seed);
        for folder in ["graveyard", "docks", "away"] {
            std::fs::create_dir(root.join(folder)).expect("made");
        }
        let config = config(root, &mut dice);
        let truth = Truth::new(config.state_dir.join("spool"));
        let world = Rc::new(World::new(root.to_owned(), seed, truth));
        {
            let state = &mut *world.state();
            for bucket in &config.buckets {
                let simulated = (Simulated::new(&bucket.name), Weather::default());
                state.buckets.insert(bucket.name.clone(), simulated);
            }
            let required = config.buckets.iter().filter(|bucket| bucket.required);
            state.truth.required = required.map(|bucket| bucket.name.clone()).collect();
            for medium in 1..=media {
                let away = root.join("away").join(medium.to_string());
                let (home, watch) = match medium {
                    3 => (root.join("solo"), 1),
                    _ => (root.join("docks").join(medium.to_string()), 0),
                };
                state.first_plug(medium, home, away);
                state.truth.erase.insert(medium, config.watches[watch].erase);
            }
        }
        world::enter(Some(world.clone()));
        let dock = agent::initialise(&config.state_dir, DOCK).expect("prepared");
        let auditor = Auditor::of(dock, RECIPIENT.trim_end().parse().expect("a recipient"));
        let reader = Reader::open(&config.state_dir.join(files::QUEUE)).expect("a queue");
        world.state().reader = Some(reader);
        Episode {
            world,
            config,
            auditor,
            running: None,
            rows: Vec::new(),
            rows_at: u64::MAX,
            before: BTreeMap::new(),
        }
    }

    /// Starts the daemon, unless it runs.
    async fn start(&mut self, until: RunUntil) -> Result<(), String> {
        if self.running.is_some() {
            return Ok(());
        }
        self.world.state().event("-- start".to_owned());
        self.world.state().tried("starts");
        let mut agent = match Agent::begin(self.config.clone()) {
            Ok(agent) => agent,
            Err(error) => return self.ended(Err(error)).await,
        };
        self.world.state().may_halt = false;
        let stop = Arc::new(Notify::new());
        let told = Arc::clone(&stop);
        let run = Box::pin(async move { agent.run(until, told).await });
        self.running = Some(Running { run, stop });
        Ok(())
    }

    /// Lets time pass for the daemon.
    pub(super) async fn pass(&mut self, time: Duration) -> Result<(), String> {
        self.start(RunUntil::Stopped).await?;
        self.go_on(time).await
    }

    async fn go_on(&mut self, time: Duration) -> Result<(), String> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let ended = tokio::select! {
            biased;
            ended = &mut running.run => Some(ended),
            () = self.world.crashed.notified() => None,
            () = tokio::time::sleep(time) => return Ok(()),
        };
        match ended {
            Some(ended) => self.ended(ended).await,
            None => self.crash().await,
        }
    }

    /// The daemon ended, or did not begin: there must be a reason.
    async fn ended(&mut self, ended: Result<End, AgentError>) -> Result<(), String> {
        if self.world.state().crashed.is_some() {
            return self.crash().await;
        }
        self.drop_daemon().await;
        match ended {
            Ok(End::Idle | End::Stopped) => Ok(()),
            Err(error) if self.world.state().may_halt => {
                let mut state = self.world.state();
                state.tried("halts");
                state.event(format!("-- ended: {error}"));
                Ok(())
            }
            Err(error) => Err(format!("the agent ended: {}", crate::error::chain(&error))),
        }
    }

    async fn drop_daemon(&mut self) {
        self.running = None;
        // What was in progress is dropped by the runtime.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        self.forget_uploads();
    }

    /// An upload that was begun, and of which the process ended before it was written down, is left
    /// to the bucket's own rules (docs/operations.md).
    fn forget_uploads(&mut self) {
        let rows = self.list();
        let state = &mut *self.world.state();
        let reader = state.reader.as_ref().expect("opened");
        let mut known = HashSet::new();
        let left = reader.leftovers(Timestamp(i64::MAX), 1000).expect("the queue can be read");
        known.extend(left.into_iter().map(|left| (left.bucket, left.upload_id)));
        for (bucket, (simulated, _)) in &state.buckets {
            for clip in &rows {
                let upload = reader.upload(clip.id, bucket).expect("the queue can be read");
                known.extend(upload.map(|upload| (bucket.clone(), upload.id)));
            }
            for (id, upload) in &mut simulated.inside().uploads {
                upload.is_orphan |= !known.contains(&(bucket.clone(), id.clone()));
            }
        }
    }

    /// The process is gone; where the power failed, so is what was not durable.
    async fn crash(&mut self) -> Result<(), String> {
        self.drop_daemon().await;
        let state = &mut *self.world.state();
        let crash = state.crashed.take().expect("it crashed");
        state.crash_in = None;
        // Whoever noticed it by an error has not been told, and shall not be.
        let _ = self.world.crashed.notified().now_or_never();
        match crash {
            Crash::Kill => state.tried("kills"),
            Crash::Power => {
                state.tried("power cuts");
                let mut dice = Dice::new(state.dice.next());
                state.disk.garble(&self.config.state_dir, &mut dice);
                state.disk.power_cut(&mut dice, None);
                state.booted = self.world.elapsed();
            }
        }
        Ok(())
    }

    /// The process is killed just now.
    async fn kill(&mut self) {
        if self.running.is_some() {
            self.world.state().event("-- killed".to_owned());
            self.drop_daemon().await;
        }
    }

    /// Does one step.
    pub(super) async fn step(&mut self, step: Step) -> Result<(), String> {
        let mut dice = Dice::new(step.dice);
        {
            let mut state = self.world.state();
            state.event(format!("== {:?}", step.kind));
        }
        let seconds = |count| Duration::from_secs(count as u64);
        match step.kind {
            Kind::Seconds => self.pass(seconds(1 + dice.below(7))).await,
            Kind::Hours => {
                for _ in 0..1 + dice.below(3) {
                    tokio::time::advance(seconds(60 + dice.below(3000))).await;
                    self.pass(seconds(2)).await?;
                }
                Ok(())
            }
            Kind::Idle => {
                self.kill().await;
                self.start(RunUntil::Idle).await?;
                self.go_on(seconds(120)).await?;
                self.kill().await;
                Ok(())
            }
            Kind::Stop => {
                if let Some(running) = &self.running {
                    running.stop.notify_one();
                }
                self.go_on(seconds(20)).await
            }
            Kind::RecoverTwice => self.recover_twice().await,
            Kind::Retry => self.retry(),
            Kind::Interfere => {
                let kinds = [Kind::Grow, Kind::Rename, Kind::RenameOver, Kind::Remove];
                let kinds = [&kinds[..], &[Kind::Unplug, Kind::HardLink, Kind::Add]].concat();
                let kind = *dice.pick(&kinds).expect("some");
                self.world.state().interferes_in = Some((dice.below(40) as u64, kind, dice.next()));
                Ok(())
            }
            kind => {
                self.trouble(kind, &mut dice);
                Ok(())
            }
        }
    }

    /// Something goes wrong from now on, or a camera does something.
    fn trouble(&mut self, kind: Kind, dice: &mut Dice) {
        let now = world::World::now(&*self.world).0;
        let state = &mut *self.world.state();
        match kind {
            Kind::ClockJump => {
                state.tried("clock jumps");
                let off_ms_before = state.off_ms;
                let days = *dice.pick(&[0, 1, 400]).expect("some") * 86_400_000;
                let by = days + dice.below(7_200_000) as i64;
                match dice.below(4) {
                    0 => state.off_ms += by,
                    1 => state.off_ms -= by,
                    2 => state.off_ms = 0,
                    _ => state.off_ms -= now,
                }
                // The kernel refuses a time before 1970.
                state.off_ms = state.off_ms.max(off_ms_before - now);
            }
            Kind::Crash => {
                let crash = if dice.percent(60) { Crash::Power } else { Crash::Kill };
                state.crash_in = Some((dice.below(60) as u64, crash));
            }
            Kind::Corrupt => state.corrupt(dice),
            Kind::DiskFull => state.is_full = true,
            Kind::DiskFree => state.is_full = false,
            Kind::Network => {
                let names: Vec<_> = state.buckets.keys().cloned().collect();
                let name = dice.pick(&names).expect("some");
                let weather = Weather::of(dice);
                state.buckets.get_mut(name).expect("known").1 = weather;
            }
            Kind::ReadsFail => state.reads_fail = 1 + dice.below(3) as u64,
            Kind::SyncFails => state.sync_fails_in = Some(dice.below(12) as u64),
            camera => state.camera(camera, dice),
        }
    }

    /// Recovery, done twice, is recovery done once.
    async fn recover_twice(&mut self) -> Result<(), String> {
        self.kill().await;
        let armed = {
            let state = &mut *self.world.state();
            state.tried("recovered twice");
            let disk = (take(&mut state.is_full), take(&mut state.reads_fail));
            // Nobody pulls a card between the two, either.
            let between = state.interferes_in.take();
            (state.crash_in.take(), state.sync_fails_in.take(), between, disk)
        };
        let mut rows = Vec::new();
        for _ in 0..2 {
            let begun = Agent::begin(self.config.clone());
            drop(
                begun
                    .map_err(|error| format!("cannot recover: {}", crate::error::chain(&error)))?,
            );
            rows.push(self.list());
        }
        {
            let state = &mut *self.world.state();
            let (crash_in, sync_fails_in, interferes_in, (is_full, reads_fail)) = armed;
            (state.crash_in, state.sync_fails_in) = (crash_in, sync_fails_in);
            state.interferes_in = interferes_in;
            (state.is_full, state.reads_fail) = (is_full, reads_fail);
        }
        let differs = rows[0].iter().zip(&rows[1]).find(|(once, twice)| once != twice);
        match differs {
            Some((once, twice)) => Err(format!("recovering twice differs: {once:?}, {twice:?}")),
            None if rows[0].len() == rows[1].len() => Ok(()),
            None => Err("recovering twice finds other clips".to_owned()),
        }
    }

    /// All rows of the queue, oldest first.
    pub(super) fn list(&self) -> Vec<Clip> {
        let state = self.world.state();
        let reader = state.reader.as_ref().expect("opened");
        let mut rows = reader.list(&Filter::default()).expect("the queue can be read");
        rows.reverse();
        rows
    }

    /// An operator has everything that is held tried again.
    pub(super) fn retry(&mut self) -> Result<(), String> {
        let held: Vec<_> = self
            .list()
            .into_iter()
            .filter(|clip| clip.hold.is_some() || clip.deliveries.iter().any(|d| d.hold.is_some()))
            .map(|clip| clip.id)
            .collect();
        if held.is_empty() {
            return Ok(());
        }
        let failed = |error| format!("the operator: {}", crate::error::chain(&error));
        let mut operator =
            Operator::open(&self.config.state_dir.join(files::QUEUE), DOCK).map_err(failed)?;
        self.world.state().tried("operator retries");
        for id in held {
            operator.retry(id, world::World::now(&*self.world)).map_err(failed)?;
        }
        self.world.state().commits += 1;
        Ok(())
    }

    /// No more faults: everybody is there, and all is well.
    pub(super) fn calm(&mut self) {
        let state = &mut *self.world.state();
        (state.crash_in, state.sync_fails_in, state.interferes_in) = (None, None, None);
        (state.is_full, state.reads_fail) = (false, 0);
        state.buckets.values_mut().for_each(|bucket| bucket.1 = Weather::default());
        let away: Vec<_> = (1..=state.cameras.places.len())
            .filter(|medium| !state.cameras.places[medium].is_plugged)
            .collect();
        away.into_iter().for_each(|medium| state.replug(medium, false));
        state.tidy_up();
        state.event("== calm".to_owned());
    }
}
