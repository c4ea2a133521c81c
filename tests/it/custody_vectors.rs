//! Our own vectors of the custody log: each file says what a reader makes of it.
//!
//! docs/custody.md §8 has their form. `make.rs` makes them byte for byte again; with
//! DOCKSEAL_WRITE_VECTORS=1 `cargo test --test it custody_vectors` writes them. They are read here
//! and, by a verifier that shares no line with ours, in `tests/check_custody_vectors.py`.

mod make;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dockseal::clip::SealedName;
use dockseal::custody::entry::Entry;
use dockseal::custody::merkle::{Hash, is_consistent, root_of_inclusion};
use dockseal::custody::tile::{Holds, Piece};
use dockseal::keyring::{Refusal, Trust, Unreadable};
use dockseal::note::{Kind, Note, NoteError, SignerKey, VerifierKey};
use make::Files;
use serde_json::Value;

use crate::support::scratch;
use crate::support::tools::{Tool, needs};

/// Set to write the vectors instead of comparing with them.
const WRITE: &str = "DOCKSEAL_WRITE_VECTORS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/custody")
}

/// All files beneath a folder.
fn read_files(folder: &Path) -> Files {
    let (mut files, mut folders) = (Files::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in next.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).unwrap()
}

fn cases(file: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_slice(&read(file)).unwrap();
    assert!(!cases.is_empty(), "{file}");
    cases
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{field} of {case}"))
}

fn number(case: &Value, field: &str) -> u64 {
    case[field].as_u64().unwrap_or_else(|| panic!("{field} of {case}"))
}

fn hash(case: &Value) -> Hash {
    let name: SealedName = case.as_str().unwrap().parse().unwrap();
    Hash(name.0)
}

fn hashes(case: &Value) -> Vec<Hash> {
    case.as_array().unwrap().iter().map(hash).collect()
}

fn key(case: &Value, field: &str) -> VerifierKey {
    text(case, field).parse().unwrap()
}

#[test]
fn the_custody_vectors_are_made_again_byte_for_byte() {
    let made = make::files();
    if std::env::var_os(WRITE).is_some() {
        let _ = std::fs::remove_dir_all(folder());
        for (name, bytes) in &made {
            let path = folder().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let there = read_files(&folder());
    for (name, bytes) in &made {
        assert!(there.get(name) == Some(bytes), "{name} is another file now: see {WRITE}");
    }
    let more: Vec<_> = there.keys().filter(|name| !made.contains_key(*name)).collect();
    assert!(more.is_empty(), "nothing makes {more:?}");
    let size: usize = there.values().map(Vec::len).sum();
    assert!(size < 300_000, "{size} bytes of vectors");
}

#[test]
fn the_keys_of_the_custody_vectors_are_as_they_say() {
    for case in cases("keys.json") {
        let read = text(&case, "verifier").parse::<VerifierKey>();
        if text(&case, "expect") == "refused" {
            assert!(read.is_err(), "{case}");
            continue;
        }
        let key = read.unwrap();
        let signs = match key.kind() {
            Kind::Note => "notes",
            Kind::Cosignature => "cosignatures",
        };
        assert_eq!((key.name(), signs), (text(&case, "name"), text(&case, "signs")));
        assert_eq!(key.fingerprint(), text(&case, "fingerprint"));
        assert_eq!(SignerKey::parse(text(&case, "private")).unwrap().verifier(), key);
        assert_eq!(key.to_string(), text(&case, "verifier"));
    }
}

#[test]
fn the_notes_of_the_custody_vectors_are_as_they_say() {
    for case in cases("notes.json") {
        let key = key(&case, "key");
        let note = Note::parse(&read(text(&case, "file")));
        let verified = note.as_ref().map_err(|_| "malformed").and_then(|note| {
            let result = match key.kind() {
                Kind::Note => note.verify(&key).map(|_| None),
                Kind::Cosignature => note.verify_cosignature(&key).map(Some),
            };
            result.map_err(|error| note_word(&error))
        });
        assert_eq!(
            verified.map_or_else(|word| word, |_| "signed"),
            text(&case, "expect"),
            "{case}"
        );
        if let Ok(Some(seconds)) = verified {
            assert_eq!(seconds, number(&case, "seconds"));
        }
    }
}

fn note_word(error: &NoteError) -> &'static str {
    match error {
        NoteError::Forged => "forged",
        NoteError::NotSigned => "not-signed",
        NoteError::NoSignature | NoteError::Signature | NoteError::Text | NoteError::TooLarge => {
            "malformed"
        }
    }
}

fn refusal_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Expired { .. } => panic!("that a keyring expired is seen when it is used"),
        Refusal::Fork(_) => "fork",
        Refusal::NotSigned => "not-signed",
        Refusal::Rollback { .. } => "rollback",
        Refusal::Unreadable(Unreadable::Note(error)) => note_word(error),
        Refusal::Unreadable(Unreadable::Key(_) | Unreadable::Keyring(_)) => "malformed",
        Refusal::WrongRoot { .. } => "wrong-root",
    }
}

#[test]
fn the_keyrings_of_the_custody_vectors_are_taken_as_they_say() {
    for case in cases("keyrings.json") {
        let mut trust = Trust::pinned(key(&case, "root"));
        for earlier in case["after"].as_array().unwrap() {
            assert_eq!(trust.take(&read(earlier.as_str().unwrap())), Ok(true), "{case}");
        }
        let word = match trust.take(&read(text(&case, "file"))) {
            Ok(true) => "taken",
            Ok(false) => "known",
            Err(refusal) => refusal_word(&refusal),
        };
        assert_eq!(word, text(&case, "expect"), "{case}");
        let keyring = trust.last();
        if let Some(sha256) = case.get("sha256") {
            assert_eq!(Hash(keyring.unwrap().sha256()), hash(sha256));
            assert_eq!(keyring.unwrap().revision, number(&case, "revision"));
        }
        for (day, count) in case["recipients"].as_object().into_iter().flatten() {
            let recipients = keyring.unwrap().recipients(day.parse().unwrap());
            let found = recipients.map_or(0, |recipients| recipients.iter().count());
            assert_eq!(found as u64, count.as_u64().unwrap(), "{day}");
        }
    }
}

