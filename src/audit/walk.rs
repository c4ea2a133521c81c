//! The walk: a log's bundles from the first to the last, in bounded memory. docs/custody.md §5.
//!
//! Every bundle and tile that is listed is compared with the tree that the entries make, and the
//! tree with every checkpoint. Where a bundle and its tile disagree, two trees are carried on, and
//! the next checkpoint says which of the two was changed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::finding::{Findings, What};
use super::heads::Heads;
use super::pieces::{Fetched, Plan, fetch};
use super::shelf::LogShelf;
use super::{BUNDLE_COUNT_MAX, Progress, READ_COUNT_MAX, Step};
use crate::clip::Timestamp;
use crate::custody::entry::{Entry, EntryError};
use crate::custody::merkle::{Frontier, Hash};
use crate::custody::tile::{Holds, LEVEL_COUNT, Piece, WIDTH, encode_tile, perfect_root};
use crate::edge::bucket::{Bucket, BucketError};
use crate::keyring::day_of;

/// Missing pieces that are asked for once more: a dock at work writes few during one listing.
const UNLISTED_COUNT_MAX: usize = 1000;

/// What a walk found.
#[derive(Debug, Default)]
pub struct Walked {
    /// The root at each checkpoint of the log, and at each size that was asked for.
    pub roots: BTreeMap<u64, Hash>,
    /// Whether every entry that the newest checkpoint signs was there and counted.
    pub is_whole: bool,
}

/// Is told of each entry that counts.
pub type See<'a> = dyn FnMut(u64, Result<Entry, EntryError>, &mut Findings) + Send + 'a;

/// Walks a log up to its newest checkpoint.
pub async fn walk(
    bucket: &Bucket,
    shelf: &LogShelf,
    heads: &Heads,
    wanted: &BTreeSet<u64>,
    (see, progress): (&mut See<'_>, &Progress<'_>),
    findings: &mut Findings,
) -> Result<Walked, BucketError> {
    let shelf = &with_unlisted(bucket, shelf, heads).await?;
    let plan = Plan::new(shelf, heads.size());
    for piece in &plan.missing {
        findings.add(format!("{}/{}", heads.origin, piece.path()), What::PieceMissing);
    }
    if plan.ahead_count > 0 {
        findings.add(heads.origin.clone(), What::PiecesAhead { count: plan.ahead_count });
    }
    let walked = Walked { roots: BTreeMap::new(), is_whole: true };
    let (main, other, suspects) = (Side::default(), None, Vec::new());
    let newest = Timestamp(i64::MIN);
    let mut walker = Walker { heads, wanted, main, other, suspects, newest, walked };
    let mut fetching = futures_util::stream::iter(plan.groups())
        .map(|group| fetch(bucket, &heads.origin, group))
        .buffered(BUNDLE_COUNT_MAX);
    while let Some(fetched) = fetching.try_next().await? {
        progress(Step::Entries(fetched.group.width));
        if !walker.step(fetched, see, findings) {
            walker.walked.is_whole = false;
            break;
        }
    }
    walker.suspect_all(findings);
    Ok(walker.walked)
}

/// The pieces of a log, with those that came after the listing had passed their place and before it
/// saw the checkpoint that needs them.
async fn with_unlisted(
    bucket: &Bucket,
    shelf: &LogShelf,
    heads: &Heads,
) -> Result<LogShelf, BucketError> {
    let mut pieces = shelf.pieces.clone();
    let missing = Plan::new(shelf, heads.size()).missing;
    let mut asking = futures_util::stream::iter(missing.into_iter().take(UNLISTED_COUNT_MAX))
        .map(|piece| async move {
            let key = format!("{}/{}", heads.origin, piece.path());
            (piece, bucket.size(&key).await)
        })
        .buffered(READ_COUNT_MAX);
    while let Some((piece, found)) = asking.next().await {
        match found {
            Ok(_) => pieces.push(piece),
            Err(BucketError::Missing) => {}
            Err(error) => return Err(error),
        }
    }
    pieces.sort_unstable();
    Ok(LogShelf { checkpoints: vec![], has_latest: shelf.has_latest, pieces })
}

/// One tree: its frontier, and of each level the tile that grows.
#[derive(Clone, Default)]
struct Side {
    frontier: Frontier,
    levels: [Vec<Hash>; LEVEL_COUNT as usize],
}

impl Side {
    fn push(&mut self, leaf: Hash) {
        self.frontier.push(leaf);
        let mut hash = leaf;
        for level in &mut self.levels {
            // A full tile is kept until the next one begins: it may have to be compared.
            if level.len() as u64 == WIDTH {
                level.clear();
            }
            level.push(hash);
            if (level.len() as u64) < WIDTH {
                return;
            }
            hash = perfect_root(level);
        }
    }

    fn digest(&self, level: u32) -> [u8; 32] {
        Sha256::digest(encode_tile(&self.levels[level as usize])).into()
    }
}

