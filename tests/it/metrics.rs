//! What a monitor is told: figures, health, and nothing about persons.

mod doors;
mod monitoring;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::dock_keyring::Keyed;
use crate::support::dock::{BucketConfig, Dock, Finished};
use crate::support::site::{SOON, Site};
use crate::support::tools::{Tool, needs};
use crate::support::wait_for;

/// No label, no help and no word of health may have it.
const CANARY: &str = "Kanarienvogel";

/// What the door answered.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends bytes and reads until the door closes.
fn ask(address: &str, request: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(request)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    let said = String::from_utf8(said).expect("text");
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

#[track_caller]
fn get(address: &str, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    ask(address, request.as_bytes()).expect("the door answers")
}

/// Has the dock listen from its next start on.
fn let_listen(dock: &Dock, address: &str) {
    let mut config = std::fs::read_to_string(dock.config()).unwrap();
    config += &format!("\n[metrics]\nlisten = \"{address}\"\n");
    std::fs::write(dock.config(), config).unwrap();
}

/// Where the daemon said that it listens.
fn address(dock: &Dock) -> String {
    wait_for("the monitor's door", SOON, || {
        let log = dock.log();
        let (_, after) = log.rsplit_once("a monitor may ask at http://")?;
        Some(after.split_once("/metrics")?.0.to_owned())
    })
}

/// Each sample of a text: `name{labels}` and its value.
fn samples(text: &str) -> BTreeMap<String, i64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a whole number"))
    };
    lines.map(sample).collect()
}

/// Name, type and meaning of each family.
fn families(text: &str) -> BTreeMap<String, (String, String)> {
    let said = |about: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(about)?.split_once(' '));
        lines.map(|(name, what)| (name.to_owned(), what.to_owned())).collect()
    };
    let (types, helps) = (said("# TYPE "), said("# HELP "));
    assert!(types.keys().eq(helps.keys()), "each has both:\n{text}");
    let both = |(name, kind): (String, String)| {
        let help = helps[&name].clone();
        (name, (kind, help))
    };
    types.into_iter().map(both).collect()
}

fn promtool(arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new(Tool::Promtool.path());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    Finished::new(child.wait_with_output().expect("it ends"))
}

/// A dock with a clip stored, one that needs an operator, one that waits, and a bucket that fails.
fn busy_site() -> Site {
    let mut site = Site::with(|choices| {
        let mut shelf = BucketConfig::folder(Path::new("/nonexistent/Kanarienvogel"));
        shelf.name = "shelf".into();
        shelf.more = "required = false".into();
        choices.buckets.push(shelf);
        choices.camera = Some("{1}".into());
    });
    site.put(format!("cam-{CANARY}/{CANARY}.mp4"), b"evidence");
    std::os::unix::fs::symlink("nowhere", site.dock.folder().join(CANARY)).unwrap();
    let_listen(&site.dock, "127.0.0.1:0");
    site.dock.start();
    site.wait_for_count("erased", 1);
    site.wait_for_hold(CANARY, "not-a-file");
    site.wait_for_hold_of_delivery();
    site
}

impl Site {
    /// Waits until some delivery waits for its bucket.
    fn wait_for_hold_of_delivery(&mut self) {
        wait_for("a delivery to be held", SOON, || {
            let clips = self.clips();
            let holds = clips.iter().flat_map(crate::support::site::holds);
            holds.into_iter().any(|reason| reason == "bucket-failed").then_some(())
        });
    }
}

