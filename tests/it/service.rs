//! The daemon as a service: what it tells systemd, how it ends, and that it runs alone.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::dock::{BucketConfig, Dock};
use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::{Login, Seaweed};
use crate::support::site::{SOON, Site};
use crate::support::tools::needs;
use crate::support::{scratch, wait_for};

/// systemd's side of `Type=notify`.
struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Manager {
        // Not in the target folder: the path of a socket has at most 108 bytes.
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        Manager { dir, socket }
    }

    /// Starts the daemon as systemd would, with a watchdog where one is asked for.
    fn start(&self, dock: &mut Dock, watchdog: Option<Duration>) {
        let socket = self.dir.path().join("notify");
        let set_pid = "export WATCHDOG_PID=$$; exec \"$@\"";
        dock.start_with(&["sh", "-c", set_pid, "sh"], |command| {
            command.env("NOTIFY_SOCKET", socket);
            if let Some(limit) = watchdog {
                command.env("WATCHDOG_USEC", limit.as_micros().to_string());
            }
        });
    }

    /// The next message, if one comes within `limit`.
    fn next(&self, limit: Duration) -> Option<String> {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(limit)).unwrap();
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(size) => return Some(String::from_utf8(bytes[..size].to_vec()).unwrap()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[track_caller]
    fn wait_for(&self, line: &str) {
        wait_for(line, SOON, || {
            let message = self.next(SOON)?;
            message.lines().any(|said| said == line).then_some(())
        });
    }
}

/// A file of zeros that takes no space and long to seal.
fn put_big(site: &Site, name: &str, gib: u64) {
    let path = site.dock.folder().join(name);
    std::fs::File::create(path).unwrap().set_len(gib << 30).unwrap();
}

fn unfinished(dock: &Dock) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(dock.state_dir().join("spool/unfinished")).unwrap();
    let facts = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        // Removed between the listing and the look.
        let size = entry.metadata().map_or(0, |facts| facts.len());
        (entry.file_name().into_string().unwrap(), size)
    };
    entries.map(facts).collect()
}

fn wait_until_sealing(dock: &Dock) {
    wait_for("64 MiB of a sealed clip", SOON, || {
        unfinished(dock).iter().any(|(_, size)| *size > 64 << 20).then_some(())
    });
}

#[test]
fn ready_is_said_after_recovery_and_stopping_at_the_end() {
    let mut site = Site::new();
    site.put("1.mp4", b"evidence");
    site.take_bucket_away();
    site.dock.run_until_idle().expect_code(14);
    // A lost queue, so that the sealed clip is found in the spool; a damaged one, large enough
    // that whoever is ready before it was read is found out; and what a crash left unfinished.
    let state = site.dock.state_dir();
    for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        let _ = std::fs::remove_file(state.join(file));
    }
    site.dock.init();
    let orphan = state.join(format!("spool/{}.age", "0".repeat(64)));
    std::fs::File::create(orphan).unwrap().set_len(1 << 30).unwrap();
    std::fs::write(state.join("spool/unfinished/7.age"), b"half").unwrap();
    let manager = Manager::new();
    manager.start(&mut site.dock, None);
    let first = manager.next(SOON).unwrap();
    assert_eq!(first, "READY=1\n");
    let log = site.dock.log();
    assert!(log.contains("adopting a sealed file that no clip owns"), "{log}");
    assert!(log.contains("a sealed file that no clip owns is damaged"), "{log}");
    assert!(unfinished(&site.dock).is_empty(), "recovery was not done");
    let status = wait_for("a status", SOON, || {
        let message = manager.next(SOON)?;
        Some(message.lines().find(|line| line.starts_with("STATUS="))?.to_owned())
    });
    assert!(status.ends_with(" stored or erased") && status.contains(" to seal, "), "{status}");
    assert_eq!(site.dock.stop(), 0);
    manager.wait_for("STOPPING=1");
    assert_eq!(manager.next(Duration::from_millis(100)), None, "something was said afterwards");
}

