//! What holds for every log, path and proof, and for any bytes that claim to be one.

use dockseal::custody::merkle::{
    Frontier, Hash, consistency_proof, inclusion_proof, is_consistent, leaf_hash, root_of_inclusion,
};
use dockseal::custody::tile::{
    HEIGHT, Holds, LEVEL_COUNT, Piece, SIZE_MAX, TileHashes, WIDTH, perfect_root, pieces_between,
};
use proptest::prelude::*;

use crate::corpus::targets;

/// The tiles of a log, by level.
struct Tiles(Vec<Vec<Hash>>);

impl Tiles {
    fn new(size: u64) -> Tiles {
        let mut levels: Vec<Vec<Hash>> =
            vec![(0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect()];
        while levels.last().unwrap().len() as u64 >= WIDTH {
            let full = levels.last().unwrap().chunks_exact(WIDTH as usize);
            levels.push(full.map(perfect_root).collect());
        }
        Tiles(levels)
    }

    fn root(&self, size: u64) -> Hash {
        let mut frontier = Frontier::default();
        self.0[0][..size as usize].iter().for_each(|leaf| frontier.push(*leaf));
        frontier.root()
    }

    /// Hashes of a log of this size out of the pieces that it has, and no others.
    fn hashes(
        &self,
        size: u64,
    ) -> TileHashes<impl FnMut(Piece) -> Result<Vec<Hash>, std::convert::Infallible>> {
        let pieces = pieces_between(0, size);
        TileHashes::new(size, move |tile: Piece| {
            assert!(pieces.contains(&tile), "{} is not published at {size}", tile.path());
            let Holds::Hashes(level) = tile.holds else { panic!("only hashes are asked for") };
            let from = (tile.index * WIDTH) as usize;
            Ok(self.0[level as usize][from..from + tile.width as usize].to_vec())
        })
    }
}

fn piece() -> impl Strategy<Value = Piece> {
    let holds = prop_oneof![Just(Holds::Entries), (0..LEVEL_COUNT).prop_map(Holds::Hashes)];
    (holds, any::<u64>(), 1..=WIDTH, 0..64u32).prop_map(|(holds, index, width, shift)| {
        let level = match holds {
            Holds::Entries => 0,
            Holds::Hashes(level) => level,
        };
        // Of every size, and within what a log can have.
        let index = (index >> shift) % (SIZE_MAX >> (HEIGHT * (level + 1)));
        Piece { holds, index, width }
    })
}

/// A text that is nearly one of ours: cut, doubled, with a byte changed.
fn nearly(good: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    (0..good.len(), any::<u8>(), 0..4u8).prop_map(move |(at, byte, what)| {
        let mut bytes = good.to_vec();
        match what {
            0 => bytes[at] = byte,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
        bytes
    })
}

const KEYRING: &[u8] = include_bytes!("../vectors/custody/keyrings/day-keys");
const NOTE: &[u8] = include_bytes!("../vectors/custody/notes/cosigned");
const ENTRY: &[u8] = include_bytes!("../../fuzz/corpus/entry/started");
const STATUS: &[u8] = include_bytes!("../../fuzz/corpus/status/full");

proptest! {
    #[test]
    fn a_path_is_read_as_it_was_written(piece in piece()) {
        prop_assert_eq!(Piece::parse(&piece.path()), Some(piece));
        prop_assert!(piece.size_min() <= SIZE_MAX);
    }

    #[test]
    fn what_is_published_step_by_step_is_all_that_is_needed(
        old in 0..200_000u64, first in 0..70_000u64, second in 0..70_000u64,
    ) {
        let (mid, new) = (old + first, old + first + second);
        let mut steps = pieces_between(old, mid);
        steps.extend(pieces_between(mid, new));
        for piece in pieces_between(old, new) {
            prop_assert!(steps.contains(&piece), "{}", piece.path());
            prop_assert!(piece.size_min() <= new);
        }
    }

    #[test]
    fn proofs_out_of_published_tiles_hold(
        new in 1..2000u64, old in 0..2000u64, index in 0..2000u64, other in any::<u8>(),
    ) {
        let (old, index) = (old % (new + 1), index % new);
        let tiles = Tiles::new(new);
        let (old_root, new_root) = (tiles.root(old), tiles.root(new));
        let leaf = tiles.0[0][index as usize];
        let Ok(path) = inclusion_proof(&mut tiles.hashes(new), index, new);
        prop_assert_eq!(root_of_inclusion(leaf, index, new, &path), Some(new_root));
        let Ok(mut proof) = consistency_proof(&mut tiles.hashes(new), old, new);
        prop_assert!(is_consistent(old, old_root, new, new_root, &proof));
        if !proof.is_empty() {
            let at = usize::from(other) % proof.len();
            proof[at].0[usize::from(other) % 32] ^= 1;
            prop_assert!(!is_consistent(old, old_root, new, new_root, &proof));
        }
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_read(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        targets::checkpoint(&bytes);
        targets::entry(&bytes);
        targets::keyring(&bytes);
        targets::note(&bytes);
        targets::status(&bytes);
        targets::tile_path(&bytes);
    }

    #[test]
    fn what_is_nearly_right_has_one_spelling_or_is_refused(
        keyring in nearly(KEYRING), note in nearly(NOTE), entry in nearly(ENTRY),
        status in nearly(STATUS),
    ) {
        targets::keyring(&keyring);
        targets::checkpoint(&note);
        targets::note(&note);
        targets::entry(&entry);
        targets::status(&status);
    }
}
