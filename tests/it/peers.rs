//! Other people's age opens what dockseal seals, and dockseal what they seal, byte for byte.
//!
//! All that each of them can, by type of recipient; ▶ we seal and it opens, ◀ it seals and we open:
//!
//! | peer                        | X25519 | mlkem768x25519 | p256tag | mlkem768p256tag |
//! | ---                         | ---    | ---            | ---     | ---             |
//! | age 1.1.1, Go               | ▶ ◀    | cannot         | cannot  | cannot          |
//! | age 1.3, Go                 | ▶ ◀    | ▶ ◀            | ▶ ◀     | ◀               |
//! | pyrage 1.4, Rust (as rage)  | ▶ ◀    | cannot         | ◀       | ◀               |
//! | age-encryption 0.3, npm     | ▶ ◀    | ▶ ◀            | ◀       | ◀               |
//! | our second reader, Python   | ▶      | ▶              | cannot  | cannot          |
//!
//! The columns of tags are in `plugins.rs`: such keys are in hardware, so that only a plugin opens
//! them, for age as for us, and age's own `age-plugin-tagtest` is the only one without hardware.
//! We do not seal to mlkem768p256tag (docs/format.md §3.4). The second reader is in
//! `clip_vectors.rs`. rage itself is not here: pyrage is the same crate, and building rage takes
//! minutes; by hand it gave the same.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use dockseal::envelope::manifest::{Manifest, Name, VERSION};
use dockseal::envelope::recipient::Recipients;
use dockseal::envelope::seal::{Sealed, seal};
use rand_core::UnwrapErr;

use crate::support::peers::{Keys, Peer, classic_keys, hybrid_keys, sha256_opened, try_open};
use crate::support::tools::needs;
use crate::support::{authority, peers, scratch, sha256};

/// Empty, tiny, and one byte around the ends of chunks of 64 KiB.
pub const SIZES: [usize; 8] = [0, 1, 65_535, 65_536, 65_537, 131_072, (1 << 20) + 3, 100_000_000];

/// Seals a file to one recipient, with a manifest as the dock writes it.
pub fn seal_file(clip: &Path, sealed: &Path, keys: &Keys) -> Sealed {
    seal_file_to(clip, sealed, &[&keys.recipient])
}

/// As [`seal_file`], to several.
pub fn seal_file_to(clip: &Path, sealed: &Path, recipients: &[&str]) -> Sealed {
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let recipients = recipients.iter().map(|text| text.parse().unwrap()).collect();
    let recipients = Recipients::new(recipients).unwrap();
    let manifest = Manifest {
        version: VERSION,
        dock: "test-dock-1".into(),
        name: Name::from_path(Path::new(clip.file_name().unwrap())),
        folder: Name::Text("camera-7/2026-11-21".into()),
        camera: Some("camera-7".into()),
        size_bytes: clip.metadata().unwrap().len(),
        modified: jiff::Timestamp::UNIX_EPOCH,
        sealed: jiff::Timestamp::UNIX_EPOCH,
        commitment_salt: Manifest::new_salt(rng),
        more: serde_json::Map::new(),
    };
    let mut source = BufReader::new(File::open(clip).unwrap());
    let mut out = BufWriter::new(File::create_new(sealed).unwrap());
    let done = seal(&mut source, &mut out, &recipients, &manifest, rng).unwrap();
    out.flush().unwrap();
    assert_eq!(done.name.to_string(), sha256(sealed));
    done
}

/// Both ways, at every size.
fn open_each_other(peer: Peer, keys: &Keys) {
    for size in SIZES {
        // Each size its own folder: 100 MB three times are enough.
        let dir = scratch();
        let clip = dir.path().join(format!("{size}.mp4"));
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        std::fs::write(&clip, bytes).unwrap();
        let original = sha256(&clip);
        let ours = dir.path().join("ours.age");
        seal_file(&clip, &ours, keys);
        assert_eq!(sha256_opened(peer, keys, &ours), original, "{peer:?} opens {size} bytes");
        let theirs = dir.path().join("theirs.age");
        peers::encrypt(peer, &keys.recipient, &clip, &theirs);
        let opened = authority::sha256_opened(&keys.identity_file, &theirs);
        assert_eq!(opened, original, "{size} bytes of {peer:?}");
    }
}

