//! A dock in a few lines: seals clips into a folder bucket, and keeps a log of them there.

use std::path::{Path, PathBuf};

use dockseal::clip::{SealedName, Timestamp};
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::{Entry, Event};
use dockseal::custody::merkle::{Frontier, Hash, leaf_hash};
use dockseal::custody::tile::{
    Holds, WIDTH, encode_bundle, encode_tile, perfect_root, pieces_between,
};
use dockseal::custody::{Head, LogId, folder};
use dockseal::envelope::manifest::{Manifest, Name};
use dockseal::envelope::recipient::Recipients;
use dockseal::envelope::seal::seal;
use dockseal::note::{Kind, SignerKey, VerifierKey};
use rand_core::UnwrapErr;

/// 2026-11-21T09:00:00Z, when the first clip is sealed; each next one a minute later.
pub const BEGIN: i64 = 1_795_251_600;

/// A dock and its log in a folder bucket.
pub struct MiniLog {
    bucket: PathBuf,
    dock: String,
    key: SignerKey,
    log: LogId,
    pub entries: Vec<Vec<u8>>,
}

/// A sealed clip, and the entry that tells of it.
pub struct Clip {
    pub name: SealedName,
    pub path: PathBuf,
    pub entry: Entry,
}

impl MiniLog {
    pub fn new(bucket: &Path, dock: &str, seed: u8) -> MiniLog {
        let key = SignerKey::from_seed(dock, Kind::Note, &[seed; 32]).expect("a name");
        let log = LogId([seed; 8]);
        MiniLog { bucket: bucket.to_owned(), dock: dock.to_owned(), key, log, entries: vec![] }
    }

    pub fn verifier(&self) -> VerifierKey {
        self.key.verifier()
    }

    pub fn folder(&self) -> PathBuf {
        self.bucket.join(folder(&self.dock, self.log))
    }

    /// Seals a clip into the bucket, as anybody with the recipients can, and logs nothing.
    pub fn forge(&self, recipients: &Recipients, name: &str, clip: &[u8]) -> Clip {
        let rng = &mut UnwrapErr(getrandom::SysRng);
        let seconds = BEGIN + 60 * self.entries.len() as i64;
        let sealed = jiff::Timestamp::from_second(seconds).expect("in range");
        let manifest = Manifest {
            version: 1,
            dock: self.dock.clone(),
            name: Name::from_path(Path::new(name)),
            folder: Name::Text(String::new()),
            camera: None,
            size_bytes: clip.len() as u64,
            modified: sealed,
            sealed,
            commitment_salt: Manifest::new_salt(rng),
            more: serde_json::Map::new(),
        };
        let mut file = Vec::new();
        let done = seal(&mut &*clip, &mut file, recipients, &manifest, rng).expect("sealed");
        let digits = done.name.to_string();
        let folder = self.bucket.join(&self.dock).join("clips").join(&digits[..2]);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{digits}.age"));
        std::fs::write(&path, file).unwrap();
        let event = Event::Sealed {
            clip: done.name,
            number: self.entries.len() as i64,
            size: done.size_bytes,
            commitment: SealedName(done.commitment),
            keyring: Some(1),
        };
        let entry = Entry::new(Timestamp(seconds * 1000), event);
        Clip { name: done.name, path, entry }
    }

    /// Seals a clip, and logs it.
    pub fn seal(&mut self, recipients: &Recipients, name: &str, clip: &[u8]) -> Clip {
        let clip = self.forge(recipients, name, clip);
        self.entries.push(clip.entry.encode());
        clip
    }

    /// Heartbeats, so that the log is long.
    pub fn beat(&mut self, count: usize) {
        for _ in 0..count {
            let at = Timestamp((BEGIN + 60 * self.entries.len() as i64) * 1000);
            self.entries.push(Entry::new(at, Event::Alive).encode());
        }
    }

    /// All pieces and the checkpoint of the log as it is now.
    pub fn publish(&self) {
        let leaves: Vec<Hash> = self.entries.iter().map(|entry| leaf_hash(entry)).collect();
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let size = leaves.len() as u64;
        for piece in pieces_between(0, size) {
            let from = (piece.index * WIDTH) as usize;
            let span = from..from + piece.width as usize;
            let bytes = match piece.holds {
                Holds::Entries => encode_bundle(self.entries[span].iter().map(Vec::as_slice)),
                Holds::Hashes(0) => encode_tile(&leaves[span]),
                Holds::Hashes(1) => {
                    let roots = leaves.chunks_exact(WIDTH as usize).map(perfect_root);
                    encode_tile(&roots.collect::<Vec<_>>()[span])
                }
                Holds::Hashes(level) => panic!("no test has so long a log: level {level}"),
            };
            self.write(&piece.path(), &bytes);
        }
        let head = Head { log: self.log, size, root: frontier.root() };
        let note = Checkpoint::new(&self.dock, head).sign(&self.key).to_string();
        self.write(&format!("checkpoints/{size}"), note.as_bytes());
        self.write("checkpoint", note.as_bytes());
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
