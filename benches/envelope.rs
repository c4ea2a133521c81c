//! Sealing and opening in memory, by size and type of recipient: `cargo bench`.
//!
//! Whole programs, a disk and our peers are timed by `bench/envelope`. Here the question is which
//! part of the envelope got slower. `cargo bench -- seal` takes those whose names have `seal`.

use std::hint::black_box;
use std::io::{Cursor, Read, Seek, SeekFrom, sink};
use std::path::Path;

use divan::Bencher;
use divan::counter::BytesCount;
use dockseal::authority::identity::{Identities, Identity, Kind};
use dockseal::authority::open::{Opened, open};
use dockseal::authority::parallel::copy;
use dockseal::authority::seek::SeekReader;
use dockseal::envelope::header::Header;
use dockseal::envelope::manifest::{Manifest, Name, VERSION};
use dockseal::envelope::recipient::{Recipient, Recipients};
use dockseal::envelope::seal::seal;
use rand_core::UnwrapErr;

/// A sidecar, a clip that is just sealed on three threads, and one that keeps them busy.
const SIZES: [usize; 3] = [4 << 10, 1 << 20, 64 << 20];

/// As many as an authority has at most: a handful.
const RECIPIENT_COUNTS: [usize; 2] = [1, 8];

/// What `age-plugin-tagtest` opens, a stand-in for a hardware key.
const TAG_RECIPIENT: &str = "age1tag1qwe0kafsjrar4txm6heqnhpfuggzr0gvznz7fvygxrlq90u5mq2pysxtw6h";

fn main() {
    divan::main();
}

fn new_identity(kind: Kind) -> Identity {
    Identity::generate(kind, &mut UnwrapErr(getrandom::SysRng))
}

fn recipients(kind: Kind, count: usize) -> Recipients {
    let recipients = (0..count).map(|_| new_identity(kind).recipient().clone()).collect();
    Recipients::new(recipients).expect("of one kind, none twice")
}

fn manifest(size: usize) -> Manifest {
    Manifest {
        version: VERSION,
        dock: "hannover-hbf-03".into(),
        name: Name::from_path(Path::new("20261118_104640.mp4")),
        folder: Name::from_path(Path::new("cam-17/20261118")),
        camera: Some("cam-17".into()),
        size_bytes: size as u64,
        modified: jiff::Timestamp::UNIX_EPOCH,
        sealed: jiff::Timestamp::UNIX_EPOCH,
        commitment_salt: Manifest::new_salt(&mut UnwrapErr(getrandom::SysRng)),
        more: serde_json::Map::new(),
    }
}

fn bench_seal(bencher: Bencher<'_, '_>, size: usize, recipients: &Recipients) {
    let (clip, manifest) = (vec![7; size], manifest(size));
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let mut out = sink();
        let done = seal(&mut clip.as_slice(), &mut out, recipients, &manifest, rng);
        black_box(done.expect("memory does not change").name)
    });
}

#[divan::bench(args = SIZES)]
fn seal_mlkem768x25519(bencher: Bencher<'_, '_>, size: usize) {
    bench_seal(bencher, size, &recipients(Kind::PostQuantum, 1));
}

#[divan::bench(args = SIZES)]
fn seal_p256tag(bencher: Bencher<'_, '_>, size: usize) {
    let recipient: Recipient = TAG_RECIPIENT.parse().expect("valid");
    bench_seal(bencher, size, &Recipients::new(vec![recipient]).expect("one"));
}

#[divan::bench(args = SIZES)]
fn seal_x25519(bencher: Bencher<'_, '_>, size: usize) {
    bench_seal(bencher, size, &recipients(Kind::Classic, 1));
}

/// What a clip costs whatever its size: keys, stanzas, manifest and MAC.
#[divan::bench(args = RECIPIENT_COUNTS)]
fn seal_empty_mlkem768x25519(bencher: Bencher<'_, '_>, count: usize) {
    bench_seal(bencher, 0, &recipients(Kind::PostQuantum, count));
}

#[divan::bench(args = RECIPIENT_COUNTS)]
fn seal_empty_x25519(bencher: Bencher<'_, '_>, count: usize) {
    bench_seal(bencher, 0, &recipients(Kind::Classic, count));
}

/// A sealed clip, and who opens it.
fn sealed(kind: Kind, size: usize) -> (Vec<u8>, Identities) {
    let identity = new_identity(kind);
    let recipients = Recipients::new(vec![identity.recipient().clone()]).expect("one");
    let (clip, mut file) = (vec![7; size], Vec::new());
    let rng = &mut UnwrapErr(getrandom::SysRng);
    seal(&mut clip.as_slice(), &mut file, &recipients, &manifest(size), rng).expect("memory");
    (file, Identities::one(identity))
}

/// As `dockseal-authority open`: on all cores, with the digests of clip and file.
fn bench_open(bencher: Bencher<'_, '_>, size: usize, kind: Kind) {
    let (file, identities) = sealed(kind, size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let (_, payload) = open(file.as_slice(), &identities).expect("sealed to it");
        let copied = copy(payload, &mut sink(), &mut |_| {}).expect("intact");
        assert_eq!(copied.plaintext.size_bytes, size as u64);
    });
}

#[divan::bench(args = SIZES)]
fn open_mlkem768x25519(bencher: Bencher<'_, '_>, size: usize) {
    bench_open(bencher, size, Kind::PostQuantum);
}

#[divan::bench(args = SIZES)]
fn open_x25519(bencher: Bencher<'_, '_>, size: usize) {
    bench_open(bencher, size, Kind::Classic);
}

/// What `list` does for each object of a bucket.
#[divan::bench]
fn open_header_mlkem768x25519(bencher: Bencher<'_, '_>) {
    let (file, identities) = sealed(Kind::PostQuantum, 0);
    bencher.bench_local(|| {
        let header = Header::read(&mut file.as_slice()).expect("our own");
        Opened::from_header(&header, &identities).expect("sealed to it")
    });
}

/// The last MiB of a clip, as `open --bytes` reads it.
#[divan::bench]
fn open_last_mib(bencher: Bencher<'_, '_>) {
    let (file, identities) = sealed(Kind::Classic, 64 << 20);
    let mut part = vec![0; 1 << 20];
    bencher.counter(BytesCount::new(part.len())).bench_local(|| {
        let source = Cursor::new(file.as_slice());
        let (_, mut reader) = SeekReader::open(source, &identities).expect("sealed to it");
        reader.seek(SeekFrom::End(-(1 << 20))).expect("the end verifies");
        reader.read_exact(&mut part).expect("intact");
    });
}
