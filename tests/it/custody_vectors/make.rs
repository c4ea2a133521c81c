//! Makes the vectors of the custody log again from their seeds, all files of them.

mod cases;
mod log;

use std::collections::BTreeMap;

use dockseal::keyring::{Days, Enrolled, Keyring, Member, Role};
use dockseal::note::{Kind, SignerKey};
use serde_json::{Value, json};

/// Files by their paths beneath a folder.
pub type Files = BTreeMap<String, Vec<u8>>;

pub const DOCK: &str = "hannover-hbf-03";
pub const OTHER_DOCK: &str = "leipzig-01";
const CLASSIC: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
const OTHER: &str = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z";
/// 2026-11-21T06:00:00Z.
const BEGIN_MS: i64 = 1_795_240_800_000;

pub fn root() -> SignerKey {
    key("bpol.example", Kind::Note, 1)
}

fn successor() -> SignerKey {
    key("bpol.example", Kind::Note, 2)
}

fn dock() -> SignerKey {
    key(DOCK, Kind::Note, 3)
}

fn witness() -> SignerKey {
    key("witness.example/w1", Kind::Cosignature, 5)
}

/// Somebody who calls himself as the dock does.
fn stranger() -> SignerKey {
    key(DOCK, Kind::Note, 6)
}

fn key(name: &str, kind: Kind, seed: u8) -> SignerKey {
    SignerKey::from_seed(name, kind, &[seed; 32]).unwrap()
}

fn days(from: &str, until: &str) -> Days {
    Days { from: from.parse().unwrap(), until: until.parse().unwrap() }
}

fn member(role: &str, days: Option<Days>, recipient: &str) -> Member {
    Member { role: Role::new(role).unwrap(), days, recipient: recipient.parse().unwrap() }
}

fn keyring(revision: u64) -> Keyring {
    let days = days("2026-11-21", "2027-11-21");
    Keyring {
        authority: root().verifier(),
        revision,
        issued: "2026-11-20T09:00:00Z".parse().unwrap(),
        expires: "2027-11-21".parse().unwrap(),
        retention_days: 180,
        members: vec![member("evidence", None, CLASSIC)],
        docks: vec![
            Enrolled { key: dock().verifier(), days },
            Enrolled { key: key(OTHER_DOCK, Kind::Note, 4).verifier(), days },
        ],
        successor: None,
    }
}

/// Another one with the same revision.
fn fork() -> Keyring {
    Keyring { retention_days: 30, ..keyring(1) }
}

fn signed(keyring: &Keyring) -> String {
    keyring.sign(&root()).unwrap().to_string()
}

/// Everything in `tests/vectors/custody`.
pub fn files() -> Files {
    let mut files = Files::new();
    let bucket = log::bucket();
    let buckets = cases::buckets(&bucket, &mut files);
    write(&mut files, "buckets.json", buckets);
    write(&mut files, "proofs.json", cases::proofs());
    write(&mut files, "keys.json", cases::keys());
    write(&mut files, "entries.json", cases::entries());
    write(&mut files, "paths.json", cases::paths());
    let notes = cases::notes(&mut files);
    write(&mut files, "notes.json", notes);
    let keyrings = cases::keyrings(&mut files);
    write(&mut files, "keyrings.json", keyrings);
    files.extend(bucket.into_iter().map(|(path, bytes)| (format!("bucket/{path}"), bytes)));
    files
}

fn write(files: &mut Files, name: &str, cases: Vec<Value>) {
    let text = serde_json::to_string_pretty(&json!(cases)).unwrap() + "\n";
    files.insert(name.into(), text.into_bytes());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
