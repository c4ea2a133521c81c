//! A small dock and its log, in memory: real seals, entries, tiles, checkpoints.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use dockseal::clip::{SealedName, Timestamp};
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::{Entry, Event, ReceiptLine};
use dockseal::custody::merkle::{Frontier, Hash, leaf_hash};
use dockseal::custody::tile::{
    Holds, Piece, WIDTH, encode_bundle, encode_tile, perfect_root, pieces_between,
};
use dockseal::custody::{Head, LogId, folder};
use dockseal::envelope::manifest::{Manifest, Name, VERSION};
use dockseal::envelope::recipient::{Recipient, Recipients};
use dockseal::envelope::seal;
use dockseal::keyring::{Days, Enrolled, Keyring, Member, Role, day_of};
use dockseal::note::{Kind, SignerKey};
use rand_core::UnwrapErr;
use tempfile::TempDir;

use super::seaweed::{Login, Seaweed, prefix};

/// Objects by name: what a bucket holds.
pub type Objects = BTreeMap<String, Vec<u8>>;

/// The published recipient of `keys-example/`.
const RECIPIENT: &str = include_str!("../../../keys-example/authority.recipient");

/// A key whose seed everybody knows.
pub fn signer(name: &str, kind: Kind, seed: u8) -> SignerKey {
    SignerKey::from_seed(name, kind, &[seed; 32]).expect("a name")
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The keyring of all these tests: two docks, one recipient.
pub fn keyring() -> Keyring {
    let today = day_of(Timestamp(now()));
    let day = |days: i64| today.saturating_add(jiff::Span::new().days(days));
    let days = Days { from: day(-30), until: day(30) };
    let dock = |name: &str, seed| Enrolled { key: signer(name, Kind::Note, seed).verifier(), days };
    Keyring {
        authority: signer("authority.example", Kind::Note, 1).verifier(),
        revision: 1,
        issued: "2020-01-01T00:00:00Z".parse().expect("a time"),
        expires: day(30),
        retention_days: 180,
        members: vec![Member {
            role: Role::new("evidence").expect("a word"),
            days: None,
            recipient: recipient(),
        }],
        docks: vec![dock("d-1", 11), dock("d-2", 12)],
        successor: None,
    }
}

/// Its signed text.
pub fn keyring_text() -> String {
    let root = signer("authority.example", Kind::Note, 1);
    keyring().sign(&root).expect("good").to_string()
}

/// The recipient of the keyring.
pub fn recipient() -> Recipient {
    RECIPIENT.trim_ascii_end().parse().expect("a recipient")
}

/// A dock and its log.
#[derive(Clone)]
pub struct Ledger {
    /// Its name.
    pub dock: &'static str,
    seed: u8,
    /// Its log.
    pub log: LogId,
    /// Its entries, encoded.
    pub entries: Vec<Vec<u8>>,
    /// Number of entries that were published.
    published: u64,
    /// The time of the last entry.
    pub clock: i64,
}

impl Ledger {
    /// A log that began two hours ago.
    pub fn new(dock: &'static str, seed: u8) -> Ledger {
        let clock = now() - 7_200_000;
        let log = LogId([seed; 8]);
        let mut ledger = Ledger { dock, seed, log, entries: vec![], published: 0, clock };
        let (dock, dockseal) = (dock.to_owned(), "0.1.0".to_owned());
        ledger.add(Event::Started { dock, dockseal, previous: None });
        let sha256 = SealedName(keyring().sha256());
        ledger.add(Event::Keyring { revision: 1, sha256 });
        ledger
    }

    /// A new log of the same dock, which knows the first `size` entries of this one.
    pub fn continued(&self, size: usize, seed: u8) -> Ledger {
        let known = Ledger { entries: self.entries[..size].to_vec(), ..self.clone() };
        let log = LogId([seed; 8]);
        let mut next = Ledger { log, entries: vec![], published: 0, ..self.clone() };
        let (dock, dockseal) = (self.dock.to_owned(), "0.1.0".to_owned());
        let previous = Some(known.head().into());
        next.add(Event::Started { dock, dockseal, previous });
        next
    }

    /// Adds an entry, a second after the one before, but not in the future: a dock that is ahead of
    /// its bucket's clock is another story.
    pub fn add(&mut self, event: Event) {
        self.clock = (self.clock + 1000).min(now().max(self.clock));
        self.entries.push(Entry::new(Timestamp(self.clock), event).encode());
    }

    /// The log's folder.
    pub fn folder(&self) -> String {
        folder(self.dock, self.log)
    }

    /// Seals and stores a clip, with its entries; gives the object's name.
    pub fn seal(&mut self, objects: &mut Objects, size: usize, to: &[Recipient]) -> String {
        let (name, commitment, sealed) = seal_bytes(size, to);
        let key = clip_key(self.dock, name);
        let (number, size) = (self.entries.len() as i64, sealed.len() as u64);
        let commitment = SealedName(commitment);
        self.add(Event::Sealed { clip: name, number, size, commitment, keyring: Some(1) });
        objects.insert(key.clone(), sealed);
        let receipt = ReceiptLine { bucket: "primary".into(), evidence: "read-back".into() };
        self.add(Event::Stored { clip: name, receipts: vec![receipt] });
        key
    }

    /// The head of the log.
    pub fn head(&self) -> Head {
        let mut frontier = Frontier::default();
        self.entries.iter().for_each(|entry| frontier.push(leaf_hash(entry)));
        Head { log: self.log, size: frontier.size(), root: frontier.root() }
    }

    /// The checkpoint of its head, signed by the key of a seed.
    pub fn checkpoint(&self, seed: u8) -> String {
        let checkpoint = Checkpoint::new(self.dock, self.head());
        checkpoint.sign(&signer(self.dock, Kind::Note, seed)).to_string()
    }

    /// Publishes what was not published yet.
    pub fn publish(&mut self, objects: &mut Objects) {
        self.publish_pieces(objects);
        let note = self.checkpoint(self.seed).into_bytes();
        let folder = self.folder();
        objects.insert(format!("{folder}/checkpoints/{}", self.entries.len()), note.clone());
        objects.insert(format!("{folder}/checkpoint"), note);
    }

    /// Publishes tiles and bundles alone.
    pub fn publish_pieces(&mut self, objects: &mut Objects) {
        let size = self.entries.len() as u64;
        let mut levels = vec![self.entries.iter().map(|e| leaf_hash(e)).collect::<Vec<_>>()];
        while levels.last().is_some_and(|level| level.len() as u64 >= WIDTH) {
            let below = levels.last().expect("not empty");
            levels.push(below.chunks_exact(WIDTH as usize).map(perfect_root).collect());
        }
        for piece in pieces_between(self.published, size) {
            let bytes = piece_bytes(&piece, &self.entries, &levels);
            objects.insert(format!("{}/{}", self.folder(), piece.path()), bytes);
        }
        self.published = size;
    }

    /// Forgets what was published: the next publishing writes every piece again.
    pub fn forget(&mut self) {
        self.published = 0;
    }
}

fn piece_bytes(piece: &Piece, entries: &[Vec<u8>], levels: &[Vec<Hash>]) -> Vec<u8> {
    let from = (piece.index * WIDTH) as usize;
    let range = from..from + piece.width as usize;
    match piece.holds {
        Holds::Entries => encode_bundle(entries[range].iter().map(Vec::as_slice)),
        Holds::Hashes(level) => encode_tile(&levels[level as usize][range]),
    }
}

/// The name of a clip's object.
pub fn clip_key(dock: &str, name: SealedName) -> String {
    let name = name.to_string();
    format!("{dock}/clips/{}/{name}.age", &name[..2])
}

/// A sealed clip: name, commitment, bytes.
pub fn seal_bytes(size: usize, to: &[Recipient]) -> (SealedName, [u8; 32], Vec<u8>) {
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let manifest = Manifest {
        version: VERSION,
        dock: "d".into(),
        name: Name::from_path(Path::new("clip.mp4")),
        folder: Name::Text(String::new()),
        camera: None,
        size_bytes: size as u64,
        modified: jiff::Timestamp::UNIX_EPOCH,
        sealed: jiff::Timestamp::UNIX_EPOCH,
        commitment_salt: Manifest::new_salt(rng),
        more: serde_json::Map::new(),
    };
    let recipients = Recipients::new(to.to_vec()).expect("good");
    let (clip, mut sealed) = (vec![b'x'; size], Vec::new());
    let done = seal::seal(&mut clip.as_slice(), &mut sealed, &recipients, &manifest, rng);
    let done = done.expect("sealed");
    (done.name, done.commitment, sealed)
}

/// Two docks and all their objects.
#[derive(Clone)]
pub struct World {
    /// What the bucket holds.
    pub objects: Objects,
    /// The dock that is tampered with: 300 entries, three checkpoints.
    pub one: Ledger,
    /// Another dock.
    pub two: Ledger,
    /// The clips of the first one.
    pub clips: Vec<String>,
}

/// An untouched world; sealed once for all tests.
pub fn world() -> World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(make_world).clone()
}

