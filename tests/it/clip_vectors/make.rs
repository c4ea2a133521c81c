//! Makes the vectors: seals as the dock does, with known randomness, and then changes one thing.

mod cases;

use std::convert::Infallible;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use dockseal::authority::identity::Identities;
use dockseal::envelope::FileKey;
use dockseal::envelope::header::{Header, Stanza};
use dockseal::envelope::manifest::{MANIFEST, Manifest, Name, VERSION, commitment};
use dockseal::envelope::recipient::{Recipient, Recipients};
use dockseal::envelope::seal::seal;
use hkdf::Hkdf;
use rand_core::{Rng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

use super::hex;
use crate::plugins::TAG_RECIPIENT;

pub use cases::cases;

/// One vector: what it says of itself, and how it differs from what a dock seals.
pub struct Case {
    /// The name of its file.
    pub name: &'static str,
    comment: &'static str,
    /// As in the age vectors of C2SP.
    expect: &'static str,
    /// `None` where the header does not verify.
    manifest: Option<&'static str>,
    /// The keys that it is sealed to.
    sealed_to: &'static [Key],
    /// The key that it is read with.
    read_with: Key,
    clip_size: usize,
    /// So much of the clip may be given out, where that is not all of it.
    released: Option<usize>,
    /// From the JSON that a dock writes to the text that is sealed; `None` leaves the dock's own.
    text: Option<fn(&str) -> Vec<u8>>,
    /// Changes what the MAC will cover.
    stanzas: fn(&mut Parts),
    /// Changes the finished file.
    bytes: fn(&mut Vec<u8>),
}

/// What a dock seals: a vector names only what is different.
const AS_SEALED: Case = Case {
    name: "",
    comment: "",
    expect: "success",
    manifest: Some("found"),
    sealed_to: &[Key::Classic],
    read_with: Key::Classic,
    clip_size: 3,
    released: None,
    text: None,
    stanzas: |_| {},
    bytes: |_| {},
};

/// Keys that are only good for vectors.
#[derive(Debug, Clone, Copy)]
enum Key {
    Classic,
    PostQuantum,
    /// Of `age-plugin-tagtest`: it is only sealed to.
    Tag,
    Stranger,
}

impl Key {
    fn identity(self) -> String {
        // The keys of docs/format.md §9.
        let (hrp, byte) = match self {
            Key::Classic => ("AGE-SECRET-KEY-", 4),
            Key::PostQuantum => ("AGE-SECRET-KEY-PQ-", 3),
            Key::Stranger => ("AGE-SECRET-KEY-", 6),
            Key::Tag => panic!("nobody has it"),
        };
        let hrp = bech32::Hrp::parse(hrp).unwrap();
        bech32::encode_upper::<bech32::Bech32>(hrp, &[byte; 32]).unwrap()
    }

    fn recipient(self) -> Recipient {
        match self {
            Key::Classic | Key::PostQuantum | Key::Stranger => {
                let identities = Identities::read(&mut self.identity().as_bytes()).unwrap();
                identities.iter().next().unwrap().recipient().clone()
            }
            Key::Tag => TAG_RECIPIENT.parse().unwrap(),
        }
    }
}

/// SHA-256(name ‖ 0), SHA-256(name ‖ 1), …: random to nobody, and another one for each vector.
#[derive(Clone)]
pub struct Known {
    name: &'static str,
    count: u32,
    rest: Vec<u8>,
}

impl Known {
    fn new(name: &'static str) -> Known {
        Known { name, count: 0, rest: Vec::new() }
    }
}

impl TryRng for Known {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        while self.rest.len() < bytes.len() {
            let block =
                Sha256::new().chain_update(self.name).chain_update(self.count.to_be_bytes());
            self.rest.extend_from_slice(&block.finalize());
            self.count += 1;
        }
        let rest = self.rest.split_off(bytes.len());
        bytes.copy_from_slice(&std::mem::replace(&mut self.rest, rest));
        Ok(())
    }
}

impl TryCryptoRng for Known {}

/// A sealed clip, taken apart.
pub struct Parts {
    key: [u8; 16],
    file_key: FileKey,
    stanzas: Vec<Stanza>,
    payload: Vec<u8>,
}

impl Parts {
    fn manifest(&mut self) -> &mut Stanza {
        let manifest = self.stanzas.iter_mut().find(|stanza| stanza.kind == MANIFEST);
        manifest.expect("it was not taken out")
    }

