//! A database that is lost or damaged while clips are in every state loses and erases nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::support::site::Site;

const FILES: [&str; 3] = ["queue.db", "queue.db-wal", "queue.db-shm"];
const CLIPS: [(&str, &[u8]); 4] = [
    ("erased.mp4", b"it reached the bucket and was erased"),
    ("linked.mp4", b"it reached the bucket and could not be erased"),
    ("sealed.mp4", b"its sealed file waits for the bucket"),
    ("seen.mp4", b"it was found and not sealed yet"),
];

/// A dock with a clip in each state; its daemon was killed.
fn in_every_state() -> Site {
    let mut site = Site::with(|choices| choices.settle_seconds = 0);
    let put = |site: &Site, index: usize| site.put(CLIPS[index].0, CLIPS[index].1);
    put(&site, 0);
    site.dock.run_until_idle().expect_code(0);
    std::fs::hard_link(put(&site, 1), site.outside().join("second name")).unwrap();
    site.dock.run_until_idle().expect_code(3);
    site.take_bucket_away();
    put(&site, 2);
    site.dock.run_until_idle();
    site.choices.settle_seconds = 3600;
    site.dock.reconfigure(&site.choices);
    put(&site, 3);
    site.dock.start();
    for state in ["seen", "sealed", "stored", "erased"] {
        site.wait_for_count(state, 1);
    }
    site.dock.kill();
    site.choices.settle_seconds = 0;
    site.dock.reconfigure(&site.choices);
    std::fs::rename(site.bucket().with_file_name("away"), site.bucket()).unwrap();
    site
}

/// Begins anew without a word, seals and stores everything, and waits for an operator to erase.
fn recovers(site: &Site, cause: &str, is_kept: bool) {
    site.dock.run_until_idle();
    for (name, _) in &CLIPS[1..] {
        assert!(site.dock.folder().join(name).exists(), "{name} was erased unasked");
    }
    let status = site.dock.finish(&["status"]).expect_code(3).stdout;
    assert!(status.contains("the queue was lost, erasing waits: dockseal acknowledge"), "{status}");
    assert!(status.contains("1 found in the spool"), "{status}");
    let lost = &site.dock.json(&["status"])["standing"]["lost"];
    assert_eq!(lost["found_count"], 1);
    assert!(lost["cause"].as_str().unwrap().contains(cause), "{lost}");
    assert_eq!(site.dock.state_dir().join("damaged-1").exists(), is_kept);
    let opened = site.opened();
    for (name, content) in CLIPS {
        let found = |(path, bytes): &&(_, Vec<u8>)| path == Path::new(name) && bytes == content;
        let count = opened.iter().filter(found).count();
        // Sealed again where the queue alone knew that it was stored; the found one is not.
        let most = if name == "linked.mp4" { 2 } else { 1 };
        assert!((1..=most).contains(&count), "{name} is {count} times in the bucket");
    }
    site.dock.finish(&["acknowledge"]).expect_code(0);
    std::fs::remove_file(site.outside().join("second name")).unwrap();
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    site.dock.run_until_idle().expect_code(0);
    for (name, _) in CLIPS {
        assert!(!site.dock.folder().join(name).exists(), "{name} is still there");
    }
    let status = site.dock.json(&["status"]);
    assert_eq!((&status["verdict"], status["standing"]["lost"].is_null()), (&"ok".into(), true));
}

#[test]
fn a_queue_that_is_gone_is_begun_anew() {
    let site = in_every_state();
    for file in FILES {
        let _ = std::fs::remove_file(site.dock.state_dir().join(file));
    }
    let said = site.dock.finish(&["status"]).expect_code(10).stderr;
    assert!(said.contains("begins a new one from the spool"), "{said}");
    recovers(&site, "missing", false);
}