#[test]
fn age_and_we_open_each_others_files() {
    needs!(Age);
    let dir = scratch();
    open_each_other(Peer::Age, &classic_keys(dir.path()));
}

#[test]
fn age_13_and_we_open_each_others_files() {
    needs!(Age, Age13);
    let dir = scratch();
    open_each_other(Peer::Age13, &classic_keys(dir.path()));
}

#[test]
fn age_13_and_we_open_each_others_post_quantum_files() {
    needs!(Age13, AgeEncryption);
    let dir = scratch();
    open_each_other(Peer::Age13, &hybrid_keys(dir.path()));
}

#[test]
fn pyrage_and_we_open_each_others_files() {
    needs!(Age, Pyrage);
    let dir = scratch();
    open_each_other(Peer::Pyrage, &classic_keys(dir.path()));
}

#[test]
fn age_encryption_and_we_open_each_others_files() {
    needs!(Age, AgeEncryption);
    let dir = scratch();
    open_each_other(Peer::AgeEncryption, &classic_keys(dir.path()));
}

#[test]
fn age_encryption_and_we_open_each_others_post_quantum_files() {
    needs!(AgeEncryption);
    let dir = scratch();
    open_each_other(Peer::AgeEncryption, &hybrid_keys(dir.path()));
}

#[test]
fn a_key_that_we_make_is_a_key_to_age_13() {
    needs!(Age13);
    let dir = scratch();
    for kind in ["--classic", "--"] {
        let file = dir.path().join(format!("{kind}.identity"));
        authority::finish(authority::program().arg("keygen").arg(kind).arg(&file)).expect_code(0);
        let keys = peers::keys(file);
        let clip = dir.path().join(format!("{kind}.mp4"));
        std::fs::write(&clip, b"clip").unwrap();
        let sealed = clip.with_extension("age");
        peers::encrypt(Peer::Age13, &keys.recipient, &clip, &sealed);
        assert_eq!(sha256_opened(Peer::Age13, &keys, &sealed), sha256(&clip));
        assert_eq!(authority::sha256_opened(&keys.identity_file, &sealed), sha256(&clip));
    }
}

#[test]
fn a_peer_refuses_a_sealed_clip_that_was_cut_or_changed() {
    needs!(Age, AgeEncryption);
    let dir = scratch();
    let keys = classic_keys(dir.path());
    let clip = dir.path().join("clip.mp4");
    std::fs::write(&clip, vec![7; 200_000]).unwrap();
    let sealed = dir.path().join("sealed.age");
    seal_file(&clip, &sealed, &keys);
    let good = std::fs::read(&sealed).unwrap();
    // At the end of a whole chunk: only the mark of the last one tells.
    let chunk_end = good.len() - (200_000 - 3 * 65_536 + 16);
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    for (number, bad) in [good[..chunk_end].to_vec(), changed].into_iter().enumerate() {
        let path = dir.path().join(format!("bad-{number}.age"));
        std::fs::write(&path, bad).unwrap();
        for peer in [Peer::Age, Peer::AgeEncryption] {
            let opened = dir.path().join(format!("opened-{number}-{peer:?}"));
            assert!(try_open(peer, &keys, &path, &opened).is_err(), "{peer:?} took {number}");
        }
    }
}

#[test]
fn a_large_clip_opens_in_both_worlds() {
    needs!(Age, AgeEncryption, Ffmpeg);
    let dir = scratch();
    let clip = crate::support::clips::clip(300, "peers");
    let original = sha256(&clip);
    for (peer, keys) in
        [(Peer::Age, classic_keys(dir.path())), (Peer::AgeEncryption, hybrid_keys(dir.path()))]
    {
        let sealed = dir.path().join(format!("{peer:?}.age"));
        seal_file(&clip, &sealed, &keys);
        assert_eq!(sha256_opened(peer, &keys, &sealed), original, "{peer:?}");
    }
}
