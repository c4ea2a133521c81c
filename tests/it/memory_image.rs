//! After sealing, the daemon's memory holds neither the file key nor a key made from it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use dockseal::envelope::header::Header;
use dockseal::envelope::recipient::X25519_INFO;
use dockseal::envelope::text::decode;
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::support::dock::{BucketConfig, Choices, Dock};
use crate::support::tools::needs;
use crate::support::{peers, scratch};

fn derive(ikm: &[u8], salt: &[u8], info: &[u8]) -> Vec<u8> {
    let mut key = vec![0; 32];
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, &mut key).unwrap();
    key
}

/// The keys of a sealed file, by name, as its authority can compute them.
fn keys_of(sealed: &Path, keys: &peers::Keys) -> Vec<(&'static str, Vec<u8>)> {
    let text = std::fs::read_to_string(&keys.identity_file).unwrap().to_lowercase();
    let line = text.lines().find(|line| line.starts_with("age-secret-key-1")).unwrap();
    let (_, secret) = decode(line).unwrap();
    let secret = StaticSecret::from(<[u8; 32]>::try_from(secret).unwrap());
    let mut input = BufReader::new(File::open(sealed).unwrap());
    let header = Header::read(&mut input).unwrap();
    let mut nonce = [0; 16];
    input.read_exact(&mut nonce).unwrap();
    let stanza = header.stanzas.iter().find(|stanza| stanza.kind == "X25519").unwrap();
    let share: [u8; 32] = BASE64.decode(&stanza.args[0]).unwrap().try_into().unwrap();
    let shared = secret.diffie_hellman(&PublicKey::from(share)).to_bytes();
    let salt = [share, PublicKey::from(&secret).to_bytes()].concat();
    let wrap = derive(&shared, &salt, X25519_INFO);
    let mut file_key = stanza.body[..16].to_vec();
    ChaCha20Poly1305::new_from_slice(&wrap)
        .unwrap()
        .decrypt_inout_detached(
            &[0; 12].into(),
            b"",
            file_key.as_mut_slice().into(),
            stanza.body[16..].try_into().unwrap(),
        )
        .unwrap();
    let manifest = header.stanzas.iter().find(|s| s.kind.starts_with("dockseal.")).unwrap();
    let manifest_salt = BASE64.decode(&manifest.args[0]).unwrap();
    vec![
        ("the X25519 shared secret", shared.to_vec()),
        ("the wrapping key", wrap),
        ("the payload key", derive(&file_key, &nonce, b"payload")),
        ("the header's MAC key", derive(&file_key, b"", b"header")),
        ("the manifest's key", derive(&file_key, &manifest_salt, b"dockseal.manifest/v1")),
        ("the file key", file_key),
    ]
}

/// All that a process has in memory and can be read, with what it is.
fn image(pid: u32) -> Vec<(String, Vec<u8>)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut regions = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw") || line.contains(" r-")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let size = u64::from_str_radix(to, 16).unwrap() - from;
        let mut bytes = vec![0; size as usize];
        // The kernel's own pages are listed and cannot be read.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            regions.push((line.to_owned(), bytes));
        }
    }
    regions
}

/// Where the bytes are, first of all, and what lies before them.
fn find(image: &[(String, Vec<u8>)], needle: &[u8]) -> Option<String> {
    let first = needle[0];
    image.iter().find_map(|(line, region)| {
        let mut starts = (0..region.len()).filter(|at| region[*at] == first);
        let at = starts.find(|at| region[*at..].starts_with(needle))?;
        let before = &region[at.saturating_sub(96)..at];
        Some(format!("at {at:#x} of {line}, behind {before:02x?}"))
    })
}

#[test]
fn no_key_of_a_sealed_clip_stays_in_memory() {
    needs!(Age, Setpriv, Root);
    let dir = scratch();
    let keys = peers::classic_keys(dir.path());
    let bucket = dir.path().join("bucket");
    std::fs::create_dir(&bucket).unwrap();
    let mut choices = Choices::new(&keys.recipient, BucketConfig::folder(&bucket));
    choices.more = "keep_sealed = \"1d\"".into();
    choices.settle_seconds = 0;
    let mut dock = Dock::new(&choices);
    dock.init();
    dock.start();
    // One that is sealed on the worker itself, and one that goes through the three stages.
    for (number, size) in [1000, 5 << 20].into_iter().enumerate() {
        std::fs::write(dock.folder().join(format!("{number}.mp4")), vec![7; size]).unwrap();
    }
    let limit = Duration::from_secs(60);
    let listed = dock.wait_for_json("both clips to be erased", &["list"], limit, |list| {
        let clips = list["clips"].as_array().unwrap();
        clips.len() == 2 && clips.iter().all(|clip| clip["state"] == "erased")
    });
    let image = image(dock.pid());
    // The search finds what is there: the public key that clips are sealed to.
    let (_, public) = decode(&keys.recipient).unwrap();
    assert!(find(&image, &public).is_some(), "the search would not find a key");
    let mut found = Vec::new();
    for clip in listed["clips"].as_array().unwrap() {
        let name = clip["sealed_name"].as_str().unwrap();
        let sealed = dock.state_dir().join(format!("spool/{name}.age"));
        for (what, key) in keys_of(&sealed, &keys) {
            if let Some(place) = find(&image, &key) {
                found.push(format!("clip {}: {what} {place}", clip["number"]));
            }
        }
    }
    assert!(found.is_empty(), "in the daemon's memory: {found:?}");
}
