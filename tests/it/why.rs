//! What operators ask: why it waits, whether it is safe, and what the monitor sees.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::site::{SOON, Site};
use crate::support::wait_for;

/// What `dockseal why` says, by code: in words, and what to do.
fn causes(site: &Site, arguments: &[&str]) -> BTreeMap<String, (String, String)> {
    let said = site.dock.json(&[&["why"], arguments].concat());
    assert_eq!(said["schema_version"], 1);
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap().to_owned();
    let causes = said["causes"].as_array().unwrap().iter();
    causes.map(|c| (text(c, "code"), (text(c, "what"), text(c, "fix")))).collect()
}

#[track_caller]
fn assert_cause(site: &Site, arguments: &[&str], code: &str, what: &str, fix: &str) {
    let causes = causes(site, arguments);
    let Some((said, todo)) = causes.get(code) else { panic!("no {code} in {causes:?}") };
    assert!(said.contains(what), "{code}: {said}");
    assert!(todo.contains(fix), "{code}: {todo}");
}

#[test]
fn why_names_each_cause_and_what_to_do() {
    let mut site = Site::with(|choices| choices.settle_seconds = 3600);
    assert_cause(&site, &[], "daemon-down", "does not run", "systemctl start dockseal");
    site.dock.start();
    let path = site.put("cam/Zeuge.mp4", b"evidence");
    wait_for("the clip", SOON, || site.clip("cam/Zeuge.mp4"));
    let shown = path.to_str().unwrap().to_owned();
    assert_cause(&site, &[&shown], "growing", "may still be written", "settle_seconds");
    site.dock.finish(&["why", &shown]).expect_code(0);
    std::fs::remove_dir_all(site.dock.folder()).unwrap();
    wait_for("the folder", SOON, || causes(&site, &[]).contains_key("folder").then_some(()));
    assert_cause(&site, &[], "folder", "does not exist yet", "findmnt");
    assert_eq!(site.dock.stop(), 0);
    let said = site.dock.finish(&["why"]).expect_code(3).stdout;
    assert!(said.starts_with("the daemon does not run\n  do:     systemctl"), "{said}");
}

#[test]
fn why_tells_holds_from_turns_and_from_what_is_kept() {
    let mut site = Site::with(|choices| choices.erase = "never");
    site.put("a.mp4", b"one");
    site.take_bucket_away();
    site.dock.start();
    site.wait_for_hold("a.mp4", "bucket-failed");
    let what = "bucket primary: the bucket's folder does not exist";
    assert_cause(&site, &["1"], "bucket-failed", what, "is its disk mounted?");
    assert_cause(&site, &[], "bucket-failed", what, "is its disk mounted?");
    let held = site.dock.finish(&["why"]).expect_code(0).stdout;
    assert!(held.contains("  holds:  clip 1\n"), "it is tried again by itself: {held}");
    site.give_bucket_back();
    site.wait_for_count("stored", 1);
    assert_cause(&site, &["1"], "kept", "erase = \"never\"", "somebody else");
    wait_for("quiet", SOON, || {
        let said = site.dock.finish(&["why"]).expect_code(0).stdout;
        said.starts_with("nothing waits: every clip is stored").then_some(())
    });
    // A folder that vanishes is not made anew, and what would be in it is in no bucket.
    site.take_bucket_away();
    site.put("b.mp4", b"two");
    site.wait_for_hold("b.mp4", "bucket-failed");
    assert!(!site.bucket().exists());
    site.give_bucket_back();
    site.wait_for_count("stored", 2);
    site.dock.finish(&["why", "77"]).expect_code(1);
    assert_eq!(site.dock.stop(), 0);
}