#[test]
fn the_entries_and_paths_of_the_custody_vectors_are_read_or_refused_as_they_say() {
    for case in cases("entries.json") {
        let word = match Entry::decode(text(&case, "entry").as_bytes()) {
            Ok(entry) => {
                assert_eq!(entry.event.word(), text(&case, "event"));
                "read"
            }
            Err(_) => "refused",
        };
        assert_eq!(word, text(&case, "expect"), "{case}");
        if text(&case, "why") == "as a dock writes it" {
            let entry = Entry::decode(text(&case, "entry").as_bytes()).unwrap();
            assert_eq!(String::from_utf8(entry.encode()).unwrap(), text(&case, "entry"));
        }
    }
    for case in cases("paths.json") {
        let Some(piece) = Piece::parse(text(&case, "path")) else {
            assert_eq!(text(&case, "expect"), "refused", "{case}");
            continue;
        };
        assert_eq!(text(&case, "expect"), "read", "{case}");
        assert_eq!((piece.index, piece.width), (number(&case, "index"), number(&case, "width")));
        let level = match piece.holds {
            Holds::Entries => "entries".to_owned(),
            Holds::Hashes(level) => level.to_string(),
        };
        assert_eq!(level, text(&case, "level"));
    }
}

#[test]
fn the_proofs_of_the_custody_vectors_prove_what_they_say() {
    for case in cases("proofs.json") {
        let proof = hashes(&case["proof"]);
        let is_proven = if text(&case, "kind") == "inclusion" {
            let (index, size) = (number(&case, "index"), number(&case, "size"));
            let root = root_of_inclusion(hash(&case["leaf"]), index, size, &proof);
            root == Some(hash(&case["root"]))
        } else {
            let (old, new) = (number(&case, "old"), number(&case, "new"));
            is_consistent(old, hash(&case["old-root"]), new, hash(&case["new-root"]), &proof)
        };
        assert_eq!(if is_proven { "proven" } else { "refused" }, text(&case, "expect"), "{case}");
    }
}

#[test]
fn the_buckets_of_the_custody_vectors_are_intact_or_changed_as_they_say() {
    let files = read_files(&folder());
    for case in cases("buckets.json") {
        let objects = files.iter().filter_map(|(name, bytes)| {
            Some((name.strip_prefix("bucket/")?.to_owned(), bytes.clone()))
        });
        let mut bucket: Files = objects.collect();
        for removed in case["remove"].as_array().unwrap() {
            assert!(bucket.remove(removed.as_str().unwrap()).is_some(), "{case}");
        }
        for (path, file) in case["replace"].as_object().unwrap() {
            bucket.insert(path.clone(), files[file.as_str().unwrap()].clone());
        }
        let mut trust = Trust::pinned(make::root().verifier());
        trust.take(&files[text(&case, "keyring")]).unwrap();
        let mut found = verify::findings(&bucket, trust.last().unwrap(), text(&case, "today"));
        if let Some(remembered) = case.get("remembered") {
            let (size, root) = (number(remembered, "size"), hash(&remembered["root"]));
            found.extend(verify::forgotten(&bucket, text(remembered, "folder"), size, root));
        }
        if text(&case, "expect") == "intact" {
            assert!(found.is_empty(), "{}: {found:?}", text(&case, "name"));
        } else {
            assert!(found.contains(text(&case, "found")), "{}: {found:?}", text(&case, "name"));
        }
    }
}

fn python(script: &str) -> Command {
    let mut python = Command::new(Tool::Cryptography.path());
    // Imported from one another, they would leave a cache in the checkout.
    python.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script));
    python
}

/// By the verifier that was written from docs/custody.md alone.
fn second_audit(bucket: &Path, keyring: &Path, root: &VerifierKey) -> Output {
    let mut verifier = python("second_verifier.py");
    verifier.arg("--keyring").arg(keyring).arg("--root").arg(root.to_string());
    verifier.args(["--today", "2026-11-23"]).arg(bucket).output().unwrap()
}

#[test]
fn a_second_verifier_makes_the_same_of_every_custody_vector() {
    needs!(Cryptography);
    let output = python("check_custody_vectors.py").arg(folder()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("vectors are as they say"), "{said}");
    // It would say so: one vector tells another story.
    let dir = scratch();
    for (name, bytes) in read_files(&folder()) {
        let path = dir.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let lie = String::from_utf8(read("paths.json")).unwrap().replacen("refused", "read", 1);
    std::fs::write(dir.path().join("paths.json"), lie).unwrap();
    let output = python("check_custody_vectors.py").arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_second_verifier_audits_a_bucket_and_names_what_was_changed() {
    needs!(Cryptography);
    let dir = scratch();
    for (name, bytes) in read_files(&folder().join("bucket")) {
        let path = dir.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let keyring = dir.path().join("keyring");
    let root = make::root().verifier();
    let output = second_audit(dir.path(), &keyring, &root);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let tile = format!("{}/log/b0b0b0b0b0b0b0b0/tile/0/000", make::DOCK);
    let mut bytes = std::fs::read(dir.path().join(&tile)).unwrap();
    bytes[0] ^= 1;
    std::fs::write(dir.path().join(&tile), bytes).unwrap();
    let output = second_audit(dir.path(), &keyring, &root);
    assert_eq!(output.status.code(), Some(13));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&tile));
}
