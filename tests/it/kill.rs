//! kill -9 at random moments: nothing is lost, nothing is erased too early, nothing stored twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::dock::{BucketConfig, Choices, Dock, Finished, authority};
use crate::support::random::Random;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;
use crate::support::{scratch, sha256};

/// Clips of one run. Some are pushed in one request, some in parts.
const CLIP_KIB: [u64; 10] = [1, 30, 64, 100, 500, 1000, 2000, 5000, 9000, 17_000];

/// The authority's keys, made by its own program.
fn keys(folder: &Path) -> (PathBuf, String) {
    let file = folder.join("authority.identity");
    let made = authority(Login::Admin, &["keygen", "--classic", file.to_str().unwrap()]);
    let made = Finished::new({ made }.output().unwrap()).expect_code(0);
    (file, made.stdout.trim().to_owned())
}

/// A shift of clips, and the digest of each by its name.
fn fill(dock: &Dock, random: &mut Random) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    for (index, kib) in CLIP_KIB.iter().enumerate() {
        let name = format!("clip-{index}.mp4");
        let path = dock.folder().join(format!("cam-{}", index % 3)).join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, random.bytes(*kib as usize * 1024)).unwrap();
        digests.insert(name, sha256(&path));
    }
    digests
}

/// Plaintexts that lie beneath the watch folder, in quarantine or not, by digest.
fn plaintexts(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(sha256(&path)) }
        }
    }
    found
}

/// How many clips are in which state.
fn phase(clips: &Value) -> BTreeMap<String, usize> {
    let mut phase = BTreeMap::new();
    for clip in clips["clips"].as_array().unwrap() {
        *phase.entry(clip["state"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    phase
}

/// A clip whose plaintext is gone has the receipt of its one bucket, and its evidence is enough.
fn check_no_early_erasure(clips: &Value, left: usize) {
    let clips = clips["clips"].as_array().unwrap();
    let proven = clips.iter().filter(|clip| {
        let evidence = clip["deliveries"][0]["evidence"].as_str();
        matches!(evidence, Some("read-back" | "digest-checked"))
    });
    let gone = CLIP_KIB.len() - left;
    let proven = proven.count();
    assert!(gone <= proven, "{gone} plaintexts are gone, and only {proven} have a receipt");
}

/// Everything arrived once, and opens to what it was.
fn check_complete(
    dock: &Dock,
    url: &str,
    endpoint: Option<&str>,
    identity: &Path,
    digests: &BTreeMap<String, String>,
) {
    let status = dock.json(&["status"]);
    assert_eq!(status["verdict"], "ok", "{status:#}");
    let clips = dock.json(&["list", "--limit", "0"]);
    assert_eq!(phase(&clips), BTreeMap::from([("erased".to_owned(), digests.len())]));
    let opened = scratch();
    let out = opened.path().to_str().unwrap();
    let option = endpoint.map(|endpoint| format!("aws_endpoint={endpoint}"));
    let mut arguments = vec!["open", url, "--identity", identity.to_str().unwrap(), "--out", out];
    arguments.extend(option.iter().flat_map(|option| ["-o", option]));
    // A clip that was stored twice would be refused: its file is there already.
    let mut arguments_json = arguments.clone();
    arguments_json.push("--json");
    let result = Finished::new(authority(Login::Admin, &arguments_json).output().unwrap());
    let result = result.expect_code(0).json();
    assert_eq!(result["clips"].as_array().unwrap().len(), digests.len(), "objects in the bucket");
    for (name, digest) in digests {
        assert_eq!(&sha256(&opened.path().join(name)), digest, "{name}");
    }
    assert!(plaintexts(&dock.folder()).is_empty());
    let spool: Vec<_> = std::fs::read_dir(dock.state_dir().join("spool")).unwrap().collect();
    assert_eq!(spool.len(), 1, "only the empty folder of unfinished files: {spool:?}");
}

struct Place {
    bucket: BucketConfig,
    endpoint: Option<String>,
    /// Holds a folder bucket.
    _dir: Option<tempfile::TempDir>,
}

/// Runs ten clips, kills at a random moment, perhaps once more during recovery, and finishes.
///
/// `run_takes` follows what is seen: it was measured once, and the machine is shared.
fn kill_once(
    place: &Place,
    random: &mut Random,
    run_takes: &mut Duration,
    seen: &mut BTreeMap<String, usize>,
) {
    let seed = random.seed();
    let work = scratch();
    let (identity, recipient) = keys(work.path());
    let mut choices = Choices::new(&recipient, place.bucket.clone());
    choices.settle_seconds = 0;
    let mut dock = Dock::new(&choices);
    let digests = fill(&dock, random);
    dock.init();
    let kills = 1 + random.below(2);
    for _ in 0..kills {
        dock.start();
        let moment = Duration::from_micros(random.below(run_takes.as_micros() as u64));
        std::thread::sleep(moment);
        dock.kill();
        // The queue first: what it says must be true of the folder, not the other way round.
        let left = plaintexts(&dock.folder());
        let clips = dock.json(&["list", "--limit", "0"]);
        check_no_early_erasure(&clips, left.len());
        let phase = phase(&clips);
        let name =
            if phase.len() > 1 { "mixed" } else { phase.keys().next().map_or("none", |k| k) };
        match name {
            "erased" => *run_takes = *run_takes * 3 / 4,
            "none" | "seen" => *run_takes = *run_takes * 4 / 3,
            _ => {}
        }
        *seen.entry(name.to_owned()).or_default() += 1;
    }
    let finished = dock.run_until_idle();
    assert_eq!(finished.code, 0, "seed {seed}\n{}", finished.stderr);
    let url = &place.bucket.url;
    check_complete(&dock, url, place.endpoint.as_deref(), &identity, &digests);
}

/// How long ten clips take when nobody interferes.
fn undisturbed(place: &Place, random: &mut Random) -> Duration {
    let work = scratch();
    let (identity, recipient) = keys(work.path());
    let mut choices = Choices::new(&recipient, place.bucket.clone());
    choices.settle_seconds = 0;
    let dock = Dock::new(&choices);
    let digests = fill(&dock, random);
    dock.init();
    let started = Instant::now();
    dock.run_until_idle().expect_code(0);
    let took = started.elapsed();
    check_complete(&dock, &place.bucket.url, place.endpoint.as_deref(), &identity, &digests);
    took
}

fn kill_many(times: u32, mut place: impl FnMut(u32) -> Place) {
    let mut random = Random::new();
    let mut run_takes = undisturbed(&place(0), &mut random);
    let mut seen = BTreeMap::new();
    // A run that was only ever killed before it began, or after it ended, would prove nothing.
    let proves = |seen: &BTreeMap<_, _>| seen.contains_key("mixed") && seen.len() > 1;
    for number in 1..=5 * times {
        kill_once(&place(number), &mut random, &mut run_takes, &mut seen);
        if number >= times && proves(&seen) {
            break;
        }
    }
    assert!(proves(&seen), "kills by phase: {seen:?}");
}

#[test]
fn a_dock_killed_at_any_moment_loses_nothing_with_a_folder() {
    needs!(Setpriv);
    kill_many(8, |_| {
        let dir = scratch();
        let bucket = BucketConfig::folder(dir.path());
        Place { bucket, endpoint: None, _dir: Some(dir) }
    });
}

#[test]
fn a_dock_killed_at_50_moments_loses_nothing_with_put_only_rights() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    kill_many(50, |number| {
        let url = server.url(&format!("kill-{number}"));
        let bucket = BucketConfig::s3(&server.endpoint(), &url);
        Place { bucket, endpoint: Some(server.endpoint()), _dir: None }
    });
}
