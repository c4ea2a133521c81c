//! What must hold for any bytes; the fuzzers call these, and `cargo test` replays the corpus.

use std::io::{Cursor, Read};

use dockseal::authority::armor::Unarmored;
use dockseal::authority::identity::Identities;
use dockseal::authority::manifest::from_text;
use dockseal::authority::open::open;
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::Entry;
use dockseal::custody::status::Status;
use dockseal::custody::tile::{
    Piece, SIZE_MAX, decode_bundle, decode_tile, encode_bundle, encode_tile,
};
use dockseal::dock::config::Config;
use dockseal::edge::bucket::dav::multistatus::members;
use dockseal::envelope::header::Header;
use dockseal::envelope::recipient::Recipient;
use dockseal::envelope::stream::payload_size;
use dockseal::keyring::Keyring;
use dockseal::note::{Note, VerifierKey};

/// The published identity, to which the corpus of `payload` is sealed.
const IDENTITY: &str = include_str!("../keys-example/classic.identity");

/// A target: takes any bytes, and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// All targets, by the names of their folders in `corpus/`.
#[allow(dead_code, reason = "each fuzzer takes one, the replay takes all")]
pub const TARGETS: [(&str, Target); 14] = [
    ("checkpoint", checkpoint),
    ("config", config),
    ("entry", entry),
    ("header", header),
    ("identity_file", identity_file),
    ("keyring", keyring),
    ("listing", listing),
    ("manifest", manifest),
    ("note", note),
    ("payload", payload),
    ("recipient", recipient),
    ("status", status),
    ("tile", tile),
    ("tile_path", tile_path),
];

/// A checkpoint that is taken is written again byte for byte, but for its extensions.
pub fn checkpoint(data: &[u8]) {
    let Ok(note) = Note::parse(data) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
        let again = checkpoint.to_string();
        assert!(note.text().starts_with(&again), "a second spelling of one checkpoint");
        let _ = checkpoint.log();
    }
}

/// A config that is taken names a state directory from the root on, and a refusal says where.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => assert!(config.state_dir.is_absolute(), "a state directory of nowhere"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// An entry that is taken is written again with nothing lost.
pub fn entry(data: &[u8]) {
    if let Ok(entry) = Entry::decode(data) {
        let again = serde_json::to_vec(&entry).expect("JSON");
        assert_eq!(serde_json::from_slice::<Entry>(&again).expect("our own JSON"), entry);
        let _ = (entry.event.word(), entry.event.clip());
    }
}

/// A header that is taken is written again byte for byte, and nothing behind it was consumed.
pub fn header(data: &[u8]) {
    let mut input = Cursor::new(data);
    if let Ok(header) = Header::read(&mut input) {
        let consumed = &data[..input.position() as usize];
        assert_eq!(header.encode(), consumed, "a second spelling of one header");
    }
}

/// An identity file never panics, and what is taken has recipients.
pub fn identity_file(data: &[u8]) {
    if let Ok(identities) = Identities::read(&mut &data[..]) {
        for identity in identities.iter() {
            let text = identity.recipient().to_string();
            assert!(text.parse::<Recipient>().is_ok(), "{text}");
        }
    }
}

/// A keyring that is taken is written again byte for byte.
pub fn keyring(data: &[u8]) {
    let Ok(note) = Note::parse(data) else { return };
    if let Ok(keyring) = Keyring::from_note(&note) {
        assert_eq!(keyring.to_string(), note.text(), "a second spelling of one keyring");
    }
}

/// A manifest that is taken is written again with nothing lost, and names paths without panic.
pub fn manifest(data: &[u8]) {
    if let Some(manifest) = from_text(data) {
        let _ = (manifest.name.to_path(), manifest.folder.to_path());
        let again = serde_json::to_vec(&manifest).expect("JSON");
        assert_eq!(from_text(&again), Some(manifest), "what we write, we take");
    }
}

/// A note, or a public key, that is taken is written again byte for byte.
pub fn note(data: &[u8]) {
    if let Ok(note) = Note::parse(data) {
        assert_eq!(note.to_string().as_bytes(), data, "a second spelling of one note");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text, "a second spelling of one key");
    }
}

/// A file that opens to its end has exactly the size that its plaintext asks for.
pub fn payload(data: &[u8]) {
    let Ok(identities) = Identities::read(&mut IDENTITY.as_bytes()) else {
        panic!("the published identity is one");
    };
    let Ok((_, mut reader)) = open(data, &identities) else { return };
    let mut plaintext = Vec::new();
    if reader.read_to_end(&mut plaintext).is_ok() {
        let mut bare = Vec::new();
        Unarmored::new(data).read_to_end(&mut bare).expect("it was opened");
        let header = Header::read(&mut bare.as_slice()).expect("it was opened");
        let expected = header.encode().len() as u64 + payload_size(plaintext.len() as u64);
        assert_eq!(bare.len() as u64, expected, "bytes that no chunk accounts for");
    }
}

/// A recipient that is taken is written again letter for letter.
pub fn recipient(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(recipient) = text.parse::<Recipient>() {
        assert_eq!(recipient.to_string(), text, "a second spelling of one recipient");
    }
}

/// A status that is taken is written again byte for byte, but for lines of later versions, and its
/// words are harmless.
pub fn status(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(status) = Status::parse(text) {
        assert!(text.starts_with(&status.to_string()), "a second spelling of one status");
        let reasons = status.held.iter().map(|held| &held.reason);
        let mut words = status.needs.iter().chain(reasons).chain([&status.verdict]);
        assert!(words.all(|word| word.len() <= 32 && word.is_ascii()), "a word that is none");
    }
}

/// A listing never panics, and no name in it leads out of its folder.
pub fn listing(data: &[u8]) {
    for member in members(data, "/dav/dock-1").unwrap_or_default() {
        assert!(!member.name.contains('/') && member.name != "..", "{}", member.name);
    }
}

/// A tile or bundle that is taken is written again byte for byte. Its first byte is its width.
pub fn tile(data: &[u8]) {
    let Some((width, data)) = data.split_first() else { return };
    let width = u64::from(*width) + 1;
    if let Some(entries) = decode_bundle(data, width) {
        assert_eq!(encode_bundle(entries.into_iter()), data, "a second spelling of one bundle");
    }
    if let Some(hashes) = decode_tile(data, width) {
        assert_eq!(encode_tile(&hashes), data, "a second spelling of one tile");
    }
}

/// A path that is taken is written again letter for letter, and is one of a log that can be.
pub fn tile_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(piece) = Piece::parse(text) {
        assert_eq!(piece.path(), text, "a second spelling of one path");
        assert!(piece.size_min() <= SIZE_MAX, "a log that cannot be");
    }
}
