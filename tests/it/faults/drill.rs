//! A drill: one dock, and one fault after the other, as an operator meets them at night.
//!
//! For each, `status` names it, and `why` says what it is and what to do; then it is mended by what
//! an operator would do, and all is well again. The table is printed with `--nocapture`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use dockseal::dock::queue::beside;
use serde_json::Value;

use super::{SMALL, Scene, clock, names, words};
use crate::support::http_faults::{ALWAYS, Answer, HttpFaults, Which};
use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::Seaweed;
use crate::support::site::SOON;
use crate::support::tools::{Tool, needs};
use crate::support::{files_beneath, scratch, wait_for};

/// What `status` shows, the code of the cause in `why`, and words of what to do about it.
struct Named<'a>(&'a str, &'static str, &'static str);

/// The dock, and a line to its bucket that can break in two ways.
struct Drill {
    scene: Scene,
    line: Proxy,
    server: HttpFaults,
    told: Vec<String>,
}

impl Drill {
    fn new() -> Drill {
        let server = HttpFaults::to(&Seaweed::shared().address);
        let line = Proxy::to(server.endpoint().trim_start_matches("http://"));
        let mut scene = Scene::with("drill", &line.endpoint(), |bucket| {
            bucket.options.insert("stall_timeout".into(), "2s".into());
        });
        scene.site.give_to_nobody();
        scene.site.dock.start();
        let drill = Drill { scene, line, server, told: vec![] };
        drill.is_well("the beginning");
        drill
    }

    /// Waits until `status` and `why` say so, and notes how long it took.
    #[track_caller]
    fn names(&mut self, fault: &str, Named(shown, code, fix): Named<'_>) {
        let (dock, began) = (&self.scene.site.dock, Instant::now());
        wait_for(&format!("{fault}: {shown}"), SOON, || {
            dock.finish(&["status"]).stdout.contains(shown).then_some(())
        });
        let took = began.elapsed().as_secs_f64();
        // The fault before it may be the last that a clip or bucket heard of, for a moment.
        let (what, todo) = wait_for(&format!("{fault}: {code}"), SOON, || {
            let said = dock.json(&["why"]);
            let text = |cause: &Value, key: &str| cause[key].as_str().unwrap().to_owned();
            let is_it =
                |cause: &&Value| cause["code"] == code && text(cause, "what").contains(shown);
            let cause = said["causes"].as_array().unwrap().iter().find(is_it)?;
            Some((text(cause, "what"), text(cause, "fix")))
        });
        assert!(todo.contains(fix), "{fault}: {what}: {todo}");
        self.told.push(format!("{fault} | {took:.1} s | {what} | {todo}"));
    }

    /// Waits until nothing is wrong any more.
    #[track_caller]
    fn is_well(&self, after: &str) {
        wait_for(&format!("all is well after {after}"), SOON, || {
            // What waits for its time is tried at once, as an operator would have it.
            self.scene.site.dock.finish(&["retry", "--all"]);
            (self.scene.site.dock.finish(&["status", "--check"]).code == 0).then_some(())
        });
    }

    /// The server, or who stands before it, answers so.
    #[track_caller]
    fn answers(&mut self, fault: &str, answer: Answer, named: Named<'_>) {
        self.server.answer_next(ALWAYS, Which::all(), answer);
        self.scene.put(SMALL);
        self.names(fault, named);
        self.server.heal();
        self.is_well(fault);
    }

    #[track_caller]
    fn line(&mut self, fault: &str, broken: Fault, named: Named<'_>) {
        self.line.set(broken);
        self.scene.put(SMALL);
        self.names(fault, named);
        self.line.set(Fault::None);
        self.is_well(fault);
    }

    /// The daemon goes on with other words before it.
    fn restart(&mut self, wrapper: &[&str]) {
        let dock = &mut self.scene.site.dock;
        dock.stop();
        dock.start_with(wrapper, |_| {});
    }
}

#[test]
fn each_fault_of_a_night_is_named_and_what_to_do_about_it() {
    needs!(Weed, Setpriv, Root, Unshare, Faketime, Openssl);
    let mut drill = Drill::new();
    the_line(&mut drill);
    the_server(&mut drill);
    the_dock(&mut drill);
    the_clips(&mut drill);
    other_servers(&mut drill);
    for row in &drill.told {
        println!("drill: {row}");
    }
    assert!(drill.told.len() >= 15, "{}", drill.told.len());
    drill.scene.site.dock.finish(&["wait", "--safe", "--timeout", "60"]).expect_code(0);
    // The one with two names is there twice: to remove a name changes the file.
    let keys = Seaweed::shared().keys(&drill.scene.url);
    let clips = keys.iter().filter(|key| key.contains("/clips/")).count();
    assert_eq!(clips, drill.scene.clips.len() + 2, "{keys:?}");
}

fn the_line(drill: &mut Drill) {
    drill.line("no server", Fault::Refuse, Named(words::NO_SERVER, "bucket-failed", "ping"));
    drill.line("black hole", Fault::BlackHole, Named(words::STALLED, "bucket-failed", "the line"));
}

