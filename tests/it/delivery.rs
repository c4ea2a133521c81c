//! Deliveries on a bad line, to several buckets, in turns.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::dock::{BucketConfig, Choices, Dock, Finished, authority};
use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;
use crate::support::{peers, scratch, sha256};

const MIB: u64 = 1 << 20;

/// A file that does not repeat itself and is made quickly.
fn write_clip(path: &Path, size: u64) {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    for number in 0..size / 8 {
        file.write_all(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).unwrap();
    }
}

/// Opens the bucket's only clip with the authority's program.
fn open_only_clip(server: &Seaweed, url: &str, keys: &peers::Keys, name: &str) -> String {
    let out = scratch();
    let endpoint = format!("aws_endpoint={}", server.endpoint());
    let identity = keys.identity_file.to_str().unwrap();
    let folder = out.path().to_str().unwrap();
    let arguments = ["open", url, "--identity", identity, "--out", folder, "-o", &endpoint];
    let opened = authority(Login::Admin, &arguments).output().unwrap();
    Finished::new(opened).expect_code(0);
    sha256(&out.path().join(name))
}

#[test]
fn a_long_clip_over_a_short_line_costs_little_more_than_its_size() {
    needs!(Weed, Setpriv, Age);
    const SIZE: u64 = 256 * MIB;
    const LINE: Fault = Fault::Throttle(4 * MIB);
    // Eight seconds of that line, counted in bytes: a busy machine is slower, not luckier.
    const CUT_EVERY: u64 = 32 * MIB;
    const KILL_EVERY: u64 = 85 * MIB;
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    proxy.set(LINE);
    let dir = scratch();
    let keys = peers::classic_keys(dir.path());
    let url = server.url("short-line");
    let mut choices = Choices::new(&keys.recipient, BucketConfig::s3(&proxy.endpoint(), &url));
    choices.settle_seconds = 0;
    let mut dock = Dock::new(&choices);
    let clip = dock.folder().join("long.mp4");
    write_clip(&clip, SIZE);
    let digest = sha256(&clip);
    dock.init();
    dock.start();
    let begun = Instant::now();
    let (mut cuts, mut kills) = (0, 0);
    while clip.exists() {
        assert!(begun.elapsed() < Duration::from_secs(300), "{}", dock.log());
        std::thread::sleep(Duration::from_millis(50));
        if proxy.sent_bytes() > CUT_EVERY * (cuts + 1) {
            cuts += 1;
            proxy.set(Fault::Refuse);
            std::thread::sleep(Duration::from_millis(200));
            proxy.set(LINE);
        }
        if proxy.sent_bytes() > KILL_EVERY * (kills + 1) && kills < 2 {
            kills += 1;
            dock.kill();
            dock.start();
        }
    }
    assert!(cuts >= 6 && kills == 2, "{cuts} cuts and {kills} kills");
    assert_eq!(dock.stop(), 0);
    let cost = proxy.sent_bytes() as f64 / SIZE as f64;
    eprintln!("delivery: {cost:.3} of the clip's size, {cuts} cuts, 2 kills");
    assert!(cost <= 1.15, "{cost}");
    let objects = server.keys(&url);
    assert_eq!(objects.iter().filter(|key| key.contains("/clips/")).count(), 1, "{objects:?}");
    assert!(server.uploads(&url).is_empty(), "an upload was left behind");
    assert_eq!(open_only_clip(server, &url, &keys, "long.mp4"), digest);
}

/// The state of each clip, and how many receipts each bucket gave.
fn receipts(dock: &Dock, bucket: &str) -> (usize, usize) {
    let list = dock.json(&["list", "--limit", "0"]);
    let clips = list["clips"].as_array().unwrap();
    let has = |clip: &&serde_json::Value| {
        clip["deliveries"]
            .as_array()
            .unwrap()
            .iter()
            .any(|delivery| delivery["bucket"] == bucket && delivery["evidence"].is_string())
    };
    (clips.len(), clips.iter().filter(has).count())
}

