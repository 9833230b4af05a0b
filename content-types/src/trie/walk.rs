//! The way down a trie, node by node: for who has a proof at hand, and for who has to ask for each node.

use alloy_primitives::{B256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;

use super::error::ProofError;
use super::nibbles::Nibbles;
use super::node::{Step, step};

/// A way from a root to what lies under a key, as far as it has been gone. It is told of nodes and asks for none itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    way: Nibbles,
    /// Nibbles of the way that lie behind.
    taken: usize,
    /// The hash of the node that comes next.
    expected: B256,
    /// Nodes that were gone through.
    position: usize,
}

/// Where a walk has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached<'a> {
    /// At another node, [`Walk::next`].
    Node,
    /// At its end.
    Value(&'a [u8]),
    /// Where nothing goes on: the trie has nothing under the key.
    Nothing,
}

impl Walk {
    /// The way to a hashed key. `None` in an empty trie, which has nothing under any.
    pub fn new(root: B256, key: &B256) -> Option<Self> {
        (root != EMPTY_ROOT_HASH).then(|| Self { way: Nibbles::of_key(key), taken: 0, expected: root, position: 0 })
    }

    /// The same from a node further down, which lies `depth` nibbles from the root. `None` if a key is not as long.
    pub fn from(key: &B256, depth: usize, node: B256) -> Option<Self> {
        let way = Nibbles::of_key(key);
        (depth <= way.len()).then_some(Self { way, taken: depth, expected: node, position: 0 })
    }

    /// The hashed key that it leads to.
    pub fn target(&self) -> B256 {
        let mut key = B256::ZERO;
        for (byte, pair) in key.iter_mut().zip(self.way.as_slice().chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, nibble| byte << 4 | nibble);
        }
        key
    }

    /// The node that comes next: its place in the trie, and its hash.
    pub fn next(&self) -> (Nibbles, B256) {
        (self.way.prefix(self.taken), self.expected)
    }

    /// Nodes that were gone through.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Goes through the next node. After a [`Reached::Value`] or [`Reached::Nothing`] there is none.
    ///
    /// # Errors
    ///
    /// [`ProofError::NotLinked`] and [`ProofError::Node`]: it is another node, or none. The walk stays where it was.
    pub fn handle_node<'a>(&mut self, node: &'a [u8]) -> Result<Reached<'a>, ProofError> {
        let (position, expected, actual) = (self.position, self.expected, keccak256(node));
        if actual != expected {
            return Err(ProofError::NotLinked { position, expected, actual });
        }
        self.handle_hashed(node)
    }

    /// The same for a node that is known to have the hash that [`next`](Self::next) names: many ways begin with the same nodes, and
    /// hashing them is most of the work.
    pub(crate) fn handle_hashed<'a>(&mut self, node: &'a [u8]) -> Result<Reached<'a>, ProofError> {
        let position = self.position;
        let (mut within, mut taken) = (node, self.taken);
        let reached = loop {
            // What a node takes beyond the key's end leads nowhere, and then `step` says so.
            let rest = self.way.as_slice().get(taken..).unwrap_or_default();
            let (own, next) = step(within, rest).map_err(|source| ProofError::Node { position, source })?;
            taken += own;
            match next {
                Step::Value(value) => break Reached::Value(value),
                Step::Nothing => break Reached::Nothing,
                // It is shorter than the node that it stands in, so this ends.
                Step::Embedded(node) => within = node,
                Step::Hash(hash) => {
                    self.expected = hash;
                    break Reached::Node;
                }
            }
        };
        (self.taken, self.position) = (taken, position + 1);
        Ok(reached)
    }
}
