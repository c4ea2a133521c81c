//! The bucket of the vectors: two logs of one dock, with their clips.

use dockseal::clip::{SealedName, Timestamp};
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::{Entry, Event, ReceiptLine};
use dockseal::custody::merkle::{Frontier, Hash, Hashes, leaf_hash};
use dockseal::custody::tile::{Holds, Piece, TileHashes, WIDTH, encode_bundle, encode_tile};
use dockseal::custody::tile::{perfect_root, pieces_between};
use dockseal::custody::{Head, LogId, folder};
use dockseal::note::SignerKey;
use sha2::{Digest, Sha256};

use super::{BEGIN_MS, DOCK, Files, dock, keyring, signed, witness};

/// The log that the queue began with; it was lost.
pub const FIRST: LogId = LogId([0xa0; 8]);
/// The one that goes on from there.
pub const SECOND: LogId = LogId([0xb0; 8]);
/// The sizes of the second log at which it was signed.
pub const SIZES: [u64; 5] = [1, 3, 17, 256, 300];
/// Seconds between two entries.
const STEP_SECONDS: u64 = 300;

/// A log in memory: its entries, and the hashes of each level of tiles.
pub struct Log {
    pub id: LogId,
    pub entries: Vec<Vec<u8>>,
    levels: Vec<Vec<Hash>>,
}

impl Log {
    pub fn new(id: LogId, entries: Vec<Vec<u8>>) -> Log {
        let mut levels: Vec<Vec<Hash>> = vec![entries.iter().map(|e| leaf_hash(e)).collect()];
        while levels.last().unwrap().len() as u64 >= WIDTH {
            let full = levels.last().unwrap().as_chunks::<{ WIDTH as usize }>().0;
            levels.push(full.iter().map(|tile| perfect_root(tile)).collect());
        }
        Log { id, entries, levels }
    }

    pub fn head(&self, size: u64) -> Head {
        let mut frontier = Frontier::default();
        self.levels[0][..size as usize].iter().for_each(|leaf| frontier.push(*leaf));
        Head { log: self.id, size, root: frontier.root() }
    }

    fn piece(&self, piece: Piece) -> Vec<u8> {
        let range = (piece.index * WIDTH) as usize..(piece.index * WIDTH + piece.width) as usize;
        match piece.holds {
            Holds::Entries => encode_bundle(self.entries[range].iter().map(Vec::as_slice)),
            Holds::Hashes(level) => encode_tile(&self.levels[level as usize][range]),
        }
    }

    pub fn hashes(&self, size: u64) -> impl Hashes<Error = std::convert::Infallible> {
        TileHashes::new(size, |tile: Piece| {
            let Holds::Hashes(level) = tile.holds else { panic!("only hashes are asked for") };
            let from = (tile.index * WIDTH) as usize;
            Ok(self.levels[level as usize][from..from + tile.width as usize].to_vec())
        })
    }

    /// What a publisher creates that signs at these sizes.
    pub fn publish(&self, dock: &str, key: &SignerKey, sizes: &[u64]) -> Files {
        let folder = folder(dock, self.id);
        let (mut files, mut old) = (Files::new(), 0);
        for size in sizes {
            for piece in pieces_between(old, *size) {
                files.insert(format!("{folder}/{}", piece.path()), self.piece(piece));
            }
            let mut note = Checkpoint::new(dock, self.head(*size)).sign(key);
            if *size == 300 {
                note.cosign(&witness(), (BEGIN_MS / 1000) as u64 + 300 * STEP_SECONDS);
            }
            let note = note.to_string().into_bytes();
            files.insert(format!("{folder}/checkpoints/{size}"), note.clone());
            files.insert(format!("{folder}/checkpoint"), note);
            old = *size;
        }
        files
    }
}