#[test]
fn a_bucket_that_is_down_delays_no_other_and_catches_up() {
    needs!(Weed, Setpriv);
    const CLIPS: usize = 40;
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    let dir = scratch();
    let folder = dir.path().join("bucket");
    std::fs::create_dir(&folder).unwrap();
    let keys = peers::classic_keys(dir.path());
    let url = server.url("down");
    let up = BucketConfig::folder(&folder);
    let mut down = BucketConfig::s3(&proxy.endpoint(), &url);
    down.name = "down".into();
    let mut choices = Choices::new(&keys.recipient, down);
    choices.buckets.push(up);
    choices.settle_seconds = 0;
    let mut dock = Dock::new(&choices);
    dock.init();
    // Not refused, which is quick to find out: every byte vanishes.
    proxy.set(Fault::BlackHole);
    for number in 0..CLIPS {
        write_clip(&dock.folder().join(format!("{number}.mp4")), 64 << 10);
    }
    dock.start();
    let limit = Duration::from_secs(60);
    crate::support::wait_for("the other bucket to have all", limit, || {
        (receipts(&dock, "primary") == (CLIPS, CLIPS)).then_some(())
    });
    assert_eq!(receipts(&dock, "down").1, 0);
    let plaintexts = || std::fs::read_dir(dock.folder()).unwrap().count();
    assert!(plaintexts() >= CLIPS, "erased before every required bucket had it");
    proxy.set(Fault::Refuse);
    std::thread::sleep(Duration::from_millis(300));
    proxy.set(Fault::None);
    // An operator who knows that it is up again does not wait for the next attempt.
    dock.finish(&["retry", "1"]);
    dock.wait_for_json("everything to be erased", &["status"], limit, |status| {
        status["verdict"] == "ok" && status["oldest_unsafe_seconds"].is_null()
    });
    assert_eq!(receipts(&dock, "down"), (CLIPS, CLIPS));
    let clips = server.keys(&url).into_iter().filter(|key| key.contains("/clips/"));
    assert_eq!(clips.count(), CLIPS);
}

#[test]
fn the_whole_job_works_for_one_who_may_only_put_where_nothing_can_be_deleted() {
    needs!(Weed, Setpriv, Age);
    let server = Seaweed::shared();
    let dir = scratch();
    let keys = peers::classic_keys(dir.path());
    let url = server.locked_url("whole-job");
    let bucket = BucketConfig::s3(&server.endpoint(), &url);
    let mut choices = Choices::new(&keys.recipient, bucket);
    choices.settle_seconds = 0;
    let dock = Dock::new(&choices);
    for (name, size) in [("small.mp4", 10_000), ("large.mp4", 20 * MIB)] {
        write_clip(&dock.folder().join(name), size);
    }
    dock.init();
    dock.run_until_idle().expect_code(0);
    assert_eq!(std::fs::read_dir(dock.folder()).unwrap().count(), 0, "not erased");
    let versions = server.versions(&url);
    let clips: Vec<_> = versions.iter().filter(|key| key.contains("/clips/")).collect();
    assert_eq!(clips.len(), 2, "each clip in one version: {versions:?}");
    assert!(versions.iter().any(|key| key.contains("/log/") && key.contains("/checkpoints/")));
    assert!(server.uploads(&url).is_empty());
}

#[test]
fn bytes_leave_no_faster_than_the_limit_and_a_change_holds_at_once() {
    needs!(Weed, Setpriv, Age);
    const RATE: u64 = 256 << 10;
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    let dir = scratch();
    let keys = peers::classic_keys(dir.path());
    let url = server.url("limit");
    let mut choices = Choices::new(&keys.recipient, BucketConfig::s3(&proxy.endpoint(), &url));
    choices.settle_seconds = 0;
    choices.more = "limit = [\"256 KiB/s\"]".into();
    let mut dock = Dock::new(&choices);
    let clip = dock.folder().join("long.mp4");
    write_clip(&clip, 32 * MIB);
    dock.init();
    dock.start();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        // Requests' heads, the log, and what may leave at once after a pause come on top.
        let may = RATE * (begun.elapsed().as_secs() + 1) + (256 << 10);
        let sent = proxy.sent_bytes();
        assert!(sent <= may, "{sent} bytes after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(clip.exists(), "32 MiB would take two minutes");
    dock.finish(&["limit", "set", "1", "GiB/s"]).expect_code(0);
    let limit = Duration::from_secs(60);
    crate::support::wait_for("the erasure", limit, || (!clip.exists()).then_some(()));
}