    /// A manifest stanza around any text, with a salt of any bytes.
    fn sealed_manifest(&self, text: &[u8], salt: &[u8]) -> Stanza {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(salt), &self.key).expand(MANIFEST.as_bytes(), &mut key).unwrap();
        let body = ChaCha20Poly1305::new(&key.into()).encrypt(&[0; 12].into(), text).unwrap();
        Stanza { kind: MANIFEST.into(), args: vec![BASE64.encode(salt)], body }
    }
}

/// The clip of a vector: each byte is its place, modulo 251.
fn clip(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

fn manifest(size_bytes: usize) -> Manifest {
    Manifest {
        version: VERSION,
        dock: "hannover-hbf-03".into(),
        name: Name::Text("20261118_104640.mp4".into()),
        folder: Name::from_path(Path::new("cam-17/20261118")),
        camera: Some("cam-17".into()),
        size_bytes: size_bytes as u64,
        modified: "2026-11-18T10:46:40Z".parse().unwrap(),
        sealed: "2026-11-18T18:02:11.25Z".parse().unwrap(),
        commitment_salt: BASE64.encode([1; 32]),
        more: serde_json::Map::new(),
    }
}

fn padded(json: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut text = json.into();
    text.resize(text.len().next_multiple_of(512), b' ');
    text
}

/// Seals as the dock does, and takes it apart; also the file itself.
fn sealed(case: &Case, manifest: &Manifest) -> (Parts, Vec<u8>) {
    let mut rng = Known::new(case.name);
    // The file key is what sealing draws first.
    let mut key = [0; 16];
    rng.clone().fill_bytes(&mut key);
    let file_key = FileKey::generate(&mut rng.clone());
    let recipients = case.sealed_to.iter().map(|key| key.recipient()).collect();
    let recipients = Recipients::new(recipients).unwrap();
    let clip = clip(case.clip_size);
    let mut file = Vec::new();
    seal(&mut clip.as_slice(), &mut file, &recipients, manifest, &mut rng).unwrap();
    let mut payload = file.as_slice();
    let Header { stanzas, mac: _ } = Header::read(&mut payload).unwrap();
    (Parts { key, file_key, stanzas, payload: payload.to_vec() }, file)
}

/// The whole file of a vector: its facts, an empty line, the sealed clip.
pub fn vector(case: &Case) -> Vec<u8> {
    let clip = clip(case.clip_size);
    let (mut parts, as_sealed) = sealed(case, &manifest(clip.len()));
    let key = parts.key;
    let dock_json = serde_json::to_string(&manifest(clip.len())).unwrap();
    let mut text = padded(dock_json.clone());
    if let Some(change) = case.text {
        text = change(&dock_json);
        let salt = BASE64.decode(&parts.manifest().args[0]).unwrap();
        *parts.manifest() = parts.sealed_manifest(&text, &salt);
    }
    (case.stanzas)(&mut parts);
    let header = Header::new(parts.stanzas, &parts.file_key).encode();
    let mut file = [header, parts.payload].concat();
    (case.bytes)(&mut file);
    let mut facts = format!("expect: {}\n", case.expect);
    let released = &clip[..case.released.unwrap_or(clip.len())];
    let is_complete = case.expect == "success";
    if is_complete || !released.is_empty() {
        facts += &format!("payload: {}\n", hex(&Sha256::digest(released)));
    }
    facts += &format!("identity: {}\nfile key: {}\n", case.read_with.identity(), hex(&key));
    if let Some(finding) = case.manifest {
        facts += &format!("manifest: {finding}\n");
    }
    if case.manifest == Some("found") {
        let json = std::str::from_utf8(&text).unwrap().trim_end_matches(' ');
        facts += &format!("json: {json}\n");
        let object: serde_json::Value = serde_json::from_str(json).unwrap();
        if is_complete {
            let same = object["size_bytes"] == clip.len();
            facts += if same { "size: same\n" } else { "size: other\n" };
            let salt = object["commitment_salt"].as_str().unwrap();
            let commitment = commitment(salt, &Sha256::digest(&clip).into()).unwrap();
            facts += &format!("commitment: {}\n", hex(&commitment));
        }
    }
    facts += &format!("comment: {}\n\n", case.comment);
    let is_changed = file != as_sealed;
    assert!(is_changed || case.manifest != Some("invalid"), "{}: nothing is wrong", case.name);
    [facts.into_bytes(), file].concat()
}
