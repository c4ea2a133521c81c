//! Folders and media that are not there, not readable, not writable or full.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::dock::{BucketConfig, Dock};
use crate::support::files_beneath;
use crate::support::mounted::Mounted;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::site::{SOON, Site, holds, our_keys};
use crate::support::tools::needs;
use crate::support::wait_for;

/// In each name, so that a log with any of them is found out.
const PART: &str = "Zeuge";

#[test]
fn a_folder_that_is_not_there_yet_is_waited_for() {
    let mut site = Site::new();
    std::fs::remove_dir(site.dock.folder()).unwrap();
    site.dock.start();
    let status = site.dock.wait_for_json("the look", &["status"], SOON, |status| {
        status["folders"][0]["looked_seconds"].is_number()
    });
    assert_eq!(status["folders"][0]["problem"], "does not exist yet; waiting for it");
    let screen = site.dock.finish(&["status"]).expect_code(3).stdout;
    assert!(screen.contains("does not exist yet; waiting for it"), "{screen}");
    let check = site.dock.finish(&["check"]).expect_code(0).stdout;
    assert!(check.contains(": does not exist yet\n      do: it is waited for"), "{check}");
    site.put("cam/Zeuge.mp4", b"evidence");
    site.wait_for_count("erased", 1);
    site.assert_opened(&[("cam/Zeuge.mp4", &b"evidence"[..])]);
    // And once more: the folder goes, and another one comes.
    std::fs::remove_dir_all(site.dock.folder()).unwrap();
    site.dock.wait_for_json("the look", &["status"], SOON, |status| {
        status["folders"][0]["problem"].is_string()
    });
    site.put("Zeuge-2.mp4", b"more");
    site.wait_for_count("erased", 2);
    site.dock.finish(&["status"]).expect_code(0);
    site.assert_clean_words(PART);
}

#[test]
fn a_folder_that_may_not_be_read_is_told_and_goes_on_when_it_may() {
    needs!(Setpriv, Root);
    let mut site = Site::new();
    site.put("Zeuge-top.mp4", b"top");
    let inner = site.put("closed/Zeuge-inner.mp4", b"inner");
    let (top, inner) = (site.dock.folder(), inner.parent().unwrap().to_owned());
    site.give_to_nobody();
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    set_mode(&inner, 0);
    set_mode(&top, 0);
    site.dock.start();
    let problem_is = |begin: &'static str| {
        move |status: &serde_json::Value| {
            let problem = status["folders"][0]["problem"].as_str();
            problem.is_some_and(|problem| problem.starts_with(begin))
        }
    };
    let whole = problem_is("cannot be read: Permission denied");
    site.dock.wait_for_json("the problem", &["status"], SOON, whole);
    let screen = site.dock.finish(&["status"]).expect_code(3).stdout;
    assert!(screen.starts_with("ATTENTION: "), "{screen}");
    assert!(screen.contains("cannot be read: Permission denied"), "{screen}");
    let check = site.dock.finish(&["check"]).expect_code(3).stdout;
    assert!(check.contains("fail  folder "), "{check}");
    set_mode(&top, 0o700);
    site.wait_for_count("erased", 1);
    let part = problem_is("cannot be read in part: Permission denied");
    site.dock.wait_for_json("the problem", &["status"], SOON, part);
    set_mode(&inner, 0o700);
    site.wait_for_count("erased", 2);
    site.assert_opened(&[("Zeuge-top.mp4", &b"top"[..]), ("closed/Zeuge-inner.mp4", b"inner")]);
    site.dock.wait_for_json("no problem", &["status"], SOON, |s| s["verdict"] == "ok");
    site.assert_clean_words(PART);
}