fn the_server(drill: &mut Drill) {
    let page = Answer::new(200).body("text/html", "<html>Welcome to the guest network</html>");
    let portal = Named(words::WEB_PAGE, "bucket-failed", "log the dock in");
    drill.answers("captive portal", page, portal);
    let refused = Named(words::NOT_ALLOWED, "bucket-refused", "credentials");
    drill.answers("no rights", Answer::new(403).s3_error("AccessDenied"), refused);
    let failed = Named(words::SERVER_FAILED, "bucket-failed", "provider");
    drill.answers("server fails", Answer::new(500).s3_error("InternalError"), failed);
    let slower = Named(words::SLOW_DOWN, "bucket-failed", "limit");
    drill.answers("too many", Answer::new(503).s3_error("SlowDown"), slower);
    let full = Named("the server is full", "bucket-failed", "enlarged");
    drill.answers("bucket is full", Answer::new(507), full);
    let moved = Answer::new(307).header("location", "http://127.0.0.9:1/");
    drill.answers("moved", moved, Named(words::MOVED, "bucket-failed", "url"));
}

fn the_dock(drill: &mut Drill) {
    drill.scene.site.dock.kill();
    let down = Named("the daemon does not run", "daemon-down", "systemctl start");
    drill.names("daemon killed", down);
    drill.scene.site.dock.start();
    drill.is_well("daemon killed");

    let folder = drill.scene.site.dock.folder();
    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away).unwrap();
    let gone = Named(folder.to_str().unwrap(), "folder", "findmnt");
    drill.names("folder not mounted", gone);
    std::fs::rename(&away, &folder).unwrap();
    drill.is_well("folder not mounted");

    drill.scene.site.dock.finish(&["pause", "primary"]).expect_code(0);
    drill.names("paused", Named("paused", "paused", "resume"));
    drill.scene.site.dock.finish(&["resume"]).expect_code(0);
    drill.is_well("paused");

    let preload = format!("LD_PRELOAD={}", Tool::Faketime.path().display());
    let [one, other] = clock::REAL_TIMERS;
    let off = ["env", one, other, &preload, "FAKETIME=-1d"];
    drill.restart(&off);
    drill.scene.put(SMALL);
    drill.names("wrong clock", Named("behind", "clock-off", "timedatectl"));
    drill.restart(&[]);
    drill.scene.put(SMALL);
    drill.is_well("wrong clock");

    // A clip that lies there still is sealed, and stored, once more.
    wait_for("all to be erased", SOON, || {
        files_beneath(&drill.scene.site.dock.folder()).is_empty().then_some(())
    });
    drill.scene.site.dock.stop();
    let queue = drill.scene.site.dock.state_dir().join("queue.db");
    std::fs::remove_file(&queue).unwrap();
    for path in beside(&queue) {
        let _ = std::fs::remove_file(path);
    }
    drill.scene.site.dock.start();
    drill.names("queue lost", Named("the queue was lost", "queue-lost", "acknowledge"));
    drill.scene.site.dock.finish(&["acknowledge"]).expect_code(0);
    drill.is_well("queue lost");
}

fn the_clips(drill: &mut Drill) {
    let outside = drill.scene.site.outside().join("second-name");
    let path = drill.scene.site.dock.folder().join("linked.mp4");
    std::fs::write(&outside, b"two names").unwrap();
    std::fs::hard_link(&outside, &path).unwrap();
    drill.names("hard link", Named("hard link", "hard-linked", "name"));
    std::fs::remove_file(&outside).unwrap();
    drill.is_well("hard link");

    let path = drill.scene.site.put("locked.mp4", b"not for everybody");
    std::fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    drill.names("no permission", Named("cannot open", "unreadable", "read"));
    std::fs::remove_file(&path).unwrap();
    drill.names("vanished", Named("disappeared", "vanished", "forget"));
    let clip = drill.scene.site.clip("locked.mp4").unwrap()["number"].to_string();
    drill.scene.site.dock.finish(&["forget", &clip]).expect_code(0);
    drill.is_well("vanished");
}

/// What is wrong with the address, or with who answers there.
fn other_servers(drill: &mut Drill) {
    let good = drill.scene.site.choices.clone();
    let port = Seaweed::shared().address.rsplit_once(':').unwrap().1.to_owned();
    let folder = scratch();
    let private = names::without_names(&folder, &["unshare", "--map-root-user", "--mount"]);
    let private: Vec<&str> = private.iter().map(String::as_str).collect();
    let mut choices = good.clone();
    let options = &mut choices.buckets[0].options;
    options.insert("aws_endpoint".into(), format!("http://bucket.test:{port}"));
    options.insert("allow_http".into(), "true".into());
    drill.scene.site.dock.reconfigure(&choices);
    drill.restart(&private);
    drill.scene.put(SMALL);
    drill.names("no name server", Named(words::NO_NAME, "bucket-failed", "resolver"));

    let (endpoint, ca) = Seaweed::shared().tls();
    let mut choices = good.clone();
    choices.buckets[0].options.insert("aws_endpoint".into(), endpoint);
    drill.scene.site.dock.reconfigure(&choices);
    drill.restart(&[]);
    drill.scene.put(SMALL);
    let unknown = Named(words::UNKNOWN_AUTHORITY, "bucket-failed", "ca_file");
    drill.names("unknown certificate", unknown);
    choices.buckets[0].options.insert("ca_file".into(), ca.to_str().unwrap().into());
    drill.scene.site.dock.reconfigure(&choices);
    drill.restart(&[]);
    drill.is_well("unknown certificate");
}
