//! The main job, door to door: clips dropped while the daemon runs, opened by other people's tools.

use std::collections::BTreeMap;
use std::fs::FileTimes;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::clips::{self, SHIFT_MB};
use crate::support::dock::{BucketConfig, Choices, Dock, Finished, authority};
use crate::support::peers::{self, Keys, Peer};
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;
use crate::support::{files_beneath, scratch, sha256};

/// All of a shift is erased within this; the 20 clips of 2.2 GB took about a minute.
const ERASED_WITHIN: Duration = Duration::from_secs(600);
/// The default of `settle_seconds`: a copy that stalls for less is not taken for finished.
const SETTLE_SECONDS: u64 = 5;
/// Clips that the authority opens as well, one more time.
const SMALL_BYTES: u64 = 31_000_000;
/// A file system of its own on most machines, for `mv` from another one.
const MEMORY: &str = "/dev/shm";
/// 2026-11-21T19:00:00Z, when the first clip of the shift was recorded.
const RECORDED_SECOND: u64 = 1_795_287_600;

/// What one file was before it was dropped.
struct Original {
    sha256: String,
    size_bytes: u64,
    /// Where the tool that dropped it keeps the time.
    modified: Option<SystemTime>,
}

/// Drops files into a dock's folder as people do, and remembers what they were.
struct Dropper {
    dock_folder: PathBuf,
    staging: TempDir,
    other_disk: Option<TempDir>,
    originals: BTreeMap<String, Original>,
}

#[derive(Clone, Copy)]
enum Way {
    Cp,
    Mv,
    Rsync,
}

impl Dropper {
    fn new(dock_folder: PathBuf) -> Dropper {
        let other_disk = Path::new(MEMORY).is_dir().then(|| TempDir::new_in(MEMORY).unwrap());
        Dropper { dock_folder, staging: scratch(), other_disk, originals: BTreeMap::new() }
    }

    /// A clip and its two sidecars. The largest of all comes by `mv`.
    fn drop_clip(&mut self, number: usize, clip: &Path) {
        let way = [Way::Cp, Way::Mv, Way::Rsync][number % 3];
        let is_small = clip.metadata().unwrap().len() < SMALL_BYTES;
        let from = match (way, &self.other_disk) {
            // Every second one of those that are moved crosses file systems.
            (Way::Mv, Some(other)) if is_small && number.is_multiple_of(2) => other.path(),
            _ => self.staging.path(),
        };
        let staged = from.join(format!("{number:02}.mp4"));
        std::fs::copy(clip, &staged).unwrap();
        let [json, xml] = clips::write_sidecars(&staged, "officer-0417");
        let folder = self.dock_folder.join(format!("camera-{}/2026-11-21", number % 4));
        std::fs::create_dir_all(&folder).unwrap();
        for (index, file) in [staged, json, xml].into_iter().enumerate() {
            let second = RECORDED_SECOND + (60 * number + index) as u64;
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let opened = std::fs::File::options().append(true).open(&file).unwrap();
            opened.set_times(FileTimes::new().set_modified(modified)).unwrap();
            let original = Original {
                sha256: sha256(&file),
                size_bytes: file.metadata().unwrap().len(),
                modified: (!matches!(way, Way::Cp)).then_some(modified),
            };
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(self.originals.insert(name, original).is_none());
            run(way, &file, &folder);
        }
    }
}

