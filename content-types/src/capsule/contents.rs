//! What a capsule tells, as the state network takes it: a capsule has the proof of each node that leads to what it tells, so that whoever
//! holds one can give the network that part of a state.

use std::collections::BTreeMap;

use alloy_primitives::{B256, keccak256};
use bytes::Bytes;

use super::opened::{Opened, OpenedAccount};
use crate::state::{ContentKey, Proved};
use crate::trie::{Nibbles, Walk};

impl Opened {
    /// Each node and each code once, by its key, with the proof from the state root of the block.
    pub fn contents(&self) -> BTreeMap<ContentKey, Proved> {
        let (block_hash, state_root) = (self.header.hash(), self.header.header().state_root);
        let mut contents = BTreeMap::new();
        for OpenedAccount { address, account, proof: account_proof, slots, code } in &self.accounts {
            let address_hash = keccak256(address);
            for (path, node_hash, proof) in ways(state_root, &address_hash, account_proof) {
                let proved = Proved::AccountTrieNode { proof: proof.to_vec(), block_hash };
                contents.entry(ContentKey::AccountTrieNode { path, node_hash }).or_insert(proved);
            }
            // What there is not has neither storage nor code.
            let Some(account) = account else { continue };
            for slot in slots {
                let key = keccak256(B256::from(slot.slot));
                for (path, node_hash, proof) in ways(account.storage_root, &key, &slot.proof) {
                    let key = ContentKey::StorageTrieNode { address_hash, path, node_hash };
                    contents.entry(key).or_insert_with(|| Proved::StorageTrieNode {
                        storage_proof: proof.to_vec(),
                        account_proof: account_proof.clone(),
                        block_hash,
                    });
                }
            }
            if let Some(code) = code.as_ref().filter(|code| !code.is_empty()) {
                let key = ContentKey::Code { address_hash, code_hash: account.code_hash };
                let (code, account_proof) = (code.0.clone(), account_proof.clone());
                contents.insert(key, Proved::Code { code, account_proof, block_hash });
            }
        }
        contents
    }
}

/// The nodes of a way that was gone through: where each lies, its hash, and the way down to it.
fn ways<'a>(root: B256, key: &B256, nodes: &'a [Bytes]) -> impl Iterator<Item = (Nibbles, B256, &'a [Bytes])> {
    let mut walk = Walk::new(root, key);
    nodes.iter().enumerate().map_while(move |(nth, node)| {
        let walk = walk.as_mut()?;
        let (path, hash) = walk.next();
        // It was read before, when the capsule was opened.
        walk.handle_hashed(node).ok()?;
        Some((path, hash, nodes.get(..=nth)?))
    })
}
