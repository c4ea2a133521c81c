//! The contract of a bucket, kept by a folder and by a real S3 server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use dockseal::clip::Evidence;
use dockseal::edge::bucket::{Bucket, BucketError, Created, Trouble};
use tempfile::TempDir;

use crate::contract::{LARGE, SMALL, Spooled, block_on, holds};
use crate::contract::{keeps_the_contract, keeps_the_small_contract, put};
use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;
use crate::support::{peers, scratch, seaweed};

/// An empty folder bucket: the folder, and its URL.
fn folder_bucket() -> (TempDir, String) {
    let dir = scratch();
    let url = format!("file://{}", dir.path().display());
    (dir, url)
}

#[test]
fn small_objects_are_created_once_and_replaced_only_on_purpose() {
    let (_dir, url) = folder_bucket();
    let bucket = Bucket::open(&url, &BTreeMap::new()).unwrap();
    keeps_the_small_contract(&bucket, &bucket, Created::Equal);
    assert_eq!(bucket.clock_behind_seconds(), None);
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let open = |url: &str, login| Bucket::open(url, &server.options(login)).unwrap();
    let url = server.url("small");
    let admin = open(&url, Login::Admin);
    keeps_the_small_contract(&admin, &admin, Created::Equal);
    let behind = admin.clock_behind_seconds().expect("the server says what time it is");
    assert!(behind.abs() < 60, "{behind}");
    let url = server.url("small-put-only");
    keeps_the_small_contract(&open(&url, Login::Dock), &open(&url, Login::Admin), Created::Unseen);
}

#[test]
fn a_folder_keeps_the_contract() {
    let (_dir, url) = folder_bucket();
    let bucket = Bucket::open(&url, &BTreeMap::new()).unwrap();
    keeps_the_contract(&bucket, &bucket, Evidence::ReadBack);
}

#[test]
fn a_put_cut_short_leaves_no_object_in_a_folder_and_is_made_good() {
    let (dir, url) = folder_bucket();
    let bucket = Bucket::open(&url, &BTreeMap::new()).unwrap();
    let spooled = Spooled::new(LARGE);
    let object = dir.path().join(&spooled.key);
    let folder = object.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    // What a process leaves that is killed half-way.
    std::fs::write(folder.join(format!(".{}.unfinished", spooled.name)), b"half").unwrap();
    assert!(!object.exists());
    assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::ReadBack);
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert_eq!(names.len(), 1, "the unfinished file stayed: {names:?}");
}

#[test]
fn other_bytes_under_a_clips_name_are_never_taken_for_the_clip() {
    let (dir, url) = folder_bucket();
    let bucket = Bucket::open(&url, &BTreeMap::new()).unwrap();
    let spooled = Spooled::new(SMALL);
    let object = dir.path().join(&spooled.key);
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    for other in [vec![0; SMALL], vec![0; SMALL + 1], vec![0; SMALL / 2], vec![]] {
        std::fs::write(&object, &other).unwrap();
        let put = put(&bucket, &spooled);
        assert!(matches!(put, Err(BucketError::OtherContent)), "{} bytes: {put:?}", other.len());
        assert_eq!(std::fs::read(&object).unwrap(), other, "it was overwritten");
    }
    // The clip with something behind it is another object, too.
    let longer = [std::fs::read(spooled.path()).unwrap(), vec![0]].concat();
    std::fs::write(&object, longer).unwrap();
    assert!(matches!(put(&bucket, &spooled), Err(BucketError::OtherContent)));
}

#[test]
fn a_real_s3_server_keeps_the_contract() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let url = server.url("contract");
    let admin = Bucket::open(&url, &server.options(Login::Admin)).unwrap();
    keeps_the_contract(&admin, &admin, Evidence::DigestChecked);
}

#[test]
fn a_put_only_key_is_enough_for_proof_and_reads_nothing() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let url = server.url("put-only");
    let dock = Bucket::open(&url, &server.options(Login::Dock)).unwrap();
    let admin = Bucket::open(&url, &server.options(Login::Admin)).unwrap();
    keeps_the_contract(&dock, &admin, Evidence::DigestChecked);

    let spooled = Spooled::new(SMALL);
    assert_eq!(put(&dock, &spooled).unwrap(), Evidence::DigestChecked);
    // Already there, and it may not look: sent once more over itself, for new evidence.
    assert_eq!(put(&dock, &spooled).unwrap(), Evidence::DigestChecked);
    let refused = |error| matches!(error, BucketError::Refused(_));
    assert!(refused(block_on(dock.size(&spooled.key)).unwrap_err()));
    assert!(refused(block_on(dock.read(&spooled.key, 0..1)).unwrap_err()));
    assert!(refused(block_on(dock.list("")).unwrap_err()));
}

