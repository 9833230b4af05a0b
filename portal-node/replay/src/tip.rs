//! The state at the youngest block, and how it goes on by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::map::B256Map;
use alloy_primitives::{B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;

use crate::block::RecoveredBlock;
use crate::changes::{AccountCode, Changes, TrieNode};
use crate::error::{ReplayError, Trouble};
use crate::execution::{CodeCache, Executed, execute};
use crate::genesis::{Genesis, GenesisAccount};
use crate::rules::Rules;
use crate::state::{AccountChange, AccountInfo, Applied, LayeredView, Pending, apply};
use crate::store::{Reached, Snapshot};

/// The state at the youngest block.
pub(crate) struct Tip<S> {
    rules: Rules,
    /// Until the store has its state.
    genesis: Option<Genesis>,
    view: LayeredView<S>,
    codes: CodeCache,
    reached: Option<Reached>,
}

impl<S: Snapshot> Tip<S> {
    pub(crate) fn new(rules: Rules, genesis: Genesis, snapshot: S) -> Self {
        let reached = snapshot.reached();
        let genesis = reached.is_none().then_some(genesis);
        Self { rules, genesis, view: LayeredView::new(snapshot), codes: CodeCache::new(), reached }
    }

    pub(crate) fn reached(&self) -> Option<Reached> {
        self.reached
    }

    /// The youngest block's number; 0 before there is any.
    pub(crate) fn number(&self) -> u64 {
        self.reached.map_or(0, |reached| reached.number)
    }

    /// About as many bytes of memory as what is not on its way to the store takes.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.view.collecting.size()
    }

    /// Whether anything is not on its way to the store yet.
    pub(crate) fn has_unwritten(&self) -> bool {
        !self.view.collecting.is_empty()
    }

    /// Makes the genesis state. `None`: it was made before.
    pub(crate) fn begin(&mut self) -> Result<Option<Changes>, ReplayError> {
        let Some(genesis) = self.genesis.take() else { return Ok(None) };
        let header = genesis.header(&self.rules);
        let mut executed = Executed { changes: Vec::new(), codes: B256Map::default() };
        for (address, account) in &genesis.alloc {
            let code_hash = account.code_hash();
            if code_hash != KECCAK256_EMPTY {
                executed.codes.insert(code_hash, account.code.0.clone());
            }
            executed.changes.push(genesis_change(keccak256(address), code_hash, account));
        }
        executed.changes.sort_unstable_by_key(|change| change.hash);
        let before = Reached { number: 0, hash: B256::ZERO, state_root: EMPTY_ROOT_HASH, tries: 0 };
        let after = Reached { hash: header.hash_slow(), state_root: header.state_root, ..before };
        let taken = self.take(before, after, executed)?;
        Ok(Some(taken.into_changes(after, 0, 0)))
    }

    /// Goes on by one block. `None`: it was reached before.
    pub(crate) fn advance(&mut self, block: &RecoveredBlock) -> Result<Option<Changes>, ReplayError> {
        let number = block.header.number;
        let failed = |trouble: Trouble| ReplayError::new(Some(number), trouble);
        let Some(before) = self.reached else { return Err(failed(Trouble::Number { expected: 0 })) };
        if number == before.number {
            return match block.hash {
                hash if hash == before.hash => Ok(None),
                actual => Err(failed(Trouble::OtherChain { expected: before.hash, actual })),
            };
        }
        if number != before.number + 1 {
            return Err(failed(Trouble::Number { expected: before.number + 1 }));
        }
        if block.header.parent_hash != before.hash {
            return Err(failed(Trouble::Parent { expected: before.hash, actual: block.header.parent_hash }));
        }
        let executed = execute(&self.rules, block, &self.view, &mut self.codes, (before.state_root, before.tries));
        let executed = executed.map_err(|error| failed(error.into()))?;
        let after = Reached { number, hash: block.hash, state_root: block.header.state_root, tries: before.tries };
        let taken = self.take(before, after, executed)?;
        Ok(Some(taken.into_changes(after, block.header.gas_used, block.transactions.len())))
    }

    /// Brings what was executed into the tries, holds the root against the one that `after` has, and takes it if they agree.
    fn take(&mut self, before: Reached, after: Reached, executed: Executed) -> Result<Taken, ReplayError> {
        let failed = |trouble: Trouble| ReplayError::new(Some(after.number), trouble);
        let Executed { changes, codes } = executed;
        let applied =
            apply(&self.view, before.state_root, before.tries, &changes).map_err(|error| failed(error.into()))?;
        if applied.root != after.state_root {
            return Err(failed(Trouble::StateRoot { expected: after.state_root, actual: applied.root }));
        }
        let pending = &mut self.view.collecting;
        pending.add(&applied);
        pending.add_block(after.number, after.hash);
        let mut new_codes = Vec::new();
        for change in &changes {
            let Some(hash) = change.after.map(|account| account.code_hash) else { continue };
            if change.before.map(|account| account.info.code_hash) != Some(hash)
                && let Some(code) = codes.get(&hash)
            {
                pending.add_code(hash, code.clone());
                new_codes.push(AccountCode { account: change.hash, hash, code: code.clone().into() });
            }
        }
        self.reached = Some(Reached { tries: applied.tries, ..after });
        Ok(Taken { applied, codes: new_codes })
    }

    /// What has to be written now. It stays at hand until [`Tip::written`].
    pub(crate) fn freeze(&mut self) -> Option<(Arc<Pending>, Reached)> {
        let reached = self.reached.filter(|_| !self.view.collecting.is_empty())?;
        let pending = Arc::new(std::mem::take(&mut self.view.collecting));
        self.view.writing = Some(Arc::clone(&pending));
        Some((pending, reached))
    }

    /// What was frozen is in this snapshot.
    pub(crate) fn written(&mut self, snapshot: S) {
        self.view.snapshot = snapshot;
        self.view.writing = None;
    }
}

struct Taken {
    applied: Applied,
    codes: Vec<AccountCode>,
}

impl Taken {
    fn into_changes(self, at: Reached, gas_used: u64, transactions: usize) -> Changes {
        let nodes = self.applied.nodes.into_iter().map(|(account, node)| TrieNode {
            account,
            path: node.path.nibbles(),
            hash: node.hash,
            rlp: node.rlp.into(),
        });
        Changes {
            number: at.number,
            block_hash: at.hash,
            state_root: at.state_root,
            gas_used,
            transactions,
            nodes: nodes.collect(),
            codes: self.codes,
        }
    }
}

fn genesis_change(hash: B256, code_hash: B256, account: &GenesisAccount) -> AccountChange {
    let slots = account.storage.iter().map(|(slot, value)| (keccak256(slot), U256::from_be_bytes(value.0)));
    // Sorted by their hashes.
    let slots: BTreeMap<B256, U256> = slots.filter(|(_, value)| !value.is_zero()).collect();
    AccountChange {
        hash,
        before: None,
        after: Some(AccountInfo { nonce: account.nonce.saturating_to(), balance: account.balance, code_hash }),
        is_wiped: false,
        slots: slots.into_iter().collect(),
    }
}
