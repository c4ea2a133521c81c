//! A daemon at work for minutes or hours, while everything around it fails at random.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::chance::{Random, Tally, say, soak_time};
use crate::scene::{Place, Scene};
use crate::support::mounted::Mounted;
use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::Seaweed;
use crate::support::tools::needs;
use crate::truth;

/// All must have arrived within this, once nothing fails any more.
const ARRIVED_WITHIN: Duration = Duration::from_secs(300);
/// Room for the spool's reserve, and for the clips that wait.
const DISK: &str = "128m";
/// Not more plaintexts wait at once.
const WAITING_MAX: usize = 60;

/// A dock whose state directory is a small disk, whose folder is a memory card, and whose bucket
/// is behind a bad line.
struct World {
    // In this order they end: the daemon, then what it stands on.
    scene: Scene,
    plugged: Option<Mounted>,
    _card: Mounted,
    _disk: Mounted,
    proxy: Proxy,
    random: Random,
    ballast: PathBuf,
    /// What happened, and how often.
    happened: BTreeMap<&'static str, usize>,
}

impl World {
    fn new(random: Random) -> World {
        let proxy = Proxy::to(&Seaweed::shared().address);
        let endpoint = proxy.endpoint();
        let mut scene = Scene::bare(random.clone(), Place::S3, |choices| {
            let options = &mut choices.buckets[0].options;
            options.insert("aws_endpoint".into(), endpoint);
            options.insert("stall_timeout".into(), "3s".into());
        });
        let state = scene.site.dock.state_dir();
        let disk = Mounted::memory(&state, DISK);
        scene.source = scene.site.outside().join("card");
        let card = Mounted::memory(&scene.source, "64m");
        let plugged = Some(Mounted::bind(&scene.source, &scene.site.dock.folder()));
        scene.site.dock.init();
        let (ballast, happened) = (state.join("ballast"), BTreeMap::new());
        World { scene, plugged, _card: card, _disk: disk, proxy, random, ballast, happened }
    }

    /// The service manager: a daemon that ended is started again. It ends by itself only where
    /// another start may help.
    fn see_to_the_daemon(&mut self) {
        let dock = &mut self.scene.site.dock;
        if dock.has_daemon() && !dock.is_running() {
            let code = dock.wait_for_end(Duration::from_secs(1)).code();
            assert_eq!(code, Some(1), "{}", dock.log());
            self.count("halted");
        }
        if !self.scene.site.dock.has_daemon() {
            self.scene.site.dock.start();
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// One thing happens.
    fn act(&mut self) {
        let choice = self.random.below(20);
        let what = match choice {
            0..=5 => self.put_clips(),
            6 | 7 => {
                self.scene.site.dock.kill();
                "killed"
            }
            8 | 9 => {
                let code = self.scene.site.dock.terminate();
                assert!(matches!(code, None | Some(0 | 1)), "SIGTERM: exit code {code:?}");
                "terminated"
            }
            10 => {
                let dock = &self.scene.site.dock;
                dock.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(self.random.below(1500)));
                dock.signal(Signal::CONT);
                "stopped"
            }
            11..=14 => self.break_the_line(),
            15 | 16 => self.fill_or_empty_the_disk(),
            _ => self.pull_or_plug_the_card(),
        };
        self.count(what);
    }

    fn put_clips(&mut self) -> &'static str {
        if self.scene.plaintexts().len() > WAITING_MAX {
            return "waited for";
        }
        for _ in 0..=self.random.below(4) {
            let size = self.random.below(200_000) as usize;
            // One that goes in parts, now and then.
            let size = if self.random.below(30) == 0 { 6_000_000 } else { size };
            self.scene.put(size);
        }
        "dropped"
    }

    fn break_the_line(&mut self) -> &'static str {
        let bytes = self.random.below(400_000);
        let fault = *self.random.pick(&[
            Fault::BlackHole,
            Fault::CutAfter(bytes),
            Fault::LoseAnswer,
            Fault::None,
            Fault::None,
            Fault::Refuse,
            Fault::Throttle(50_000 + bytes),
        ]);
        if self.random.below(2) == 0 {
            self.proxy.cut_now();
        }
        self.proxy.set(fault);
        if fault == Fault::None { "line mended" } else { "line broken" }
    }

    fn fill_or_empty_the_disk(&mut self) -> &'static str {
        if std::fs::remove_file(&self.ballast).is_ok() {
            return "disk emptied";
        }
        let mut ballast = std::fs::File::create(&self.ballast).unwrap();
        let block = [0; 1 << 16];
        // To the last byte that it takes.
        while ballast.write(&block).is_ok_and(|size| size > 0) {}
        "disk filled"
    }

    fn pull_or_plug_the_card(&mut self) -> &'static str {
        if self.plugged.take().is_some() {
            return "card pulled";
        }
        self.plug();
        "card plugged in"
    }

    fn plug(&mut self) {
        let folder = self.scene.site.dock.folder();
        self.plugged = Some(Mounted::bind(&self.scene.source, &folder));
    }

    /// Nothing fails any more.
    fn heal(&mut self) {
        self.proxy.set(Fault::None);
        let _ = std::fs::remove_file(&self.ballast);
        if self.plugged.is_none() {
            self.plug();
        }
    }
}

#[test]
fn a_dock_that_everything_fails_around_loses_nothing() {
    needs!(Root, Weed, Setpriv);
    let began = Instant::now();
    let random = Random::new();
    let seed = random.seed();
    say(&format!("fire: soak: seed {seed}"));
    let mut world = World::new(random);
    let mut tally = Tally::default();
    while began.elapsed() < soak_time() {
        world.see_to_the_daemon();
        world.act();
        tally.tried += 1;
        let pause = world.random.below(700);
        std::thread::sleep(Duration::from_millis(pause));
        // While no daemon runs: what is gone is in the bucket. On a full disk nobody can ask.
        let is_quiet = !world.scene.site.dock.has_daemon() && !world.ballast.exists();
        if is_quiet && world.random.below(4) == 0 {
            truth::nothing_is_lost(&world.scene, &format!("soak, seed {seed}"));
        }
    }
    world.heal();
    let healed = Instant::now();
    loop {
        world.see_to_the_daemon();
        world.scene.site.dock.finish(&["retry", "--all"]);
        std::thread::sleep(Duration::from_secs(1));
        let status = world.scene.site.dock.json(&["status"]);
        if status["verdict"] == "ok" && world.scene.plaintexts().is_empty() {
            break;
        }
        assert!(healed.elapsed() < ARRIVED_WITHIN, "seed {seed}: {status:#}");
    }
    assert_eq!(world.scene.site.dock.terminate(), Some(0));
    let last = world.scene.site.dock.run_until_idle();
    assert_eq!(last.code, 0, "seed {seed}\n{}", last.stderr);
    let text = format!("soak, seed {seed}");
    let clips = world.scene.clips.len();
    say(&format!("fire: soak: {clips} clips; {:?}", world.happened));
    tally.and(truth::all_is_well(&world.scene, &text)).print("soak", began, seed);
}
