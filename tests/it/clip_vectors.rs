//! Our own vectors of the sealed clip and its manifest: each file says what a reader makes of it.
//!
//! `tests/vectors/README.md` has their form. They are made by `make.rs`, byte for byte again with
//! `cargo test --test it make_the_clip_vectors -- --ignored`, and read here and, by a reader that
//! shares no line with ours, in `tests/check_vectors.py`.

mod make;

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use dockseal::authority::open::{ManifestError, ManifestFinding, open};
use dockseal::envelope::manifest::{Manifest, commitment};
use sha2::{Digest, Sha256};

use crate::support::tools::{Tool, needs};
use crate::support::{peers, scratch, sha256};
use crate::vectors::{Seen, Vector, copied, sought, streamed};

/// What a vector may say of itself; what it says under another name would go unchecked.
const KNOWN: [&str; 9] = [
    "expect",
    "payload",
    "identity",
    "file key",
    "manifest",
    "json",
    "size",
    "commitment",
    "comment",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("tests/vectors/clip")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// By name. Facts, an empty line, and then the sealed clip.
fn vectors() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for entry in folder().read_dir().unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let end = bytes.windows(2).position(|two| two == b"\n\n").expect("facts, an empty line");
        let facts = std::str::from_utf8(&bytes[..end]).unwrap().lines();
        let facts = facts.map(|line| line.split_once(": ").expect("a fact: what it is"));
        let facts: Vec<_> = facts.map(|(key, value)| (key.into(), value.into())).collect();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        vectors.push(Vector { name, facts, file: bytes[end + 2..].to_vec() });
    }
    vectors.sort_by(|one, other| one.name.cmp(&other.name));
    vectors
}

/// How a manifest is said to be, in the vectors' words.
fn word(finding: &ManifestFinding) -> &'static str {
    match finding {
        ManifestFinding::Absent => "absent",
        ManifestFinding::Found(_) => "found",
        ManifestFinding::Unreadable(ManifestError::Later) => "later",
        ManifestFinding::Unreadable(
            ManifestError::Json
            | ManifestError::NotVerified
            | ManifestError::Salt
            | ManifestError::Several
            | ManifestError::Size
            | ManifestError::TooLarge,
        ) => "invalid",
    }
}

