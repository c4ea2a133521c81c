//! The end of a dock: whatever is not finished hinders it, and nothing follows it.

use serde_json::{Value, json};

use crate::support::dock::BucketConfig;
use crate::support::scratch;
use crate::support::seaweed::Seaweed;
use crate::support::site::{SOON, Site};
use crate::support::tools::needs;
use crate::support::wait_for;
use crate::trust::Force;

/// The codes of what hinders, in their order.
#[track_caller]
fn hindered(site: &Site, more: &[&str]) -> Vec<String> {
    let arguments = [&["close", "--json"], more].concat();
    let said = site.dock.finish(&arguments).expect_code(3).json();
    assert_eq!(said["closed"], Value::Null, "{said:#}");
    let words = site.dock.finish(&[&["close"], more].concat()).expect_code(3).stdout;
    assert!(words.starts_with("dock test-dock-1 is not closed: "), "{words}");
    let hindrances = said["hindrances"].as_array().unwrap();
    for line in hindrances {
        for key in ["what", "fix"] {
            let text = line[key].as_str().unwrap();
            assert!(words.contains(text), "{text} in:\n{words}");
        }
    }
    assert!(!events(site).contains(&"closed".to_owned()), "it refused, and closed all the same");
    hindrances.iter().map(|line| line["code"].as_str().unwrap().to_owned()).collect()
}

/// The words of the log, oldest first.
fn events(site: &Site) -> Vec<String> {
    let log = site.dock.json(&["log", "-n", "1000"]);
    let entries = log["entries"].as_array().unwrap().iter().rev();
    entries.map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
}

/// What a closed dock says wherever it is asked.
#[track_caller]
fn assert_closed(force: &mut Force, log_size: u64) {
    let dock = force.dock();
    for (command, begin) in
        [("run", "this dock was closed at 20"), ("init", "this dock was closed")]
    {
        let said = dock.finish(&[command]).expect_code(10).stderr;
        assert!(said.contains(begin) && said.contains("hint: a new dock begins with"), "{said}");
    }
    let status = dock.json(&["status"]);
    assert_eq!(status["verdict"], "ok", "{status:#}");
    assert!(status["summary"].as_str().unwrap().starts_with("closed on 20"), "{status:#}");
    assert!(status["standing"]["closed"].is_string(), "{status:#}");
    assert_eq!(status["standing"]["log_size"], log_size, "{status:#}");
    let screen = dock.finish(&["status"]).expect_code(0).stdout;
    assert!(screen.starts_with("OK: closed on 20"), "{screen}");
    let plugin = dock.finish(&["status", "--check"]).expect_code(0).stdout;
    assert!(plugin.starts_with("DOCKSEAL OK - closed on 20"), "{plugin}");
    assert_eq!(plugin.lines().count(), 1, "{plugin}");
    let check = dock.finish(&["check"]).expect_code(0).stdout;
    assert!(check.contains("ok    dock: closed on 20"), "{check}");
    assert!(!check.contains("warn") && !check.contains("fail"), "{check}");
    let why = dock.finish(&["why"]).expect_code(0).stdout;
    assert!(why.starts_with("nothing waits: closed on 20"), "{why}");
    let figures = dock.finish(&["metrics"]).expect_code(0).stdout;
    assert!(figures.contains("\ndockseal_closed 1\n"), "{figures}");
    let said = dock.finish(&["log", "-n", "1"]).expect_code(0).stdout;
    assert!(said.contains("the dock was taken out of service"), "{said}");
    let again = dock.json(&["close"]);
    assert_eq!(again["log"]["size"], log_size, "nothing was added: {again:#}");
    let fleet = force.fleet(&["--json"]).expect_code(0).json();
    assert_eq!(fleet["docks"][0]["verdict"], "closed", "{fleet:#}");
    assert_eq!(fleet["need_you_count"], 0, "{fleet:#}");
    let table = force.fleet(&[]).expect_code(0).stdout;
    assert!(table.contains("test-dock-1          closed "), "{table}");
}

