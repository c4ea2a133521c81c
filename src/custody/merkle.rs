//! Merkle hashing of RFC 6962 §2.1: roots, and proofs that a log has an entry and only grew.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::clip::to_hex;

/// A node of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash of an entry: SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into())
}

/// The hash of two nodes: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    let hash = Sha256::new().chain_update([0x01]).chain_update(left.0).chain_update(right.0);
    Hash(hash.finalize().into())
}

/// The root of a log without entries: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// A growing tree of which only the roots of its perfect subtrees are kept: at most 64 hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Level and root of each perfect subtree, from left to right, levels falling.
    peaks: Vec<(u32, Hash)>,
}

impl Frontier {
    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the hash of one entry.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Adds a perfect subtree of 2^`level` entries. The size must be a multiple of that.
    pub fn push_subtree(&mut self, level: u32, root: Hash) {
        assert_eq!(
            self.size % (1 << level),
            0,
            "a perfect subtree begins at a multiple of its size"
        );
        self.size += 1 << level;
        let (mut level, mut root) = (level, root);
        while let Some((_, left)) = self.peaks.pop_if(|(peak, _)| *peak == level) {
            root = node_hash(left, root);
            level += 1;
        }
        self.peaks.push((level, root));
    }

    /// The root of all entries.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(last, |right, left| node_hash(left, right))
    }
}

/// Gives the roots of perfect subtrees: from tiles, from the queue, from memory.
pub trait Hashes {
    /// Why a hash could not be had.
    type Error;