/// What the documents say of each cause is what the program says.
#[test]
fn every_cause_is_in_the_manual() {
    let site = Site::bare(|_| {});
    let said = site.dock.json(&["why", "--list"]);
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let holds = manual.split("## 5. Holds").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut missing = Vec::new();
    for cause in said["causes"].as_array().unwrap() {
        let text = |key: &str| cause[key].as_str().unwrap();
        // Of a hold the manual says more than fits a line; of the others it says the same.
        let row = match text("what") {
            "" => format!("| `{}` | ", text("code")),
            what => format!("| `{}` | {what} | {} |", text("code"), text("fix")),
        };
        if !holds.contains(&row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "not in docs/operations.md §5:\n{}", missing.join("\n"));
}

/// The state, the words and the figures of a plugin's first line.
fn plugin(site: &Site, arguments: &[&str], code: i32) -> (String, BTreeMap<String, String>) {
    let said = site.dock.finish(&[&["status", "--check"], arguments].concat());
    let said = said.expect_code(code).stdout;
    let first = said.lines().next().unwrap();
    let (words, figures) = first.split_once(" | ").unwrap_or((first, ""));
    let figures = figures.split_whitespace().map(|figure| {
        let (label, value) = figure.split_once('=').unwrap();
        // value[unit];[warning];[critical];[minimum];[maximum]
        assert!((1..=5).contains(&value.split(';').count()), "{figure}");
        let number = value.split(';').next().unwrap().trim_end_matches(['s', 'B']);
        assert!(number.parse::<u64>().is_ok(), "{figure}");
        (label.to_owned(), value.to_owned())
    });
    (words.to_owned(), figures.collect())
}

#[test]
fn a_monitor_reads_state_words_and_figures() {
    let mut site = Site::new();
    let (words, _) = plugin(&site, &[], 2);
    assert_eq!(words, "DOCKSEAL CRITICAL - the daemon does not run (daemon-down)");
    site.dock.start();
    let fine = || site.dock.finish(&["status", "--check"]).code == 0;
    wait_for("all is well", SOON, || fine().then_some(()));
    let (words, figures) = plugin(&site, &[], 0);
    assert_eq!(words, "DOCKSEAL OK - every clip is stored");
    let labels: Vec<_> = figures.keys().map(String::as_str).collect();
    let expected = ["erased", "held", "oldest", "sealed", "seen", "spool_free", "stored"];
    assert_eq!(labels, expected);
    assert_eq!(figures["oldest"], "0s;14400;86400;0");
    site.take_bucket_away();
    site.put("a.mp4", b"one");
    site.wait_for_hold("a.mp4", "bucket-failed");
    let (words, figures) = plugin(&site, &[], 1);
    assert!(words.starts_with("DOCKSEAL WARNING - bucket primary: the bucket's folder"), "{words}");
    assert_eq!((&figures["sealed"][..], &figures["held"][..]), ("1;;;0", "1;;;0"));
    let (words, figures) = plugin(&site, &["--warning", "0", "--critical", "0"], 2);
    assert!(words.starts_with("DOCKSEAL CRITICAL - "), "{words}");
    assert!(figures["oldest"].ends_with("s;0;0;0"), "{figures:?}");
    assert_eq!(site.dock.stop(), 0);
    std::fs::write(site.dock.config(), "dock = ").unwrap();
    let (words, _) = plugin(&site, &[], 3);
    assert!(words.starts_with("DOCKSEAL UNKNOWN - "), "{words}");
}

#[test]
fn wait_ends_when_all_is_stored_or_a_folder_may_be_unplugged() {
    let mut site = Site::new();
    let down = site.dock.finish(&["wait", "--safe"]).expect_code(1).stderr;
    assert!(down.contains("the daemon does not run"), "{down}");
    site.take_bucket_away();
    site.dock.start();
    site.dock.wait_for_json("the daemon", &["status"], SOON, |s| s["daemon_pid"].is_string());
    site.put("a.mp4", b"one");
    // Sealed on the dock: the camera may go, though no bucket has the clip.
    let folder = site.dock.folder();
    let folder = folder.to_str().unwrap();
    let safe = site.dock.finish(&["wait", "--safe", folder, "--timeout", "20"]).expect_code(0);
    assert_eq!(safe.stdout, format!("safe to unplug: {folder}\n"));
    let not = site.dock.finish(&["wait", "--safe", "--timeout", "1"]).expect_code(3).stdout;
    assert!(
        not.starts_with("not safe after ") && not.contains(": 1 clip not safe yet; why:"),
        "{not}"
    );
    site.give_bucket_back();
    let said = site.dock.json(&["wait", "--safe", "--timeout", "20"]);
    assert_eq!((&said["safe"], &said["waiting_count"]), (&true.into(), &0.into()));
    assert!(!Path::new(folder).join("a.mp4").exists(), "stored, and then erased");
    let unknown = site.dock.finish(&["wait", "--safe", "/srv/none"]).expect_code(1).stderr;
    assert!(unknown.contains("no watch folder /srv/none"), "{unknown}");
    assert_eq!(site.dock.stop(), 0);
}
