//! The audit of a bucket that lies in memory. docs/custody.md §7.

use std::collections::{BTreeMap, BTreeSet};

use dockseal::clip::{SealedName, Timestamp};
use dockseal::custody::checkpoint::Checkpoint;
use dockseal::custody::entry::{Entry, Event};
use dockseal::custody::merkle::{Frontier, Hash, leaf_hash};
use dockseal::custody::tile::{Holds, Piece, WIDTH, decode_bundle, decode_tile, encode_tile};
use dockseal::custody::tile::{perfect_root, pieces_between};
use dockseal::keyring::{Keyring, day_of};
use dockseal::note::Note;
use jiff::ToSpan;
use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::make::Files;

/// The objects that are not as the logs say.
pub fn findings(bucket: &Files, keyring: &Keyring, today: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut sealed = BTreeMap::new();
    for folder in folders(bucket) {
        let log = Log::read(bucket, &folder);
        let entries = log.check(keyring, &mut found);
        check_words(bucket, &folder, &entries, &mut found);
        let clips = format!("{}/clips", folder.split_once('/').unwrap().0);
        check_entries(bucket, keyring, (&clips, today.parse().unwrap()), &entries, &mut found);
        for (_, event) in entries {
            if let Event::Sealed { clip, size, .. } = event {
                sealed.insert(clip_path(&clips, clip), size);
            }
        }
    }
    for path in bucket.keys().filter(|path| path.contains("/clips/")) {
        if !sealed.contains_key(path) {
            found.insert(path.clone());
        }
    }
    found
}

/// The folder, where the log is not what somebody remembers of it.
pub fn forgotten(bucket: &Files, folder: &str, size: u64, root: Hash) -> Option<String> {
    let log = Log::read(bucket, folder);
    let newest = log.heads.iter().map(|(_, _, checkpoint)| checkpoint.size).max();
    let is_there = newest >= Some(size) && log.root(size, Log::entry_hashes) == Some(root);
    (!is_there).then(|| folder.to_owned())
}

/// What the entries say of themselves: whose log it is, its keyring, the log before it.
fn check_words(
    bucket: &Files,
    folder: &str,
    entries: &[(Timestamp, Event)],
    found: &mut BTreeSet<String>,
) {
    let own = folder.split_once('/').unwrap().0;
    let is_started = |event: &Event| matches!(event, Event::Started { dock, .. } if dock == own);
    if entries.first().is_some_and(|(_, event)| !is_started(event)) {
        found.insert(folder.to_owned());
    }
    for (_, event) in entries {
        if let Event::Keyring { revision, sha256 } = event {
            let path = format!("keyrings/{revision}");
            let note = bucket.get(&path).map(|bytes| Note::parse(bytes).unwrap());
            let digest = note.map(|note| Sha256::digest(note.text()).into());
            if digest.is_some_and(|digest: [u8; 32]| digest != sha256.0) {
                found.insert(path);
            }
        } else if let Event::Started { previous: Some(previous), .. } = event {
            let head = previous.head().unwrap();
            let before = dockseal::custody::folder(own, head.log);
            let log = Log::read(bucket, &before);
            let is_reached = log.heads.iter().any(|(_, _, other)| other.size >= head.size);
            if is_reached && log.root(head.size, Log::entry_hashes) != Some(head.root) {
                found.insert(before);
            }
        }
    }
}

fn folders(bucket: &Files) -> BTreeSet<String> {
    let logs = bucket.keys().filter(|path| path.contains("/log/"));
    logs.map(|path| path.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")).collect()
}

fn clip_path(clips: &str, clip: SealedName) -> String {
    let name = clip.to_string();
    format!("{clips}/{}/{name}.age", &name[..2])
}

fn check_entries(
    bucket: &Files,
    keyring: &Keyring,
    (clips, today): (&str, Date),
    entries: &[(Timestamp, Event)],
    found: &mut BTreeSet<String>,
) {
    let mut sealed = BTreeMap::new();
    for (at, event) in entries {
        if let Event::Sealed { clip, size, .. } = event {
            sealed.insert(*clip, (*size, day_of(*at)));
        } else if let Event::Stored { clip, .. } = event {
            let path = clip_path(clips, *clip);
            let Some((size, day)) = sealed.get(clip) else {
                found.insert(path);
                continue;
            };
            let until = day.saturating_add(i64::from(keyring.retention_days).days());
            let is_right = match bucket.get(&path) {
                Some(bytes) => {
                    let digest: [u8; 32] = Sha256::digest(bytes).into();
                    bytes.len() as u64 == *size && digest == clip.0
                }
                None => today > until,
            };
            if !is_right {
                found.insert(path);
            }
        }
    }
}

/// The objects of one log.
struct Log<'a> {
    folder: &'a str,
    pieces: BTreeMap<Piece, &'a [u8]>,
    /// Path, note and text; what is none is in `rest`.
    heads: Vec<(String, Note, Checkpoint)>,
    rest: Vec<String>,
}

