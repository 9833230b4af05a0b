//! SSZ merkle trees over 32-byte chunks: roots, branches and their verification.
//!
//! A tree of depth `d` has 2^d leaves; leaves that are not there are zero, and whole subtrees of them are never stored.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

/// The deepest tree: `historical_roots` and `historical_summaries` hold up to 2^24 items.
pub const MAX_DEPTH: usize = 24;

/// SHA-256 of two chunks side by side.
pub fn hash_pair(left: &B256, right: &B256) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(left);
    hasher.update(right);
    B256::new(hasher.finalize().into())
}

/// The root of a list: its items' root mixed with their number (`mix_in_length`).
pub fn mix_in_length(root: &B256, length: usize) -> B256 {
    hash_pair(root, &length_chunk(length))
}

/// The chunk that stands for a list's length: a little-endian `uint256`.
pub fn length_chunk(length: usize) -> B256 {
    let mut chunk = B256::ZERO;
    chunk[..8].copy_from_slice(&(length as u64).to_le_bytes());
    chunk
}

/// The root that `leaf` has as the leaf with number `index`, counted from the left, of a tree in which `branch` are its
/// siblings from the bottom up.
///
/// With a generalized index `g` of depth `d`, `index` is `g - 2^d`. Bits of `index` above the branch's length make no
/// difference, so `g` itself does as well.
pub fn root_from_branch(leaf: &B256, branch: &[B256], index: u64) -> B256 {
    branch.iter().enumerate().fold(*leaf, |node, (level, sibling)| {
        let is_right = level < u64::BITS as usize && index >> level & 1 == 1;
        if is_right { hash_pair(sibling, &node) } else { hash_pair(&node, sibling) }
    })
}

/// A tree held whole: any branch costs no hashing.
#[derive(Debug, Clone)]
pub struct MerkleTree {
    /// The nodes that are not roots of empty subtrees, level by level from the leaves up; the last level is the root.
    levels: Vec<Vec<B256>>,
}

impl MerkleTree {
    /// Hashes a tree of 2^`depth` leaves, of which `leaves` are the first.
    ///
    /// Returns `None` when there are more leaves than that, or `depth` exceeds [`MAX_DEPTH`].
    pub fn new(leaves: Vec<B256>, depth: usize) -> Option<Self> {
        (depth <= MAX_DEPTH && leaves.len() <= 1 << depth).then(|| Self::of_fitting(leaves, depth))
    }

    /// [`MerkleTree::new`] for leaves that are known to fit.
    pub(crate) fn of_fitting(leaves: Vec<B256>, depth: usize) -> Self {
        let mut levels = Vec::with_capacity(depth + 1);
        let mut nodes = leaves;
        let mut empty = B256::ZERO;
        for _ in 0..depth {
            let parents = nodes.chunks(2).map(|pair| hash_pair(&pair[0], pair.get(1).unwrap_or(&empty))).collect();
            empty = hash_pair(&empty, &empty);
            levels.push(std::mem::replace(&mut nodes, parents));
        }
        if nodes.is_empty() {
            nodes.push(empty);
        }
        levels.push(nodes);
        Self { levels }
    }

    /// The root.
    pub fn root(&self) -> B256 {
        self.levels[self.depth()][0]
    }

    /// The siblings, from the bottom up, on the way from the leaf with number `index` to the root: as many as the tree
    /// is deep. `None` when there is no such leaf.
    pub fn branch(&self, index: usize) -> Option<Vec<B256>> {
        if index >> self.depth() != 0 {
            return None;
        }
        let mut empty = B256::ZERO;
        let siblings = self.levels[..self.depth()].iter().enumerate().map(|(level, nodes)| {
            let sibling = nodes.get(index >> level ^ 1).copied().unwrap_or(empty);
            empty = hash_pair(&empty, &empty);
            sibling
        });
        Some(siblings.collect())
    }

    fn depth(&self) -> usize {
        self.levels.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The root by definition: every leaf there, every level hashed.
    fn naive_root(leaves: &[B256], depth: usize) -> B256 {
        let mut nodes = leaves.to_vec();
        nodes.resize(1 << depth, B256::ZERO);
        while nodes.len() > 1 {
            nodes = nodes.chunks(2).map(|pair| hash_pair(&pair[0], &pair[1])).collect();
        }
        nodes[0]
    }

    proptest! {
        #[test]
        fn roots_and_branches(
            depth in 0..7_usize,
            leaves in prop::collection::vec(any::<[u8; 32]>(), 0..64),
            index: prop::sample::Index,
        ) {
            let mut leaves: Vec<_> = leaves.into_iter().map(B256::new).collect();
            leaves.truncate(1 << depth);
            let tree = MerkleTree::new(leaves.clone(), depth).unwrap();
            prop_assert_eq!(tree.root(), naive_root(&leaves, depth));

            let index = index.index(1 << depth);
            let leaf = leaves.get(index).copied().unwrap_or_default();
            let mut branch = tree.branch(index).unwrap();
            prop_assert_eq!(branch.len(), depth);
            prop_assert_eq!(root_from_branch(&leaf, &branch, index as u64), tree.root());
            if let Some(sibling) = branch.last_mut() {
                sibling[0] ^= 1;
                prop_assert_ne!(root_from_branch(&leaf, &branch, index as u64), tree.root());
            }
            prop_assert_eq!(tree.branch(1 << depth), None);
        }
    }

    #[test]
    fn too_many_leaves() {
        assert!(MerkleTree::new(vec![B256::ZERO; 5], 2).is_none());
        assert!(MerkleTree::new(vec![], MAX_DEPTH + 1).is_none());
        assert!(MerkleTree::new(vec![], MAX_DEPTH).is_some());
    }
}
