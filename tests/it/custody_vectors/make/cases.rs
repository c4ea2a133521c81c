//! The cases, each with what must come of it.

mod texts;

use dockseal::clip::Timestamp;
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::{Entry, Event};
use dockseal::custody::folder;
use dockseal::custody::merkle::{Hash, consistency_proof, inclusion_proof, leaf_hash};
use dockseal::custody::tile::Piece;
use dockseal::note::{Note, SignerKey};
use serde_json::{Value, json};

use super::log::{self, Log, SECOND};
use super::{BEGIN_MS, DOCK, Files, OTHER_DOCK, dock, fork, hex, signed, stranger};
pub use texts::{keyrings, keys, notes};

/// Entries as bytes in UTF-8: whether a reader takes them, and for which event.
pub fn entries() -> Vec<Value> {
    let mut cases = Vec::new();
    let mut read = |event: &str, entry: String, why: &str| {
        cases.push(json!({"entry": entry, "expect": "read", "event": event, "why": why}));
    };
    let mut words = std::collections::BTreeSet::new();
    for bytes in log::second().entries {
        let event = Entry::decode(&bytes).unwrap().event;
        if words.insert(event.word()) {
            read(event.word(), String::from_utf8(bytes).unwrap(), "as a dock writes it");
        }
    }
    let mut sealed = log::sealed(1);
    if let Event::Sealed { keyring, .. } = &mut sealed {
        *keyring = None;
    }
    let sealed = Entry::new(Timestamp(BEGIN_MS), sealed).encode();
    read("sealed", String::from_utf8(sealed).unwrap(), "recipients from the config, no keyring");
    let time = "2026-11-21T06:00:00.000Z";
    read("alive", format!(r#"{{"v":1,"at":"{time}","event":"alive","more":1}}"#), "a later member");
    let clip = hex(&log::name(1).0);
    let refused = [
        (format!(r#"{{"v":2,"at":"{time}","event":"alive"}}"#), "a later version"),
        (format!(r#"{{"v":1,"at":"{time}","event":"danced"}}"#), "an event of a later version"),
        (format!(r#"{{"at":"{time}","event":"alive"}}"#), "no version"),
        (r#"{"v":1,"event":"alive"}"#.into(), "no time"),
        (r#"{"v":1,"at":"yesterday","event":"alive"}"#.into(), "not a time"),
        (format!(r#"{{"v":1,"at":"{time}","event":"gone"}}"#), "a member is missing"),
        (
            format!(r#"{{"v":1,"at":"{time}","event":"gone","clip":"{}"}}"#, clip.to_uppercase()),
            "hex in upper case",
        ),
        (
            format!(r#"{{"v":1,"at":"{time}","event":"forgotten","number":"7"}}"#),
            "a text for a number",
        ),
        (format!(r#"{{"v":1,"v":1,"at":"{time}","event":"alive"}}"#), "a member twice"),
        (format!(r#"{{"v":1,"at":"{time}","event":"alive","event":"alive"}}"#), "an event twice"),
        (
            format!(r#"{{"v":1,"at":"{time}","event":"forgotten","number":1,"number":2}}"#),
            "a number twice",
        ),
        (r#"{"v":1,"at":"2026-11-21T06:00:00Z","event":"alive"}"#.into(), "no fraction of seconds"),
        (r#"{"v":1,"at":"2026-11-21T07:00:00.000+01:00","event":"alive"}"#.into(), "not in UTC"),
        (
            format!(r#"{{"v":1,"at":"{time}","event":"forgotten","number":1.0}}"#),
            "not digits alone",
        ),
        (r#"{"v":1,"at":"0000-11-21T06:00:00.000Z","event":"alive"}"#.into(), "no such year"),
        (r#"{"v":1,"at":"2016-12-31T23:59:60.000Z","event":"alive"}"#.into(), "no such second"),
        (format!(r#"{{"v":1,"at":"{time}","event":"alive","more":"\ud800"}}"#), "half a character"),
        (format!(r#"{{"v":1,"at":"{time}","event":"alive","more":NaN}}"#), "not a number of JSON"),
        (format!(r#"{{"v":1,"at":"{time}","event":"alive"}} x"#), "something behind the object"),
        (format!(r#"{{"v":1,"at":"{time}","event":"alive"}}{}"#, " ".repeat(8192)), "too large"),
    ];
    let refused =
        refused.map(|(entry, why)| json!({"entry": entry, "expect": "refused", "why": why}));
    cases.extend(refused);
    cases
}

/// Names of pieces beneath a log's folder.
pub fn paths() -> Vec<Value> {
    let read = [
        "tile/0/000",
        "tile/0/x001/x234/067",
        "tile/0/273.p/112",
        "tile/5/000",
        "tile/entries/000.p/1",
        "tile/entries/x001/000.p/255",
    ];
    let refused = [
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/00/000",
        "tile/6/000",
        "tile/5/001",
        "tile/0/x018/x446/x744/x073/x709/x551/615",
        "tile/data/000",
        "tile/0/000/",
    ];
    let read = read.map(|path| {
        let piece = Piece::parse(path).unwrap();
        json!({
            "path": path, "expect": "read", "level": path.split('/').nth(1),
            "index": piece.index, "width": piece.width,
        })
    });
    let refused = refused.map(|path| json!({"path": path, "expect": "refused"}));
    read.into_iter().chain(refused).collect()
}

fn hexes(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

/// Proofs out of the second log: that it has an entry, and that it grew.
pub fn proofs() -> Vec<Value> {
    let log = log::second();
    let mut cases = Vec::new();
    for (index, size) in [(0, 1), (2, 3), (16, 17), (42, 256), (42, 300), (299, 300)] {
        let Ok(path) = inclusion_proof(&mut log.hashes(size), index, size);
        let leaf = leaf_hash(&log.entries[index as usize]).to_string();
        let root = log.head(size).root.to_string();
        let mut case = json!({
            "kind": "inclusion", "expect": "proven", "index": index, "size": size,
            "leaf": leaf, "root": root, "proof": hexes(&path),
        });
        cases.push(case.clone());
        if (index, size) == (42, 300) {
            case["expect"] = json!("refused");
            for (field, value) in
                [("index", json!(43)), ("size", json!(600)), ("leaf", json!(root))]
            {
                let mut changed = case.clone();
                changed[field] = value;
                cases.push(changed);
            }
            case["proof"].as_array_mut().unwrap().pop();
            cases.push(case);
        }
    }
    for (old, new) in [(0, 300), (1, 3), (3, 17), (17, 256), (256, 300), (17, 300), (300, 300)] {
        let Ok(proof) = consistency_proof(&mut log.hashes(new), old, new);
        let (old_root, new_root) = (log.head(old).root, log.head(new).root);
        let mut case = json!({
            "kind": "consistency", "expect": "proven", "old": old, "new": new,
            "old-root": old_root.to_string(), "new-root": new_root.to_string(),
            "proof": hexes(&proof),
        });
        cases.push(case.clone());
        case["expect"] = json!("refused");
        case["old-root"] = json!(log.head(2).root.to_string());
        cases.push(case.clone());
        case["old-root"] = json!(old_root.to_string());
        case["proof"].as_array_mut().unwrap().push(json!(new_root.to_string()));
        cases.push(case);
    }
    cases
}

/// One change of the bucket, under a name; the changed files go to `files`.
struct Change<'a> {
    bucket: &'a Files,
    files: &'a mut Files,
    cases: Vec<Value>,
}

impl Change<'_> {
    /// `found` is the object that the finding names; none where the bucket passes.
    fn add(
        &mut self,
        name: &str,
        why: &str,
        found: Option<&str>,
        changed: Files,
        removed: &[String],
    ) {
        let mut replace = serde_json::Map::new();
        for (path, bytes) in changed {
            let file = self.file_of(bytes, format!("changed/{name}/{path}"));
            replace.insert(path, json!(file));
        }
        let mut case = json!({
            "name": name, "why": why, "replace": replace, "remove": removed,
            "keyring": "bucket/keyring", "today": "2026-11-23",
            "expect": if found.is_some() { "changed" } else { "intact" },
        });
        if let Some(found) = found {
            case["found"] = json!(found);
        }
        self.cases.push(case);
    }

    /// The file that has these bytes already, or a new one.
    fn file_of(&mut self, bytes: Vec<u8>, name: String) -> String {
        if let Some((path, _)) = self.bucket.iter().find(|(_, other)| **other == bytes) {
            return format!("bucket/{path}");
        }
        if let Some((path, _)) = self.files.iter().find(|(_, other)| **other == bytes) {
            return path.clone();
        }
        self.files.insert(name.clone(), bytes);
        name
    }
}

fn one(path: &str, bytes: Vec<u8>) -> Files {
    [(path.to_owned(), bytes)].into()
}

/// The bucket as it is, and changed; `replace` names the file that stands in for an object.
pub fn buckets(bucket: &Files, files: &mut Files) -> Vec<Value> {
    let mut all = Change { bucket, files, cases: vec![] };
    all.add("intact", "as the dock wrote it", None, Files::new(), &[]);
    objects(bucket, &mut all);
    histories(&mut all);
    all.cases
}

/// What somebody does who can write to the bucket, and has no key.
fn objects(bucket: &Files, all: &mut Change<'_>) {
    let log = folder(DOCK, SECOND);
    let at = |name: &str| format!("{log}/{name}");
    let copy = |path: &str| bucket[path].clone();
    let tile = at("tile/0/000");
    let mut flipped = copy(&tile);
    flipped[32 * 42] ^= 0x01;
    all.add("tile-flipped", "one bit of one hash", Some(&tile), one(&tile, flipped), &[]);
    let tile = at("tile/1/000.p/1");
    all.add(
        "tile-missing",
        "a tile was deleted",
        Some(&tile),
        Files::new(),
        std::slice::from_ref(&tile),
    );
    let bundle = at("tile/entries/001.p/44");
    let mut entries = log::second().entries[256..].to_vec();
    entries.swap(14, 15);
    let slices = entries.iter().map(Vec::as_slice);
    let swapped = dockseal::custody::tile::encode_bundle(slices);
    all.add("entries-reordered", "two entries", Some(&bundle), one(&bundle, swapped), &[]);
    let short = copy(&bundle)[..copy(&bundle).len() - 1].to_vec();
    all.add("bundle-cut", "one byte less", Some(&bundle), one(&bundle, short), &[]);
    let checkpoint = at("checkpoints/300");
    let copied = one(&checkpoint, copy(&at("checkpoints/256")));
    all.add("checkpoint-renamed", "size 256, called 300", Some(&checkpoint), copied, &[]);
    let clip = log::clip_path(1);
    all.add(
        "clip-missing",
        "a stored clip",
        Some(&clip),
        Files::new(),
        std::slice::from_ref(&clip),
    );
    let mut flipped = copy(&clip);
    flipped[0] ^= 0x80;
    all.add("clip-flipped", "one bit of a clip", Some(&clip), one(&clip, flipped), &[]);
    let cut = copy(&clip)[..10].to_vec();
    all.add("clip-cut", "a clip is shorter", Some(&clip), one(&clip, cut), &[]);
    let name = hex(&log::name(77).0);
    let foreign = format!("{DOCK}/clips/{}/{name}.age", &name[..2]);
    let clip = one(&foreign, log::clip(77));
    all.add("clip-foreign", "no entry has it", Some(&foreign), clip, &[]);
    let foreign = at("tile/0/plain.mp4");
    let plain = one(&foreign, b"clip\n".to_vec());
    all.add("object-foreign", "not a part of a log", Some(&foreign), plain, &[]);
    let mut copied = Files::new();
    for (path, bytes) in
        bucket.iter().filter(|(path, _)| path.starts_with(&folder(DOCK, log::FIRST)))
    {
        copied.insert(path.replacen(DOCK, OTHER_DOCK, 1), bytes.clone());
    }
    let found = format!("{}/checkpoints/5", folder(OTHER_DOCK, log::FIRST));
    all.add("log-of-another-dock", "copied in", Some(&found), copied, &[]);
    let other = one("keyrings/1", signed(&fork()).into_bytes());
    all.add("keyring-replaced", "not the one that the log names", Some("keyrings/1"), other, &[]);
}

/// What somebody does who has the dock's key, or another one.
fn histories(all: &mut Change<'_>) {
    let log = log::second();
    let folder = folder(DOCK, SECOND);
    let newest = format!("{folder}/checkpoints/300");
    let with_checkpoint = |checkpoint: &Checkpoint, key: &SignerKey| {
        let bytes = checkpoint.sign(key).to_string().into_bytes();
        let current = format!("{folder}/checkpoint");
        Files::from([(newest.clone(), bytes.clone()), (current, bytes)])
    };
    let right = Checkpoint::new(DOCK, log.head(300));
    let why = "signed by another key of that name";
    all.add("checkpoint-wrong-key", why, Some(&newest), with_checkpoint(&right, &stranger()), &[]);
    let wrong = Checkpoint { root: log.head(256).root, ..right.clone() };
    let why = "the dock signed another root";
    all.add("checkpoint-wrong-root", why, Some(&newest), with_checkpoint(&wrong, &dock()), &[]);
    let mut note = right.sign(&dock());
    let forged = Note::sign(wrong.to_string(), &dock()).signature_lines();
    note.add_lines(&forged).unwrap();
    let note = one(&newest, note.to_string().into_bytes());
    all.add("checkpoint-spoilt", "a second signature is wrong", Some(&newest), note, &[]);
    // An entry of the first bundle is another one, and everything was made again.
    let mut entries = log.entries.clone();
    entries[250] = Entry::new(Timestamp(BEGIN_MS + 75_000_000), Event::Acknowledged).encode();
    let rewritten = Log::new(SECOND, entries).publish(DOCK, &dock(), &[300]);
    let old = format!("{folder}/checkpoints/256");
    let why = "an entry was replaced by whoever has the dock's key; an earlier checkpoint tells";
    all.add("history-rewritten", why, Some(&old), rewritten.clone(), &[]);
    let why = "the same, with that checkpoint removed: only who remembers or witnessed it can tell";
    all.add("history-rewritten-unseen", why, None, rewritten, std::slice::from_ref(&old));
    remember(all, &log, &old);
    let beyond = ["checkpoint", "checkpoints/300", "tile/entries/001.p/44", "tile/0/001.p/44"];
    let removed = beyond.map(|name| format!("{folder}/{name}"));
    let late = [10].map(log::clip_path);
    let removed = [removed.as_slice(), &late].concat();
    let first = super::log::first();
    let mut entries = first.entries.clone();
    entries.swap(3, 4);
    let rewritten = Log::new(first.id, entries).publish(DOCK, &dock(), &[2, 5]);
    let old = dockseal::custody::folder(DOCK, first.id);
    let why = "the log before was rewritten with the dock's key; the log after it tells";
    all.add("previous-rewritten", why, Some(&old), rewritten, &[]);
    all.add("key-retired", "its last day is over", Some(&newest), Files::new(), &[]);
    all.cases.last_mut().unwrap()["keyring"] = json!("keyrings/dock-retired");
    let why = "cut back to a valid earlier checkpoint: only who remembers a later one can tell";
    all.add("rolled-back", why, None, Files::new(), &removed);
    remember(all, &log, &newest);
}

/// The last case again, for an auditor who remembers what the untouched log was at size 300.
fn remember(all: &mut Change<'_>, log: &Log, found: &str) {
    let mut case = all.cases.last().unwrap().clone();
    let head = log.head(if found.ends_with("/256") { 256 } else { 300 });
    case["name"] = json!(format!("{}-remembered", case["name"].as_str().unwrap()));
    case["expect"] = json!("changed");
    let folder = folder(DOCK, SECOND);
    case["found"] = json!(folder);
    case["remembered"] = json!({
        "folder": folder, "size": head.size, "root": head.root.to_string(),
    });
    all.cases.push(case);
}
