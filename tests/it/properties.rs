//! What must hold for every clip, set of recipients and flipped bit; proptest draws them.

use std::ffi::OsString;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use dockseal::authority::identity::{Identities, Identity, Kind};
use dockseal::authority::open::{ManifestFinding, OpenError, open};
use dockseal::authority::parallel::copy;
use dockseal::authority::payload::{PayloadError, payload_error};
use dockseal::authority::seek::SeekReader;
use dockseal::envelope::FileKey;
use dockseal::envelope::header::{Header, Stanza};
use dockseal::envelope::manifest::{Manifest, Name, VERSION};
use dockseal::envelope::recipient::{Recipient, Recipients};
use dockseal::envelope::seal::seal;
use dockseal::envelope::stream::{CHUNK_SIZE, PAYLOAD_NONCE_SIZE, SEALED_CHUNK_SIZE, payload_size};
use proptest::collection::vec;
use proptest::prelude::*;
use rand_core::UnwrapErr;
use sha2::{Digest, Sha256};

use crate::plugins::TAG_RECIPIENT;

/// How many of each are drawn: a few seconds in a debug build.
const CASES: u32 = 48;

/// The eight chunks that are sealed on one thread, and twice as many: three blocks on their way.
const CHUNK_COUNT_MAX: usize = 18;

fn any_size() -> impl Strategy<Value = usize> {
    let border = (0..=CHUNK_COUNT_MAX, -2..=2isize)
        .prop_map(|(chunks, by)| (chunks * CHUNK_SIZE).saturating_add_signed(by));
    prop_oneof![2 => border, 1 => 0..CHUNK_COUNT_MAX * CHUNK_SIZE, 1 => 0..100usize]
}

/// The identities, and how many hardware keys stand between them, which are only sealed to.
fn any_identities() -> impl Strategy<Value = (Kind, usize, usize)> {
    let kind = prop_oneof![Just(Kind::Classic), Just(Kind::PostQuantum)];
    (kind, 1..4usize, 0..2usize)
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8).collect()
}

fn manifest(size: usize) -> Manifest {
    let rng = &mut UnwrapErr(getrandom::SysRng);
    Manifest {
        version: VERSION,
        dock: "test-dock-1".into(),
        name: Name::from_path(Path::new("a.mp4")),
        folder: Name::from_path(Path::new("")),
        camera: None,
        size_bytes: size as u64,
        modified: jiff::Timestamp::UNIX_EPOCH,
        sealed: jiff::Timestamp::UNIX_EPOCH,
        commitment_salt: Manifest::new_salt(rng),
        more: serde_json::Map::new(),
    }
}

fn new_identity(kind: Kind) -> Identity {
    Identity::generate(kind, &mut UnwrapErr(getrandom::SysRng))
}

fn sealed(clip: &[u8], recipients: Vec<Recipient>, manifest: &Manifest) -> Vec<u8> {
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let recipients = Recipients::new(recipients).unwrap();
    let mut file = Vec::new();
    let done = seal(&mut &*clip, &mut file, &recipients, manifest, rng).unwrap();
    assert_eq!(done.name.0, <[u8; 32]>::from(Sha256::digest(&file)));
    file
}

/// A clip for one identity.
fn sealed_for_one(size: usize, kind: Kind) -> (Vec<u8>, Vec<u8>, Identities) {
    let identity = new_identity(kind);
    let clip = bytes(size);
    let file = sealed(&clip, vec![identity.recipient().clone()], &manifest(size));
    (clip, file, Identities::one(identity))
}

