//! What was changed and is not in the store yet: blocks whose root was checked, until their batch is written.

use std::collections::HashMap;

use alloy_primitives::map::{B256Map, DefaultHashBuilder};
use alloy_primitives::{B256, U256};
use bytes::Bytes;

use super::account::Account;
use super::apply::Applied;
use crate::store::{Table, WriteBatch};
use crate::trie::{TrieId, TriePath};

/// Blocks whose hashes a contract can ask for, and a little more: numbers are taken modulo this.
pub(crate) const RECENT_BLOCKS: u64 = 256;

/// What an entry takes in memory beside its value, in bytes: its key, and its place in a table. A rough number.
const ENTRY_OVERHEAD: usize = 128;

type Map<K, V> = HashMap<K, V, DefaultHashBuilder>;

/// Changes by table. What is `None`, or a slot that is 0, is gone.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) accounts: B256Map<Option<Account>>,
    pub(crate) slots: Map<(TrieId, B256), U256>,
    pub(crate) codes: B256Map<Bytes>,
    pub(crate) nodes: Map<(TrieId, TriePath), Option<Bytes>>,
    pub(crate) blocks: Map<u64, B256>,
    /// Tries of accounts that were destroyed.
    dropped: Vec<TrieId>,
    /// Bytes of values that have no fixed size.
    value_bytes: usize,
}

impl Pending {
    /// Takes a block's changes.
    pub(crate) fn add(&mut self, applied: &Applied) {
        self.accounts.extend(applied.accounts.iter().copied());
        self.slots.extend(applied.slots.iter().copied());
        self.dropped.extend_from_slice(&applied.dropped);
        for (trie, path, record) in &applied.records {
            let len = |record: &Option<Bytes>| record.as_ref().map_or(0, Bytes::len);
            let before = self.nodes.insert((*trie, *path), record.clone());
            self.value_bytes = (self.value_bytes + len(record)).saturating_sub(before.map_or(0, |before| len(&before)));
        }
    }

    pub(crate) fn add_code(&mut self, hash: B256, code: Bytes) {
        self.value_bytes += code.len();
        self.codes.insert(hash, code);
    }

    pub(crate) fn add_block(&mut self, number: u64, hash: B256) {
        self.blocks.insert(number % RECENT_BLOCKS, hash);
    }

    /// Whether there is no block in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// About as many bytes as this takes in memory.
    pub(crate) fn size(&self) -> usize {
        let entries = self.accounts.len() + self.slots.len() + self.codes.len() + self.nodes.len();
        self.value_bytes + entries * ENTRY_OVERHEAD
    }

    /// What has to be written.
    pub(crate) fn to_batch(&self) -> WriteBatch {
        let mut batch = WriteBatch {
            dropped: self.dropped.iter().map(|trie| trie.to_be_bytes()).collect(),
            ..WriteBatch::default()
        };
        let mut put = |table: Table, key: Vec<u8>, value: Option<Vec<u8>>| {
            if let Some(writes) = batch.tables.get_mut(table.index()) {
                writes.push((key, value));
            }
        };
        for (hash, account) in &self.accounts {
            put(Table::Accounts, hash.to_vec(), account.map(|account| account.encode()));
        }
        for ((trie, slot), value) in &self.slots {
            put(
                Table::Slots,
                slot_key(*trie, slot).to_vec(),
                (!value.is_zero()).then(|| value.to_be_bytes_trimmed_vec()),
            );
        }
        for (hash, code) in &self.codes {
            put(Table::Codes, hash.to_vec(), Some(code.to_vec()));
        }
        for ((trie, path), record) in &self.nodes {
            put(Table::Nodes, node_key(*trie, path), record.as_ref().map(|record| record.to_vec()));
        }
        for (slot, hash) in &self.blocks {
            put(Table::Blocks, vec![*slot as u8], Some(hash.to_vec()));
        }
        for writes in &mut batch.tables {
            writes.sort_unstable();
        }
        batch
    }
}

/// Where [`Table::Slots`] has a slot: the trie, and the hash of its number.
pub(crate) fn slot_key(trie: TrieId, slot: &B256) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&trie.to_be_bytes());
    key[8..].copy_from_slice(slot.as_slice());
    key
}

/// Where [`Table::Nodes`] has a branch: the trie, how deep it is, and its path. What is near the root lies together.
pub(crate) fn node_key(trie: TrieId, path: &TriePath) -> Vec<u8> {
    [&trie.to_be_bytes(), &[path.len()][..], path.packed()].concat()
}
