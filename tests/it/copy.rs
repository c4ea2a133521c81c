//! A history that moves to another provider: complete, proven, and nothing lost on either side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::dock::{BucketConfig, Finished, authority};
use crate::support::ledger::{self, Objects, Place, World, world};
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;
use crate::support::{scratch, wait_for};
use crate::trust::Force;

fn copy(from: &str, to: &str, more: &[&str]) -> Command {
    let mut command = authority(Login::Admin, &["copy", from, to]);
    command.args(more);
    command
}

fn copied(from: &Place, to: &Place, more: &[&str]) -> Finished {
    Finished::new(copy(&from.url(), &to.url(), more).output().expect("it starts"))
}

/// Everything beneath a folder, by name.
fn held(folder: &Path) -> Objects {
    let mut objects = Objects::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                objects.insert(key, std::fs::read(path).unwrap());
            }
        }
    }
    objects
}

/// Whether two buckets hold the same; bytes would fill the screen.
#[track_caller]
fn assert_same(one: &Objects, other: &Objects) {
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    let differ: Vec<_> = one.iter().filter(|(key, bytes)| other[*key] != **bytes).collect();
    assert!(differ.is_empty(), "{:?}", differ.iter().map(|(key, _)| key).collect::<Vec<_>>());
}

/// A world in one folder, and another folder with what `there` says.
struct Two {
    from: Place,
    to: Place,
    to_dir: PathBuf,
    world: World,
}

impl Two {
    fn new(there: impl FnOnce(&World) -> Objects) -> Two {
        let (world, to_dir) = (world(), scratch());
        let path = to_dir.path().to_owned();
        let two =
            Two { from: Place::Folder(scratch()), to: Place::Folder(to_dir), to_dir: path, world };
        two.from.hold(&two.world.objects);
        two.to.hold(&there(&two.world));
        two
    }

    fn copy(&self, more: &[&str]) -> Finished {
        copied(&self.from, &self.to, more)
    }

    fn latest(&self) -> String {
        format!("{}/checkpoint", self.world.one.folder())
    }

    /// The first checkpoint of the log, as it was the newest one once.
    fn old_checkpoint(world: &World) -> Vec<u8> {
        let folder = format!("{}/checkpoints/", world.one.folder());
        let sizes = world.objects.keys().filter_map(|key| key.strip_prefix(&folder));
        let first = sizes.map(|size| size.parse::<u64>().unwrap()).min().unwrap();
        world.objects[&format!("{folder}{first}")].clone()
    }
}

fn audit(two: &Two, auditor: &TempDir) -> Finished {
    let keyring = auditor.path().join("keyring");
    std::fs::write(&keyring, ledger::keyring_text()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dockseal-audit"));
    command.arg(two.to.url()).arg("--keyring").arg(keyring).arg("--full");
    let root = ledger::signer("authority.example", dockseal::note::Kind::Note, 1).verifier();
    Finished::new(command.args(["--authority", &root.to_string()]).output().unwrap())
}

#[test]
fn a_real_docks_history_goes_to_s3_and_back() {
    needs!(Weed, Setpriv);
    let (first, last, temp) = (scratch(), scratch(), scratch());
    let force = Force::new(BucketConfig::folder(first.path()), vec![], "");
    force.seal("a.mp4", &vec![7; 3_000_000]);
    force.seal("b.mp4", b"short");
    force.seal("large.mp4", &vec![9; 20 << 20]);
    force.drill();
    let server = Seaweed::shared();
    let endpoint = format!("aws_endpoint={}", server.endpoint());
    let (url, there) = (format!("file://{}", first.path().display()), server.url("copy"));
    let temp_dir = temp.path().to_str().unwrap();
    // The secrets come from a file here, and from the environment on the way back.
    let secrets = temp.path().join("secrets");
    let [id, secret] = Login::Admin.pair();
    let text = format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    std::fs::write(&secrets, text).unwrap();
    let mut out = copy(&url, &there, &["--json", "--to-option", &endpoint]);
    out.args(["--temp-dir", temp_dir, "--to-credentials"]).arg(&secrets);
    out.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let said = Finished::new(out.output().unwrap()).expect_code(0).json();
    let objects = held(first.path());
    assert_eq!(said["copied"]["objects"], objects.len(), "{said:#}");
    assert_eq!(said["evidence"]["digest_checked"], 3, "the clips: {said:#}");
    assert_eq!(said["evidence"]["acknowledged"], 0, "{said:#}");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1, "the file of secrets");
    force.audit(&[&there, "--full", "-o", &endpoint]).expect_code(0);

    let url = format!("file://{}", last.path().display());
    let back = copy(&there, &url, &["--from-option", &endpoint]).output().unwrap();
    let said = Finished::new(back).expect_code(0).stdout;
    assert!(said.contains(&format!("dockseal-audit {url} --keyring")), "{said}");
    assert_same(&objects, &held(last.path()));
    force.audit(&[&url, "--full"]).expect_code(0);
}