impl<'a> Log<'a> {
    fn read(bucket: &'a Files, folder: &'a str) -> Log<'a> {
        let mut log = Log { folder, pieces: BTreeMap::new(), heads: vec![], rest: vec![] };
        for (path, bytes) in bucket {
            let Some(name) = path.strip_prefix(folder).and_then(|p| p.strip_prefix('/')) else {
                continue;
            };
            let head = || {
                let note = Note::parse(bytes).ok()?;
                let checkpoint = Checkpoint::parse(note.text()).ok()?;
                let is_own = checkpoint.origin == folder
                    && (name == "checkpoint" || name == format!("checkpoints/{}", checkpoint.size));
                is_own.then(|| (path.clone(), note, checkpoint))
            };
            if let Some(piece) = Piece::parse(name) {
                log.pieces.insert(piece, bytes);
            } else if let Some(head) = head() {
                log.heads.push(head);
            } else {
                log.rest.push(path.clone());
            }
        }
        log
    }

    /// What the newest checkpoint that holds has below it.
    fn check(&self, keyring: &Keyring, found: &mut BTreeSet<String>) -> Vec<(Timestamp, Event)> {
        found.extend(self.rest.iter().cloned());
        let (mut size, mut leaves) = (0, None);
        for (path, note, checkpoint) in &self.heads {
            let by_entries = self.root(checkpoint.size, Log::entry_hashes);
            let by_tiles = self.root(checkpoint.size, Log::tile_hashes);
            let is_root = [by_entries, by_tiles].contains(&Some(checkpoint.root));
            if !is_root || !self.is_signed(keyring, note, checkpoint.size) {
                found.insert(path.clone());
            } else if checkpoint.size >= size {
                size = checkpoint.size;
                let is_by_entries = by_entries == Some(checkpoint.root);
                leaves =
                    if is_by_entries { self.entry_hashes(size) } else { self.tile_hashes(size) };
            }
        }
        let Some(leaves) = leaves else { return vec![] };
        let needed = pieces_between(0, size).into_iter();
        let missing = needed.filter(|piece| !self.pieces.contains_key(piece));
        found.extend(missing.map(|piece| format!("{}/{}", self.folder, piece.path())));
        let below = self.pieces.iter().filter(|(piece, _)| piece.size_min() <= size);
        let wrong = below.filter(|(piece, bytes)| !is_of(piece, bytes, &leaves));
        found.extend(wrong.map(|(piece, _)| format!("{}/{}", self.folder, piece.path())));
        self.believed(size, &leaves)
    }

    /// The entries that hash to what was signed: one wrong bundle does not take the others along.
    fn believed(&self, size: u64, leaves: &[Hash]) -> Vec<(Timestamp, Event)> {
        let mut believed = Vec::new();
        for (index, leaves) in leaves.chunks(WIDTH as usize).enumerate() {
            let part = self.part(Holds::Entries, index as u64, size);
            let entries = part.and_then(|(_, piece, bytes)| decode_bundle(bytes, piece.width));
            for (entry, leaf) in entries.unwrap_or_default().into_iter().zip(leaves) {
                if leaf_hash(entry) == *leaf {
                    let entry = Entry::decode(entry).unwrap();
                    believed.push((entry.at, entry.event));
                }
            }
        }
        believed
    }

    /// Whether a key of the dock signed it that was valid on the day of the last entry.
    fn is_signed(&self, keyring: &Keyring, note: &Note, size: u64) -> bool {
        let last = self.entries(size).and_then(|entries| Entry::decode(entries.last()?).ok());
        let dock = self.folder.split_once('/').unwrap().0;
        keyring.docks.iter().any(|enrolled| {
            let is_day = last.as_ref().is_none_or(|e| enrolled.days.contains(day_of(e.at)));
            enrolled.key.name() == dock && is_day && note.verify(&enrolled.key).is_ok()
        })
    }

    /// The narrowest piece that is wide enough, and how much of it a log of this size has.
    fn part(&self, holds: Holds, index: u64, size: u64) -> Option<(u64, Piece, &'a [u8])> {
        let width = (size - index * WIDTH).min(WIDTH);
        let range = Piece { holds, index, width }..=Piece { holds, index, width: WIDTH };
        self.pieces.range(range).next().map(|(piece, bytes)| (width, *piece, *bytes))
    }

    fn parts(&self, holds: Holds, size: u64) -> Option<Vec<(u64, Piece, &'a [u8])>> {
        (0..size.div_ceil(WIDTH)).map(|index| self.part(holds, index, size)).collect()
    }

    fn entries(&self, size: u64) -> Option<Vec<&'a [u8]>> {
        let mut entries = Vec::new();
        for (width, piece, bytes) in self.parts(Holds::Entries, size)? {
            entries.extend_from_slice(&decode_bundle(bytes, piece.width)?[..width as usize]);
        }
        Some(entries)
    }

    fn entry_hashes(&self, size: u64) -> Option<Vec<Hash>> {
        Some(self.entries(size)?.into_iter().map(leaf_hash).collect())
    }

    fn tile_hashes(&self, size: u64) -> Option<Vec<Hash>> {
        let mut hashes = Vec::new();
        for (width, piece, bytes) in self.parts(Holds::Hashes(0), size)? {
            hashes.extend_from_slice(&decode_tile(bytes, piece.width)?[..width as usize]);
        }
        Some(hashes)
    }

    fn root(&self, size: u64, leaves: impl Fn(&Self, u64) -> Option<Vec<Hash>>) -> Option<Hash> {
        let mut frontier = Frontier::default();
        leaves(self, size)?.into_iter().for_each(|leaf| frontier.push(leaf));
        Some(frontier.root())
    }
}

/// Whether a piece is that of a log with these leaves.
fn is_of(piece: &Piece, bytes: &[u8], leaves: &[Hash]) -> bool {
    let (level, holds_entries) = match piece.holds {
        Holds::Entries => (0, true),
        Holds::Hashes(level) => (level, false),
    };
    let each = WIDTH.pow(level) as usize;
    let from = (piece.index * WIDTH) as usize * each;
    let leaves = &leaves[from..from + piece.width as usize * each];
    if holds_entries {
        let entries = decode_bundle(bytes, piece.width);
        return entries.is_some_and(|e| e.iter().map(|e| leaf_hash(e)).eq(leaves.iter().copied()));
    }
    let hashes: Vec<_> = leaves.chunks(each).map(perfect_root).collect();
    bytes == encode_tile(&hashes)
}
