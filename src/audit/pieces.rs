//! The pieces of a log: which to read for what, and reading them.

use sha2::{Digest, Sha256};

use super::shelf::LogShelf;
use crate::custody::entry::{ENTRY_SIZE_MAX, Entry, EntryError};
use crate::custody::merkle::{Hash, leaf_hash};
use crate::custody::tile::{Holds, Piece, WIDTH, decode_bundle, decode_tile, pieces_between};
use crate::edge::bucket::{Bucket, BucketError};
use crate::edge::work::blocking;

/// Largest bundle that is looked at, in bytes: all its entries may be as large as one can be.
const BUNDLE_SIZE_MAX: u64 = WIDTH * (2 + ENTRY_SIZE_MAX as u64);
/// Size of a full tile in bytes.
const TILE_SIZE_MAX: u64 = WIDTH * 32;

/// What a walk reads of a log, up to a size.
pub struct Plan<'a> {
    shelf: &'a LogShelf,
    size: u64,
    /// The pieces to compare beside bundles and lowest tiles, by when the tree is as wide.
    others: Vec<Piece>,
    /// Pieces that this size needs, and that are not there.
    pub missing: Vec<Piece>,
    /// Pieces that reach beyond it.
    pub ahead_count: u64,
}

/// What is read for 256 entries.
#[derive(Debug)]
pub struct Group {
    /// Of the bundle.
    pub index: u64,
    /// How many of its entries count.
    pub width: u64,
    /// The bundle that has them.
    pub bundle: Option<Piece>,
    /// The lowest tile that has their hashes.
    pub tile: Option<Piece>,
    /// Further pieces to compare, by when the tree is as wide.
    pub others: Vec<Piece>,
}

