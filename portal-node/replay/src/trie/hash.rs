//! The hashes of all nodes that changed, of all tries together: first the leaves, then the branches level by level from the
//! deepest on, each level as one batch.

use alloy_primitives::{B256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use bytes::Bytes;

use super::apply::{Forest, Records, Root, TrieId};
use super::node::{Child, Leaf, Reference, encode_branch, encode_extension, encode_leaf};
use super::path::TriePath;
use super::{TrieError, record};

/// A node that a trie has and did not have before, or had elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashedNode {
    pub(crate) trie: TrieId,
    pub(crate) path: TriePath,
    pub(crate) hash: B256,
    pub(crate) rlp: Bytes,
}

/// What has become of tries.
#[derive(Debug, Default)]
pub(crate) struct TrieUpdate {
    /// The root of each trie, in the order in which they were changed.
    pub(crate) roots: Vec<(TrieId, B256)>,
    /// Every node that is new or other than before and stands by its hash.
    pub(crate) nodes: Vec<HashedNode>,
    /// What the store has to have where; `None`: nothing. Later ones count.
    pub(crate) records: Vec<(TrieId, TriePath, Option<Bytes>)>,
}

/// Nodes of one batch: their RLP one behind the other.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    fn add(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// How each node stands in its parent, and the RLP of those that stand by their hash.
    fn hash(self) -> Vec<(Reference, Bytes)> {
        let bytes = Bytes::from(self.bytes);
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let nodes = starts.zip(&self.ends).map(|(start, end)| bytes.slice(start..*end));
        nodes.map(|rlp| (Reference::inline(&rlp).unwrap_or_else(|| Reference::Hash(keccak256(&rlp))), rlp)).collect()
    }
}

/// A leaf that has to be hashed: below which branch, and which nibble.
type LeafAt = (usize, u8);

impl<R: Records> Forest<'_, R> {
    /// Hashes what was changed.
    pub(crate) fn hash(mut self) -> Result<TrieUpdate, TrieError> {
        let mut update = TrieUpdate::default();
        self.hash_leaves(&mut update);
        let references = self.hash_branches(&mut update);
        update.records.extend(self.left.iter().map(|(trie, place)| (*trie, *place, None)));
        for (trie, branch) in &self.changed {
            let record = record::encode_branch(branch, |child| reference_of(child, &references));
            update.records.push((*trie, branch.place(), Some(record.into())));
        }
        for (trie, root) in &self.roots {
            let root = match root {
                Root::Same(root) => *root,
                Root::Other(Child::Empty) => EMPTY_ROOT_HASH,
                Root::Other(Child::Leaf(leaf)) => root_leaf(*trie, leaf, &mut update),
                Root::Other(child @ (Child::Stored(_) | Child::Changed(_))) => {
                    let reference = reference_of(child, &references).ok_or(TrieError::ChangedTwice)?;
                    let hash = reference.as_root();
                    // A root stands by its hash however short it is.
                    if let Reference::Inline { .. } = reference {
                        let rlp = Bytes::copy_from_slice(reference.bytes());
                        update.nodes.push(HashedNode { trie: *trie, path: TriePath::ROOT, hash, rlp });
                    }
                    hash
                }
            };
            update.roots.push((*trie, root));
        }
        Ok(update)
    }

    fn hash_leaves(&mut self, update: &mut TrieUpdate) {
        let mut batch = Batch::default();
        let mut leaves: Vec<LeafAt> = Vec::new();
        for (at, (_, branch)) in self.changed.iter().enumerate() {
            let depth = branch.path.len() + 1;
            for (nibble, child) in (0..).zip(&branch.children) {
                if let Child::Leaf(leaf @ Leaf { reference: None, .. }) = child {
                    batch.add(|out| encode_leaf(leaf, depth, out));
                    leaves.push((at, nibble));
                }
            }
        }
        for ((at, nibble), (reference, rlp)) in leaves.into_iter().zip(batch.hash()) {
            let Some((trie, branch)) = self.changed.get_mut(at) else { continue };
            let path = branch.path.child(nibble);
            if let Some(Child::Leaf(leaf)) = branch.children.get_mut(usize::from(nibble)) {
                leaf.reference = Some(reference);
            }
            update.add(*trie, path, reference, rlp);
        }
    }

    /// How each of the changed branches stands in its parent.
    fn hash_branches(&self, update: &mut TrieUpdate) -> Vec<Option<Reference>> {
        let mut references: Vec<Option<Reference>> = vec![None; self.changed.len()];
        let mut order: Vec<usize> = (0..self.changed.len()).collect();
        let depth = |at: &usize| self.changed.get(*at).map_or(0, |(_, branch)| branch.path.len());
        order.sort_unstable_by_key(|at| std::cmp::Reverse(depth(at)));
        for level in order.chunk_by(|a, b| depth(a) == depth(b)) {
            let branches = || level.iter().filter_map(|at| Some((*at, self.changed.get(*at)?)));
            let mut batch = Batch::default();
            for (_, (_, branch)) in branches() {
                batch.add(|out| encode_branch(branch, |child| reference_of(child, &references), out));
            }
            let mut extensions = Batch::default();
            let mut extended = Vec::new();
            for ((at, (trie, branch)), (reference, rlp)) in branches().zip(batch.hash()) {
                update.add(*trie, branch.path, reference, rlp);
                if branch.is_extended() {
                    extensions.add(|out| encode_extension(branch, &reference, out));
                    extended.push((at, *trie, branch.place()));
                } else {
                    references[at] = Some(reference);
                }
            }
            for ((at, trie, place), (reference, rlp)) in extended.into_iter().zip(extensions.hash()) {
                update.add(trie, place, reference, rlp);
                references[at] = Some(reference);
            }
        }
        references
    }
}

impl TrieUpdate {
    fn add(&mut self, trie: TrieId, path: TriePath, reference: Reference, rlp: Bytes) {
        if let Reference::Hash(hash) = reference {
            self.nodes.push(HashedNode { trie, path, hash, rlp });
        }
    }
}

fn reference_of<'a>(child: &'a Child, references: &'a [Option<Reference>]) -> Option<&'a Reference> {
    match child {
        Child::Empty => None,
        Child::Leaf(leaf) => leaf.reference.as_ref(),
        Child::Stored(reference) => Some(reference),
        Child::Changed(at) => references.get(*at)?.as_ref(),
    }
}

fn root_leaf(trie: TrieId, leaf: &Leaf, update: &mut TrieUpdate) -> B256 {
    let mut rlp = Vec::new();
    encode_leaf(leaf, 0, &mut rlp);
    let hash = keccak256(&rlp);
    update.records.push((trie, TriePath::ROOT, Some(record::encode_root_leaf(leaf).into())));
    update.nodes.push(HashedNode { trie, path: TriePath::ROOT, hash, rlp: rlp.into() });
    hash
}
