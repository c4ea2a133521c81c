//! Looking for a key of a sealed file at every place of some files.

use std::collections::HashSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use dockseal::envelope::header::{Header, Stanza};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// age.md, "File key": 128 bits.
const FILE_KEY_SIZE: usize = 16;
/// A window that is long enough for both kinds of keys: a file key begins where it begins.
pub const CANDIDATE_SIZE: usize = 32;
/// age.md, "Payload": the nonce in front of it, a whole chunk with its tag, and the tag.
const NONCE_SIZE: usize = 16;
const SEALED_CHUNK_SIZE: usize = 65_536 + TAG_SIZE;
const TAG_SIZE: usize = 16;

/// The bytes from one place on.
pub type Candidate = [u8; CANDIDATE_SIZE];

/// What there is from every place on in some files, once each; zeros stand behind the end.
pub fn candidates_in(files: &[PathBuf]) -> HashSet<Candidate> {
    let mut candidates = HashSet::new();
    for file in files {
        let mut bytes = std::fs::read(file).unwrap();
        bytes.extend_from_slice(&[0; CANDIDATE_SIZE - FILE_KEY_SIZE]);
        candidates.extend(bytes.array_windows::<CANDIDATE_SIZE>().copied());
    }
    candidates
}

/// A sealed file, as far as it tells whether a key is its key. Written from age.md alone.
pub struct Sealed {
    mac: [u8; 32],
    authenticated: Vec<u8>,
    nonce: [u8; NONCE_SIZE],
    first_chunk: Vec<u8>,
    is_last: bool,
}

impl Sealed {
    /// From a file.
    pub fn read(path: &Path) -> Sealed {
        let bytes = std::fs::read(path).unwrap();
        let header = Header::read(&mut BufReader::new(&bytes[..])).unwrap();
        let payload = bytes[header.encode().len()..].to_vec();
        Sealed::new(&header, &payload)
    }

    fn new(header: &Header, payload: &[u8]) -> Sealed {
        let encoded = header.encode();
        let mark = encoded.windows(5).rposition(|window| window == b"\n--- ").unwrap();
        let (nonce, chunks) = payload.split_at(NONCE_SIZE);
        Sealed {
            mac: header.mac,
            // Through the three hyphens.
            authenticated: encoded[..mark + 4].to_vec(),
            nonce: nonce.try_into().unwrap(),
            first_chunk: chunks[..chunks.len().min(SEALED_CHUNK_SIZE)].to_vec(),
            is_last: chunks.len() <= SEALED_CHUNK_SIZE,
        }
    }

    /// Whether the window begins with the file key, or is the payload's key.
    pub fn is_opened_by(&self, candidate: &Candidate) -> bool {
        let file_key = candidate.first_chunk().unwrap();
        self.mac_with(file_key) == self.mac || self.payload_opens(candidate)
    }

    /// The payload's key, as it follows from a file key.
    pub fn payload_key(&self, file_key: &[u8; FILE_KEY_SIZE]) -> [u8; 32] {
        derive(file_key, &self.nonce, b"payload")
    }

    fn mac_with(&self, file_key: &[u8; FILE_KEY_SIZE]) -> [u8; 32] {
        let key = derive(file_key, b"", b"header");
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).unwrap();
        mac.chain_update(&self.authenticated).finalize().into_bytes().into()
    }

    fn payload_opens(&self, key: &[u8; 32]) -> bool {
        let mut chunk = self.first_chunk.clone();
        let (sealed, tag) = chunk.split_at_mut(self.first_chunk.len() - TAG_SIZE);
        let tag: [u8; TAG_SIZE] = (&*tag).try_into().unwrap();
        let cipher = ChaCha20Poly1305::new(&(*key).into());
        let nonce = self.first_nonce().into();
        cipher.decrypt_inout_detached(&nonce, b"", sealed.into(), &tag.into()).is_ok()
    }

    /// Eleven bytes of the chunk's number, which is 0, and whether it is the last.
    fn first_nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[11] = u8::from(self.is_last);
        nonce
    }
}

fn derive(key: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut derived = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), key).expand(info, &mut derived).unwrap();
    derived
}

/// A small sealed file whose file key is known.
pub fn sealed_with(file_key: &[u8; FILE_KEY_SIZE]) -> Sealed {
    let stanza = Stanza { kind: "test".into(), args: vec![], body: vec![1; 32] };
    let header = Header { stanzas: vec![stanza], mac: [0; 32] };
    let mut sealed = Sealed::new(&header, &[9; NONCE_SIZE + TAG_SIZE]);
    sealed.mac = sealed.mac_with(file_key);
    let mut chunk = b"a sidecar".to_vec();
    let cipher = ChaCha20Poly1305::new(&sealed.payload_key(file_key).into());
    let nonce = sealed.first_nonce().into();
    let tag = cipher.encrypt_inout_detached(&nonce, b"", chunk.as_mut_slice().into()).unwrap();
    chunk.extend_from_slice(&tag);
    sealed.first_chunk = chunk;
    sealed
}
