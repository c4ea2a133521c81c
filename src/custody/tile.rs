//! Tiles and entry bundles: how a log lies in a bucket (C2SP tlog-tiles). docs/custody.md §5.

use super::merkle::{Hash, Hashes, node_hash};

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH: u64 = 256;
/// Bits of [`WIDTH`]: levels of the tree that one level of tiles spans.
pub const HEIGHT: u32 = 8;
/// Levels of tiles: logs of up to 2^48 entries.
pub const LEVEL_COUNT: u32 = 6;
/// Most entries of a log: as many as [`LEVEL_COUNT`] levels span.
pub const SIZE_MAX: u64 = 1 << (HEIGHT * LEVEL_COUNT);
/// Largest entry in a bundle, in bytes: its length is written in 16 bits.
pub const ENTRY_SIZE_MAX: usize = 0xffff;

/// What a piece of a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holds {
    /// The entries themselves.
    Entries,
    /// Hashes of this level of tiles: of entries at 0, of full tiles below at 1 to 5.
    Hashes(u32),
}

/// A tile or an entry bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Piece {
    /// Entries, or hashes of a level.
    pub holds: Holds,
    /// Which one of its level, from 0.
    pub index: u64,
    /// Number of hashes or entries: 256, or fewer where it is partial.
    pub width: u64,
}

impl Piece {
    /// Whether it can never grow.
    pub fn is_full(&self) -> bool {
        self.width == WIDTH
    }

    /// Its name beneath the log's folder: `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`.
    pub fn path(&self) -> String {
        let level = match self.holds {
            Holds::Entries => "entries".into(),
            Holds::Hashes(level) => level.to_string(),
        };
        // Groups of three digits, all but the last with an x in front.
        let mut number = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{number}{partial}")
    }

    /// The piece of a name; `None` where it is not the one spelling of any.
    pub fn parse(path: &str) -> Option<Piece> {
        let (level, number) = path.strip_prefix("tile/")?.split_once('/')?;
        let holds = match level {
            "entries" => Holds::Entries,
            level => Holds::Hashes(level.parse().ok().filter(|l| *l < LEVEL_COUNT)?),
        };
        let (number, width) = match number.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok()?),
            None => (number, WIDTH),
        };
        let mut index = 0u64;
        for group in number.split('/') {
            let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        let piece = Piece { holds, index, width };
        // A bucket may hold any name: without the bound, the arithmetic of sizes could overflow.
        let is_possible = index < SIZE_MAX / WIDTH && (1..=WIDTH).contains(&width);
        (is_possible && piece.size_min() <= SIZE_MAX && piece.path() == path).then_some(piece)
    }

    /// Number of entries that a log has at least where this piece exists.
    pub fn size_min(&self) -> u64 {
        let level = match self.holds {
            Holds::Entries => 0,
            Holds::Hashes(level) => level,
        };
        (self.index * WIDTH + self.width).saturating_mul(WIDTH.saturating_pow(level))
    }
}

/// The pieces that a log of `new` entries has and a log of `old` entries has not, entries first.
pub fn pieces_between(old: u64, new: u64) -> Vec<Piece> {
    let mut pieces = level_between(Holds::Entries, old, new);
    for level in 0..LEVEL_COUNT {
        let below = HEIGHT * level;
        pieces.extend(level_between(Holds::Hashes(level), old >> below, new >> below));
    }
    pieces
}

fn level_between(holds: Holds, old: u64, new: u64) -> Vec<Piece> {
    if old == new {
        return vec![];
    }
    let full = (old / WIDTH..new / WIDTH).map(|index| Piece { holds, index, width: WIDTH });
    let mut pieces: Vec<_> = full.collect();
    if !new.is_multiple_of(WIDTH) {
        pieces.push(Piece { holds, index: new / WIDTH, width: new % WIDTH });
    }
    pieces
}

/// The tile that has a hash of this tile level, in a log of `size` entries.
pub fn tile_of(level: u32, hash_index: u64, size: u64) -> Piece {
    let index = hash_index / WIDTH;
    let width = ((size >> (HEIGHT * level)) - index * WIDTH).min(WIDTH);
    Piece { holds: Holds::Hashes(level), index, width }
}

/// The bundle that has an entry, in a log of `size` entries.
pub fn bundle_of(entry_index: u64, size: u64) -> Piece {
    let index = entry_index / WIDTH;
    Piece { holds: Holds::Entries, index, width: (size - index * WIDTH).min(WIDTH) }
}

/// The bytes of a bundle: each entry behind its length in two bytes, big-endian.
pub fn encode_bundle<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let size = u16::try_from(entry.len()).expect("an entry of ours is at most 65,535 bytes");
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

/// The entries of a bundle; `None` where it has not exactly `width` of them.
pub fn decode_bundle(mut bytes: &[u8], width: u64) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        entries.push(entry);
        bytes = rest;
    }
    (bytes.is_empty() && entries.len() as u64 == width).then_some(entries)
}

/// The bytes of a tile: its hashes, one after the other.
pub fn encode_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile; `None` where it has not exactly `width` of them.
pub fn decode_tile(bytes: &[u8], width: u64) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    let is_whole = rest.is_empty() && hashes.len() as u64 == width;
    is_whole.then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// Hashes out of tiles that `read` gives, in a log of `size` entries.
pub struct TileHashes<R> {
    size: u64,
    read: R,
}

