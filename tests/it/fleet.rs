//! The fleet: what docks say of themselves reaches the authority, and what is not theirs is told.

mod many;

use std::collections::BTreeMap;
use std::path::Path;

use dockseal::custody::status::Status;
use dockseal::dock::agent::Need;
use dockseal::edge::bucket::Bucket;
use dockseal::note::Note;

use crate::support::dock::{BucketConfig, Finished};
use crate::support::http_faults::{ALWAYS, Answer, HttpFaults, Which};
use crate::support::ledger::{Place, keyring_text, signer, world};
use crate::support::scratch;
use crate::support::seaweed::{Login, Seaweed, block_on};
use crate::support::tools::needs;
use crate::trust::Force;

/// What lies in a folder bucket as the status of the dock of these tests.
fn status_text(bucket: &Path) -> Option<String> {
    let bytes = std::fs::read(bucket.join("test-dock-1/status")).ok()?;
    Some(Note::parse(&bytes).expect("a note").text().to_owned())
}

#[test]
fn what_a_dock_says_of_itself_has_no_personal_data_and_reaches_the_authority() {
    let bucket = scratch();
    let mut force = Force::new(BucketConfig::folder(bucket.path()), vec![], "");
    force.seal("officer-miller.mp4", b"a clip");
    let said = force.fleet(&["--json"]).expect_code(0).json();
    assert_eq!(said["need_you_count"], 0, "{said:#}");
    let dock = &said["docks"][0];
    assert_eq!((&dock["dock"], &dock["verdict"]), (&"test-dock-1".into(), &"ok".into()));
    let status = &dock["status"];
    assert_eq!(status["unsafe_count"], 0, "the last word is of the end of the run: {status:#}");
    assert_eq!(status["keyring"]["revision"], 1, "{status:#}");
    let table = force.fleet(&[]).expect_code(0).stdout;
    assert!(table.starts_with("1 dock, 0 need you, 0 clips at risk\n"), "{table}");
    assert!(table.contains("1 ok; every clip is stored"), "{table}");

    // A link waits for an operator.
    let link = force.dock().folder().join("officer-miller-2.mp4");
    std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
    force.dock().run_until_idle();
    let said = force.fleet(&["--json"]).expect_code(3).json();
    let dock = &said["docks"][0];
    assert_eq!(dock["verdict"], "attention", "{said:#}");
    assert_eq!(dock["at_risk_count"], 1, "{said:#}");
    let held = &dock["status"]["held"][0];
    let held = (held["reason"].as_str(), held["count"].as_u64(), held["operator_count"].as_u64());
    assert_eq!(held, (Some("not-a-file"), Some(1), Some(1)));
    let table = force.fleet(&[]).expect_code(3).stdout;
    assert!(table.starts_with("1 dock, 1 needs you, 1 clip at risk\n"), "{table}");
    assert!(table.contains("1 held: not-a-file; on the dock: dockseal why"), "{table}");

    let text = status_text(bucket.path()).expect("it says something");
    for secret in ["miller", "mp4", "passwd", "primary", "file:", "/"] {
        let text = text.replace("dockseal.status/v1", "");
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    // What it may need is what the desk there explains.
    let list = force.dock().finish(&["why", "--list"]).stdout;
    for word in Need::ALL.map(Need::word) {
        assert!(list.contains(&format!("\n{word}: ")), "{word}: {list}");
    }
    // The auditor neither minds it nor believes it.
    force.audit(&[&format!("file://{}", bucket.path().display())]).expect_code(0);
}

#[test]
fn a_bucket_that_was_paused_and_forgotten_is_told_to_the_fleet() {
    let bucket = scratch();
    let mut force = Force::new(BucketConfig::folder(bucket.path()), vec![], "status_seconds = 1");
    force.dock().start();
    let (soon, table) = (std::time::Duration::from_secs(60), "1 ok; every clip is stored");
    let says = |force: &Force, words: &str| force.fleet(&[]).stdout.contains(words).then_some(());
    crate::support::wait_for("ok", soon, || says(&force, table));
    force.dock().finish(&["pause", "primary"]).expect_code(0);
    let words = "paused; on the dock: dockseal why";
    crate::support::wait_for("the pause", soon, || says(&force, words));
    let here = force.dock().finish(&["status"]);
    assert!(here.stdout.starts_with("ATTENTION: bucket primary is paused"), "{}", here.stdout);
    force.dock().finish(&["resume", "primary"]).expect_code(0);
    crate::support::wait_for("ok again", soon, || says(&force, table));
    assert_eq!(force.dock().stop(), 0);
}

#[test]
fn a_dock_that_shall_say_nothing_says_nothing() {
    let bucket = scratch();
    let force = Force::new(BucketConfig::folder(bucket.path()), vec![], "status_seconds = 0");
    force.seal("a.mp4", b"a clip");
    assert_eq!(status_text(bucket.path()), None);
    let table = force.fleet(&[]).expect_code(3).stdout;
    assert!(table.contains("it said nothing yet; its log went on until "), "{table}");
    assert!(table.contains("0 clips at risk (of 1 dock not known)"), "{table}");
}

#[test]
fn a_verdict_that_changed_is_said_by_a_running_dock_that_may_only_put() {
    needs!(Weed, Setpriv);
    // Each word is one more version there, and none is ever taken away.
    let (server, url) = (Seaweed::shared(), Seaweed::shared().locked_url("fleet"));
    let mut force = Force::behind(&server.endpoint(), &url, "status_seconds = 1");
    force.dock().start();
    let verdict = |force: &Force| {
        let said = force.fleet(&["--json"]).json();
        said["docks"][0]["verdict"].as_str().expect("a word").to_owned()
    };
    let soon = std::time::Duration::from_secs(60);
    crate::support::wait_for("ok", soon, || (verdict(&force) == "ok").then_some(()));
    std::os::unix::fs::symlink("/etc/passwd", force.dock().folder().join("a.mp4")).unwrap();
    crate::support::wait_for("attention", soon, || (verdict(&force) == "attention").then_some(()));
    let versions = server.versions(&url);
    assert!(versions.iter().filter(|key| key.ends_with("/status")).count() >= 2, "{versions:?}");
    assert_eq!(force.dock().stop(), 0);
    force.audit(&[&url]).expect_code(0);
}

#[test]
fn a_bucket_that_lets_nothing_be_replaced_holds_nothing_and_is_not_asked_again() {
    needs!(Weed, Setpriv);
    let (proxy, url) = (HttpFaults::to(&Seaweed::shared().address), Seaweed::shared().url("kept"));
    let mut force = Force::behind(&proxy.endpoint(), &url, "status_seconds = 1");
    let status = || Which::of("PUT").with("/status");
    proxy.answer_next(ALWAYS, status(), Answer::new(403).s3_error("AccessDenied"));
    force.dock().start();
    let soon = std::time::Duration::from_secs(60);
    let tried = || (proxy.count(&status()) == 1).then_some(());
    crate::support::wait_for("an attempt", soon, tried);
    std::fs::write(force.dock().folder().join("a.mp4"), b"a clip").unwrap();
    force.dock().wait_for_json("the clip stored", &["status"], soon, |status| {
        status["verdict"] == "ok" && status["buckets"][0]["receipt_count"] == 1
    });
    // Looks at itself every second; the bucket is left alone for a day.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(proxy.count(&status()), 1, "{:?}", proxy.seen());
    let log = force.dock().log();
    assert_eq!(log.matches("the fleet is not told").count(), 1, "{log}");
    force.dock().finish(&["status"]).expect_code(0);
}

#[test]
fn a_status_that_cannot_be_written_is_nobodys_trouble() {
    let bucket = scratch();
    let force = Force::new(BucketConfig::folder(bucket.path()), vec![], "");
    // A folder in its place: writing fails, and not because somebody forbids it.
    std::fs::create_dir_all(bucket.path().join("test-dock-1/status/x")).unwrap();
    force.seal("a.mp4", b"a clip");
    let status = force.fleet(&["--json"]).json();
    assert_eq!(status["docks"][0]["verdict"], "never", "{status:#}");
}

#[test]
fn an_audit_takes_a_status_for_nothing_but_a_small_object() {
    let auditor = scratch();
    std::fs::write(auditor.path().join("keyring"), keyring_text()).unwrap();
    let audit = |status: Vec<u8>| {
        let (place, mut world) = (Place::Folder(scratch()), world());
        world.objects.insert("d-1/status".into(), status);
        place.hold(&world.objects);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dockseal-audit"));
        command.arg(place.url()).arg("--keyring").arg(auditor.path().join("keyring"));
        Finished::new(command.output().unwrap())
    };
    // Forged, or none at all: it is not read.
    let forged = many::well("d-1", 0).sign(&signer("d-1", dockseal::note::Kind::Note, 99));
    audit(forged.to_string().into_bytes()).expect_code(0);
    audit(b"well\n".to_vec()).expect_code(0);
    // Nobody hides a clip behind the name.
    let said = audit(vec![b'x'; 16_385]).expect_code(3).stdout;
    assert!(said.contains("d-1/status"), "{said}");
}

#[test]
fn every_kind_of_bucket_lists_one_folder_and_no_more() {
    needs!(Weed);
    let dir = scratch();
    let server = Seaweed::shared();
    let folder = Bucket::open(&format!("file://{}", dir.path().display()), &BTreeMap::new());
    let s3 = Bucket::open(&server.url("level"), &server.options(Login::Admin));
    for bucket in [folder.unwrap(), s3.unwrap()] {
        let keys = ["d-1/status", "d-1/log/1/checkpoint", "d-1/log/1/tile/0/000", "d-10/status"];
        keys.iter().for_each(|key| block_on(bucket.replace(key, "x".into())).unwrap());
        let level = |folder| block_on(bucket.level(folder)).unwrap();
        assert_eq!(level("").folders, ["d-1", "d-10"]);
        let found = level("d-1/log/1");
        assert_eq!(found.folders, ["tile"]);
        assert_eq!(found.objects.len(), 1, "{found:?}");
        assert_eq!(found.objects[0].0, "checkpoint");
        assert!(found.objects[0].1 > "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(level("d-2"), dockseal::edge::bucket::Level::default());
    }
    let gone = Bucket::open(&format!("file://{}", dir.path().display()), &BTreeMap::new()).unwrap();
    drop(dir);
    assert!(block_on(gone.level("")).is_err(), "a disk that is not there is no empty one");
}

#[test]
fn the_example_of_the_document_is_a_status() {
    let document = include_str!("../../docs/custody.md");
    let from = document.find("dockseal.status/v1\ndock ").expect("an example");
    let text = document[from..].split("```").next().expect("its end");
    let status = Status::parse(text).expect("as the document says");
    assert_eq!(status.to_string(), text);
}