#[test]
fn the_watchdog_is_fed_in_time_also_while_a_big_clip_is_sealed() {
    let limit = Duration::from_secs(4);
    let mut site = Site::new();
    put_big(&site, "big.mp4", 2);
    let manager = Manager::new();
    manager.start(&mut site.dock, Some(limit));
    manager.wait_for("READY=1");
    let mut fed = Instant::now();
    let mut while_sealing = 0;
    for _ in 0..8 {
        let message = wait_for("the watchdog to be fed", limit / 2, || {
            let message = manager.next(limit / 2)?;
            message.lines().any(|line| line == "WATCHDOG=1").then_some(message)
        });
        assert!(fed.elapsed() < limit / 2, "fed after {:?}: {message}", fed.elapsed());
        fed = Instant::now();
        while_sealing += usize::from(!unfinished(&site.dock).is_empty());
    }
    assert!(while_sealing > 0, "the clip was sealed too fast for this test");
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn sigterm_in_the_middle_of_sealing_ends_it_in_time_and_leaves_nothing_half_done() {
    let mut site = Site::new();
    put_big(&site, "big.mp4", 4);
    site.dock.start();
    wait_until_sealing(&site.dock);
    let started = Instant::now();
    // `stop` itself allows 10 s and no more.
    assert_eq!(site.dock.stop(), 0);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "sealing stops at the next block, not after {took:?}");
    let clip = &site.clips()[0];
    assert_eq!((&clip["state"], &clip["hold"]), (&"seen".into(), &serde_json::Value::Null));
    assert!(site.dock.folder().join("big.mp4").exists());
    // Shortened, so that the second attempt is quick; it is another generation then.
    put_big(&site, "big.mp4", 0);
    site.put("2.mp4", b"evidence");
    site.dock.run_until_idle().expect_code(0);
    assert!(unfinished(&site.dock).is_empty());
    site.assert_opened(&[("big.mp4", &b""[..]), ("2.mp4", b"evidence")]);
}

#[test]
fn sigkill_in_the_middle_of_sealing_leaves_no_lock_and_nothing_unfinished() {
    let mut site = Site::new();
    put_big(&site, "big.mp4", 4);
    site.dock.start();
    wait_until_sealing(&site.dock);
    site.dock.kill();
    assert_eq!(unfinished(&site.dock).len(), 1);
    let status = site.dock.json(&["status"]);
    assert_eq!(status["daemon_pid"], serde_json::Value::Null, "nobody holds the lock");
    put_big(&site, "big.mp4", 0);
    let manager = Manager::new();
    manager.start(&mut site.dock, None);
    manager.wait_for("READY=1");
    site.wait_for_count("erased", 1);
    assert!(unfinished(&site.dock).is_empty());
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn sigterm_in_the_middle_of_a_push_ends_it_in_time_and_it_is_pushed_again() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    let url = server.url("sigterm");
    let mut site = Site::with(|choices| {
        choices.buckets = vec![BucketConfig::s3(&proxy.endpoint(), &url)];
    });
    site.put("1.mp4", &vec![7; 30 << 20]);
    proxy.set(Fault::Throttle(1 << 20));
    site.dock.start();
    wait_for("the push to begin", SOON, || (proxy.sent_bytes() > 2 << 20).then_some(()));
    assert_eq!(site.dock.stop(), 0);
    assert_eq!(site.clips()[0]["state"], "sealed");
    proxy.set(Fault::None);
    site.dock.run_until_idle().expect_code(0);
    assert_eq!(site.clips()[0]["state"], "erased");
    let objects = objects_of(server, &url);
    assert_eq!(objects, 1, "one clip is one object");
    assert!(site.clips()[0]["in_spool"] == false);
}

fn objects_of(server: &Seaweed, url: &str) -> usize {
    use object_store::ObjectStore;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clips = crate::support::seaweed::prefix(url).join("test-dock-1").join("clips");
    let client = server.client(Login::Admin);
    let folders = runtime.block_on(client.list_with_delimiter(Some(&clips))).unwrap();
    let objects = folders.common_prefixes.iter().map(|folder| {
        runtime.block_on(client.list_with_delimiter(Some(folder))).unwrap().objects.len()
    });
    objects.sum()
}

#[test]
fn a_second_daemon_is_refused_and_names_the_first() {
    let mut site = Site::new();
    site.dock.start();
    let pid = site.dock.pid();
    wait_for("the lock", SOON, || {
        let status = site.dock.json(&["status"]);
        (status["daemon_pid"] == pid.to_string().as_str()).then_some(())
    });
    for command in [&["run"][..], &["run", "--until-idle"], &["init"]] {
        let said = site.dock.finish(command).expect_code(11);
        let begin = "dockseal: error: a daemon is running on this state directory already";
        assert!(said.stderr.starts_with(&format!("{begin} (process {pid})\n")), "{}", said.stderr);
        assert!(said.stderr.contains("hint: see what it does: dockseal status"));
    }
    assert!(site.dock.is_running());
    assert_eq!(site.dock.stop(), 0);
    site.dock.run_until_idle().expect_code(0);
}

