//! What a block has brought, as the state network takes it: each node and each code with the proof from the block's state root.
//!
//! Nothing has to be looked up for that. The hash of a node stands in the one above, so where a node is new the ones above it are, too,
//! up to the root; and an account whose storage or code is new has a new leaf (what a block makes again just as it
//! was is not new). All of them are among the changes.

use std::collections::HashMap;

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::state::{ContentKey, Proved};
use content_types::trie::{Nibbles, Reached, Walk};

use crate::changes::Changes;

/// A node that is not among the changes though something below it is: the changes are not those of one whole block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the changes of block {number} lack the node at {path} above one that they have")]
pub struct GapError {
    /// The block.
    pub number: u64,
    /// Where the node lies in its trie.
    pub path: Nibbles,
}

/// Nodes by the account in whose storage they lie, if in any, and by their path.
type NodesByPlace = HashMap<(Option<B256>, Nibbles), Bytes>;

/// Everything that a block has brought, with proofs. Each is made when it is asked for: together they are many times as long as
/// the nodes.
#[derive(Debug)]
pub struct Offers<'a> {
    changes: &'a Changes,
    nodes: NodesByPlace,
}

impl<'a> Offers<'a> {
    /// What these changes bring.
    pub fn of(changes: &'a Changes) -> Self {
        let place = |node: &crate::TrieNode| ((node.account, node.path), node.rlp.0.clone());
        Self { changes, nodes: changes.nodes.iter().map(place).collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.changes.nodes.len() + self.changes.codes.len()
    }

    /// Whether the block has brought nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in no order.
    ///
    /// # Errors
    ///
    /// [`GapError`] for one whose proof is not among the changes.
    pub fn iter(&self) -> impl Iterator<Item = Result<(ContentKey, Proved), GapError>> {
        let block_hash = self.changes.block_hash;
        let nodes = self.changes.nodes.iter().map(move |node| {
            let (path, node_hash) = (node.path, node.hash);
            Ok(match node.account {
                None => {
                    let proof = self.down_to(None, self.changes.state_root, &path)?;
                    (ContentKey::AccountTrieNode { path, node_hash }, Proved::AccountTrieNode { proof, block_hash })
                }
                Some(address_hash) => {
                    let account_proof = self.to_account(&address_hash)?;
                    let root = self.nodes.get(&(node.account, Nibbles::ROOT)).ok_or_else(|| self.gap(Nibbles::ROOT))?;
                    let storage_root = alloy_primitives::keccak256(root);
                    let storage_proof = self.down_to(node.account, storage_root, &path)?;
                    let key = ContentKey::StorageTrieNode { address_hash, path, node_hash };
                    (key, Proved::StorageTrieNode { storage_proof, account_proof, block_hash })
                }
            })
        });
        let codes = self.changes.codes.iter().map(move |code| {
            let (address_hash, code_hash) = (code.account, code.hash);
            let (account_proof, code) = (self.to_account(&address_hash)?, code.code.0.clone());
            Ok((ContentKey::Code { address_hash, code_hash }, Proved::Code { code, account_proof, block_hash }))
        });
        nodes.chain(codes)
    }

    /// The nodes from the root of a trie down to the one at a path.
    fn down_to(&self, account: Option<B256>, root: B256, path: &Nibbles) -> Result<Vec<Bytes>, GapError> {
        // Any key that the node lies on the way to.
        let mut target = [0; 64];
        target.iter_mut().zip(path.as_slice()).for_each(|(nibble, of_path)| *nibble = *of_path);
        let bytes = target.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble));
        let target = B256::from_slice(&bytes.collect::<Vec<u8>>());
        self.walk(account, root, &target, Some(path))
    }

    /// The nodes from the state root down to an account.
    fn to_account(&self, address_hash: &B256) -> Result<Vec<Bytes>, GapError> {
        self.walk(None, self.changes.state_root, address_hash, None)
    }

    /// The nodes of the way to a key, up to the one at `last` or to its end.
    fn walk(
        &self,
        account: Option<B256>,
        root: B256,
        target: &B256,
        last: Option<&Nibbles>,
    ) -> Result<Vec<Bytes>, GapError> {
        let (mut proof, Some(mut walk)) = (Vec::new(), Walk::new(root, target)) else { return Ok(Vec::new()) };
        loop {
            let (path, _) = walk.next();
            let node = self.nodes.get(&(account, path)).ok_or_else(|| self.gap(path))?;
            proof.push(node.clone());
            let reached = walk.handle_node(node).map_err(|_| self.gap(path))?;
            match last {
                Some(last) if *last == path => return Ok(proof),
                // The way ends above the node that it is to lead to.
                Some(last) if reached != Reached::Node => return Err(self.gap(*last)),
                None if reached != Reached::Node => return Ok(proof),
                _ => {}
            }
        }
    }

    fn gap(&self, path: Nibbles) -> GapError {
        GapError { number: self.changes.number, path }
    }
}