#[test]
fn a_dock_that_has_nothing_left_ends_its_log_and_everybody_knows() {
    let bucket = scratch();
    let mut force = Force::new(BucketConfig::folder(bucket.path()), vec![], "");
    force.seal("a.mp4", b"the last clip");
    let would = force.dock().finish(&["close", "--dry-run"]).expect_code(0).stdout;
    assert!(would.starts_with("nothing hinders: `closed` would be the last entry"), "{would}");
    let would = force.dock().json(&["close", "--dry-run"]);
    assert_eq!((&would["closed"], &would["log"]), (&Value::Null, &Value::Null), "{would:#}");
    let before = force.dock().json(&["log"])["size"].as_u64().unwrap();
    let said = force.dock().finish(&["close"]).expect_code(0).stdout;
    assert!(said.contains("bucket primary: the whole log is there (read-back)\n"), "{said}");
    assert!(said.contains("keyring retire test-dock-1\n"), "{said}");
    let log = force.dock().json(&["log"]);
    assert_eq!(log["size"], before + 1);
    assert_eq!(log["entries"][0]["event"], "closed");
    assert_closed(&mut force, before + 1);
    // An order that has an entry is refused: it would follow the last one.
    let refused = force.dock().finish(&["forget", "1"]).expect_code(1).stderr;
    assert!(refused.contains("nothing to acknowledge"), "{refused}");
    let url = format!("file://{}", bucket.path().display());
    let audited = force.audit(&[&url, "--full"]).expect_code(0).stdout;
    assert!(audited.contains(", closed\n"), "{audited}");
    let report = force.audit(&[&url, "--json"]).expect_code(0).json();
    assert_eq!(report["buckets"][0]["docks"][0]["logs"][0]["is_closed"], true, "{report:#}");
}

#[test]
fn a_dock_that_may_only_put_is_closed_at_a_real_server() {
    needs!(Weed, Setpriv);
    let (server, url) = (Seaweed::shared(), Seaweed::shared().url("closed"));
    let mut force = Force::behind(&server.endpoint(), &url, "");
    force.seal("a.mp4", b"the last clip");
    let said = force.dock().json(&["close"]);
    assert_eq!(said["buckets"][0]["evidence"], "acknowledged", "{said:#}");
    assert_eq!(said["buckets"][0]["told"], true, "{said:#}");
    let size = said["log"]["size"].as_u64().unwrap();
    assert_closed(&mut force, size);
    let audited = force.audit(&[&url, "--full"]).expect_code(0).stdout;
    assert!(audited.contains(", closed\n"), "{audited}");
}

#[test]
fn a_bucket_that_fails_at_the_end_gets_it_when_it_is_back() {
    let site = Site::new();
    site.put("a.mp4", b"the last clip");
    site.dock.run_until_idle().expect_code(0);
    site.take_bucket_away();
    let said = site.dock.finish(&["close"]).expect_code(14).stdout;
    assert!(said.contains("bucket primary: not there yet: the bucket's folder"), "{said}");
    assert!(said.contains("then again: dockseal close\n") && !said.contains("retire"), "{said}");
    let refused = site.dock.run_until_idle().expect_code(10).stderr;
    assert!(refused.contains("hint: a bucket has not the whole log yet: dockseal close"));
    let status = site.dock.json(&["status"]);
    assert_eq!(status["verdict"], "attention", "{status:#}");
    let why = site.dock.json(&["why"]);
    assert_eq!(why["causes"][0]["code"], "closed-behind", "{why:#}");
    assert!(why["causes"][0]["fix"].as_str().unwrap().contains("dockseal close"), "{why:#}");
    assert!(site.dock.finish(&["check"]).expect_code(3).stdout.contains("fail  dock: closed on"));
    site.dock.finish(&["status", "--check"]).expect_code(2);
    site.dock.finish(&["close"]).expect_code(14);
    site.give_bucket_back();
    let said = site.dock.json(&["close"]);
    assert_eq!(said["buckets"][0]["has_log"], true, "{said:#}");
    assert_eq!(events(&site).iter().filter(|word| *word == "closed").count(), 1);
    site.dock.finish(&["status"]).expect_code(0);
    // A bucket that loses what it took is no better than one that never took it.
    let size = said["log"]["size"].as_u64().unwrap();
    let checkpoint = site.log_folders()[0].join(format!("checkpoints/{size}"));
    std::fs::remove_file(checkpoint).unwrap();
    let said = site.dock.finish(&["close"]).expect_code(14).stdout;
    assert!(said.contains("it took the last checkpoint, and does not have it"), "{said}");
}