#[test]
fn init_may_be_run_twice_and_run_not_before_it() {
    let site = Site::bare(|_| {});
    let said = site.dock.finish(&["run"]).expect_code(10);
    assert!(said.stderr.contains("hint: prepare it: dockseal init"), "{}", said.stderr);
    let first = site.dock.finish(&["init"]).expect_code(0);
    assert!(first.stdout.contains("is prepared\nnext: dockseal check"), "{}", first.stdout);
    assert_eq!(site.dock.state_dir().metadata().unwrap().mode() & 0o777, 0o700);
    site.put("1.mp4", b"evidence");
    site.dock.run_until_idle().expect_code(0);
    let second = site.dock.finish(&["init"]).expect_code(0);
    assert!(second.stdout.contains("was prepared already"), "{}", second.stdout);
    assert_eq!(site.clips().len(), 1, "the second init forgot a clip");
}

#[test]
fn lines_for_the_journal_have_a_priority_and_no_time() {
    let mut site = Site::new();
    site.put("1.mp4", b"evidence");
    std::os::unix::fs::symlink("nowhere", site.dock.folder().join("2.mp4")).unwrap();
    site.take_bucket_away();
    site.dock.start_with(&[], |command| {
        command.env("JOURNAL_STREAM", "8:1");
    });
    site.wait_for_hold("1.mp4", "bucket-failed");
    site.dock.kill();
    let log = site.dock.log();
    let bare = |line: &str| {
        let text = ["<3>", "<4>", "<6>"].iter().find_map(|level| line.strip_prefix(level));
        text.is_some_and(|text| !text.starts_with(|c: char| c.is_ascii_digit() || c == ' '))
    };
    assert!(log.lines().count() > 2 && log.lines().all(bare), "{log}");
    assert!(log.contains("<4>not pushed: ") && log.contains("<6>sealed "), "{log}");
    // And without the journal: a time, a level.
    site.dock.start();
    wait_for("a line", SOON, || site.dock.log().contains("Z INFO  dockseal").then_some(()));
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn no_other_process_of_its_user_can_read_the_daemons_memory() {
    needs!(Setpriv, Root);
    let mut site = Site::new();
    site.give_to_nobody();
    site.put("1.mp4", b"evidence");
    site.dock.start();
    site.wait_for_count("erased", 1);
    // proc(5): what is not dumpable belongs to root. A plain process of the same user shows that
    // the check can fail.
    let owner = |pid: u32| Path::new(&format!("/proc/{pid}/environ")).metadata().unwrap().uid();
    let mut plain = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the plain process", SOON, || (owner(plain.id()) == 65534).then_some(()));
    assert_eq!(owner(site.dock.pid()), 0, "a core of it could be written");
    drop(plain.stdin.take());
    plain.wait().unwrap();
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn the_unit_is_well_formed_and_locked_down() {
    needs!(SystemdAnalyze);
    let systemd = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let unit = systemd.join("dockseal.service");
    let security = |unit: &Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--threshold=15", "--no-pager"]).arg(unit);
        command.output().unwrap()
    };
    for unit in [&unit, &systemd.join("dockseal-control@.service")] {
        let rated = security(unit);
        assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
    }
    // `verify` wants the program to be there.
    let dir = scratch();
    let copy = dir.path().join("dockseal.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    let installed = text.replace("/usr/bin/dockseal", env!("CARGO_BIN_EXE_dockseal"));
    assert_ne!(installed, text);
    std::fs::write(&copy, &installed).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("dockseal.service"), "{said}");
    // Both would find what is wrong.
    std::fs::write(&copy, installed.replace("\nProtectProc=invisible", "\nProtectProk=1")).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
    assert!(String::from_utf8_lossy(&verified.stderr).contains("ProtectProk"));
    std::fs::write(&copy, installed.replace("CapabilityBoundingSet=\n", "")).unwrap();
    assert!(!security(&copy).status.success());
}