#[test]
fn a_monitor_is_told_what_the_dock_does_and_nothing_about_persons() {
    let mut site = busy_site();
    let address = address(&site.dock);
    let answer = get(&address, "/metrics");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    let said = samples(&answer.body);
    for (sample, value) in [
        ("dockseal_build_info{dock=\"test-dock-1\",version=\"0.1.0\"}", 1),
        ("dockseal_up", 1),
        ("dockseal_clips{state=\"seen\"}", 1),
        ("dockseal_clips{state=\"sealed\"}", 0),
        ("dockseal_clips_found_total", 2),
        ("dockseal_clips_sealed_total", 1),
        ("dockseal_clips_sealed_bytes_total", 8),
        ("dockseal_clips_stored_total", 1),
        ("dockseal_clips_erased_total", 1),
        ("dockseal_held_clips{reason=\"not-a-file\",bucket=\"\",waits_for=\"operator\"}", 1),
        ("dockseal_held_clips{reason=\"bucket-failed\",bucket=\"shelf\",waits_for=\"time\"}", 1),
        ("dockseal_bucket_up{bucket=\"primary\"}", 1),
        ("dockseal_bucket_up{bucket=\"shelf\"}", 0),
        ("dockseal_bucket_backlog_clips{bucket=\"primary\"}", 0),
        // It need not have the clip, which left the spool: nobody sends it any more.
        ("dockseal_bucket_backlog_clips{bucket=\"shelf\"}", 0),
        ("dockseal_bucket_backlog_bytes{bucket=\"shelf\"}", 0),
        ("dockseal_bucket_receipts_total{bucket=\"primary\"}", 1),
        ("dockseal_bucket_receipts_total{bucket=\"shelf\"}", 0),
        ("dockseal_folder_up{folder=\"1\"}", 1),
        ("dockseal_spool_full", 0),
        ("dockseal_log_unacknowledged", 0),
        ("dockseal_log_forked", 0),
    ] {
        assert_eq!(said.get(sample), Some(&value), "{sample}\n{}", answer.body);
    }
    let failures = "dockseal_bucket_failures_total{bucket=\"shelf\",trouble=\"away\"}";
    assert!(said[failures] > 0 && said["dockseal_spool_free_bytes"] > 0, "{}", answer.body);
    let now = jiff::Timestamp::now().as_second();
    for time in [
        "dockseal_start_timestamp_seconds",
        "dockseal_folder_last_look_timestamp_seconds{folder=\"1\"}",
        "dockseal_bucket_last_receipt_timestamp_seconds{bucket=\"primary\"}",
    ] {
        assert!((now - 600..=now + 1).contains(&said[time]), "{time} {}, now {now}", said[time]);
    }
    let health = get(&address, "/healthz");
    assert_eq!(health.status, 503);
    assert!(health.body.starts_with("not-a-file: a link, FIFO, device"), "{}", health.body);
    assert!(health.body.contains("\ndo: only regular files are sealed"), "{}", health.body);
    for text in [&answer.head, &answer.body, &health.head, &health.body] {
        let place = site.dock.folder();
        for word in [CANARY, "cam-", ".mp4", place.to_str().unwrap(), "/nonexistent"] {
            assert!(!text.contains(word), "{word} in:\n{text}");
        }
    }
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn promtool_finds_nothing_to_say_of_the_figures() {
    needs!(Promtool);
    let site = busy_site();
    let text = get(&address(&site.dock), "/metrics").body;
    let said = promtool(&["check", "metrics"], &text).expect_code(0);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    // It would find what is wrong.
    let without_help = text.replace("# HELP dockseal_up ", "# dockseal_up ");
    let said = promtool(&["check", "metrics"], &without_help);
    assert!(said.code != 0 && said.stderr.contains("dockseal_up no help text"), "{said:?}");
}

#[test]
fn the_file_for_node_exporter_says_the_same_and_needs_no_daemon() {
    let mut site = busy_site();
    let served = get(&address(&site.dock), "/metrics").body;
    assert_eq!(site.dock.stop(), 0);
    let path = site.outside().join("dockseal.prom");
    let write = ["metrics", "--textfile", path.to_str().unwrap()];
    for _ in 0..2 {
        let said = site.dock.finish(&write).expect_code(0);
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(families(&written), families(&served));
    let said = samples(&written);
    assert_eq!(said["dockseal_up"], 0);
    assert!(!said.contains_key("dockseal_start_timestamp_seconds"), "nothing started: {written}");
    let mut names: Vec<_> = samples(&served).into_keys().collect();
    names.retain(|name| name != "dockseal_start_timestamp_seconds");
    assert_eq!(said.into_keys().collect::<Vec<_>>(), names);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o644, "node_exporter is another user");
    assert_eq!(site.outside().read_dir().unwrap().count(), 1, "nothing unfinished");
    let printed = site.dock.finish(&["metrics"]).expect_code(0).stdout;
    assert_eq!(families(&printed), families(&served));
    let nowhere = site.outside().join("none/dockseal.prom");
    let said = site.dock.finish(&["metrics", "--textfile", nowhere.to_str().unwrap()]);
    let said = said.expect_code(1).stderr;
    assert!(said.starts_with("dockseal: error: cannot write the figures to "), "{said}");
}

#[test]
fn health_is_what_a_person_has_to_know() {
    let mut site = Site::new();
    let_listen(&site.dock, "127.0.0.1:0");
    site.dock.start();
    let address = address(&site.dock);
    let becomes = |status: u16, begin: &str| {
        wait_for(&format!("{status} {begin}"), SOON, || {
            let health = get(&address, "/healthz");
            (health.status == status && health.body.starts_with(begin)).then_some(())
        });
    };
    becomes(200, "ok: every clip is stored\n");
    // What goes on by itself is no reason to wake anybody.
    site.take_bucket_away();
    site.put("a.mp4", b"one");
    site.wait_for_hold("a.mp4", "bucket-failed");
    becomes(200, "ok: 1 clip held, tried again by itself\n");
    site.give_bucket_back();
    becomes(200, "ok: every clip is stored\n");
    let away = site.outside().join("away");
    std::fs::rename(site.dock.folder(), &away).unwrap();
    becomes(503, "folder: a watch folder cannot be used\ndo: is it mounted");
    std::fs::rename(&away, site.dock.folder()).unwrap();
    becomes(200, "ok: ");
    assert_eq!(site.dock.stop(), 0);
}

/// The daemon's main loop waits for the queue, which somebody else does not let go of: the thread
/// that answers lives, and says so.
#[test]
fn an_agent_that_stands_still_is_not_healthy() {
    let mut keyed = Keyed::new();
    let_listen(&keyed.site.dock, "127.0.0.1:0");
    keyed.give(&keyed.signed(&keyed.keyring(1)));
    let set_pid = "export WATCHDOG_PID=$$; exec \"$@\"";
    keyed.site.dock.start_with(&["sh", "-c", set_pid, "sh"], |command| {
        command.env("WATCHDOG_USEC", "3000000");
    });
    let address = address(&keyed.site.dock);
    let becomes = |what: &str, status: u16, begin: &str| {
        wait_for(what, SOON, || {
            let health = get(&address, "/healthz");
            (health.status == status && health.body.starts_with(begin)).then_some(health.body)
        })
    };
    keyed.site.dock.wait_for_json("the keyring", &["status"], SOON, |status| {
        status["standing"]["keyring"]["revision"] == 1
    });
    becomes("health", 200, "ok: ");
    let keyring = "dockseal_keyring_end_timestamp_seconds";
    let days = (samples(&get(&address, "/metrics").body)[keyring]
        - jiff::Timestamp::now().as_second())
        / 86_400;
    assert!((99..=101).contains(&days), "{days}");
    let queue = rusqlite::Connection::open(keyed.site.dock.state_dir().join("queue.db")).unwrap();
    queue.execute_batch("BEGIN IMMEDIATE").unwrap();
    // To take it, the loop has to write.
    keyed.give(&keyed.signed(&keyed.keyring(2)));
    let said = becomes("it to be stuck", 503, "stuck: the agent has made no progress for ");
    assert!(said.contains("\ndo: systemctl restart dockseal"), "{said}");
    assert_eq!(get(&address, "/metrics").status, 200, "figures are read, not asked for");
    queue.execute_batch("ROLLBACK").unwrap();
    becomes("health again", 200, "ok: ");
    assert_eq!(keyed.site.dock.stop(), 0);
}