#[test]
fn a_running_daemon_and_a_clip_on_its_way_hinder_it() {
    let mut site = Site::with(|choices| choices.settle_seconds = 3600);
    site.put("Zeuge.mp4", b"still growing");
    site.dock.start();
    wait_for("the clip", SOON, || site.clip("Zeuge.mp4"));
    wait_for("the lock", SOON, || {
        let said = site.dock.finish(&["close"]).expect_code(11).stderr;
        said.contains("a daemon is running on this state directory").then_some(())
    });
    site.dock.finish(&["close", "--dry-run"]).expect_code(11);
    assert_eq!(site.dock.stop(), 0);
    assert!(hindered(&site, &[]).contains(&"not-sealed".to_owned()));
    // Nothing that hinders can be talked away by leaving its folder out.
    let folder = site.dock.folder().to_str().unwrap().to_owned();
    assert!(hindered(&site, &["--without", &folder]).contains(&"not-sealed".to_owned()));
    site.dock.finish(&["close", "--without", "/nowhere"]).expect_code(1);
    site.choices.settle_seconds = 0;
    site.dock.reconfigure(&site.choices);
    site.take_bucket_away();
    site.dock.run_until_idle().expect_code(14);
    let codes = hindered(&site, &[]);
    assert_eq!(codes, ["not-stored", "bucket-failed", "spooled", "log-behind"]);
    site.give_bucket_back();
    site.dock.run_until_idle().expect_code(0);
    site.dock.finish(&["close"]).expect_code(0);
}

#[test]
fn what_lies_in_a_folder_or_in_the_spool_hinders_it() {
    let mut site = Site::new();
    site.put("a.mp4", b"one");
    site.dock.run_until_idle().expect_code(0);
    site.dock.finish(&["close", "--dry-run"]).expect_code(0);
    let refused = |site: &Site, code: &str, undo: &dyn Fn()| {
        assert_eq!(hindered(site, &[]), [code], "{code}");
        undo();
        site.dock.finish(&["close", "--dry-run"]).expect_code(0);
    };
    // The queue knows nothing of it yet.
    let new = site.put("cam/new.mp4", b"two");
    refused(&site, "new-files", &|| std::fs::remove_file(&new).unwrap());
    let part = site.put("new.mp4.part", b"half of it");
    refused(&site, "unfinished", &|| std::fs::remove_file(&part).unwrap());
    let link = site.dock.folder().join("link");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    refused(&site, "new-files", &|| std::fs::remove_file(&link).unwrap());
    for name in ["spool/unfinished/7.age", "spool/somebodys.txt"] {
        let stray = site.dock.state_dir().join(name);
        std::fs::write(&stray, b"x").unwrap();
        refused(&site, "spool-stray", &|| std::fs::remove_file(&stray).unwrap());
    }
    let folder = site.dock.folder().to_str().unwrap().to_owned();
    site.dock.json(&["eject", &folder, "--now"]);
    let undo = || drop(site.dock.json(&["eject", &folder, "--undo"]));
    refused(&site, "ejected", &undo);
    // A folder that is not there, and one that never will be.
    let away = site.outside().join("away");
    std::fs::rename(site.dock.folder(), &away).unwrap();
    assert_eq!(hindered(&site, &[]), ["folder"]);
    site.dock.finish(&["close", "--dry-run", "--without", &folder]).expect_code(0);
    std::fs::rename(&away, site.dock.folder()).unwrap();
    // A sealed file that is kept on purpose.
    site.choices.more.push_str("\nkeep_sealed = \"1h\"");
    site.dock.reconfigure(&site.choices);
    site.put("b.mp4", b"two");
    site.dock.run_until_idle().expect_code(0);
    let said = site.dock.finish(&["close"]).expect_code(3).stdout;
    assert!(said.contains("1 sealed file in the spool\n  do:     they stay for 1h 0m"), "{said}");
    assert_eq!(hindered(&site, &[]), ["spooled"]);
    site.choices.more = site.choices.more.replace("1h", "0s");
    site.dock.reconfigure(&site.choices);
    site.dock.run_until_idle().expect_code(0);
    site.dock.finish(&["close"]).expect_code(0);
}

