//! The known answers of the self-test are age files that other programs open.

use std::path::{Path, PathBuf};

use dockseal::envelope::selftest::{KNOWN_ANSWERS, sealed};

use crate::support::peers::{Peer, keys, try_open};
use crate::support::scratch;
use crate::support::tools::needs;

fn opens_elsewhere(name: &str, keys_example: &str, peer: Peer) {
    let answer = KNOWN_ANSWERS.iter().find(|answer| answer.name == name).unwrap();
    let dir = scratch();
    let path = dir.path().join("clip.age");
    let digest = sealed(answer, &mut std::fs::File::create(&path).unwrap()).unwrap();
    assert_eq!(digest, answer.digest);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("keys-example").join(keys_example);
    let opened = dir.path().join("clip.mp4");
    try_open(peer, &keys(file), &path, &opened).unwrap();
    check_pattern(&opened);
}

/// The clip's pattern, written here once more: byte `n` is `31 n` xor `n / 256`, in 8 bits.
fn check_pattern(opened: &Path) {
    let bytes = std::fs::read(opened).unwrap();
    assert_eq!(bytes.len(), (1 << 20) + 70_001);
    let wrong = bytes.iter().enumerate().find(|(n, byte)| **byte != ((n * 31) ^ (n >> 8)) as u8);
    assert_eq!(wrong, None);
}

#[test]
fn the_classic_known_answer_opens_with_age() {
    needs!(Age);
    opens_elsewhere("selftest-classic", "classic.identity", Peer::Age);
}

#[test]
fn the_post_quantum_known_answer_opens_with_age_encryption() {
    needs!(AgeEncryption);
    opens_elsewhere("selftest-post-quantum", "authority.identity", Peer::AgeEncryption);
}