impl<R, E> TileHashes<R>
where
    R: FnMut(Piece) -> Result<Vec<Hash>, E>,
{
    /// `read` gives the hashes of a tile, exactly as many as it is wide.
    pub fn new(size: u64, read: R) -> Self {
        TileHashes { size, read }
    }
}

impl<R, E> Hashes for TileHashes<R>
where
    R: FnMut(Piece) -> Result<Vec<Hash>, E>,
{
    type Error = E;

    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, E> {
        // A subtree as high as a whole tile is one hash of the tile above.
        let (tile_level, rest) = (level / HEIGHT, level % HEIGHT);
        let first = index << rest;
        let tile = tile_of(tile_level, first, self.size);
        let hashes = (self.read)(tile)?;
        let from = (first % WIDTH) as usize;
        Ok(perfect_root(&hashes[from..from + (1 << rest)]))
    }
}

/// The root over a power of two of neighbouring nodes.
pub fn perfect_root(nodes: &[Hash]) -> Hash {
    assert!(nodes.len().is_power_of_two(), "a perfect subtree");
    let mut nodes = nodes.to_vec();
    while nodes.len() > 1 {
        nodes = nodes.chunks(2).map(|pair| node_hash(pair[0], pair[1])).collect();
    }
    nodes[0]
}

#[cfg(test)]
mod tests {
    use super::super::merkle::{Frontier, consistency_proof, is_consistent, leaf_hash, range_root};
    use super::*;

    fn piece(holds: Holds, index: u64, width: u64) -> Piece {
        Piece { holds, index, width }
    }

    #[test]
    fn names_are_those_of_the_specification() {
        let cases = [
            (piece(Holds::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067"),
            (piece(Holds::Hashes(3), 0, 256), "tile/3/000"),
            (piece(Holds::Hashes(0), 273, 112), "tile/0/273.p/112"),
            (piece(Holds::Entries, 1_000, 1), "tile/entries/x001/000.p/1"),
        ];
        for (piece, path) in cases {
            assert_eq!(piece.path(), path);
            assert_eq!(Piece::parse(path), Some(piece));
        }
        for bad in [
            "tile/0/1",
            "tile/0/x000/001",
            "tile/0/001.p/256",
            "tile/0/001.p/0",
            "tile/0/001.p/+1",
            "tile/6/000",
            "tile/00/000",
            "tile/data/000",
            "tile/0/001/002",
            "tile/0/x99999999999999999999/000",
            "tile/0/x018/x446/x744/x073/x709/x551/614",
            "tile/5/002",
            "tile/0/000/",
            "checkpoint",
        ] {
            assert_eq!(Piece::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn growth_needs_exactly_the_pieces_that_changed() {
        let paths =
            |old, new| -> Vec<_> { pieces_between(old, new).iter().map(Piece::path).collect() };
        assert_eq!(paths(0, 1), ["tile/entries/000.p/1", "tile/0/000.p/1"]);
        assert_eq!(paths(5, 5), [""; 0]);
        assert_eq!(
            paths(255, 257),
            [
                "tile/entries/000",
                "tile/entries/001.p/1",
                "tile/0/000",
                "tile/0/001.p/1",
                "tile/1/000.p/1"
            ]
        );
        assert_eq!(paths(256, 258), ["tile/entries/001.p/2", "tile/0/001.p/2"]);
        assert_eq!(pieces_between(256, 258)[0].size_min(), 258);
    }

    #[test]
    fn bundles_and_tiles_are_read_as_they_were_written_or_not_at_all() {
        let entries: [&[u8]; 3] = [b"one", b"", b"three"];
        let bytes = encode_bundle(entries.into_iter());
        assert_eq!(decode_bundle(&bytes, 3).as_deref(), Some(entries.as_slice()));
        assert_eq!(decode_bundle(&bytes, 2), None);
        assert_eq!(decode_bundle(&bytes[..bytes.len() - 1], 3), None);
        let hashes = [leaf_hash(b"a"), leaf_hash(b"b")];
        assert_eq!(decode_tile(&encode_tile(&hashes), 2).as_deref(), Some(hashes.as_slice()));
        assert_eq!(decode_tile(&[0; 33], 1), None);
    }

    #[test]
    fn proofs_out_of_tiles_are_those_of_the_tree() {
        const SIZE: u64 = 70_000;
        let leaves: Vec<_> = (0..SIZE).map(|index| leaf_hash(&index.to_be_bytes())).collect();
        let mut levels = vec![leaves.clone()];
        while levels.last().is_some_and(|level| level.len() as u64 >= WIDTH) {
            let below = levels.last().expect("not empty");
            levels.push(below.chunks_exact(256).map(perfect_root).collect());
        }
        let mut tiles = TileHashes::new(SIZE, |tile: Piece| {
            let Holds::Hashes(level) = tile.holds else { panic!("only hashes are asked for") };
            let from = (tile.index * WIDTH) as usize;
            Ok::<_, ()>(levels[level as usize][from..from + tile.width as usize].to_vec())
        });
        let (mut frontier, mut old_root) = (Frontier::default(), None);
        for leaf in &leaves {
            frontier.push(*leaf);
            if frontier.size() == 65_537 {
                old_root = Some(frontier.root());
            }
        }
        assert_eq!(range_root(&mut tiles, 0, SIZE), Ok(frontier.root()));
        let proof = consistency_proof(&mut tiles, 65_537, SIZE).expect("all tiles are there");
        let old_root = old_root.expect("passed it");
        assert!(is_consistent(65_537, old_root, SIZE, frontier.root(), &proof));
    }
}