impl<'a> Plan<'a> {
    /// Plans a walk over `size` entries.
    pub fn new(shelf: &'a LogShelf, size: u64) -> Plan<'a> {
        let mut plan = Plan { shelf, size, others: vec![], missing: vec![], ahead_count: 0 };
        // A dock may sign any size: no more pieces are named than are listed, and one is missing
        // where the size needs more.
        let is_bundle = |piece: &&Piece| piece.holds == Holds::Entries;
        let reach = shelf.pieces.iter().filter(is_bundle).count() as u64 * WIDTH + WIDTH;
        let needed = pieces_between(0, size.min(reach)).into_iter();
        plan.missing = needed.filter(|piece| plan.covering(*piece).is_none()).collect();
        let is_main = |piece: &Piece| {
            let is_lowest = matches!(piece.holds, Holds::Entries | Holds::Hashes(0));
            let width = (size - piece.index * WIDTH).min(WIDTH);
            is_lowest && plan.covering(Piece { width, ..*piece }) == Some(*piece)
        };
        let within = shelf.pieces.iter().filter(|piece| piece.size_min() <= size);
        let mut others: Vec<_> = within.filter(|piece| !is_main(piece)).copied().collect();
        others.sort_by_key(Piece::size_min);
        plan.others = others;
        let ahead = shelf.pieces.iter().filter(|piece| piece.size_min() > size);
        plan.ahead_count = ahead.count() as u64;
        plan
    }

    /// The narrowest listed piece that has all of this one. A dock may remove a partial piece once
    /// a wider one is there (C2SP tlog-tiles, "Partial tiles").
    fn covering(&self, piece: Piece) -> Option<Piece> {
        let at = self.shelf.pieces.partition_point(|listed| *listed < piece);
        let found = self.shelf.pieces.get(at).copied();
        found.filter(|found| (found.holds, found.index) == (piece.holds, piece.index))
    }

    /// The groups, in the order of the log.
    pub fn groups(&self) -> impl Iterator<Item = Group> {
        (0..self.size.div_ceil(WIDTH)).map(|index| {
            let width = (self.size - index * WIDTH).min(WIDTH);
            let from = index * WIDTH;
            let begin = self.others.partition_point(|piece| piece.size_min() <= from);
            let end = self.others.partition_point(|piece| piece.size_min() <= from + width);
            Group {
                index,
                width,
                bundle: self.covering(Piece { holds: Holds::Entries, index, width }),
                tile: self.covering(Piece { holds: Holds::Hashes(0), index, width }),
                others: self.others[begin..end].to_vec(),
            }
        })
    }
}

/// A bundle, read and hashed.
pub struct Bundle {
    /// The hash of each entry.
    pub leaves: Vec<Hash>,
    /// The entries.
    pub entries: Vec<Result<Entry, EntryError>>,
    /// At `n`, the SHA-256 of a bundle with the first `n` entries, where it will be asked for.
    pub prefixes: Vec<Option<[u8; 32]>>,
}

/// A group, read. `None` is what was gone, or is not what it should be.
pub struct Fetched {
    /// What was asked for.
    pub group: Group,
    /// The entries.
    pub bundle: Option<Bundle>,
    /// The hashes of the lowest tile, at least as many as the group is wide.
    pub tile: Option<Vec<Hash>>,
    /// The SHA-256 of each further piece.
    pub digests: Vec<Option<[u8; 32]>>,
}

/// Reads a group; hashing and parsing spread over the cores.
pub async fn fetch(bucket: &Bucket, origin: &str, group: Group) -> Result<Fetched, BucketError> {
    let tile = match group.tile {
        Some(piece) => {
            let bytes = read(bucket, origin, &piece).await?;
            bytes.and_then(|bytes| decode_tile(&bytes, piece.width))
        }
        None => None,
    };
    let mut digests = Vec::new();
    for piece in &group.others {
        // Only the digest is kept: there may be 510 partial pieces beside one full one.
        digests.push(read(bucket, origin, piece).await?.map(|b| Sha256::digest(&b).into()));
    }
    let bytes = match group.bundle {
        Some(piece) => read(bucket, origin, &piece).await?.map(|bytes| (bytes, piece.width)),
        None => None,
    };
    let parsing = move || {
        let bundle = bytes.and_then(|(bytes, width)| parse(&bytes, width, &group));
        Fetched { group, bundle, tile, digests }
    };
    Ok(blocking(parsing).await)
}

fn parse(bytes: &[u8], width: u64, group: &Group) -> Option<Bundle> {
    let entries = decode_bundle(bytes, width)?;
    let mut prefixes = vec![None; WIDTH as usize + 1];
    let is_bundle = |piece: &&Piece| piece.holds == Holds::Entries;
    for piece in group.others.iter().filter(is_bundle) {
        let first = &entries[..entries.len().min(piece.width as usize)];
        let end: usize = first.iter().map(|entry| 2 + entry.len()).sum();
        prefixes[piece.width as usize] = Some(Sha256::digest(&bytes[..end]).into());
    }
    let counted = &entries[..group.width as usize];
    let leaves = counted.iter().map(|entry| leaf_hash(entry)).collect();
    let entries = counted.iter().map(|entry| Entry::decode(entry)).collect();
    Some(Bundle { leaves, entries, prefixes })
}

/// The first entry of a log, unverified; `None` where it cannot be read.
pub async fn first_entry(
    bucket: &Bucket,
    origin: &str,
    shelf: &LogShelf,
) -> Result<Option<Entry>, BucketError> {
    let is_first = |piece: &&Piece| piece.holds == Holds::Entries && piece.index == 0;
    let Some(piece) = shelf.pieces.iter().find(is_first) else { return Ok(None) };
    let bytes = read(bucket, origin, piece).await?;
    Ok(bytes.and_then(|bytes| {
        let entries = decode_bundle(&bytes, piece.width)?;
        Entry::decode(entries.first()?).ok()
    }))
}

/// A piece; `None` where it is gone or larger than any of its kind.
async fn read(
    bucket: &Bucket,
    origin: &str,
    piece: &Piece,
) -> Result<Option<bytes::Bytes>, BucketError> {
    let size_max = match piece.holds {
        Holds::Entries => BUNDLE_SIZE_MAX,
        Holds::Hashes(_) => TILE_SIZE_MAX,
    };
    match bucket.read_all(&format!("{origin}/{}", piece.path()), size_max).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(BucketError::Missing | BucketError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(holds: Holds, index: u64, width: u64) -> Piece {
        Piece { holds, index, width }
    }

    fn shelf(size: u64) -> LogShelf {
        let mut pieces = pieces_between(0, size);
        pieces.sort();
        LogShelf { pieces, ..LogShelf::default() }
    }

    #[test]
    fn what_a_size_needs_is_there_or_missing() {
        for size in [1, 255, 256, 257, 600] {
            let mut shelf = shelf(size);
            assert_eq!(Plan::new(&shelf, size).missing, []);
            let removed = shelf.pieces.remove(0);
            assert_eq!(Plan::new(&shelf, size).missing, [removed]);
        }
    }

    #[test]
    fn each_piece_is_read_once() {
        let mut shelf = shelf(600);
        let partial = [piece(Holds::Entries, 0, 7), piece(Holds::Hashes(1), 0, 1)];
        shelf.pieces.extend(partial);
        shelf.pieces.push(piece(Holds::Entries, 2, 100));
        shelf.pieces.sort();
        let plan = Plan::new(&shelf, 600);
        assert_eq!((plan.missing.len(), plan.ahead_count), (0, 1));
        let groups: Vec<_> = plan.groups().collect();
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[0].others, [piece(Holds::Entries, 0, 7), partial[1]]);
        assert_eq!(groups[1].others, [piece(Holds::Hashes(1), 0, 2)]);
        assert_eq!(groups[2].bundle, Some(piece(Holds::Entries, 2, 88)));
    }
}
