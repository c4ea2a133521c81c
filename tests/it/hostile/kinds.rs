//! What is no regular file, or one that cannot be read or erased like others.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use crate::support::files_beneath;
use crate::support::site::{SOON, Site, holds};
use crate::support::tools::needs;
use crate::support::wait_for;

/// In each name, so that a log with any of them is found out.
const PART: &str = "Zeuge";

#[test]
fn links_fifos_and_sockets_are_held_never_opened_and_never_followed() {
    let mut site = Site::new();
    let outside = site.outside();
    std::fs::write(outside.join("diary.txt"), b"private").unwrap();
    for number in 0..40 {
        std::fs::create_dir_all(outside.join(format!("tree/{number}"))).unwrap();
    }
    let folder = site.dock.folder();
    site.put("cam/Zeuge.mp4", b"evidence");
    let links: [(&str, PathBuf); 6] = [
        ("Zeuge-file", outside.join("diary.txt")),
        ("Zeuge-folder", outside.clone()),
        ("Zeuge-inside", folder.join("cam/Zeuge.mp4")),
        ("Zeuge-broken", "no/such/place".into()),
        ("Zeuge-loop", "Zeuge-loop".into()),
        ("Zeuge-up", "../..".into()),
    ];
    for (name, target) in &links {
        symlink(target, folder.join(name)).unwrap();
    }
    rustix::fs::mknodat(CWD, folder.join("Zeuge-fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = UnixListener::bind(folder.join("Zeuge-socket")).unwrap();
    let others: Vec<_> =
        links.iter().map(|(name, _)| *name).chain(["Zeuge-fifo", "Zeuge-socket"]).collect();
    site.dock.start();
    site.wait_for_count("erased", 1);
    for name in &others {
        site.wait_for_hold(name, "not-a-file");
    }
    let status = site.dock.finish(&["status"]).expect_code(3);
    assert!(status.stdout.starts_with("ATTENTION: 8 clips need you\n"), "{}", status.stdout);
    // `retry` cannot make a clip of them.
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    site.wait_for_hold("Zeuge-fifo", "not-a-file");
    assert!(inotify_count(site.dock.pid()) < 20, "the kernel was asked to watch outside");
    site.assert_opened(&[("cam/Zeuge.mp4", &b"evidence"[..])]);
    site.assert_clean_words(PART);
    assert_eq!(std::fs::read(outside.join("diary.txt")).unwrap(), b"private");
    assert_eq!(files_beneath(&folder).len(), others.len(), "one of them was removed");
    // Moved out of the folder, as the advice says, they are off the list.
    for name in &others {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    site.dock.wait_for_json("an empty list of holds", &["list", "--held"], SOON, |list| {
        list["clips"].as_array().unwrap().is_empty()
    });
    site.dock.finish(&["status"]).expect_code(0);
    assert_eq!(site.dock.stop(), 0);
}

/// How many watches a process has in its inotify instances.
fn inotify_count(pid: u32) -> usize {
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = infos.flatten().filter_map(|info| std::fs::read_to_string(info.path()).ok());
    let count = texts.map(|text| text.matches("inotify wd:").count()).sum();
    assert!(count > 0, "no inotify: this finds nothing");
    count
}

#[test]
fn devices_are_held_and_never_opened() {
    needs!(Root);
    let mut site = Site::new();
    let folder = site.dock.folder();
    // 1:5 is /dev/zero: whoever reads it never ends. 7:200 is a loop device.
    let devices = [
        ("Zeuge-zero", FileType::CharacterDevice, 1, 5),
        ("Zeuge-disk", FileType::BlockDevice, 7, 200),
    ];
    for (name, kind, major, minor) in devices {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(CWD, folder.join(name), kind, Mode::RWXU, device).unwrap();
    }
    site.dock.start();
    for (name, ..) in devices {
        site.wait_for_hold(name, "not-a-file");
    }
    assert!(site.opened().is_empty());
    site.assert_clean_words(PART);
}

#[test]
fn a_link_put_in_the_place_of_a_clip_is_not_followed() {
    let mut site = Site::with(|choices| choices.settle_seconds = 2);
    let outside = site.outside().join("diary.txt");
    std::fs::write(&outside, b"private").unwrap();
    let path = site.put("Zeuge.mp4", b"evidence");
    site.dock.start();
    site.wait_for_count("seen", 1);
    std::fs::remove_file(&path).unwrap();
    symlink(&outside, &path).unwrap();
    site.wait_for_hold("Zeuge.mp4", "not-a-file");
    assert!(site.opened().is_empty());
    // A real clip again: no operator is needed.
    std::fs::remove_file(&path).unwrap();
    site.put("Zeuge.mp4", b"evidence at last");
    site.wait_for_count("erased", 1);
    site.assert_opened(&[("Zeuge.mp4", &b"evidence at last"[..])]);
    assert_eq!(std::fs::read(&outside).unwrap(), b"private");
}

#[test]
fn an_empty_clip_is_a_clip() {
    let site = Site::new();
    site.put("battery-died.mp4", b"");
    site.dock.run_until_idle().expect_code(0);
    site.assert_opened(&[("battery-died.mp4", &b""[..])]);
    assert!(files_beneath(&site.dock.folder()).is_empty());
}

#[test]
fn a_clip_with_a_second_name_is_stored_but_not_erased_until_that_is_gone() {
    let mut site = Site::new();
    let path = site.put("Zeuge.mp4", b"evidence");
    let second = site.outside().join("second-name");
    std::fs::hard_link(&path, &second).unwrap();
    site.dock.start();
    let clip = site.wait_for_hold("Zeuge.mp4", "hard-linked");
    site.wait_for_count("stored", 1);
    assert_eq!(clip["hold"]["until"], serde_json::Value::Null, "it waits for an operator");
    let cause = clip["hold"]["cause"].as_str().unwrap();
    assert_eq!(cause, "the plaintext has 2 names (hard links)");
    site.dock.finish(&["status"]).expect_code(3);
    assert!(path.exists() && second.exists());
    site.dock.finish(&["retry", "1"]).expect_code(0);
    site.wait_for_hold("Zeuge.mp4", "hard-linked");
    assert!(path.exists() && second.exists());
    std::fs::remove_file(&second).unwrap();
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    wait_for("the erasure", SOON, || (!path.exists()).then_some(()));
    site.dock.wait_for_json("no hold", &["status"], SOON, |status| status["verdict"] == "ok");
    // Removing a name moves the file's ctime, which a rewrite with its mtime set back does as well.
    // It is taken for one: the same content is sealed and stored twice.
    assert_eq!(site.opened().len(), 2);
    assert!(site.opened().iter().all(|(_, content)| content == b"evidence"));
    assert!(files_beneath(&site.dock.folder()).is_empty());
    site.assert_clean_words(PART);
}

#[test]
fn a_clip_that_may_not_be_read_holds_up_nobody_else() {
    needs!(Setpriv, Root);
    let mut site = Site::new();
    let closed = site.put("cam/Zeuge-closed.mp4", b"closed");
    site.put("cam/Zeuge-open.mp4", b"open");
    site.give_to_nobody();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    site.dock.start();
    let clip = site.wait_for_hold("cam/Zeuge-closed.mp4", "unreadable");
    assert_eq!(clip["hold"]["cause"], "cannot open the file: Permission denied (os error 13)");
    assert!(clip["hold"]["until"].is_string(), "it is tried again by itself");
    site.wait_for_count("erased", 1);
    site.dock.finish(&["status"]).expect_code(3);
    site.assert_opened(&[("cam/Zeuge-open.mp4", &b"open"[..])]);
    assert_eq!(closed.metadata().unwrap().len(), 6);
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).unwrap();
    site.wait_for_count("erased", 2);
    site.assert_opened(&[
        ("cam/Zeuge-closed.mp4", &b"closed"[..]),
        ("cam/Zeuge-open.mp4", b"open"),
    ]);
    site.dock.finish(&["status"]).expect_code(0);
    site.assert_clean_words(PART);
}

#[test]
fn a_folder_swapped_for_a_link_leads_nowhere() {
    let mut site = Site::new();
    site.put("cam/Zeuge.mp4", b"evidence");
    let folder = site.dock.folder();
    // What the link will lead to: the same names, and one that the dock might take for its own.
    let elsewhere = site.outside().join("cam");
    std::fs::create_dir_all(elsewhere.join(".dockseal-erasing")).unwrap();
    std::fs::write(elsewhere.join("Zeuge.mp4"), b"evidence").unwrap();
    std::fs::write(elsewhere.join("other.mp4"), b"private").unwrap();
    site.take_bucket_away();
    site.dock.start();
    site.wait_for_hold("cam/Zeuge.mp4", "bucket-failed");
    std::fs::rename(folder.join("cam"), site.outside().join("moved")).unwrap();
    symlink(&elsewhere, folder.join("cam")).unwrap();
    let before = facts_beneath(&site.outside());
    site.wait_for_hold("cam", "not-a-file");
    site.give_bucket_back();
    let clip = site.wait_for_hold("cam/Zeuge.mp4", "erase-blocked");
    assert!(holds(&clip).len() == 1, "{clip}");
    site.wait_for_count("stored", 1);
    site.assert_opened(&[("cam/Zeuge.mp4", &b"evidence"[..])]);
    site.assert_clean_words(PART);
    assert_eq!(facts_beneath(&site.outside()), before, "something outside was touched");
    // The folder comes back, and the clip is erased without anybody's help.
    std::fs::remove_file(folder.join("cam")).unwrap();
    std::fs::rename(site.outside().join("moved"), folder.join("cam")).unwrap();
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    site.wait_for_count("erased", 1);
    assert!(files_beneath(&folder).is_empty());
    site.dock.wait_for_json("no hold", &["status"], SOON, |status| status["verdict"] == "ok");
    site.assert_opened(&[("cam/Zeuge.mp4", &b"evidence"[..])]);
    assert_eq!(site.dock.stop(), 0);
}

/// Names with content, inode and times, reading included.
fn facts_beneath(root: &Path) -> Vec<(PathBuf, u64, i64, i64, i64)> {
    let facts = |path: PathBuf| {
        let facts = path.symlink_metadata().unwrap();
        (path, facts.ino(), facts.atime_nsec(), facts.mtime_nsec(), facts.ctime_nsec())
    };
    let mut found: Vec<_> = files_beneath(root).into_iter().map(facts).collect();
    found.sort();
    found
}

#[test]
fn hints_reach_a_watch_folder_whose_path_is_a_link() {
    let mut site = Site::with(|choices| choices.more = "rescan_seconds = 3600".into());
    let (folder, real) = (site.dock.folder(), site.outside().join("real"));
    std::fs::create_dir(&real).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    symlink(&real, &folder).unwrap();
    site.dock.start();
    let status = site.dock.wait_for_json("the first look", &["status"], SOON, |status| {
        status["folders"][0]["looked_seconds"].is_number()
    });
    assert_eq!(status["folders"][0]["mode"], "inotify");
    // The next look of itself comes in an hour.
    site.put("Zeuge.mp4", b"evidence");
    site.wait_for_count("erased", 1);
    site.put("new/folder/Zeuge.mp4", b"more");
    site.wait_for_count("erased", 2);
    std::fs::rename(site.put("Zeuge.part", b"renamed"), real.join("Zeuge-3.mp4")).unwrap();
    site.wait_for_count("erased", 3);
    assert_eq!(site.opened().len(), 3);
}

#[test]
fn a_link_where_clips_are_moved_before_they_are_erased_leads_nowhere() {
    let mut site = Site::new();
    let folder = site.dock.folder();
    let path = site.put("Zeuge.mp4", b"evidence");
    std::fs::write(site.outside().join("diary.txt"), b"private").unwrap();
    symlink(site.outside(), folder.join(".dockseal-erasing")).unwrap();
    let before = facts_beneath(&site.outside());
    site.dock.start();
    site.wait_for_hold("Zeuge.mp4", "erase-blocked");
    site.wait_for_hold(".dockseal-erasing", "not-a-file");
    assert!(path.exists());
    assert_eq!(facts_beneath(&site.outside()), before, "something outside was touched");
    std::fs::remove_file(folder.join(".dockseal-erasing")).unwrap();
    site.dock.finish(&["retry", "--all"]).expect_code(0);
    site.wait_for_count("erased", 1);
    assert!(files_beneath(&folder).is_empty());
    site.assert_clean_words(PART);
}

#[test]
fn a_watch_folder_that_leads_to_our_own_files_is_not_looked_through() {
    for (name, target) in [("state", ""), ("state", ".."), ("bucket", ""), ("bucket", "within")] {
        let mut site = Site::new();
        let own = if name == "state" { site.dock.state_dir() } else { site.bucket() };
        std::fs::write(own.join("Zeuge"), b"ours").unwrap();
        std::fs::create_dir_all(own.join(target)).unwrap();
        std::fs::remove_dir(site.dock.folder()).unwrap();
        symlink(own.join(target), site.dock.folder()).unwrap();
        site.dock.start();
        let status = site.dock.wait_for_json("the look", &["status"], SOON, |status| {
            status["folders"][0]["looked_seconds"].is_number()
        });
        let problem = status["folders"][0]["problem"].as_str().expect("a problem");
        assert!(problem.contains("by a link: not looked through"), "{problem}");
        assert_eq!(site.dock.stop(), 0);
        let check = site.dock.finish(&["check"]).expect_code(3).stdout;
        assert!(check.contains("by a link: not looked through\n      do: name a"), "{check}");
        assert!(site.clips().is_empty() && own.join("Zeuge").exists());
    }
}
