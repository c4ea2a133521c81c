//! A log of many entries: audited in bounded memory and time.

use std::process::Command;
use std::time::Instant;

use dockseal::clip::{SealedName, Timestamp};
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::{Entry, Event, ReceiptLine};
use dockseal::custody::merkle::{Frontier, Hash, leaf_hash};
use dockseal::custody::tile::{LEVEL_COUNT, WIDTH, encode_bundle, encode_tile, perfect_root};
use dockseal::custody::{Head, LogId, folder};
use dockseal::note::Kind;
use sha2::{Digest, Sha256};

use super::{Auditor, text};
use crate::support::dock::Finished;
use crate::support::ledger::{Objects, Place, clip_key, keyring_text, signer};
use crate::support::scratch;
use crate::support::tools::{Tool, needs};

/// Entries of the test; `DOCKSEAL_LOG_ENTRIES` asks for another number, to measure.
/// A million, with 250,000 clips, took 13.8 s and 79 MiB in a debug build, on two busy cores.
const ENTRY_COUNT: u64 = 100_000;
/// Peak memory of the auditor, whatever the number of entries up to a million.
const MEMORY_KIB_MAX: u64 = 256 << 10;

/// Writes a log of `count` entries, of which three in four are of clips sealed and stored, clip
/// objects included; those are empty, and of the size that their entries say.
fn write_log(place: &Place, count: u64) {
    let Place::Folder(root) = place else { panic!("a folder") };
    let log = LogId([7; 8]);
    let origin = folder("d-1", log);
    let begin = jiff::Timestamp::now().as_millisecond() - count as i64 * 10;
    let mut objects = Objects::new();
    let (mut frontier, mut bundle) = (Frontier::default(), Vec::new());
    let mut levels = vec![Vec::<Hash>::new(); LEVEL_COUNT as usize];
    let mut indexes = [0u64; LEVEL_COUNT as usize];
    for index in 0..count {
        let entry = Entry::new(Timestamp(begin + index as i64 * 10), event(index, &mut objects));
        let bytes = entry.encode();
        frontier.push(leaf_hash(&bytes));
        let mut hash = leaf_hash(&bytes);
        bundle.push(bytes);
        for level in 0..LEVEL_COUNT as usize {
            levels[level].push(hash);
            let is_full = levels[level].len() as u64 == WIDTH;
            if is_full || index + 1 == count {
                write_piece(&mut objects, &origin, level, indexes[level], &levels[level], &bundle);
                if level == 0 {
                    bundle.clear();
                }
            }
            if !is_full {
                // What is above is partial too; it is written where the log ends.
                if index + 1 == count {
                    for above in level + 1..LEVEL_COUNT as usize {
                        let hashes = &levels[above];
                        if !hashes.is_empty() {
                            write_piece(&mut objects, &origin, above, indexes[above], hashes, &[]);
                        }
                    }
                }
                break;
            }
            hash = perfect_root(&levels[level]);
            levels[level].clear();
            indexes[level] += 1;
        }
        if objects.len() > 10_000 || index + 1 == count {
            write_all(root.path(), std::mem::take(&mut objects));
        }
    }
    let head = Head { log, size: count, root: frontier.root() };
    let note = Checkpoint::new("d-1", head).sign(&signer("d-1", Kind::Note, 11)).to_string();
    objects.insert(format!("{origin}/checkpoints/{count}"), note.into_bytes());
    objects.insert("keyrings/1".into(), keyring_text().into_bytes());
    write_all(root.path(), objects);
}

fn event(index: u64, objects: &mut Objects) -> Event {
    let clip = SealedName(Sha256::digest((index / 4).to_le_bytes()).into());
    match index % 4 {
        _ if index == 0 => {
            Event::Started { dock: "d-1".into(), dockseal: "0.1.0".into(), previous: None }
        }
        1 => {
            objects.insert(clip_key("d-1", clip), vec![0]);
            let number = index as i64;
            Event::Sealed { clip, number, size: 1, commitment: clip, keyring: Some(1) }
        }
        2 => {
            let receipt = ReceiptLine { bucket: "primary".into(), evidence: "read-back".into() };
            Event::Stored { clip, receipts: vec![receipt] }
        }
        3 => Event::Erased { clip, plaintext_seconds: 9 },
        _ => Event::Alive,
    }
}

fn write_piece(
    objects: &mut Objects,
    origin: &str,
    level: usize,
    index: u64,
    hashes: &[Hash],
    bundle: &[Vec<u8>],
) {
    use dockseal::custody::tile::{Holds, Piece};
    let width = hashes.len() as u64;
    let tile = Piece { holds: Holds::Hashes(level as u32), index, width };
    objects.insert(format!("{origin}/{}", tile.path()), encode_tile(hashes));
    if level == 0 {
        let entries = Piece { holds: Holds::Entries, ..tile };
        let bytes = encode_bundle(bundle.iter().map(Vec::as_slice));
        objects.insert(format!("{origin}/{}", entries.path()), bytes);
    }
}

fn write_all(root: &std::path::Path, objects: Objects) {
    for (key, bytes) in objects {
        let path = root.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_long_log_is_audited_in_bounded_memory() {
    needs!(Time);
    let count = std::env::var("DOCKSEAL_LOG_ENTRIES").ok().and_then(|text| text.parse().ok());
    let count = count.unwrap_or(ENTRY_COUNT);
    let (auditor, place) = (Auditor::new(), Place::Folder(scratch()));
    write_log(&place, count);
    let mut command = Command::new(Tool::Time.path());
    command.args(["-f", "peak %M KiB", env!("CARGO_BIN_EXE_dockseal-audit")]).arg(place.url());
    command.args(["--keyring", text(&auditor.path("keyring")), "--sample", "0", "--json"]);
    let started = Instant::now();
    let said = Finished::new(command.output().unwrap());
    let wall = started.elapsed();
    let report = said.json();
    let dock = &report["buckets"][0]["docks"][0];
    assert_eq!(dock["logs"][0]["size"], count);
    assert_eq!(dock["logs"][0]["is_whole"], true);
    assert_eq!(dock["stored_count"], dock["object_count"]);
    let tampering = said.stdout.matches("\"tampering\"").count();
    assert_eq!((tampering, said.code), (0, 3), "only d-2 is silent:\n{}", said.stdout);
    let peak = said.stderr.rsplit("peak ").next().and_then(|rest| rest.split(' ').next());
    let peak_kib: u64 = peak.unwrap().parse().unwrap();
    let line =
        format!("{count} entries: {:.1} s, peak {} MiB\n", wall.as_secs_f64(), peak_kib >> 10);
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    assert!(peak_kib <= MEMORY_KIB_MAX, "{peak_kib} KiB");
}
