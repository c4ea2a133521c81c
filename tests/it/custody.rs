//! The dock's custody log: what it says, where it lies, and what a lost or copied queue means.

use std::path::Path;

use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::{Entry, Event};
use dockseal::custody::merkle::{Frontier, leaf_hash};
use dockseal::custody::tile::{Piece, WIDTH, decode_bundle, decode_tile, pieces_between};
use dockseal::note::Note;

use crate::support::dock::BucketConfig;
use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::Seaweed;
use crate::support::site::{SOON, Site};
use crate::support::tools::needs;

/// The entries of a published log, all of whose pieces were checked against its checkpoint.
fn read_log(folder: &Path) -> Vec<Entry> {
    let sizes = std::fs::read_dir(folder.join("checkpoints")).expect("published");
    let sizes = sizes.map(|name| name.unwrap().file_name().to_str().unwrap().parse::<u64>());
    let size = sizes.map(Result::unwrap).max().expect("at least one");
    let note = std::fs::read(folder.join(format!("checkpoints/{size}"))).unwrap();
    assert_eq!(std::fs::read(folder.join("checkpoint")).unwrap(), note);
    let checkpoint = Checkpoint::parse(Note::parse(&note).unwrap().text()).unwrap();
    let (mut entries, mut frontier) = (Vec::new(), Frontier::default());
    for piece in pieces_between(0, size) {
        let bytes = std::fs::read(folder.join(piece.path())).expect("every piece is there");
        let Some(Piece { index, width, .. }) = piece.path().contains("entries").then_some(piece)
        else {
            assert!(decode_tile(&bytes, piece.width).is_some());
            continue;
        };
        assert_eq!(index * WIDTH, frontier.size());
        for entry in decode_bundle(&bytes, width).expect("a bundle") {
            frontier.push(leaf_hash(entry));
            entries.push(Entry::decode(entry).expect("an entry of ours"));
        }
    }
    assert_eq!((frontier.size(), frontier.root()), (checkpoint.size, checkpoint.root));
    entries
}

fn words(entries: &[Entry]) -> Vec<&'static str> {
    entries.iter().map(|entry| entry.event.word()).collect()
}

#[test]
fn the_log_in_the_bucket_tells_the_life_of_each_clip() {
    let site = Site::new();
    site.put("officer-1/a.mp4", b"one");
    site.dock.run_until_idle().expect_code(0);
    let folders = site.log_folders();
    let entries = read_log(&folders[0]);
    assert_eq!(words(&entries), ["started", "sealed", "stored", "erased"]);
    site.put("officer-1/b.mp4", b"two");
    site.dock.run_until_idle().expect_code(0);
    let more = read_log(&folders[0]);
    assert_eq!(words(&more)[4..], ["alive", "sealed", "stored", "erased"]);
    assert_eq!(more[..4], entries);
    for file in walk(&folders[0]) {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("officer") && !text.contains(".mp4"), "{}", file.display());
    }
    let said = site.dock.finish(&["log", "1"]).expect_code(0).stdout;
    assert!(said.contains("stored in primary") && said.contains("erased"), "{said}");
    let json = site.dock.json(&["log"]);
    assert_eq!(json["size"], 8);
    assert_eq!(json["entries"][0]["event"], "erased");
    assert_eq!(json["entries"][0]["index"], 7);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn silence_is_visible_because_a_living_dock_speaks() {
    let mut site = Site::with(|choices| {
        choices.more = "rescan_seconds = 1\nheartbeat_seconds = 1".into();
    });
    site.dock.start();
    site.dock.wait_for_json("three heartbeats", &["log"], SOON, |log| {
        let entries = log["entries"].as_array().expect("a list");
        entries.iter().filter(|entry| entry["event"] == "alive").count() >= 3
    });
    assert_eq!(site.dock.stop(), 0);
    site.dock.run_until_idle().expect_code(0);
    let entries = read_log(&site.log_folders()[0]);
    assert!(words(&entries).iter().filter(|word| **word == "alive").count() >= 3);
}

