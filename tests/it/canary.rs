//! No marker of a clip leaves the dock in clear, and the search for it would find one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dockseal::clip::SealedName;
use dockseal::edge::bucket::Bucket;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::dock::{BucketConfig, Choices, Dock};
use crate::support::markers::Marker;
use crate::support::proxy::Proxy;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;
use crate::support::{clips, peers, scratch};

/// One marker each, so that a finding tells what leaked.
const CONTENT: &str = "CANARY-content-51d7a9";
const FILE_NAME: &str = "CANARY-name-8e02c4";
const CAMERA: &str = "CANARY-camera-f36b10";
const FOLDER: &str = "CANARY-folder-2a9d7c";
const SIDECAR: &str = "CANARY-officer-b4408e";
/// Sent in three parts; and in one request.
const CLIP_SIZES_MB: [u64; 2] = [20, 2];
const STORED_WITHIN: Duration = Duration::from_secs(120);

fn markers() -> [Marker; 5] {
    [CONTENT, FILE_NAME, CAMERA, FOLDER, SIDECAR].map(Marker::new)
}

/// Puts the markers into the dock folder, by renames: the daemon is soon done with each. Gives the
/// number of files and their size.
fn drop_marked_clips(dock: &Dock) -> (usize, u64) {
    let staging = scratch();
    let staged = staging.path().join(CAMERA).join(FOLDER);
    for size_mb in CLIP_SIZES_MB {
        let clip = staged.join(format!("{FILE_NAME}-{size_mb}.mp4"));
        clips::copy(&clips::clip(size_mb, CONTENT), &clip);
        clips::write_sidecars(&clip, SIDECAR);
    }
    // Nothing but the marker, so that no compression or chunking hides it; and a name alone.
    std::fs::write(staged.join(format!("{FILE_NAME}.txt")), CONTENT.repeat(10_000)).unwrap();
    std::fs::write(staged.join(format!("{FILE_NAME}.empty")), b"").unwrap();
    for marker in markers() {
        assert!(!marker.files_with(staging.path()).is_empty(), "it is there to be found");
    }
    let folder = dock.folder().join(CAMERA).join(FOLDER);
    std::fs::create_dir_all(&folder).unwrap();
    let (mut count, mut size_bytes) = (0, 0);
    for file in std::fs::read_dir(&staged).unwrap().map(Result::unwrap) {
        count += 1;
        size_bytes += file.metadata().unwrap().len();
        std::fs::rename(file.path(), folder.join(file.file_name())).unwrap();
    }
    (count, size_bytes)
}

/// Fetches all objects of a URL into a folder, under names that say their keys.
fn fetch_all(server: &Seaweed, url: &str, folder: &Path) {
    for key in server.keys(url) {
        server.fetch(url, &key, &folder.join(key.replace('/', "!")));
    }
}

#[track_caller]
fn assert_none_in(folder: &Path, what: &str) {
    for marker in markers() {
        assert_eq!(marker.files_with(folder), Vec::<std::path::PathBuf>::new(), "{what}");
    }
}

#[test]
fn no_marker_reaches_the_server_the_spool_or_the_log() {
    needs!(Weed, Setpriv, Ffmpeg, Age);
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    let url = server.url("canary");
    let dir = scratch();
    let keys = peers::classic_keys(dir.path());
    let bucket = BucketConfig::s3(&proxy.endpoint(), &url);
    let mut choices = Choices::new(&keys.recipient, bucket);
    choices.camera = Some("{1}".into());
    choices.more = "keep_sealed = \"1d\"".into();
    let mut dock = Dock::new(&choices);
    dock.init();
    // Dropped while the daemon runs, which logs as it does at a customer's.
    dock.start();
    let (count, size_bytes) = drop_marked_clips(&dock);
    let list = dock.wait_for_json("all to be erased", &["list"], STORED_WITHIN, |list| {
        let clips = list["clips"].as_array().unwrap();
        clips.len() == count && clips.iter().all(|clip| clip["state"] == "erased")
    });
    for clip in list["clips"].as_array().unwrap() {
        // The queue has a path until the plaintext is gone, and not longer.
        assert_eq!((&clip["path"], &clip["path_base64"]), (&Value::Null, &Value::Null), "{clip}");
        assert_eq!(clip["in_spool"], true, "{clip}");
    }
    // A second time with everything logged that any library would say.
    assert_eq!(dock.stop(), 0);
    drop_marked_clips(&dock);
    let mut talkative = dock.command(&["run", "--until-idle"]);
    talkative.env("DOCKSEAL_LOG", "dockseal=trace,debug");
    let said = talkative.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    std::fs::write(dock.log_dir().join("talkative"), &said.stderr).unwrap();

    let spool = dock.state_dir().join("spool");
    let objects = scratch();
    fetch_all(server, &url, objects.path());
    let clips = server.keys(&url).into_iter().filter(|key| key.ends_with(".age"));
    assert_eq!(clips.count(), 2 * count);
    assert!(proxy.sent_bytes() > 2 * size_bytes, "all of it went through the proxy");
    let sealed = std::fs::read_dir(&spool).unwrap().flatten();
    let sealed = sealed.filter(|file| file.path().extension().is_some_and(|end| end == "age"));
    assert_eq!(sealed.count(), 2 * count, "the spool still has what was sent");
    assert!(dock.log().contains("dockseal"), "something was logged");
    assert_none_in(proxy.recording(), "what the server received");
    assert_none_in(&spool, "the spool");
    assert_none_in(&dock.log_dir(), "the log");
    assert_none_in(objects.path(), "the bucket");
    the_search_finds_planted_markers(server, &proxy, &dock);
}

/// The same searches, at the same places, after a marker was put there on purpose.
fn the_search_finds_planted_markers(server: &Seaweed, proxy: &Proxy, dock: &Dock) {
    let planted = format!("something {CONTENT} something");
    let [content, name, ..] = markers();
    let spool = dock.state_dir().join("spool");
    std::fs::write(spool.join("planted"), &planted).unwrap();
    assert_eq!(content.files_with(&spool), [spool.join("planted")]);
    let log = dock.log_dir().join("001");
    let mut log_file = File::options().append(true).open(&log).unwrap();
    writeln!(log_file, "2026-11-21T20:00:00Z INFO  cannot read {FILE_NAME}-2.mp4").unwrap();
    assert_eq!(name.files_with(&dock.log_dir()), [log]);

    // A put by a careless program, over the same line: the marker in the body, and in the key.
    let url = server.url("canary-planted");
    let mut options = server.options(Login::Admin);
    options.insert("aws_endpoint".into(), proxy.endpoint());
    put(&url, &options, &format!("{FILE_NAME}.mp4"), planted.as_bytes());
    assert_eq!(content.files_with(proxy.recording()).len(), 1);
    assert!(!name.files_with(proxy.recording()).is_empty());
    let objects = scratch();
    fetch_all(server, &url, objects.path());
    assert_eq!(content.files_with(objects.path()).len(), 1);
    assert_eq!(name.files_with(objects.path()).len(), 1);
}

fn put(url: &str, options: &BTreeMap<String, String>, key: &str, bytes: &[u8]) {
    let dir = scratch();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let bucket = Bucket::open(url, options).unwrap();
    let digest = SealedName(Sha256::digest(bytes).into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let put = bucket.put_sealed(key, File::open(&path).unwrap(), digest, &|_| {});
    runtime.block_on(put).unwrap();
}