#[test]
fn a_bucket_that_is_not_there_or_not_ours_says_so() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let options = server.options(Login::Admin);
    let missing = Bucket::open("s3://no-such-bucket/x", &options).unwrap();
    let mut options = server.options(Login::Dock);
    options.insert("aws_secret_access_key".into(), "not-the-secret".into());
    let not_ours = Bucket::open(&server.url("wrong-key"), &options).unwrap();
    for size in [SMALL, LARGE] {
        let spooled = Spooled::new(size);
        let put_there = put(&missing, &spooled);
        assert!(matches!(put_there, Err(BucketError::Missing)), "{put_there:?}");
        let refused = put(&not_ours, &spooled);
        assert!(matches!(refused, Err(BucketError::Refused(_))), "{refused:?}");
        let text = format!("{refused:?}");
        assert!(!text.contains("not-the-secret"), "{text}");
    }
}

#[test]
fn an_answer_that_was_lost_costs_one_reading() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    let mut options = server.options(Login::Admin);
    options.insert("aws_endpoint".into(), proxy.endpoint());
    let bucket = Bucket::open(&server.url("lost-answer"), &options).unwrap();
    let spooled = Spooled::new(SMALL);
    proxy.set(Fault::LoseAnswer);
    let lost = put(&bucket, &spooled).unwrap_err();
    assert_eq!(lost.trouble(), Some(Trouble::Broken), "{lost}");
    // The queue tries again, hears that the object is there, and we look whether it is ours.
    assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::ReadBack);
    assert_eq!(proxy.fault(), Fault::None);
    assert!(proxy.sent_bytes() > 2 * spooled.size_bytes);
}

#[test]
fn a_line_cut_in_the_middle_of_a_large_clip_leaves_no_object() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    let mut options = server.options(Login::Admin);
    options.insert("aws_endpoint".into(), proxy.endpoint());
    let bucket = Bucket::open(&server.url("cut"), &options).unwrap();
    let spooled = Spooled::new(LARGE);
    // In the third part, which is sent once more; that is an honest success.
    proxy.set(Fault::CutAfter(12 << 20));
    assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::DigestChecked);
    let sent_again = proxy.sent_bytes() - spooled.size_bytes;
    assert!((1 << 20..6 << 20).contains(&sent_again), "{sent_again}");
    assert!(holds(&bucket, &spooled));

    let other = Spooled::new(LARGE);
    proxy.set(Fault::Refuse);
    assert!(matches!(put(&bucket, &other), Err(BucketError::Failed { .. })));
    proxy.set(Fault::None);
    // In a moment the proxy listens again.
    let mut sizes = std::iter::repeat_with(|| block_on(bucket.size(&other.key)));
    let answer = sizes.find(|size| !matches!(size, Err(BucketError::Failed { .. }))).unwrap();
    assert!(matches!(answer, Err(BucketError::Missing)), "{answer:?}");
    assert_eq!(put(&bucket, &other).unwrap(), Evidence::DigestChecked);
}

#[test]
fn a_sealed_clip_opens_with_age_after_its_way_through_s3() {
    needs!(Weed, Setpriv, Age, Ffmpeg);
    let server = Seaweed::shared();
    let url = server.url("round-trip");
    let dock = Bucket::open(&url, &server.options(Login::Dock)).unwrap();
    let dir = scratch();
    let keys = peers::classic_keys(dir.path());
    let clip = crate::support::clips::clip(20, "round-trip");
    let sealed_path = dir.path().join("sealed");
    let sealed = crate::peers::seal_file(&clip, &sealed_path, &keys);
    let key = format!("{}.age", sealed.name);
    let file = File::open(&sealed_path).unwrap();
    let put = block_on(dock.put_sealed(&key, file, sealed.name, &|_| {}));
    assert_eq!(put.unwrap(), Evidence::DigestChecked);
    // Fetched without our own code, at the name that the URL promises.
    let fetched = dir.path().join("fetched.age");
    fetch(server, &seaweed::prefix(&url).join(key), &fetched);
    let opened = peers::sha256_opened(peers::Peer::Age, &keys, &fetched);
    assert_eq!(opened, crate::support::sha256(&clip));
}

fn fetch(server: &Seaweed, key: &object_store::path::Path, to: &Path) {
    use object_store::ObjectStoreExt;
    let client = server.client(Login::Admin);
    let bytes = block_on(async { client.get(key).await.unwrap().bytes().await.unwrap() });
    File::create_new(to).unwrap().write_all(&bytes).unwrap();
}