fn make_world() -> World {
    let mut objects = Objects::new();
    let (mut one, mut two) = (Ledger::new("d-1", 11), Ledger::new("d-2", 12));
    let mut clips = Vec::new();
    for size in [0, 1000, 70_000] {
        clips.push(one.seal(&mut objects, size, &[recipient()]));
    }
    one.publish(&mut objects);
    while one.entries.len() < 270 {
        one.add(Event::Alive);
    }
    one.publish(&mut objects);
    for size in [1000, 200_000] {
        clips.push(one.seal(&mut objects, size, &[recipient()]));
    }
    while one.entries.len() < 299 {
        one.add(Event::Alive);
    }
    two.seal(&mut objects, 5000, &[recipient()]);
    for ledger in [&mut one, &mut two] {
        ledger.clock = now() - 60_000;
        ledger.add(Event::Alive);
        ledger.publish(&mut objects);
    }
    let keyring = keyring_text().into_bytes();
    objects.insert("keyrings/1".into(), keyring.clone());
    objects.insert("keyring".into(), keyring);
    objects.insert("d-1/status".into(), b"well\n".to_vec());
    objects.insert("authority/drill/2026-11-21".into(), b"receipt\n".to_vec());
    World { objects, one, two, clips }
}

/// A bucket that tests may change in every way.
pub enum Place {
    /// A folder.
    Folder(TempDir),
    /// Beneath a prefix of its own.
    Seaweed(&'static Seaweed, String),
}

impl Place {
    /// The URL.
    pub fn url(&self) -> String {
        match self {
            Place::Folder(dir) => format!("file://{}", dir.path().display()),
            Place::Seaweed(_, url) => url.clone(),
        }
    }

