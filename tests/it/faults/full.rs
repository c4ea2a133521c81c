//! A server without room: Apache, on a file system of two megabytes that grows later.

use std::path::PathBuf;

use super::{file, words};
use crate::support::dav_servers::{DavServer, User};
use crate::support::dock::{BucketConfig, Finished, authority};
use crate::support::seaweed::Login;
use crate::support::site::{SOON, Site, holds, our_keys};
use crate::support::tools::needs;
use crate::support::{files_beneath, scratch};

/// More than the small file system holds.
const SIZE: usize = 3 << 20;

#[test]
fn a_server_without_room_is_named_until_it_has_some() {
    needs!(Apache, Setpriv, Root);
    let apache = DavServer::apache();
    let disk = apache.small_disk(2 << 20);
    let folder = scratch();
    let [user, password] = User::Admin.pair();
    let login = format!("webdav_user = {user}\nwebdav_password = {password}\n");
    let login = file(&folder, "bucket-primary", &login);
    let url = apache.url(disk);
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
    apache.resize_disk(64 << 20);
    site.wait_for_count("erased", 1);
    let files = files_beneath(&apache.root().join(disk));
    let is_clip = |path: &&PathBuf| path.to_str().unwrap().contains("/clips/");
    let clips: Vec<_> = files.iter().filter(is_clip).collect();
    assert_eq!(clips.len(), 1, "{files:?}");
    let opened = scratch();
    let mut open = authority(Login::Admin, &["open", &url, "--json"]);
    open.env("WEBDAV_USER", user).env("WEBDAV_PASSWORD", password);
    open.arg("--identity").arg(&our_keys().identity_file).arg("--out").arg(opened.path());
    Finished::new(open.output().unwrap()).expect_code(0);
    assert!(std::fs::read(opened.path().join("clip.mp4")).unwrap() == content);
}
