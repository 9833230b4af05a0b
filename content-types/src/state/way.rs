//! The rest of a way down a trie as one thing to ask for: a peer that holds several of its nodes gives them all in one answer.
//!
//! The hash of a node stands in the one above, so who reads node by node waits a round trip for each. Which nodes come next
//! follows from those that a peer has at hand, and it can go on by itself until it lacks one.

use alloy_primitives::B256;

use super::key::ContentKey;
use crate::trie::{ProofError, Reached, Walk};

/// Bytes of a way in the storage of an account; one in the account trie has 32 less.
const STORAGE_LENGTH: usize = 1 + 3 * B256::len_bytes();
const ACCOUNT_LENGTH: usize = 1 + 2 * B256::len_bytes();

/// A way from some node on, in the account trie or in the storage trie of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    storage_of: Option<B256>,
    walk: Walk,
}

impl Way {
    /// The way from the node with this hash, which lies `depth` nibbles down, to what lies under the hashed key `target`. In the
    /// storage of the account with the hashed address `storage_of`, or in the account trie. `None` if it lies deeper than a key is
    /// long.
    pub fn new(storage_of: Option<B256>, target: &B256, depth: usize, node_hash: B256) -> Option<Self> {
        Some(Self { storage_of, walk: Walk::from(target, depth, node_hash)? })
    }

    /// A walk that has come to a node.
    pub(super) fn on(storage_of: Option<B256>, walk: &Walk) -> Option<Self> {
        let (path, node_hash) = walk.next();
        Self::new(storage_of, &walk.target(), path.len(), node_hash)
    }

    /// The content key of the next node.
    pub fn next(&self) -> ContentKey {
        let (path, node_hash) = self.walk.next();
        match self.storage_of {
            Some(address_hash) => ContentKey::StorageTrieNode { address_hash, path, node_hash },
            None => ContentKey::AccountTrieNode { path, node_hash },
        }
    }

    /// Goes through the next node, bare; whether another one comes behind it.
    ///
    /// # Errors
    ///
    /// [`ProofError`]: it is another node, or none. The way goes on from where it was.
    pub fn handle_node(&mut self, node: &[u8]) -> Result<bool, ProofError> {
        Ok(self.walk.handle_node(node)? == Reached::Node)
    }

    /// Depth, hash of the node, target, and the hashed address if it is in a storage.
    pub fn encode(&self) -> Vec<u8> {
        let (path, node_hash) = self.walk.next();
        let depth = [path.len() as u8];
        let storage_of = self.storage_of.as_ref().map_or(&[][..], B256::as_slice);
        [&depth, node_hash.as_slice(), self.walk.target().as_slice(), storage_of].concat()
    }

    /// The same from bytes; `None` if they are none of a way.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (depth, hashes) = bytes.split_first()?;
        let mut hashes = hashes.chunks_exact(B256::len_bytes()).map(B256::from_slice);
        match bytes.len() {
            ACCOUNT_LENGTH | STORAGE_LENGTH => {
                let (node_hash, target) = (hashes.next()?, hashes.next()?);
                Self::new(hashes.next(), &target, usize::from(*depth), node_hash)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;
    use alloy_trie::{HashBuilder, Nibbles as Way64, proof::ProofRetainer};
    use proptest::prelude::*;

    use super::*;
    use crate::trie::Nibbles;

    proptest! {
        #[test]
        fn ways_survive_the_wire_and_no_other_bytes_are_one(bytes in prop::collection::vec(any::<u8>(), 0..100), depth in 0..80_u8) {
            let mut bytes = bytes;
            for length in [bytes.len(), ACCOUNT_LENGTH, STORAGE_LENGTH] {
                bytes.resize(length, 7);
                if let Some(first) = bytes.first_mut() {
                    *first = depth;
                }
                match Way::decode(&bytes) {
                    Some(way) => prop_assert_eq!(way.encode(), bytes.clone()),
                    None => prop_assert!(depth > 64 || ![ACCOUNT_LENGTH, STORAGE_LENGTH].contains(&length)),
                }
            }
        }
    }

    /// A trie of a hundred keys, and the nodes of one's proof.
    #[test]
    fn each_node_of_a_way_is_told_by_the_one_before() {
        let mut keys: Vec<_> = (0..100_u8).map(|byte| keccak256([byte])).collect();
        keys.sort();
        let target = Way64::unpack(keys[42]);
        let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![target]));
        keys.iter().for_each(|key| builder.add_leaf(Way64::unpack(*key), &[7; 40]));
        let root = builder.root();
        let nodes: Vec<_> = builder.take_proof_nodes().into_nodes_sorted().into_iter().map(|(_, node)| node).collect();
        assert!(nodes.len() > 2);
        let mut way = Way::new(None, &keys[42], 0, root).unwrap();
        for (nth, node) in nodes.iter().enumerate() {
            assert_eq!(way.next().hash(), keccak256(node));
            // From anywhere on the way it is the same way.
            way = Way::decode(&way.encode()).unwrap();
            assert!(way.handle_node(&nodes[(nth + 1) % nodes.len()]).is_err());
            assert_eq!(way.handle_node(node), Ok(nth + 1 < nodes.len()));
        }
        let of_storage = Way::new(Some(B256::ZERO), &keys[42], 0, root).unwrap();
        assert!(matches!(of_storage.next(), ContentKey::StorageTrieNode { path: Nibbles::ROOT, .. }));
    }
}
