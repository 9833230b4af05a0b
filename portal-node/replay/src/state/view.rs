//! The state as it is now: the store, and over it what is not written yet.

use std::sync::Arc;

use alloy_primitives::{B256, U256};
use bytes::Bytes;

use super::account::Account;
use super::pending::{Pending, RECENT_BLOCKS, node_key, slot_key};
use crate::store::{Snapshot, StoreError, Table};
use crate::trie::{Records, TrieError, TrieId, TriePath};

/// What is read of the state.
pub(crate) trait View: Records {
    fn account(&self, hash: &B256) -> Result<Option<Account>, StoreError>;
    fn slot(&self, trie: TrieId, slot: &B256) -> Result<U256, StoreError>;
    fn code(&self, hash: &B256) -> Result<Option<Bytes>, StoreError>;
    /// The hash of one of the last 256 blocks.
    fn block_hash(&self, number: u64) -> Result<Option<B256>, StoreError>;
}

/// The store as it was at a commit, the batch that is being written, and the one that is being collected.
pub(crate) struct LayeredView<S> {
    pub(crate) snapshot: S,
    pub(crate) writing: Option<Arc<Pending>>,
    pub(crate) collecting: Pending,
}

impl<S: Snapshot> LayeredView<S> {
    pub(crate) fn new(snapshot: S) -> Self {
        Self { snapshot, writing: None, collecting: Pending::default() }
    }

    /// The youngest of what is not written yet.
    fn pending<T>(&self, find: impl Fn(&Pending) -> Option<T>) -> Option<T> {
        find(&self.collecting).or_else(|| self.writing.as_deref().and_then(find))
    }
}

impl<S: Snapshot> Records for LayeredView<S> {
    fn record(&self, trie: TrieId, place: &TriePath) -> Result<Option<Bytes>, TrieError> {
        if let Some(record) = self.pending(|pending| pending.nodes.get(&(trie, *place)).cloned()) {
            return Ok(record);
        }
        Ok(self.snapshot.get(Table::Nodes, &node_key(trie, place))?.map(Bytes::from))
    }
}

impl<S: Snapshot> View for LayeredView<S> {
    fn account(&self, hash: &B256) -> Result<Option<Account>, StoreError> {
        if let Some(account) = self.pending(|pending| pending.accounts.get(hash).copied()) {
            return Ok(account);
        }
        let stored = self.snapshot.get(Table::Accounts, hash.as_slice())?;
        stored.map(|bytes| Account::decode(&bytes).ok_or(StoreError::Damaged(Table::Accounts))).transpose()
    }

    fn slot(&self, trie: TrieId, slot: &B256) -> Result<U256, StoreError> {
        if let Some(value) = self.pending(|pending| pending.slots.get(&(trie, *slot)).copied()) {
            return Ok(value);
        }
        match self.snapshot.get(Table::Slots, &slot_key(trie, slot))? {
            None => Ok(U256::ZERO),
            Some(bytes) => U256::try_from_be_slice(&bytes).ok_or(StoreError::Damaged(Table::Slots)),
        }
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytes>, StoreError> {
        if let Some(code) = self.pending(|pending| pending.codes.get(hash).cloned()) {
            return Ok(Some(code));
        }
        Ok(self.snapshot.get(Table::Codes, hash.as_slice())?.map(Bytes::from))
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StoreError> {
        let slot = number % RECENT_BLOCKS;
        if let Some(hash) = self.pending(|pending| pending.blocks.get(&slot).copied()) {
            return Ok(Some(hash));
        }
        let stored = self.snapshot.get(Table::Blocks, &[slot as u8])?;
        stored.map(|bytes| B256::try_from(bytes.as_slice()).map_err(|_| StoreError::Damaged(Table::Blocks))).transpose()
    }
}