/// The events as entries, one every five minutes.
fn encode(events: Vec<Event>, begin: i64) -> Vec<Vec<u8>> {
    let times = (0..).map(|index| Timestamp(begin).plus_seconds(STEP_SECONDS * index));
    let entries = events.into_iter().zip(times).map(|(event, at)| Entry::new(at, event));
    entries.map(|entry| entry.encode()).collect()
}

pub fn first() -> Log {
    let started = Event::Started { dock: DOCK.into(), dockseal: "0.1.0".into(), previous: None };
    let events = vec![started, named_keyring(), Event::Alive, Event::Alive, Event::Alive];
    Log::new(FIRST, encode(events, BEGIN_MS - 3_600_000))
}

pub fn second() -> Log {
    Log::new(SECOND, encode(events(), BEGIN_MS))
}

fn named_keyring() -> Event {
    Event::Keyring { revision: 1, sha256: SealedName(keyring(1).sha256()) }
}

/// A log knows clips by digest and size alone, so a line of text stands in for each.
pub fn clip(number: i64) -> Vec<u8> {
    format!("stands in for sealed clip {number} of the vectors\n").into_bytes()
}

pub fn name(number: i64) -> SealedName {
    SealedName(Sha256::digest(clip(number)).into())
}

pub fn clip_path(number: i64) -> String {
    let name = name(number).to_string();
    format!("{DOCK}/clips/{}/{name}.age", &name[..2])
}

pub fn sealed(number: i64) -> Event {
    Event::Sealed {
        clip: name(number),
        number,
        size: clip(number).len() as u64,
        commitment: SealedName(Sha256::digest(format!("commitment {number}")).into()),
        keyring: Some(1),
    }
}

fn stored(number: i64) -> Event {
    let receipt = |bucket: &str, evidence: &str| ReceiptLine {
        bucket: bucket.into(),
        evidence: evidence.into(),
    };
    let receipts = vec![receipt("primary", "digest-checked"), receipt("second", "read-back")];
    Event::Stored { clip: name(number), receipts }
}

fn erased(number: i64) -> Event {
    Event::Erased { clip: name(number), plaintext_seconds: 1234 }
}

/// Whose sealed file is in no bucket: it was damaged before.
const DAMAGED: i64 = 99;

/// What happens to the clips one after the other; every kind of event occurs.
fn life(number: i64) -> Vec<Event> {
    let held = |reason: &str, bucket: Option<&str>| Event::Held {
        number,
        reason: reason.into(),
        bucket: bucket.map(Into::into),
    };
    match number {
        2 => vec![sealed(2), stored(2), Event::Gone { clip: name(2) }],
        3 => {
            let damaged = Event::Damaged { clip: name(DAMAGED) };
            vec![sealed(DAMAGED), damaged, sealed(3), stored(3), erased(3)]
        }
        4 => {
            let refused = held("bucket-refused", Some("primary"));
            vec![sealed(4), refused, stored(4), Event::Changed { clip: name(4) }]
        }
        5 => vec![held("vanished", None), Event::Forgotten { number }],
        _ => vec![sealed(number), stored(number), erased(number)],
    }
}

fn events() -> Vec<Event> {
    let previous = Some(first().head(5).into());
    let started = Event::Started { dock: DOCK.into(), dockseal: "0.1.0".into(), previous };
    let mut events = vec![started, Event::Acknowledged, named_keyring()];
    for number in 1..=10 {
        events.extend(life(number));
        events.resize(30 * number as usize, Event::Alive);
    }
    events[299] = Event::Closed;
    events
}

pub fn bucket() -> Files {
    let mut files = first().publish(DOCK, &dock(), &[2, 5]);
    files.extend(second().publish(DOCK, &dock(), &SIZES));
    for number in (1..=10).filter(|number| *number != 5) {
        files.insert(clip_path(number), clip(number));
    }
    for name in ["keyring", "keyrings/1"] {
        files.insert(name.into(), signed(&keyring(1)).into_bytes());
    }
    files
}