#[test]
fn refused_credentials_hold_everything_and_erase_nothing() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let url = server.url("refused");
    let mut site = Site::with(|choices| {
        choices.buckets = vec![BucketConfig::s3(&server.endpoint(), &url)];
    });
    let secrets = site.outside().join("bucket.credential");
    let config = std::fs::read_to_string(site.dock.config()).unwrap();
    let line = format!("name = \"primary\"\ncredentials_file = {secrets:?}");
    std::fs::write(site.dock.config(), config.replace("name = \"primary\"", &line)).unwrap();
    let [id, secret] = Login::Dock.pair();
    let write = |secret: &str| {
        let text = format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        std::fs::write(&secrets, text).unwrap();
    };
    // Not there, then wrong, then right; never with a restart in between.
    site.put("Zeuge-1.mp4", b"one");
    site.put("Zeuge-2.mp4", b"two");
    site.dock.start();
    let clip = site.wait_for_hold("Zeuge-1.mp4", "bucket-refused");
    let cause = clip["deliveries"][0]["hold"]["cause"].as_str().unwrap().to_owned();
    assert!(cause.starts_with("cannot read the bucket's credentials: "), "{cause}");
    write("wrong-secret-hunter2");
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    site.dock.wait_for_json("the refusal", &["list"], SOON, |list| {
        let cause = list["clips"][0]["deliveries"][0]["hold"]["cause"].as_str();
        cause.is_some_and(|cause| cause.starts_with("the bucket refused: "))
    });
    let check = site.dock.finish(&["check"]).expect_code(3).stdout;
    assert!(check.contains("fail  bucket primary: the bucket refused: "), "{check}");
    assert!(check.contains("do: check name, credentials and policy"), "{check}");
    let said: Vec<_> = site.desk();
    assert!(said.iter().all(|(_, said)| !format!("{said:?}").contains("hunter2")));
    assert_eq!(files_beneath(&site.dock.folder()).len(), 2, "a clip was erased");
    write(secret);
    site.wait_for_count("erased", 2);
    assert!(files_beneath(&site.dock.folder()).is_empty());
    assert!(!site.dock.log().contains("hunter2"));
    site.assert_clean_words(PART);
    let dir = crate::support::scratch();
    let (dir_text, key) = (dir.path().to_str().unwrap(), our_keys().identity_file.to_str());
    let option = format!("aws_endpoint={}", server.endpoint());
    let open = ["open", &url, "-i", key.unwrap(), "--out", dir_text, "-o", &option];
    let open = crate::support::dock::authority(Login::Admin, &open).output().unwrap();
    assert!(open.status.success(), "{open:?}");
    assert_eq!(std::fs::read(dir.path().join("Zeuge-1.mp4")).unwrap(), b"one");
    assert_eq!(std::fs::read(dir.path().join("Zeuge-2.mp4")).unwrap(), b"two");
}