/// A bit of the `unit`-th part of a file, and where that is.
fn flip(file: &[u8], range: std::ops::Range<usize>, unit: f64, bit: u8) -> (Vec<u8>, usize) {
    let at = range.start + (unit * range.len() as f64) as usize;
    let mut bad = file.to_vec();
    bad[at] ^= 1 << bit;
    (bad, at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_identity_opens_what_was_sealed_to_all(
        size in any_size(),
        (kind, count, tag_count) in any_identities(),
    ) {
        let identities: Vec<_> = (0..count).map(|_| new_identity(kind)).collect();
        let mut recipients: Vec<_> = identities.iter().map(|it| it.recipient().clone()).collect();
        if kind == Kind::Classic {
            recipients.extend((0..tag_count).map(|_| TAG_RECIPIENT.parse().unwrap()));
            recipients.reverse();
        }
        let clip = bytes(size);
        let file = sealed(&clip, recipients, &manifest(size));
        for identity in identities {
            let identities = Identities::one(identity);
            let (opened, payload) = open(file.as_slice(), &identities).unwrap();
            let payload_at = opened.header_size_bytes;
            prop_assert_eq!(payload_at + payload_size(size as u64), file.len() as u64);
            prop_assert!(matches!(opened.manifest, ManifestFinding::Found(_)));
            let mut released = Vec::new();
            let copied = copy(payload, &mut released, &mut |_| {}).unwrap();
            prop_assert!(released == clip);
            prop_assert_eq!(copied.sealed_sha256, <[u8; 32]>::from(Sha256::digest(&file)));
        }
        let stranger = Identities::one(new_identity(kind));
        let refused = open(file.as_slice(), &stranger).err();
        let is_right = matches!(refused, Some(OpenError::NoIdentity { .. }));
        prop_assert!(is_right, "{refused:?}");
    }

    #[test]
    fn a_bit_of_the_header_is_refused_before_a_byte_is_out(
        unit in 0.0..1.0f64,
        bit in 0..8u8,
        is_classic: bool,
    ) {
        let kind = if is_classic { Kind::Classic } else { Kind::PostQuantum };
        let (_, file, identities) = sealed_for_one(3, kind);
        let header_size = file.len() - payload_size(3) as usize;
        let (bad, at) = flip(&file, 0..header_size, unit, bit);
        let ours_end = file.windows(4).position(|it| it == b"-> d").unwrap();
        let refused = open(bad.as_slice(), &identities).err();
        let is_right = match &refused {
            Some(OpenError::Header(_) | OpenError::Mac(_)) => true,
            // Only where the stanza with the file key is what was changed.
            Some(OpenError::NoIdentity { .. } | OpenError::Stanza(_)) => at < ours_end,
            Some(OpenError::Payload(_) | OpenError::Plugin(_)) | None => false,
        };
        prop_assert!(is_right, "bit {bit} of byte {at}: {refused:?}");
    }

    #[test]
    fn a_bit_of_the_payload_is_refused_at_its_chunk(
        size in any_size(),
        unit in 0.0..1.0f64,
        bit in 0..8u8,
    ) {
        let (clip, file, identities) = sealed_for_one(size, Kind::Classic);
        let header_size = file.len() - payload_size(size as u64) as usize;
        let (bad, at) = flip(&file, header_size..file.len(), unit, bit);
        // Another nonce is another key: then the first chunk does not verify.
        let chunk = (at - header_size).saturating_sub(PAYLOAD_NONCE_SIZE) / SEALED_CHUNK_SIZE;
        let input = BufReader::with_capacity(1000, bad.as_slice());
        let (_, mut payload) = open(input, &identities).unwrap();
        let mut released = Vec::new();
        let error = payload.read_to_end(&mut released).expect_err("a bit is another");
        let found = payload_error(&error);
        let is_right =
            matches!(found, Some(PayloadError::Tampered { chunk: at }) if *at == chunk as u64);
        prop_assert!(is_right, "byte {at} of {size}: {error}");
        prop_assert!(released == clip[..chunk * CHUNK_SIZE]);
        // On several cores and from the middle: the same refusal, no other byte.
        let (_, payload) = open(bad.as_slice(), &identities).unwrap();
        let mut released = Vec::new();
        let copied = copy(payload, &mut released, &mut |_| {});
        prop_assert!(copied.is_err());
        prop_assert!(clip.starts_with(&released) && released.len() <= chunk * CHUNK_SIZE);
        let (_, mut reader) = SeekReader::open(Cursor::new(&bad), &identities).unwrap();
        reader.seek(SeekFrom::Start((chunk * CHUNK_SIZE) as u64)).unwrap();
        // An empty clip has no byte to read: its end is what does not verify.
        prop_assert!(reader.read(&mut [0]).is_err());
    }

    #[test]
    fn a_part_is_that_part_of_the_clip(
        size in any_size(),
        parts in vec((0.0..1.1f64, 0..200_000usize), 1..6),
    ) {
        let (clip, file, identities) = sealed_for_one(size, Kind::Classic);
        let (_, mut reader) = SeekReader::open(Cursor::new(&file), &identities).unwrap();
        for (begin, part_size) in parts {
            let begin = (begin * size as f64) as usize;
            reader.seek(SeekFrom::Start(begin as u64)).unwrap();
            let mut part = Vec::new();
            (&mut reader).take(part_size as u64).read_to_end(&mut part).unwrap();
            let expected = &clip[begin.min(size)..(begin + part_size).min(size)];
            prop_assert!(part == expected, "{} bytes at {}", part_size, begin);
        }
    }

    #[test]
    fn a_manifest_comes_back_whatever_a_file_system_names(
        name in vec(any::<u8>(), 1..255),
        folder in vec(any::<u8>(), 0..3000),
        camera in proptest::option::of(".{0,40}"),
        (modified, size) in (any::<i64>(), 0..1000usize),
    ) {
        let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
        let identity = new_identity(Kind::Classic);
        let manifest = Manifest {
            name: Name::from_path(&path(name.clone())),
            folder: Name::from_path(&path(folder)),
            camera,
            modified: jiff::Timestamp::from_nanosecond(modified.into()).unwrap(),
            ..manifest(size)
        };
        let file = sealed(&bytes(size), vec![identity.recipient().clone()], &manifest);
        let (opened, _) = open(file.as_slice(), &Identities::one(identity)).unwrap();
        prop_assert_eq!(manifest.name.to_path(), Some(path(name)));
        prop_assert_eq!(opened.manifest, ManifestFinding::Found(Box::new(manifest)));
    }
}

fn any_stanza() -> impl Strategy<Value = Stanza> {
    let word = || "[!-~]{1,80}";
    (word(), vec(word(), 0..4), vec(any::<u8>(), 0..200)).prop_map(|(kind, args, body)| Stanza {
        kind,
        args,
        body,
    })
}

/// What means something in a header, or must not be there.
const LETTERS: &[u8] = b"\n\r ->=Aw0/~\x7f";

/// One change of a text.
fn change(text: &mut Vec<u8>, (unit, letter, how): (f64, u8, u8)) {
    let at = (unit * text.len() as f64) as usize;
    match how {
        0 => text[at] = letter,
        1 => text.insert(at, letter),
        _ => drop(text.remove(at)),
    }
}

proptest! {
    // No key is made here: more of them cost nothing.
    #![proptest_config(ProptestConfig::with_cases(40 * CASES))]

    #[test]
    fn a_header_has_one_spelling(
        stanzas in vec(any_stanza(), 1..5),
        changes in vec((0.0..1.0f64, prop::sample::select(LETTERS.to_vec()), 0..3u8), 1..4),
    ) {
        let key = FileKey::generate(&mut UnwrapErr(getrandom::SysRng));
        let header = Header::new(stanzas, &key);
        let good = header.encode();
        let mut input = Cursor::new([good.as_slice(), b"payload"].concat());
        let read = Header::read(&mut input).unwrap();
        prop_assert_eq!(input.position(), good.len() as u64);
        prop_assert_eq!(&read, &header);
        prop_assert_eq!(read.encode(), good.as_slice());
        let mut other = good.clone();
        changes.into_iter().for_each(|it| change(&mut other, it));
        let mut input = Cursor::new(&other);
        if let Ok(read) = Header::read(&mut input) {
            let consumed = &other[..input.position() as usize];
            prop_assert_eq!(read.encode(), consumed);
            // The MAC is of this spelling: another one does not verify.
            prop_assert_eq!(read.verify(&key).is_ok(), consumed == good);
        }
    }
}