    /// Makes the bucket hold exactly these objects.
    pub fn hold(&self, objects: &Objects) {
        match self {
            Place::Folder(dir) => hold_in_folder(dir.path(), objects),
            Place::Seaweed(server, url) => hold_in_seaweed(server, url, objects),
        }
    }
}

fn hold_in_folder(root: &Path, objects: &Objects) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("readable").path();
            let key = path.strip_prefix(root).expect("beneath it").to_str().expect("UTF-8");
            if path.is_dir() {
                folders.push(path);
            } else if !objects.contains_key(key) {
                std::fs::remove_file(&path).expect("removed");
            }
        }
    }
    for (key, bytes) in objects {
        let path = root.join(key);
        if std::fs::read(&path).is_ok_and(|found| found == *bytes) {
            continue;
        }
        std::fs::create_dir_all(path.parent().expect("beneath")).expect("created");
        std::fs::write(path, bytes).expect("written");
    }
}

fn hold_in_seaweed(server: &Seaweed, url: &str, objects: &Objects) {
    use object_store::ObjectStoreExt;
    let client = server.client(Login::Admin);
    let path = |key: &str| object_store::path::Path::from(format!("{}/{key}", prefix(url)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let there = server.keys(url);
    runtime.expect("a runtime").block_on(async {
        for key in there.iter().filter(|key| !objects.contains_key(*key)) {
            client.delete(&path(key)).await.expect("the administrator may delete");
        }
        for (key, bytes) in objects {
            if there.contains(key) {
                let found = client.get(&path(key)).await.expect("there").bytes().await;
                if found.expect("readable") == bytes {
                    continue;
                }
            }
            let put = client.put(&path(key), bytes.clone().into()).await;
            put.expect("the administrator may put");
        }
    });
}
