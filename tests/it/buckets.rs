//! The contract of a bucket, kept by a folder and by a real S3 server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use dockseal::clip::{Evidence, SealedName};
use dockseal::edge::bucket::{Bucket, BucketError, Created, Trouble};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;
use crate::support::{peers, scratch, seaweed};

/// Sent in one request.
const SMALL: usize = 1_000_000;
/// Sent in three parts.
const LARGE: usize = 20 << 20;

/// A file in a spool, as `dock::spool` leaves it: named by its digest.
struct Spooled {
    dir: TempDir,
    name: SealedName,
    key: String,
    size_bytes: u64,
}

impl Spooled {
    /// Incompressible bytes that no other call gives.
    fn new(size: usize) -> Spooled {
        static SEED: AtomicU64 = AtomicU64::new(0);
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let blocks = (0..size.div_ceil(32) as u64).map(|index| {
            let digest = Sha256::new().chain_update(seed.to_le_bytes());
            <[u8; 32]>::from(digest.chain_update(index.to_le_bytes()).finalize())
        });
        let mut bytes: Vec<u8> = blocks.flatten().collect();
        bytes.truncate(size);
        let dir = scratch();
        std::fs::write(dir.path().join("sealed"), &bytes).unwrap();
        let name = SealedName(Sha256::digest(&bytes).into());
        let text = name.to_string();
        let key = format!("dock-1/clips/{}/{text}.age", &text[..2]);
        Spooled { dir, name, key, size_bytes: size as u64 }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("sealed")
    }

    fn damage(&self) {
        let mut bytes = std::fs::read(self.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(self.path(), bytes).unwrap();
    }
}

/// An empty folder bucket: the folder, and its URL.
fn folder_bucket() -> (TempDir, String) {
    let dir = scratch();
    let url = format!("file://{}", dir.path().display());
    (dir, url)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn put(bucket: &Bucket, spooled: &Spooled) -> Result<Evidence, BucketError> {
    let sent = AtomicU64::new(0);
    let count = |bytes| {
        sent.fetch_add(bytes, Ordering::Relaxed);
    };
    let file = File::open(spooled.path()).unwrap();
    let put = block_on(bucket.put_sealed(&spooled.key, file, spooled.name, &count));
    if let Ok(Evidence::DigestChecked) = put {
        assert_eq!(sent.load(Ordering::Relaxed), spooled.size_bytes);
    }
    put
}

/// Whether the object is there and is the file.
fn holds(bucket: &Bucket, spooled: &Spooled) -> bool {
    let Ok(size) = block_on(bucket.size(&spooled.key)) else { return false };
    let bytes = block_on(bucket.read(&spooled.key, 0..size)).unwrap();
    size == spooled.size_bytes && SealedName(Sha256::digest(&bytes).into()) == spooled.name
}

/// What every bucket does, whatever its kind. `reader` is the same place with the right to read.
fn keeps_the_contract(bucket: &Bucket, reader: &Bucket, first: Evidence) {
    for size in [SMALL, LARGE] {
        let spooled = Spooled::new(size);
        assert_eq!(put(bucket, &spooled).unwrap(), first, "{size} bytes");
        assert!(holds(reader, &spooled), "{size} bytes");
        // The answer was lost, or the queue was: the same clip once more.
        assert_eq!(put(reader, &spooled).unwrap(), Evidence::ReadBack, "{size} bytes");
        assert!(holds(reader, &spooled), "{size} bytes");

        let damaged = Spooled::new(size);
        damaged.damage();
        let refused = put(bucket, &damaged);
        assert!(matches!(refused, Err(BucketError::SpoolDamaged)), "{size} bytes: {refused:?}");
        assert!(block_on(reader.size(&damaged.key)).is_err(), "a damaged clip became an object");
    }
    let listed = block_on(reader.list("dock-1")).unwrap();
    // Nothing of the damaged ones, nor of what was unfinished on the way.
    let mut sizes: Vec<_> = listed.iter().map(|object| object.size_bytes).collect();
    sizes.sort();
    assert_eq!(sizes, [SMALL as u64, LARGE as u64]);
    assert!(listed.iter().all(|object| object.key.starts_with("dock-1/clips/")));
}

/// The same for small objects. `reader` is as above; `unread` is what a writer without the right
/// to read finds out about an object that is there.
fn keeps_the_small_contract(bucket: &Bucket, reader: &Bucket, unread: Created) {
    let create = |key, bytes: &'static str| block_on(bucket.create(key, bytes.into()));
    let read = |key, size_max| block_on(reader.read_all(key, size_max));
    assert_eq!(create("dock-1/log/0/checkpoints/1", "one").unwrap(), Created::New);
    assert_eq!(create("dock-1/log/0/checkpoints/1", "one").unwrap(), unread);
    match (create("dock-1/log/0/checkpoints/1", "two"), unread) {
        (Err(BucketError::OtherContent), Created::Equal) => {}
        (Ok(Created::Unseen), Created::Unseen) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(read("dock-1/log/0/checkpoints/1", 3).unwrap(), "one");
    let small = read("dock-1/log/0/checkpoints/1", 2);
    assert!(matches!(small, Err(BucketError::TooLarge { size_max: 2 })), "{small:?}");
    for text in ["one", "two"] {
        block_on(bucket.replace("dock-1/log/0/checkpoint", text.into())).unwrap();
        assert_eq!(read("dock-1/log/0/checkpoint", 9).unwrap(), text);
    }
    assert!(matches!(read("dock-1/none", 9), Err(BucketError::Missing)));
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
    // In the second part; trying again is left to the queue.
    proxy.set(Fault::CutAfter(12 << 20));
    let cut = put(&bucket, &spooled).unwrap_err();
    assert_eq!(cut.trouble(), Some(Trouble::Broken), "{cut}");
    assert!(!holds(&bucket, &spooled));
    assert_eq!(put(&bucket, &spooled).unwrap(), Evidence::DigestChecked);
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