/// A bucket of clips that nobody can open; a copy does not open any.
fn many_clips() -> Objects {
    (0..40u32)
        .map(|number| {
            let bytes = number.to_le_bytes().repeat(1 << 19);
            let name = dockseal::clip::SealedName(Sha256::digest(&bytes).into());
            (ledger::clip_key("d-1", name), bytes)
        })
        .collect()
}

/// Begins a copy, and gives it once the destination has more than `count` clips.
fn begun(from: &Place, to: &Place, folder: &Path, count: usize) -> Child {
    let mut command = copy(&from.url(), &to.url(), &[]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let clips = || {
        let mut names = Vec::new();
        for shard in std::fs::read_dir(folder.join("d-1/clips")).ok()?.flatten() {
            names.extend(std::fs::read_dir(shard.path()).ok()?.flatten());
        }
        let finished = |name: &std::fs::DirEntry| {
            name.path().extension().is_some_and(|ending| ending == "age")
        };
        (names.iter().filter(|name| finished(name)).count() > count).then_some(())
    };
    wait_for("some clips to be copied", Duration::from_secs(60), clips);
    child
}

#[test]
fn a_copy_that_is_interrupted_or_killed_goes_on_where_it_was() {
    let clips = many_clips();
    let (from, dir) = (Place::Folder(scratch()), scratch());
    from.hold(&clips);
    let folder = dir.path().to_owned();
    let to = Place::Folder(dir);

    let mut child = begun(&from, &to, &folder, 0);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let after_first = held(&folder).keys().filter(|key| clips.contains_key(*key)).count();

    let mut child = begun(&from, &to, &folder, after_first);
    child.kill().unwrap();
    child.wait().unwrap();
    let there = held(&folder);
    let there = there.keys().filter(|key| clips.contains_key(*key)).count();
    assert!((2..clips.len()).contains(&there), "not in the middle: {there}");

    let said = copied(&from, &to, &["--json"]).expect_code(0).json();
    assert_eq!(said["was_there"]["objects"], there, "{said:#}");
    assert_eq!(said["copied"]["objects"], clips.len() - there, "{said:#}");
    assert_same(&clips, &held(&folder));
    let said = copied(&from, &to, &["--json", "--verify"]).expect_code(0).json();
    assert_eq!(said["was_there"]["objects"], clips.len(), "{said:#}");
}

#[test]
fn a_damaged_clip_is_reported_and_not_copied() {
    let two = Two::new(|_| Objects::new());
    let (clip, temp) = (&two.world.clips[2], scratch());
    let mut objects = two.world.objects.clone();
    objects.get_mut(clip).unwrap()[100] ^= 1;
    two.from.hold(&objects);
    let said = two.copy(&["--temp-dir", temp.path().to_str().unwrap()]).expect_code(13);
    assert!(said.stderr.contains("the clip is damaged in the source"), "{said:?}");
    assert!(said.stderr.contains(&clip[..]), "{said:?}");
    assert!(!said.stdout.contains("dockseal-audit"), "{said:?}");
    objects.remove(clip);
    assert_same(&objects, &held(&two.to_dir));
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    // Somebody found an untouched copy.
    two.from.hold(&two.world.objects);
    two.copy(&[]).expect_code(0);
    assert_same(&two.world.objects, &held(&two.to_dir));
    audit(&two, &scratch()).expect_code(0);
}

#[test]
fn what_lies_there_already_is_never_replaced_and_holds_its_log_back() {
    let tile = |world: &World| format!("{}/tile/entries/000", world.one.folder());
    let there = |world: &World| {
        Objects::from([
            (tile(world), b"another log".to_vec()),
            (world.clips[0].clone(), b"another clip".to_vec()),
            ("keyrings/1".into(), b"another keyring".to_vec()),
            ("keyring".into(), b"not even one".to_vec()),
        ])
    };
    let two = Two::new(there);
    let said = two.copy(&["--json"]).expect_code(13).json();
    let failures = said["failures"].as_array().unwrap();
    let code = |key: &str| {
        let one = failures.iter().find(|one| one["key"] == key)?;
        one["error"]["exit"].as_u64()
    };
    for key in there(&two.world).keys() {
        assert_eq!(code(key), Some(13), "{key}: {said:#}");
    }
    // A checkpoint without its tiles would be an accusation. The other log is not concerned.
    assert_eq!(code(&two.latest()), Some(3), "{said:#}");
    let held = held(&two.to_dir);
    assert!(!held.contains_key(&two.latest()));
    let checkpoints = format!("{}/checkpoint", two.world.one.folder());
    assert!(held.keys().all(|key| !key.starts_with(&checkpoints)));
    assert!(held.contains_key(&format!("{}/checkpoint", two.world.two.folder())));
    for (key, bytes) in there(&two.world) {
        assert!(held[&key] == bytes, "{key} was replaced");
    }
}

#[test]
fn an_older_checkpoint_is_replaced_and_a_newer_one_kept() {
    let older = |world: &World| {
        let mut objects = world.objects.clone();
        let key = format!("{}/checkpoint", world.one.folder());
        objects.insert(key, Two::old_checkpoint(world));
        objects
    };
    let two = Two::new(older);
    let said = two.copy(&["--json", "--dry-run"]).expect_code(0).json();
    assert_eq!((&said["replaced"], &said["kept_newer"]), (&1.into(), &0.into()), "{said:#}");
    assert_same(&older(&two.world), &held(&two.to_dir));
    let said = two.copy(&["--json"]).expect_code(0).json();
    assert_eq!((&said["replaced"], &said["copied"]["objects"]), (&1.into(), &0.into()));
    assert_same(&two.world.objects, &held(&two.to_dir));

    two.from.hold(&older(&two.world));
    let said = two.copy(&["--json"]).expect_code(0).json();
    assert_eq!((&said["replaced"], &said["kept_newer"]), (&0.into(), &1.into()), "{said:#}");
    assert_same(&two.world.objects, &held(&two.to_dir));
    audit(&two, &scratch()).expect_code(0);
}

#[test]
fn a_dry_run_says_what_would_be_copied_and_puts_nothing() {
    let two = Two::new(|_| Objects::new());
    let mut objects = two.world.objects.clone();
    let all: usize = objects.values().map(Vec::len).sum();
    objects.insert("holiday.jpg".into(), b"not ours".to_vec());
    objects.insert("d-1/clips/ab/.x.unfinished".into(), b"half".to_vec());
    two.from.hold(&objects);
    let said = two.copy(&["--dry-run", "--json"]).expect_code(0);
    let json = said.json();
    assert_eq!(json["copied"]["objects"], two.world.objects.len(), "{json:#}");
    assert_eq!(json["copied"]["size_bytes"], all, "{json:#}");
    assert_eq!(json["skipped"], serde_json::json!({ "unfinished": 1, "foreign": 1 }));
    assert!(said.stderr.contains("skipped holiday.jpg: none of dockseal's"), "{said:?}");
    assert!(said.stderr.contains("x.unfinished: unfinished"), "{said:?}");
    assert!(held(&two.to_dir).is_empty());
    two.copy(&[]).expect_code(0);
    assert_same(&two.world.objects, &held(&two.to_dir));
    audit(&two, &scratch()).expect_code(0);
}

#[test]
fn other_bytes_of_the_right_size_are_found_by_verify() {
    let exchanged = |world: &World| {
        let bytes = vec![0; world.objects[&world.clips[2]].len()];
        Objects::from([(world.clips[2].clone(), bytes)])
    };
    let two = Two::new(exchanged);
    let said = two.copy(&["--verify"]).expect_code(13);
    assert!(said.stderr.contains("holds something else under this name"), "{said:?}");
    assert!(held(&two.to_dir)[&two.world.clips[2]] == exchanged(&two.world)[&two.world.clips[2]]);
    // Without it the size is believed. The audit that follows is for this, too.
    two.copy(&[]).expect_code(0);
    audit(&two, &scratch()).expect_code(13);
}

#[test]
fn a_copy_gives_up_where_nothing_more_can_succeed() {
    let (from, to) = (Place::Folder(scratch()), Place::Folder(scratch()));
    from.hold(&many_clips());
    let said = copied(&from, &to, &["--json", "--temp-dir", "/nowhere"]).expect_code(1);
    let json = said.json();
    assert_eq!((&json["failed_count"], &json["not_tried"]), (&8.into(), &32.into()), "{json:#}");
    assert!(said.stderr.contains("gave up: too much failed in a row"), "{said:?}");
    assert!(said.stderr.contains("hint: --temp-dir DIR"), "{said:?}");
}

#[test]
fn a_destination_that_cannot_be_used_is_said_at_once() {
    let two = Two::new(|_| Objects::new());
    let said = copied(&two.from, &two.from, &[]).expect_code(2);
    assert!(said.stderr.contains("the same bucket"), "{said:?}");
    let nowhere = format!("{}/nowhere", two.to.url());
    let copy_there =
        |more: &[&str]| Finished::new(copy(&two.from.url(), &nowhere, more).output().unwrap());
    copy_there(&[]).expect_code(14);
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let endpoint = format!("aws_endpoint={}", server.endpoint());
    let url = server.url("copy-put-only");
    let mut command = copy(&two.from.url(), &url, &["--to-option", &endpoint]);
    let environment: BTreeMap<_, _> = Login::Dock.env().into();
    let said = Finished::new(command.envs(environment).output().unwrap()).expect_code(14);
    assert!(said.stderr.contains("cannot list TO"), "{said:?}");
    assert!(said.stderr.contains("rights to list"), "{said:?}");
    assert!(server.keys(&url).is_empty());
}