fn run(way: Way, file: &Path, folder: &Path) {
    let words: &[&str] = match way {
        Way::Cp => &["cp"],
        Way::Mv => &["mv"],
        Way::Rsync => &["rsync", "-a"],
    };
    let mut command = Command::new(words[0]);
    let done = command.args(&words[1..]).arg(file).arg(folder).output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The whole way for some clips of the shift: dropped, erased, and in the bucket as they were.
fn door_to_door(test: &str, keys: &Keys, peer: Peer, sizes: impl Fn(u64) -> bool) {
    let server = Seaweed::shared();
    let url = server.url(test);
    let bucket = BucketConfig::s3(&server.endpoint(), &url);
    let mut choices = Choices::new(&keys.recipient, bucket);
    choices.settle_seconds = SETTLE_SECONDS;
    choices.camera = Some("{1}".into());
    let mut dock = Dock::new(&choices);
    dock.init();
    dock.start();

    let mut dropper = Dropper::new(dock.folder());
    for (number, size_mb) in SHIFT_MB.into_iter().enumerate().filter(|(_, size)| sizes(*size)) {
        dropper.drop_clip(number, &clips::clip(size_mb, &format!("shift-{number:02}")));
    }
    let originals = dropper.originals;
    let clips = wait_until_erased(&mut dock, originals.len());
    for clip in &clips {
        assert_eq!(clip["deliveries"][0]["evidence"], "digest-checked", "{clip}");
        assert_eq!((&clip["path"], &clip["hold"]), (&Value::Null, &Value::Null), "{clip}");
    }
    assert_eq!(files_beneath(&dock.folder()), Vec::<PathBuf>::new());
    let status = dock.finish(&["status"]).expect_code(0);
    assert!(status.stdout.starts_with("OK: every clip is stored\n"), "{}", status.stdout);
    assert_eq!(dock.stop(), 0);

    let names = opens_by_itself(server, &url, keys, peer, &originals);
    let mut sealed: Vec<_> = clips.iter().map(|clip| text(&clip["sealed_name"])).collect();
    sealed.sort();
    assert_eq!(sealed, names, "what the queue says and what the bucket has");
    authority_gives_back(server, &url, keys, &originals);
}

fn wait_until_erased(dock: &mut Dock, count: usize) -> Vec<Value> {
    let list = ["list", "--limit", "0"];
    let listed = dock.wait_for_json("all clips to be erased", &list, ERASED_WITHIN, |list| {
        let clips = list["clips"].as_array().unwrap();
        let done = clips.len() == count && clips.iter().all(|clip| clip["state"] == "erased");
        if !done {
            // Asking costs a process; the daemon shall have the cores.
            std::thread::sleep(Duration::from_millis(500));
        }
        done
    });
    listed["clips"].as_array().unwrap().clone()
}

/// Fetches every object and opens it with a tool that shares no code with ours. Gives the names.
fn opens_by_itself(
    server: &Seaweed,
    url: &str,
    keys: &Keys,
    peer: Peer,
    originals: &BTreeMap<String, Original>,
) -> Vec<String> {
    let mut wanted: Vec<_> = originals.values().map(|original| &original.sha256).collect();
    wanted.sort();
    let (mut names, mut opened) = (Vec::new(), Vec::new());
    // Beside the clips lies the dock's log of them.
    for key in server.keys(url).into_iter().filter(|key| key.ends_with(".age")) {
        let dir = scratch();
        let fetched = dir.path().join("fetched.age");
        server.fetch(url, &key, &fetched);
        let name = sha256(&fetched);
        assert_eq!(key, format!("test-dock-1/clips/{}/{name}.age", &name[..2]));
        opened.push(peers::sha256_opened(peer, keys, &fetched));
        names.push(name);
    }
    opened.sort();
    assert_eq!(opened.iter().collect::<Vec<_>>(), wanted, "{peer:?}");
    names.sort();
    names
}

/// Lists all, and opens the small ones: names, times, cameras and bytes.
fn authority_gives_back(
    server: &Seaweed,
    url: &str,
    keys: &Keys,
    originals: &BTreeMap<String, Original>,
) {
    let endpoint = format!("aws_endpoint={}", server.endpoint());
    let identity = keys.identity_file.to_str().unwrap();
    let access = ["--identity", identity, "-o", &endpoint];
    let run = |words: &[&str]| {
        let mut command = authority(Login::Admin, &[words, &access].concat());
        Finished::new(command.output().expect("it starts")).expect_code(0)
    };
    let listed = run(&["list", url, "--json"]).json();
    let clips = listed["clips"].as_array().unwrap();
    assert_eq!(clips.len(), originals.len());
    let mut small = Vec::new();
    for clip in clips {
        let manifest = &clip["manifest"];
        let name = text(&manifest["name"]);
        let original = &originals[&name];
        let number: usize = name[..2].parse().unwrap();
        assert_eq!(manifest["camera"], format!("camera-{}", number % 4));
        assert_eq!(manifest["folder"]["name"], format!("camera-{}/2026-11-21", number % 4));
        assert_eq!(manifest["dock"], "test-dock-1");
        assert_eq!(manifest["size_bytes"], original.size_bytes);
        if original.size_bytes < SMALL_BYTES {
            small.push(text(&clip["sealed_name"]));
        }
    }
    let out = scratch();
    let digits: Vec<&str> = small.iter().map(|name| &name[..12]).collect();
    let place = ["--bucket", url, "--out", out.path().to_str().unwrap()];
    let said = run(&[&["open"], &digits[..], &place].concat()).stdout;
    assert_eq!(
        said.matches("; origin not checked: give --keyring\n").count(),
        small.len(),
        "{said}"
    );
    let opened = files_beneath(out.path());
    assert_eq!(opened.len(), small.len());
    for path in opened {
        let original = &originals[path.file_name().unwrap().to_str().unwrap()];
        assert_eq!(sha256(&path), original.sha256, "{}", path.display());
        if let Some(modified) = original.modified {
            assert_eq!(path.metadata().unwrap().modified().unwrap(), modified);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text")).to_owned()
}

#[test]
fn a_whole_shift_dropped_while_the_daemon_runs_opens_with_age() {
    needs!(Weed, Setpriv, Ffmpeg, Rsync, Age);
    let dir = scratch();
    let keys = peers::classic_keys(dir.path());
    door_to_door("door-classic", &keys, Peer::Age, |_| true);
}

#[test]
fn a_shift_sealed_to_a_post_quantum_key_opens_with_age_encryption() {
    needs!(Weed, Setpriv, Ffmpeg, Rsync, AgeEncryption);
    let dir = scratch();
    let keys = peers::hybrid_keys(dir.path());
    // The largest one too: 1 GB.
    door_to_door("door-hybrid", &keys, Peer::AgeEncryption, |mb| mb <= 30 || mb == 1000);
}
