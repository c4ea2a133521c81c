//! What must hold for any bytes; the fuzzers call these, and `cargo test` replays the corpus.

use std::io::{Cursor, Read};

use dockseal::authority::armor::Unarmored;
use dockseal::authority::identity::Identities;
use dockseal::authority::manifest::from_text;
use dockseal::authority::open::open;
use dockseal::envelope::header::Header;
use dockseal::envelope::recipient::Recipient;
use dockseal::envelope::stream::payload_size;

/// The published identity, to which the corpus of `payload` is sealed.
const IDENTITY: &str = include_str!("../keys-example/classic.identity");

/// A target: takes any bytes, and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// All targets, by the names of their folders in `corpus/`.
#[allow(dead_code, reason = "each fuzzer takes one, the replay takes all")]
pub const TARGETS: [(&str, Target); 5] = [
    ("header", header),
    ("identity_file", identity_file),
    ("manifest", manifest),
    ("payload", payload),
    ("recipient", recipient),
];

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

/// A manifest that is taken is written again with nothing lost, and names paths without panic.
pub fn manifest(data: &[u8]) {
    if let Some(manifest) = from_text(data) {
        let _ = (manifest.name.to_path(), manifest.folder.to_path());
        let again = serde_json::to_vec(&manifest).expect("JSON");
        assert_eq!(from_text(&again), Some(manifest), "what we write, we take");
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