#[test]
fn a_log_without_its_database_is_not_taken_for_the_new_ones() {
    let site = in_every_state();
    let wal = std::fs::metadata(site.dock.state_dir().join(FILES[1])).unwrap();
    assert!(wal.len() > 0, "there is nothing that SQLite could replay");
    std::fs::remove_file(site.dock.state_dir().join(FILES[0])).unwrap();
    recovers(&site, "missing", true);
}

#[test]
fn a_queue_that_was_cut_is_put_aside() {
    let site = in_every_state();
    let queue = site.dock.state_dir().join(FILES[0]);
    // Without its write-ahead log, or SQLite would take whole pages from there.
    site.dock.finish(&["retry", "--all"]);
    let _ = std::fs::remove_file(site.dock.state_dir().join(FILES[1]));
    let file = File::options().write(true).open(&queue).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2 + 100).unwrap();
    recovers(&site, "", true);
}

#[test]
fn a_queue_that_is_no_database_any_more_is_put_aside() {
    let site = in_every_state();
    let file = File::options().write(true).open(site.dock.state_dir().join(FILES[0])).unwrap();
    file.write_all_at(&[0xff; 4096], 0).unwrap();
    for file in &FILES[1..] {
        let _ = std::fs::remove_file(site.dock.state_dir().join(file));
    }
    recovers(&site, "not a database", true);
}

/// More than is checked before the daemon is ready.
const LARGE_MIB: i64 = 70;

#[test]
fn a_large_queue_is_checked_while_it_is_used_and_put_aside_at_the_next_start() {
    let mut site = Site::with(|choices| choices.settle_seconds = 0);
    let queue = site.dock.state_dir().join(FILES[0]);
    let suspect = queue.with_extension("suspect");
    let raw = rusqlite::Connection::open(&queue).unwrap();
    raw.execute_batch("CREATE TABLE ballast (content BLOB)").unwrap();
    for _ in 0..LARGE_MIB {
        raw.execute("INSERT INTO ballast VALUES (randomblob(1024 * 1024))", []).unwrap();
    }
    raw.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(raw);
    // Whole: nothing is said, and a mark goes where there was one.
    std::fs::write(&suspect, "").unwrap();
    site.put(CLIPS[0].0, CLIPS[0].1);
    site.dock.run_until_idle().expect_code(0);
    assert!(!suspect.exists(), "a queue that is whole is still a suspect");
    assert_eq!(site.clips()[0]["state"], "erased");
    site.put(CLIPS[1].0, CLIPS[1].1);
    site.dock.run_until_idle().expect_code(0);
    assert!(!site.dock.folder().join(CLIPS[1].0).exists(), "not erased after the check");
    let file = File::options().write(true).open(&queue).unwrap();
    file.write_all_at(&[0xff; 1 << 16], (LARGE_MIB as u64) << 19).unwrap();
    site.dock.start();
    let end = site.dock.wait_for_end(Duration::from_secs(120));
    assert!(!end.success(), "{end}");
    let log = site.dock.log();
    assert!(log.contains(" runs") && log.contains("the queue is corrupt"), "{log}");
    assert!(suspect.exists() && !site.dock.state_dir().join("damaged-1").exists(), "{log}");
    site.dock.run_until_idle();
    assert!(site.dock.state_dir().join("damaged-1").join(FILES[0]).exists());
    assert!(!suspect.exists(), "the new queue is a suspect");
    let lost = &site.dock.json(&["status"])["standing"]["lost"];
    assert!(lost["cause"].as_str().unwrap().contains("corrupt"), "{lost}");
}

#[test]
fn a_directory_that_was_never_prepared_is_not_taken_for_a_lost_one() {
    let site = Site::bare(|_| {});
    std::fs::create_dir(site.dock.state_dir()).unwrap();
    let said = site.dock.run_until_idle().expect_code(10).stderr;
    assert!(said.contains("dockseal init"), "{said}");
    assert!(!site.dock.state_dir().join(FILES[0]).exists());
}