    /// The root of the `index`th subtree of 2^`level` entries.
    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the entries `from..to` as RFC 6962 hashes them; `from` must be where a subtree of
/// that many entries begins.
pub fn range_root<H: Hashes>(hashes: &mut H, from: u64, to: u64) -> Result<Hash, H::Error> {
    let size = to - from;
    if size == 0 {
        return Ok(empty_root());
    }
    if size.is_power_of_two() {
        return hashes.subtree(size.trailing_zeros(), from / size);
    }
    let split = from + split_size(size);
    let left = range_root(hashes, from, split)?;
    Ok(node_hash(left, range_root(hashes, split, to)?))
}

/// The largest power of two below `size`.
fn split_size(size: u64) -> u64 {
    assert!(size > 1, "one entry is not split");
    1 << (63 - (size - 1).leading_zeros())
}

/// The audit path of an entry (RFC 6962 §2.1.1), from the leaf to the root.
pub fn inclusion_proof<H: Hashes>(
    hashes: &mut H,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, H::Error> {
    assert!(index < size, "the entry is in the log");
    let (mut from, mut to, mut path) = (0, size, Vec::new());
    while to - from > 1 {
        let split = from + split_size(to - from);
        if index < split {
            path.push(range_root(hashes, split, to)?);
            to = split;
        } else {
            path.push(range_root(hashes, from, split)?);
            from = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The root that an audit path leads to (RFC 9162 §2.1.3.2); `None` where it has not the length
/// that this entry of a log of this size needs.
pub fn root_of_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut root) = (index, size - 1, leaf);
    for hash in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            root = node_hash(*hash, root);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            root = node_hash(root, *hash);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some(root)
}

/// The proof that a log of `old` entries became one of `new` by growing (RFC 6962 §2.1.2).
pub fn consistency_proof<H: Hashes>(
    hashes: &mut H,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, H::Error> {
    assert!(old <= new, "a log grows");
    if old == 0 || old == new {
        return Ok(vec![]);
    }
    let (mut from, mut to, mut proof) = (0, new, Vec::new());
    // Walk down to where the old log ends; what stands to both sides is the proof.
    while old != to {
        let split = from + split_size(to - from);
        if old <= split {
            proof.push(range_root(hashes, split, to)?);
            to = split;
        } else {
            proof.push(range_root(hashes, from, split)?);
            from = split;
        }
    }
    // A root that begins at 0 is the old root itself, which the verifier has.
    if from != 0 {
        proof.push(range_root(hashes, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether a proof shows that the old log is the beginning of the new one (RFC 9162 §2.1.4.2).
pub fn is_consistent(old: u64, old_root: Hash, new: u64, new_root: Hash, proof: &[Hash]) -> bool {
    if old > new || (old == 0 && old_root != empty_root()) {
        return false;
    }
    if old == new || old == 0 {
        return proof.is_empty() && (old == 0 || old_root == new_root);
    }
    let mut hashes = proof.iter();
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    let first = if node == 0 { Some(&old_root) } else { hashes.next() };
    let Some(first) = first else { return false };
    let (mut old_side, mut new_side) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_side = node_hash(*hash, old_side);
            new_side = node_hash(*hash, new_side);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            new_side = node_hash(new_side, *hash);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && old_side == old_root && new_side == new_root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All leaves in memory; subtrees by the definition.
    struct Leaves(Vec<Hash>);

    impl Hashes for Leaves {
        type Error = std::convert::Infallible;

        fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error> {
            let size = 1usize << level;
            let from = index as usize * size;
            Ok(by_definition(&self.0[from..from + size]))
        }
    }

    fn leaves(count: usize) -> Leaves {
        Leaves((0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect())
    }

    /// MTH of RFC 6962 §2.1.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            more => {
                let (left, right) = more.split_at(split_size(more.len() as u64) as usize);
                node_hash(by_definition(left), by_definition(right))
            }
        }
    }

    fn ok<T>(result: Result<T, std::convert::Infallible>) -> T {
        result.expect("memory has it")
    }

    #[test]
    fn the_roots_are_those_of_the_reference_implementation() {
        // certificate-transparency's merkle_tree_test.cc: eight inputs and the roots over them.
        let inputs: [&[u8]; 4] = [b"", b"\x00", b"\x10", b"\x20\x21"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root().to_string(), empty);
        for (input, root) in inputs.iter().zip(roots) {
            frontier.push(leaf_hash(input));
            assert_eq!(frontier.root().to_string(), root);
        }
    }

    #[test]
    fn every_entry_of_every_small_log_is_proven_and_no_other() {
        for size in 1..40u64 {
            let mut all = leaves(size as usize);
            let root = ok(range_root(&mut all, 0, size));
            assert_eq!(root, by_definition(&all.0));
            for index in 0..size {
                let path = ok(inclusion_proof(&mut all, index, size));
                let leaf = all.0[index as usize];
                assert_eq!(root_of_inclusion(leaf, index, size, &path), Some(root));
                let other = (index + 1) % size;
                let proves_other = root_of_inclusion(leaf, other, size, &path) == Some(root);
                assert!(size == 1 || !proves_other, "{index} of {size}");
                let longer = [path.as_slice(), &[root]].concat();
                assert_ne!(root_of_inclusion(leaf, index, size, &longer), Some(root));
            }
        }
    }

    #[test]
    fn growth_is_proven_and_a_rewritten_log_is_not() {
        for new in 0..40u64 {
            let mut all = leaves(new as usize);
            let new_root = by_definition(&all.0);
            for old in 0..=new {
                let old_root = by_definition(&all.0[..old as usize]);
                let proof = ok(consistency_proof(&mut all, old, new));
                assert!(is_consistent(old, old_root, new, new_root, &proof), "{old} to {new}");
                let wrong = leaf_hash(b"rewritten");
                assert!(!is_consistent(old, wrong, new, new_root, &proof), "{old} to {new}");
                if old > 0 {
                    assert!(!is_consistent(old, old_root, new, wrong, &proof), "{old} to {new}");
                }
                let longer = [proof.as_slice(), &[wrong]].concat();
                assert!(!is_consistent(old, old_root, new, new_root, &longer), "{old} to {new}");
            }
        }
    }

    #[test]
    fn a_frontier_is_rebuilt_from_its_subtrees() {
        let mut all = leaves(300);
        let mut one_by_one = Frontier::default();
        all.0.iter().for_each(|leaf| one_by_one.push(*leaf));
        let mut rebuilt = Frontier::default();
        rebuilt.push_subtree(8, ok(all.subtree(8, 0)));
        all.0[256..].iter().for_each(|leaf| rebuilt.push(*leaf));
        assert_eq!(rebuilt, one_by_one);
    }
}