#[test]
fn a_medium_that_cannot_be_written_keeps_its_clips_until_it_can() {
    needs!(Root);
    let mut site = Site::new();
    let card = Mounted::memory(&site.dock.folder().join("card"), "16m");
    let path = site.put("card/DCIM/Zeuge.mp4", b"evidence");
    site.put("Zeuge-disk.mp4", b"on the disk");
    card.remount("ro");
    site.dock.start();
    let clip = site.wait_for_hold("card/DCIM/Zeuge.mp4", "erase-blocked");
    let cause = clip["hold"]["cause"].as_str().unwrap();
    assert!(cause.contains("Read-only file system"), "{cause}");
    site.dock.finish(&["status"]).expect_code(3);
    site.wait_for_count("erased", 1);
    assert!(path.exists());
    card.remount("rw");
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    site.wait_for_count("erased", 2);
    assert!(files_beneath(&site.dock.folder()).is_empty());
    // The quarantine was on the card itself, and is gone.
    let left: Vec<_> = std::fs::read_dir(site.dock.folder().join("card")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    site.assert_opened(&[
        ("card/DCIM/Zeuge.mp4", &b"evidence"[..]),
        ("Zeuge-disk.mp4", b"on the disk"),
    ]);
    site.assert_clean_words(PART);
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn a_sealed_file_that_was_damaged_since_is_not_what_an_erasure_rests_on() {
    needs!(Root);
    let mut site = Site::with(|choices| choices.erase = "when-sealed");
    let card = Mounted::memory(&site.dock.folder().join("card"), "16m");
    let path = site.put("card/Zeuge.mp4", b"evidence");
    card.remount("ro");
    site.take_bucket_away();
    site.dock.start();
    site.wait_for_hold("card/Zeuge.mp4", "erase-blocked");
    assert_eq!(site.dock.stop(), 0);
    let spool = files_beneath(&site.dock.state_dir().join("spool"));
    let sealed = spool.iter().find(|path| path.extension().is_some_and(|e| e == "age")).unwrap();
    let mut bytes = std::fs::read(sealed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(sealed, bytes).unwrap();
    card.remount("rw");
    site.dock.start();
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    wait_for("the erasure", SOON, || (!path.exists()).then_some(()));
    assert!(site.dock.log().contains("the sealed file in the spool is damaged"));
    site.give_bucket_back();
    site.wait_for_count("erased", 1);
    site.assert_opened(&[("card/Zeuge.mp4", &b"evidence"[..])]);
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn a_card_that_is_pulled_and_plugged_in_again_loses_nothing() {
    needs!(Root);
    let mut site = Site::new();
    // The card's own file system stays mounted elsewhere, as a card keeps its files unplugged.
    let card = Mounted::memory(&site.outside().join("card"), "16m");
    let at = site.dock.folder().join("card");
    let plugged = Mounted::bind(&card.0, &at);
    site.put("card/Zeuge.mp4", b"evidence");
    site.put("card/Zeuge-late.part", b"still being copied");
    site.take_bucket_away();
    site.dock.start();
    site.wait_for_hold("card/Zeuge.mp4", "bucket-failed");
    drop(plugged);
    // Stored without its card: nothing is said to be erased, and it is known why.
    site.give_bucket_back();
    let clip = site.wait_for_hold("card/Zeuge.mp4", "source-away");
    assert_eq!(clip["plaintext"], "present");
    site.wait_for_count("stored", 1);
    site.assert_opened(&[("card/Zeuge.mp4", &b"evidence"[..])]);
    assert_eq!(files_beneath(&card.0).len(), 2);
    let plugged = Mounted::bind(&card.0, &at);
    site.wait_for_count("erased", 1);
    assert_eq!(files_beneath(&card.0).len(), 1, "only the unfinished one is left");
    std::fs::rename(at.join("Zeuge-late.part"), at.join("Zeuge-late.mp4")).unwrap();
    site.wait_for_count("erased", 2);
    site.dock.finish(&["status"]).expect_code(0);
    site.assert_opened(&[
        ("card/Zeuge.mp4", &b"evidence"[..]),
        ("card/Zeuge-late.mp4", b"still being copied"),
    ]);
    site.assert_clean_words(PART);
    assert_eq!(site.dock.stop(), 0);
    drop(plugged);
}

#[test]
fn a_stored_clip_whose_card_will_not_come_back_can_be_let_go() {
    needs!(Root);
    let mut site = Site::new();
    let at = site.dock.folder().join("card");
    std::fs::create_dir(&at).unwrap();
    let card = Mounted::memory(&at, "16m");
    site.put("card/Zeuge.mp4", b"evidence");
    site.take_bucket_away();
    site.dock.start();
    site.wait_for_hold("card/Zeuge.mp4", "bucket-failed");
    // Not before it is stored.
    site.dock.finish(&["forget", "1"]).expect_code(1);
    drop(card);
    site.give_bucket_back();
    site.wait_for_hold("card/Zeuge.mp4", "source-away");
    let said = site.dock.finish(&["forget", "1"]).expect_code(0).stdout;
    assert!(said.contains("clip 1 is stored; its plaintext is not waited for"), "{said}");
    site.wait_for_count("erased", 1);
    site.dock.finish(&["status"]).expect_code(0);
    site.assert_opened(&[("card/Zeuge.mp4", &b"evidence"[..])]);
    site.assert_clean_words(PART);
}

#[test]
fn a_card_that_is_pulled_before_sealing_is_no_vanished_clip() {
    needs!(Root);
    let mut site = Site::with(|choices| choices.settle_seconds = 3);
    let card = Mounted::memory(&site.outside().join("card"), "16m");
    let at = site.dock.folder().join("card");
    let plugged = Mounted::bind(&card.0, &at);
    site.put("card/Zeuge.mp4", b"evidence");
    site.dock.start();
    site.wait_for_count("seen", 1);
    drop(plugged);
    let looks = |site: &Site| site.dock.json(&["status"])["folders"][0]["file_count"] == 0;
    wait_for("a look without the card", SOON, || looks(&site).then_some(()));
    assert_eq!(site.clips().len(), 1, "it was taken off the list");
    assert!(holds(&site.clips()[0]).iter().all(|reason| *reason != "vanished"));
    let _plugged = Mounted::bind(&card.0, &at);
    site.wait_for_count("erased", 1);
    site.assert_opened(&[("card/Zeuge.mp4", &b"evidence"[..])]);
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn a_full_spool_is_told_and_goes_on_when_there_is_space() {
    needs!(Root);
    let mut site = Site::bare(|_| {});
    // 64 MiB are kept free for the queue.
    let disk = Mounted::memory(&site.dock.state_dir(), "96m");
    std::fs::set_permissions(site.dock.state_dir(), PermissionsExt::from_mode(0o700)).unwrap();
    site.dock.init();
    let large = vec![7; 40 << 20];
    site.put("Zeuge-large.mp4", &large);
    site.put("Zeuge-small.mp4", b"small");
    site.dock.start();
    let clip = site.wait_for_hold("Zeuge-large.mp4", "spool-full");
    let cause = clip["hold"]["cause"].as_str().unwrap();
    assert!(cause.starts_with("the spool is full: "), "{cause}");
    site.wait_for_count("erased", 1);
    site.dock.finish(&["status"]).expect_code(3);
    site.dock.finish(&["check"]).expect_code(0).stdout.contains("only").then_some(()).unwrap();
    assert!(site.dock.folder().join("Zeuge-large.mp4").exists());
    disk.remount("size=256m");
    site.wait_for_count("erased", 2);
    site.assert_opened(&[("Zeuge-large.mp4", large.as_slice()), ("Zeuge-small.mp4", b"small")]);
    site.assert_clean_words(PART);
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn a_dock_without_init_says_what_to_type() {
    let site = Site::bare(|_| {});
    for command in ["run", "status", "list"] {
        let said = site.dock.finish(&[command]).expect_code(10);
        assert!(said.stderr.contains("dockseal init"), "{command}: {}", said.stderr);
    }
    let dock: &Dock = &site.dock;
    assert!(!dock.state_dir().exists());
}