#[test]
fn a_lost_queue_begins_a_log_that_names_the_old_one_and_erases_nothing_until_acknowledged() {
    let site = Site::new();
    site.put("a.mp4", b"one");
    site.dock.run_until_idle().expect_code(0);
    let old = site.dock.json(&["log"])["log"].clone();
    for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        std::fs::remove_file(site.dock.state_dir().join(file)).unwrap();
    }
    let clip = site.put("b.mp4", b"two");
    site.dock.init();
    site.dock.run_until_idle().expect_code(0);
    assert!(clip.exists(), "erased without acknowledgement");
    let status = site.dock.finish(&["status"]).expect_code(3).stdout;
    assert!(status.contains("dockseal acknowledge"), "{status}");
    let logs = site.log_folders();
    assert_eq!(logs.len(), 2);
    let new = logs.iter().find(|log| !log.ends_with(old.as_str().unwrap())).unwrap();
    let entries = read_log(new);
    let Event::Started { previous: Some(previous), .. } = &entries[0].event else {
        panic!("{entries:?}")
    };
    assert_eq!((previous.log.as_str(), previous.size), (old.as_str().unwrap(), 4));
    site.dock.finish(&["acknowledge"]).expect_code(0);
    site.dock.run_until_idle().expect_code(0);
    assert!(!clip.exists());
    assert!(words(&read_log(new)).contains(&"acknowledged"));
    site.dock.finish(&["status"]).expect_code(0);
    let again = site.dock.finish(&["acknowledge"]).expect_code(0).stdout;
    assert!(again.contains("nothing to acknowledge"), "{again}");
}

#[test]
fn a_queue_put_back_from_a_backup_does_not_continue_the_log() {
    let site = Site::new();
    site.put("a.mp4", b"one");
    site.dock.run_until_idle().expect_code(0);
    let backup = site.outside().join("backup");
    site.copy_state(&backup);
    site.put("b.mp4", b"two");
    site.dock.run_until_idle().expect_code(0);
    for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        let from = backup.join(file);
        let to = site.dock.state_dir().join(file);
        if from.exists() {
            std::fs::copy(from, to).map(drop).unwrap()
        } else {
            drop(std::fs::remove_file(to))
        }
    }
    let clip = site.put("c.mp4", b"three");
    site.dock.run_until_idle().expect_code(0);
    assert!(clip.exists(), "erased without acknowledgement");
    assert_eq!(site.log_folders().len(), 2);
    site.log_folders().iter().for_each(|log| drop(read_log(log)));
    site.dock.finish(&["acknowledge"]).expect_code(0);
    site.dock.run_until_idle().expect_code(0);
    assert!(!clip.exists());
}

#[test]
fn a_cloned_state_directory_stops_where_it_finds_the_others_log() {
    let site = Site::new();
    site.dock.run_until_idle().expect_code(0);
    let clone = site.outside().join("clone");
    site.copy_state(&clone);
    site.put("a.mp4", b"one");
    site.dock.run_until_idle().expect_code(0);
    // The same number of entries, of which one says something else.
    std::fs::remove_dir_all(site.dock.state_dir()).unwrap();
    std::fs::rename(&clone, site.dock.state_dir()).unwrap();
    site.put("b.mp4", b"two");
    let said = site.dock.run_until_idle().expect_code(1).stderr;
    assert!(said.contains("another dock writes this log"), "{said}");
    assert!(said.contains("dockseal acknowledge"), "{said}");
    let again = site.dock.run_until_idle().expect_code(1).stderr;
    assert!(again.contains("another dock writes this log"), "{again}");
    let status = site.dock.finish(&["status"]).expect_code(3).stdout;
    assert!(status.contains("another dock"), "{status}");
    site.dock.finish(&["acknowledge"]).expect_code(0);
    site.put("c.mp4", b"three");
    site.dock.run_until_idle().expect_code(0);
    assert_eq!(site.log_folders().len(), 2);
    assert_eq!(site.opened().len(), 3);
}

#[test]
fn an_answer_that_was_lost_is_not_taken_for_another_docks_log() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    let url = server.url("lost-log-answer");
    let site = Site::with(|choices| {
        choices.buckets = vec![BucketConfig::s3(&proxy.endpoint(), &url)];
    });
    // With put-only rights "already there" cannot be looked at: it must never be our own echo.
    proxy.set(Fault::LoseAnswer);
    site.dock.run_until_idle().expect_code(14);
    assert_eq!(proxy.fault(), Fault::None, "nothing was put");
    site.dock.run_until_idle().expect_code(0);
    site.put("a.mp4", b"clip");
    proxy.set(Fault::LoseAnswer);
    site.dock.run_until_idle();
    // The clip may be the one whose answer was lost, and rest for some seconds.
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    site.dock.run_until_idle().expect_code(0);
    let status = site.dock.json(&["status"]);
    assert_eq!(status["standing"]["behind"], serde_json::json!([]), "{status}");
}

#[test]
fn a_bucket_that_is_away_gets_the_whole_log_when_it_is_back() {
    let site = Site::new();
    site.dock.run_until_idle().expect_code(0);
    site.take_bucket_away();
    site.put("a.mp4", b"one");
    site.dock.run_until_idle().expect_code(14);
    let status = site.dock.json(&["status"]);
    assert!(status["standing"]["behind"][0]["problem"].is_string(), "{status}");
    site.give_bucket_back();
    site.dock.run_until_idle().expect_code(0);
    let words = words(&read_log(&site.log_folders()[0]));
    assert_eq!(words.iter().filter(|word| **word == "stored").count(), 1);
}