/// What was seen of one part, beside what the vector says of it.
fn differences(vector: &Vector) -> Vec<String> {
    let mut seen = Vec::new();
    let (class, released) = streamed(vector);
    seen.push(("expect", Some(class.to_owned())));
    let said_payload = vector.one("payload");
    let is_silent = said_payload.is_none() && released.is_empty();
    let digest: [u8; 32] = Sha256::digest(&released).into();
    seen.push(("payload", (!is_silent).then(|| hex(&digest))));
    let opened = open(vector.file.as_slice(), &vector.identities());
    let finding = opened.ok().map(|(opened, _)| opened.manifest);
    seen.push(("manifest", finding.as_ref().map(|finding| word(finding).to_owned())));
    let manifest: Option<Manifest> = match finding {
        Some(ManifestFinding::Found(manifest)) => Some(*manifest),
        Some(ManifestFinding::Absent | ManifestFinding::Unreadable(_)) | None => None,
    };
    // As values: with every name that was not known, and none more.
    let said = vector.one("json");
    let same_json = match (&manifest, &said) {
        (Some(manifest), Some(said)) => {
            let said: serde_json::Value = serde_json::from_str(said).unwrap();
            serde_json::to_value(manifest).unwrap() == said
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let complete = manifest.as_ref().filter(|_| class == "success");
    seen.push(("size", complete.map(|manifest| size(manifest, &released))));
    let commitment = complete.and_then(|it| commitment(&it.commitment_salt, &digest));
    seen.push(("commitment", commitment.map(|bytes| hex(&bytes))));
    let wrong = seen.into_iter().filter(|(key, seen)| vector.one(key) != *seen);
    let mut wrong: Vec<_> = wrong
        .map(|(key, seen)| format!("{}: {key}: {:?}, not {seen:?}", vector.name, vector.one(key)))
        .collect();
    if !same_json {
        wrong.push(format!("{}: json: {said:?}, not {manifest:?}", vector.name));
    }
    wrong.extend(other_readers(vector, &(class, released)));
    wrong
}

fn size(manifest: &Manifest, released: &[u8]) -> String {
    let same = manifest.size_bytes == released.len() as u64;
    if same { "same".into() } else { "other".into() }
}

/// All cores, and from the middle: as one after the other.
fn other_readers(vector: &Vector, (class, all): &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    for (reader, (other, part)) in [("copied", copied(vector)), ("sought", sought(vector))] {
        // The seeking one looks at the size of the file first, so it may release less.
        let is_part = if reader == "copied" { &part == all } else { all.starts_with(&part) };
        if other != *class || !is_part {
            wrong.push(format!("{} {reader}: {class}, not {other}", vector.name));
        }
    }
    wrong
}

#[test]
fn every_clip_vector_ends_as_it_says() {
    let vectors = vectors();
    let mut wrong = Vec::new();
    for vector in &vectors {
        let unknown = vector.facts.iter().find(|(key, _)| !KNOWN.contains(&key.as_str()));
        assert_eq!(unknown, None, "{}", vector.name);
        wrong.extend(differences(vector));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
    // None was lost, and each word was said.
    assert_eq!(vectors.len(), make::cases().len());
    let says = |key: &str, value: &str| {
        vectors.iter().filter(|vector| vector.one(key).as_deref() == Some(value)).count()
    };
    for class in ["success", "header failure", "HMAC failure", "payload failure", "no match"] {
        assert!(says("expect", class) > 0, "no vector says {class}");
    }
    for finding in ["absent", "found", "invalid", "later"] {
        assert!(says("manifest", finding) > 0, "no vector says {finding}");
    }
    assert!(says("size", "other") > 0);
}

#[test]
fn the_clip_vectors_are_made_again_byte_for_byte() {
    for case in make::cases() {
        let there = std::fs::read(folder().join(case.name)).unwrap();
        assert!(there == make::vector(&case), "{} is another file now", case.name);
    }
}

/// After a change of `make.rs` that is meant: `git diff` then shows what it means to readers.
#[test]
#[ignore = "writes tests/vectors/clip"]
fn make_the_clip_vectors() {
    let _ = std::fs::remove_dir_all(folder());
    std::fs::create_dir_all(folder()).unwrap();
    for case in make::cases() {
        std::fs::write(folder().join(case.name), make::vector(&case)).unwrap();
    }
}

#[test]
fn a_second_reader_makes_the_same_of_every_clip_vector() {
    needs!(Cryptography);
    let mut check = Command::new(Tool::Cryptography.path());
    let said = peers::run(check.arg(root().join("tests/check_vectors.py")).arg(folder()));
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said, format!("{} vectors are as they say\n", make::cases().len()));
    // It would say so: one vector tells another story.
    let dir = scratch();
    let case = &make::cases()[0];
    let lie = make::vector(case);
    let lie =
        String::from_utf8_lossy(&lie[..20]).replace("success", "payload failure").into_bytes();
    std::fs::write(dir.path().join(case.name), [&lie, &make::vector(case)[20..]].concat()).unwrap();
    let mut check = Command::new(Tool::Cryptography.path());
    check.arg(root().join("tests/check_vectors.py")).arg(dir.path());
    assert_eq!(check.output().unwrap().status.code(), Some(1));
}

#[test]
fn a_second_reader_opens_what_we_seal() {
    needs!(Age, AgeEncryption, Cryptography);
    let dir = scratch();
    for keys in [peers::classic_keys(dir.path()), peers::hybrid_keys(dir.path())] {
        for size in [0, 1, 65_536, 65_537, (1 << 20) + 3] {
            let dir = scratch();
            let clip = dir.path().join("a.mp4");
            std::fs::write(&clip, vec![7; size]).unwrap();
            let sealed = dir.path().join("sealed.age");
            let done = crate::peers::seal_file(&clip, &sealed, &keys);
            let named = dir.path().join(format!("{}.age", done.name));
            std::fs::rename(&sealed, &named).unwrap();
            let opened = dir.path().join("opened");
            let mut reader = Command::new(Tool::Cryptography.path());
            reader.arg(root().join("tests/second_reader.py"));
            reader.arg("--identity").arg(&keys.identity_file).arg("--out").arg(&opened);
            reader.arg("--commitment").arg(hex(&done.commitment)).arg(&named);
            let manifest = peers::run(&mut reader);
            let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
            assert_eq!(manifest.size_bytes, size as u64);
            assert_eq!(BASE64.decode(manifest.commitment_salt).unwrap().len(), 32);
            assert_eq!(sha256(&opened), sha256(&clip));
        }
    }
}
