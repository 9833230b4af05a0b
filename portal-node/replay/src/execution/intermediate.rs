//! The root of the state behind each transaction. Receipts had it until Byzantium, when a status took its place (EIP-658).
//!
//! The tries that lead to these roots are of no use behind the block: they are made over the state and forgotten.

use alloy_primitives::B256;
use bytes::Bytes;

use super::block_state::BlockState;
use crate::state::{Pending, View, apply};
use crate::trie::{Records, TrieError, TrieId, TriePath};

/// The state between two transactions of a block.
pub(super) struct Intermediate {
    root: B256,
    tries: u64,
    pending: Pending,
}

impl Intermediate {
    /// The state before the block.
    pub(super) fn new(root: B256, tries: u64) -> Self {
        Self { root, tries, pending: Pending::default() }
    }

    /// Goes on to the state as it is now, and tells its root.
    pub(super) fn advance<V: View>(&mut self, state: &mut BlockState<'_, V>) -> Result<B256, TrieError> {
        let changes = state.take_recent(|hash| self.pending.accounts.get(hash).copied());
        let over = Over { pending: &self.pending, view: state.view() };
        let applied = apply(&over, self.root, self.tries, &changes)?;
        self.pending.add(&applied);
        (self.root, self.tries) = (applied.root, applied.tries);
        Ok(self.root)
    }
}

struct Over<'a, V> {
    pending: &'a Pending,
    view: &'a V,
}

impl<V: View> Records for Over<'_, V> {
    fn record(&self, trie: TrieId, place: &TriePath) -> Result<Option<Bytes>, TrieError> {
        match self.pending.nodes.get(&(trie, *place)) {
            Some(record) => Ok(record.clone()),
            None => self.view.record(trie, place),
        }
    }
}