#[test]
fn plaintext_that_is_to_go_hinders_it_and_what_is_to_stay_does_not() {
    let mut site = Site::with(|choices| choices.erase = "never");
    let clip = site.put("cam/Zeuge.mp4", b"kept by the config");
    site.dock.run_until_idle().expect_code(0);
    let said = site.dock.json(&["close", "--dry-run"]);
    assert_eq!(said["hindrances"], json!([]), "{said:#}");
    let folder = site.dock.folder().to_str().unwrap().to_owned();
    assert_eq!(said["stays"], json!([{"folder": folder, "count": 1, "size_bytes": 18}]));
    let said = site.dock.finish(&["close", "--dry-run"]).expect_code(0).stdout;
    assert!(said.contains("as `erase` says: 1 clip, 18 B; stored\n"), "{said}");
    // What was written to it since is sealed nowhere.
    std::fs::write(&clip, b"and written to since").unwrap();
    assert_eq!(hindered(&site, &[]), ["new-files"]);
    site.dock.run_until_idle().expect_code(0);
    site.choices.erase = "when-stored";
    site.dock.reconfigure(&site.choices);
    assert_eq!(hindered(&site, &[]), ["not-erased"]);
    // A second name: it cannot be erased, and a person must see to it.
    let second = site.outside().join("second");
    std::fs::hard_link(&clip, &second).unwrap();
    site.dock.run_until_idle().expect_code(3);
    assert_eq!(hindered(&site, &[]), ["not-erased", "hard-linked"]);
    std::fs::remove_file(second).unwrap();
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    site.dock.run_until_idle().expect_code(0);
    assert!(!clip.exists());
    site.dock.finish(&["close"]).expect_code(0);
}

#[test]
fn a_log_that_began_anew_hinders_it_until_somebody_knows() {
    let site = Site::new();
    site.dock.run_until_idle().expect_code(0);
    for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        std::fs::remove_file(site.dock.state_dir().join(file)).unwrap();
    }
    // It is `close` itself that finds it missing.
    let refused = site.dock.finish(&["close"]).expect_code(10).stderr;
    assert!(refused.contains("it was lost: the daemon begins a new one"), "{refused}");
    site.dock.run_until_idle().expect_code(0);
    assert_eq!(hindered(&site, &[]), ["log-anew"]);
    site.dock.finish(&["acknowledge"]).expect_code(0);
    assert_eq!(hindered(&site, &[]), ["log-behind"]);
    site.dock.run_until_idle().expect_code(0);
    site.dock.finish(&["close"]).expect_code(0);
    let refused = site.dock.finish(&["acknowledge"]).expect_code(0).stdout;
    assert!(refused.starts_with("nothing to acknowledge"), "{refused}");
}
