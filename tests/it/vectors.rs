//! The age test vectors of C2SP (CCTV), all of them, through our reader.
//!
//! Each says how reading it must end, and the digest of what may be released before that.

use std::collections::BTreeMap;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::process::Command;

use dockseal::authority::armor::armor_error;
use dockseal::authority::identity::Identities;
use dockseal::authority::open::{OpenError, open};
use dockseal::authority::parallel::{CopyError, copy};
use dockseal::authority::passphrase::Passphrase;
use dockseal::authority::payload::{PayloadError, payload_error};
use dockseal::authority::seek::SeekReader;
use dockseal::envelope::header::HeaderError;
use sha2::{Digest, Sha256};

use crate::support::tools::{Tool, needs};
use crate::support::{peers, scratch};

/// As many as cctv-age 0.2.0 has.
const COUNT: usize = 143;

/// A file, and what is said of it.
pub struct Vector {
    pub name: String,
    pub facts: Vec<(String, String)>,
    pub file: Vec<u8>,
}

impl Vector {
    fn all(key: &str, facts: &[(String, String)]) -> Vec<String> {
        facts.iter().filter(|(name, _)| name == key).map(|(_, value)| value.clone()).collect()
    }

    /// The first fact of this name.
    pub fn one(&self, key: &str) -> Option<String> {
        Vector::all(key, &self.facts).into_iter().next()
    }

    pub fn identities(&self) -> Identities {
        let mut identities = Identities::default();
        for text in Vector::all("identity", &self.facts) {
            identities.append(Identities::read(&mut text.as_bytes()).unwrap());
        }
        for text in Vector::all("passphrase", &self.facts) {
            identities.append(Identities::passphrase(Passphrase::new(text.into())));
        }
        identities
    }
}

fn vectors() -> Vec<Vector> {
    let dir = scratch();
    let mut node = Command::new("node");
    node.arg(peers::script("vectors.mjs")).arg(Tool::CctvAge.path()).arg(dir.path());
    peers::run(&mut node);
    let mut vectors = Vec::new();
    for entry in dir.path().read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "facts") {
            vectors.push(read_vector(&path));
        }
    }
    vectors
}

fn read_vector(path: &Path) -> Vector {
    let text = std::fs::read_to_string(path).unwrap();
    let facts = text.lines().filter_map(|line| line.split_once(": "));
    let facts: Vec<_> = facts.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    // A vector with a key that we do not know tests what we do not know.
    let known = [
        "expect",
        "payload",
        "identity",
        "passphrase",
        "armored",
        "file key",
        "comment",
        "compressed",
    ];
    assert!(facts.iter().all(|(key, _)| known.contains(&key.as_str())), "{facts:?}");
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    Vector { name, facts, file: std::fs::read(path.with_extension("age")).unwrap() }
}

fn class_of_open(error: &OpenError) -> &'static str {
    match error {
        OpenError::Header(HeaderError::Read(error)) if armor_error(error).is_some() => {
            "armor failure"
        }
        OpenError::Header(_) | OpenError::Stanza(_) => "header failure",
        // The vectors count the nonce to the header.
        OpenError::Payload(PayloadError::NoNonce) => "header failure",
        OpenError::Payload(error) => class_of_payload(error),
        OpenError::Mac(_) => "HMAC failure",
        OpenError::NoIdentity { .. } => "no match",
        OpenError::Plugin(error) => panic!("no vector has a plugin: {error}"),
    }
}

fn class_of_payload(error: &PayloadError) -> &'static str {
    match error {
        PayloadError::Read(error) if armor_error(error).is_some() => "armor failure",
        PayloadError::Read(error) => panic!("the vector could not be read: {error}"),
        PayloadError::EmptyLast
        | PayloadError::NoNonce
        | PayloadError::Tampered { .. }
        | PayloadError::Trailing
        | PayloadError::Truncated => "payload failure",
    }
}

/// What our reader makes of a vector: the class, and what it released.
pub type Seen = (&'static str, Vec<u8>);

/// Chunk after chunk, as a `Read`.
pub fn streamed(vector: &Vector) -> Seen {
    let mut released = Vec::new();
    // A small buffer, so that lines, chunks and reads never coincide.
    let input = BufReader::with_capacity(100, vector.file.as_slice());
    let (_, mut payload) = match open(input, &vector.identities()) {
        Ok(opened) => opened,
        Err(error) => return (class_of_open(&error), released),
    };
    let class = match payload.read_to_end(&mut released) {
        Ok(_) => "success",
        Err(error) if armor_error(&error).is_some() => "armor failure",
        Err(error) => class_of_payload(payload_error(&error).unwrap()),
    };
    (class, released)
}

/// On several cores, as `open` does it.
pub fn copied(vector: &Vector) -> Seen {
    let mut released = Vec::new();
    let (_, payload) = match open(vector.file.as_slice(), &vector.identities()) {
        Ok(opened) => opened,
        Err(error) => return (class_of_open(&error), released),
    };
    let class = match copy(payload, &mut released, &mut |_| {}) {
        Ok(copied) => {
            assert_eq!(copied.plaintext.sha256, <[u8; 32]>::from(Sha256::digest(&released)));
            "success"
        }
        Err(CopyError::Payload(error)) => class_of_payload(&error),
        Err(CopyError::Write(error)) => panic!("memory takes everything: {error}"),
    };
    (class, released)
}

/// From the middle, as `open --bytes` does it, once the end verified. Not for armor.
pub fn sought(vector: &Vector) -> Seen {
    let mut released = Vec::new();
    let source = Cursor::new(vector.file.as_slice());
    let mut reader = match SeekReader::open(source, &vector.identities()) {
        Ok((_, reader)) => reader,
        Err(error) => return (class_of_open(&error), released),
    };
    let class = match reader.read_to_end(&mut released) {
        Ok(_) => "success",
        Err(error) => class_of_payload(payload_error(&error).unwrap()),
    };
    (class, released)
}

#[test]
fn every_vector_ends_as_it_says() {
    needs!(CctvAge);
    let vectors = vectors();
    assert_eq!(vectors.len(), COUNT);
    let mut seen = BTreeMap::<String, usize>::new();
    let mut wrong = Vec::new();
    for vector in &vectors {
        let expected = vector.one("expect").unwrap();
        *seen.entry(expected.clone()).or_default() += 1;
        for (reader, (class, released)) in
            [("streamed", streamed(vector)), ("copied", copied(vector))]
        {
            let digest = Sha256::digest(&released);
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            // A vector without a digest releases nothing.
            let payload = vector.one("payload").map_or(released.is_empty(), |hex| hex == digest);
            if class != expected || !payload {
                let size = released.len();
                wrong.push(format!(
                    "{} {reader}: {expected}, not {class}, {size} bytes",
                    vector.name
                ));
            }
        }
        if vector.one("armored").is_none() {
            // The size of the file is looked at first, so less may be released; never other bytes.
            let ((class, part), (_, all)) = (sought(vector), streamed(vector));
            if class != expected || !all.starts_with(&part) || (class == "success" && all != part) {
                wrong.push(format!("{} sought: {expected}, not {class}", vector.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {COUNT}:\n{}", wrong.len(), wrong.join("\n"));
    let count = |class: &str| seen[class];
    assert_eq!(count("success"), 26);
    assert_eq!(count("no match"), 13);
    assert_eq!(count("HMAC failure"), 1);
    assert_eq!(count("header failure") + count("payload failure") + count("armor failure"), 103);
}