struct Walker<'a> {
    heads: &'a Heads,
    wanted: &'a BTreeSet<u64>,
    /// The tree of the entries.
    main: Side,
    /// The tree of the lowest tiles, while it differs.
    other: Option<Side>,
    /// Bundles and tiles that disagree.
    suspects: Vec<(Piece, Piece)>,
    /// The time of the last entry that was read.
    newest: Timestamp,
    walked: Walked,
}

impl Walker<'_> {
    /// Takes one bundle; says whether the walk can go on.
    fn step(&mut self, fetched: Fetched, see: &mut See<'_>, findings: &mut Findings) -> bool {
        let Fetched { group, bundle, tile, digests } = fetched;
        let Some((piece, bundle)) = group.bundle.zip(bundle) else {
            // Where it is not in the listing, it was reported as missing.
            if let Some(piece) = group.bundle {
                findings.add(self.object(&piece), What::PieceDisagrees);
            }
            return false;
        };
        let width = group.width as usize;
        let hashes = match (group.tile, tile) {
            (Some(piece), None) => {
                findings.add(self.object(&piece), What::PieceDisagrees);
                None
            }
            (_, tile) => tile,
        };
        let differs = hashes.as_ref().is_some_and(|hashes| hashes[..width] != bundle.leaves);
        if let (true, Some(tile)) = (differs, group.tile) {
            self.suspects.push((piece, tile));
            if self.other.is_none() {
                self.other = Some(self.main.clone());
            }
            // Which of the two is right is not known yet, so these entries do not count.
            self.walked.is_whole = false;
        }
        let mut digests = group.others.iter().zip(digests).peekable();
        for (index, entry) in bundle.entries.into_iter().enumerate() {
            self.main.push(bundle.leaves[index]);
            if let Some(other) = &mut self.other {
                let hash = hashes.as_ref().map_or(bundle.leaves[index], |hashes| hashes[index]);
                other.push(hash);
            }
            if !differs {
                if let Ok(entry) = &entry {
                    self.newest = entry.at;
                }
                see(group.index * WIDTH + index as u64, entry, findings);
            }
            let size = self.main.frontier.size();
            while let Some((piece, digest)) = digests.next_if(|(piece, _)| piece.size_min() == size)
            {
                let width = piece.width as usize;
                let prefix = bundle.prefixes.get(width).copied().flatten();
                self.compare(piece, digest, prefix, findings);
            }
            self.arrive(size, findings);
        }
        true
    }

    fn object(&self, piece: &Piece) -> String {
        format!("{}/{}", self.heads.origin, piece.path())
    }

    /// Compares a further piece, which is as wide as the tree just is.
    fn compare(
        &mut self,
        piece: &Piece,
        digest: Option<[u8; 32]>,
        prefix: Option<[u8; 32]>,
        findings: &mut Findings,
    ) {
        let agrees = match piece.holds {
            Holds::Entries => digest.is_some() && digest == prefix,
            Holds::Hashes(level) => digest.is_some_and(|digest| {
                let other = self.other.as_ref();
                digest == self.main.digest(level)
                    || other.is_some_and(|other| digest == other.digest(level))
            }),
        };
        if !agrees {
            findings.add(self.object(piece), What::PieceDisagrees);
        }
    }

    /// At a size: compares the checkpoint that is of it, and notes the root.
    fn arrive(&mut self, size: u64, findings: &mut Findings) {
        let head = self.heads.by_size.get(&size);
        if head.is_none() && !self.wanted.contains(&size) {
            return;
        }
        let mut root = self.main.frontier.root();
        if let Some(head) = head {
            let other = self.other.as_ref().map(|other| other.frontier.root());
            if root == head.root {
                for (_, tile) in std::mem::take(&mut self.suspects) {
                    findings.add(self.object(&tile), What::PieceDisagrees);
                }
                self.other = None;
            } else if other == Some(head.root) {
                for (bundle, _) in std::mem::take(&mut self.suspects) {
                    findings.add(self.object(&bundle), What::PieceDisagrees);
                }
                self.main = self.other.take().expect("it has the right root");
                root = head.root;
            } else {
                findings.add(self.heads.object(size), What::CheckpointDisagrees);
            }
            let (_, days) = &self.heads.keys[head.key];
            if !days.contains(day_of(self.newest)) {
                let why = format!("its key was not enrolled on {}", day_of(self.newest));
                findings.add(self.heads.object(size), What::CheckpointForged { why });
            }
        }
        if self.other.is_none() {
            self.walked.roots.insert(size, root);
        }
    }

    /// No checkpoint told which of two trees is right: both are reported.
    fn suspect_all(&mut self, findings: &mut Findings) {
        for (bundle, tile) in std::mem::take(&mut self.suspects) {
            findings.add(self.object(&bundle), What::PieceDisagrees);
            findings.add(self.object(&tile), What::PieceDisagrees);
        }
    }
}
