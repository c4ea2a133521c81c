//! The life of a clip, step by step, as queue and log have it.

use serde_json::Value;

use crate::support::dock::BucketConfig;
use crate::support::files_beneath;
use crate::support::scratch;
use crate::support::site::Site;
use crate::trust::Force;

/// The steps of a timeline: what, and at which index the log says so.
fn steps(show: &Value) -> Vec<(&str, Option<u64>)> {
    let steps = show["timeline"].as_array().unwrap().iter();
    steps.map(|step| (step["what"].as_str().unwrap(), step["log_index"].as_u64())).collect()
}

/// Where the log has an entry of clip 1, under whatever name it was ever sealed.
fn logged(site: &Site) -> Vec<u64> {
    let log = site.dock.json(&["log", "-n", "1000"]);
    let entries = log["entries"].as_array().unwrap();
    let of_it = entries.iter().filter(|entry| entry["number"] == 1);
    let names: Vec<_> = of_it.filter_map(|entry| entry["clip"].as_str()).collect();
    let is_it = |entry: &&Value| {
        entry["number"] == 1 || entry["clip"].as_str().is_some_and(|name| names.contains(&name))
    };
    let found = entries.iter().rev().filter(is_it);
    found.map(|entry| entry["index"].as_u64().unwrap()).collect()
}

/// Every entry of the log is in the timeline, and none that is not there.
#[track_caller]
fn assert_as_logged(site: &Site, show: &Value) {
    let mut shown: Vec<_> = steps(show).into_iter().filter_map(|(_, index)| index).collect();
    shown.sort_unstable();
    assert_eq!(shown, logged(site), "{show:#}");
    assert_eq!(show["timeline_is_whole"], true, "{show:#}");
}

#[test]
fn a_clip_that_is_done_shows_each_step_with_its_time_and_its_entry() {
    let bucket = scratch();
    let mut force = Force::new(BucketConfig::folder(bucket.path()), vec![], "");
    force.seal("a.mp4", b"a clip");
    force.seal("b.mp4", b"another clip");
    let show = force.dock().json(&["show", "1"]);
    let words: Vec<_> = steps(&show).into_iter().map(|(what, _)| what).collect();
    assert_eq!(words, ["seen", "settled", "sealed", "receipt", "stored", "erased"], "{show:#}");
    let log = force.dock().json(&["log", "1"]);
    let at = |event: &str| {
        let mut entries = log["entries"].as_array().unwrap().iter();
        entries.find(|entry| entry["event"] == event).expect(event)["index"].as_u64()
    };
    let of = |what: &str| {
        let steps = show["timeline"].as_array().unwrap();
        steps.iter().find(|step| step["what"] == what).expect(what).clone()
    };
    for what in ["sealed", "stored", "erased"] {
        assert_eq!(of(what)["log_index"].as_u64(), at(what), "{what}: {show:#}");
    }
    assert_eq!(of("sealed")["keyring_revision"], 1);
    assert_eq!(
        (&of("receipt")["bucket"], &of("receipt")["evidence"]),
        (&"primary".into(), &"read-back".into(),)
    );
    let clip = &show["clip"];
    for (what, key) in [("seen", "seen"), ("sealed", "sealed"), ("erased", "plaintext_gone")] {
        assert_eq!(of(what)["at"], clip[key], "{what}: {show:#}");
    }
    let entry = log["entries"].as_array().unwrap()[0].clone();
    assert_eq!(entry["plaintext-seconds"], show["plaintext_seconds"], "{entry:#}");
    assert!(show["safe_after_seconds"].as_u64() <= show["plaintext_seconds"].as_u64());
    assert_eq!(show["waits"], serde_json::json!([]));
    assert_eq!(show["timeline_is_whole"], true);
    let said = force.dock().finish(&["show", "1"]).expect_code(0).stdout;
    let index = at("sealed").unwrap();
    for part in [
        "plaintext    erased after ",
        "safe         after ",
        "first seen\n",
        &format!("sealed by revision 1 of the keyring  [log {index}]\n"),
        "receipt of bucket primary: read-back\n",
        "plaintext erased  [log ",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    assert!(!said.contains("waits") && !said.contains("next try"), "{said}");
}

#[test]
fn a_clip_that_waits_shows_since_when_for_what_and_the_command() {
    let site = Site::new();
    site.put("Zeuge.mp4", b"waits");
    site.take_bucket_away();
    site.dock.run_until_idle().expect_code(14);
    let show = site.dock.json(&["show", "1"]);
    let held = show["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&held["what"], &held["bucket"]), (&"held".into(), &"primary".into()), "{show:#}");
    assert_eq!(show["safe_after_seconds"], Value::Null);
    assert_eq!(show["waits"][0]["code"], "bucket-failed", "{show:#}");
    assert_as_logged(&site, &show);
    let said = site.dock.finish(&["show", "1"]).expect_code(0).stdout;
    for part in [
        "plaintext    lies here for ",
        "safe         not yet, for ",
        "held at bucket primary",
        "waits        bucket primary: the bucket's folder does not exist",
        "\n  do         ",
        "next try     in ",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    assert!(said.lines().all(|line| !line.contains("Zeuge") || line.starts_with("file")), "{said}");
}

#[test]
fn what_the_queue_forgot_the_log_tells() {
    let site = Site::new();
    let clip = site.put("a.mp4", b"sealed twice, and held in between");
    site.take_bucket_away();
    site.dock.run_until_idle().expect_code(14);
    // The sealed file is lost, and its source is there: it is sealed again.
    for file in files_beneath(&site.dock.state_dir().join("spool")) {
        std::fs::remove_file(file).unwrap();
    }
    let second = site.outside().join("second");
    std::fs::hard_link(&clip, &second).unwrap();
    site.give_bucket_back();
    site.dock.run_until_idle().expect_code(3);
    let show = site.dock.json(&["show", "1"]);
    assert_as_logged(&site, &show);
    assert_eq!(show["waits"][0]["code"], "hard-linked", "{show:#}");
    std::fs::remove_file(second).unwrap();
    site.dock.finish(&["retry", "1"]).expect_code(0);
    site.dock.run_until_idle().expect_code(0);
    let show = site.dock.json(&["show", "1"]);
    assert_as_logged(&site, &show);
    let of_the_log: Vec<_> = steps(&show)
        .into_iter()
        .filter(|(_, index)| index.is_some())
        .map(|(what, _)| what)
        .collect();
    // Its ctime moved with the second name: what lay there then was a clip of its own.
    assert_eq!(of_the_log, ["sealed", "damaged", "sealed", "stored", "held", "changed"]);
    let said = site.dock.finish(&["show", "1"]).expect_code(0).stdout;
    assert!(said.contains("sealed; that sealed file is no more  [log "), "{said}");
    assert!(said.contains("held, until an operator acted: hard-linked  [log "), "{said}");
    let log = site.dock.finish(&["log", "1"]).expect_code(0).stdout;
    assert_eq!(log.matches("clip number 1 sealed as ").count(), 2, "{log}");
}
