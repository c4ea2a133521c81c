//! A server without room: Apache, on a file system of two megabytes that grows later.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{file, words};
use crate::support::apache::{Apache, DavLogin};
use crate::support::dock::{BucketConfig, Finished, authority};
use crate::support::scratch;
use crate::support::seaweed::Login;
use crate::support::server::run;
use crate::support::site::{SOON, Site, holds, our_keys};
use crate::support::tools::needs;

/// More than the small file system holds.
const SIZE: usize = 3 << 20;

/// A file system in memory, as big as an option says. Dropping it unmounts it.
struct Disk(TempDir);

impl Disk {
    fn mount(size: &str) -> Disk {
        let disk = Disk(scratch());
        let option = format!("size={size},mode=777");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(disk.0.path()));
        disk
    }

    fn grow(&self, size: &str) {
        let option = format!("remount,size={size}");
        run(Command::new("mount").args(["-o", &option]).arg(self.0.path()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: where the test failed, the server may still have files open.
        run(Command::new("umount").arg("--lazy").arg(self.0.path()));
    }
}

/// Names of all files beneath a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn a_server_without_room_is_named_until_it_has_some() {
    needs!(Apache, Setpriv, Root);
    let disk = Disk::mount("2m");
    let apache = Apache::start_in(disk.0.path());
    let folder = scratch();
    let [user, password] = DavLogin::Admin.pair();
    let login = format!("webdav_user = {user}\nwebdav_password = {password}\n");
    let login = file(&folder, "bucket-primary", &login);
    let url = format!("http://{}", apache.address);
    let mut site = Site::with(|choices| {
        let mut bucket = BucketConfig::s3("", &url);
        bucket.options.clear();
        bucket.more = format!("credentials_file = {:?}", login.display().to_string());
        choices.buckets = vec![bucket];
    });
    site.dock.start();
    let content = vec![7; SIZE];
    site.put("clip.mp4", &content);
    let says = |cause: &serde_json::Value| {
        cause.as_str().is_some_and(|cause| cause.contains(words::NO_ROOM))
    };
    site.dock.wait_for_json("the cause", &["status"], SOON, |status| {
        says(&status["buckets"][0]["problem"])
    });
    let clip = site.clip("clip.mp4").unwrap();
    assert!(!holds(&clip).is_empty() && says(&clip["deliveries"][0]["hold"]["cause"]), "{clip}");
    disk.grow("64m");
    site.wait_for_count("erased", 1);
    let files = files(disk.0.path());
    let clips: Vec<_> = files.iter().filter(|path| path.contains("/clips/")).collect();
    assert_eq!(clips.len(), 1, "{files:?}");
    let opened = scratch();
    let mut open = authority(Login::Admin, &["open", &url, "--json"]);
    open.env("WEBDAV_USER", user).env("WEBDAV_PASSWORD", password);
    open.arg("--identity").arg(&our_keys().identity_file).arg("--out").arg(opened.path());
    Finished::new(open.output().unwrap()).expect_code(0);
    assert!(std::fs::read(opened.path().join("clip.mp4")).unwrap() == content);
}
