//! A block's changes brought into the tries: first the storage of every account that is another, then the accounts.

use std::collections::{HashMap, HashSet};

use alloy_primitives::{B256, U256};
use alloy_trie::EMPTY_ROOT_HASH;

use super::account::{Account, AccountInfo};
use crate::trie::{Change, Forest, HashedNode, Records, TrieError, TrieId, TriePath};

/// The trie of the accounts. Those of storage are numbered from 1 on.
pub(crate) const ACCOUNTS: TrieId = 0;

/// What has become of an account.
#[derive(Debug, Clone)]
pub(crate) struct AccountChange {
    /// The hash of its address.
    pub(crate) hash: B256,
    /// What the store has.
    pub(crate) before: Option<Account>,
    /// `None`: it is gone.
    pub(crate) after: Option<AccountInfo>,
    /// Whether it has lost all storage that it had before.
    pub(crate) is_wiped: bool,
    /// Slots that are other than before, by the hashes of their numbers, sorted.
    pub(crate) slots: Vec<(B256, U256)>,
}

/// A state after changes.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) root: B256,
    /// Tries that have been numbered so far.
    pub(crate) tries: u64,
    pub(crate) accounts: Vec<(B256, Option<Account>)>,
    pub(crate) slots: Vec<((TrieId, B256), U256)>,
    pub(crate) dropped: Vec<TrieId>,
    pub(crate) records: Vec<(TrieId, TriePath, Option<bytes::Bytes>)>,
    /// New nodes, with the account whose storage they belong to.
    pub(crate) nodes: Vec<(Option<B256>, HashedNode)>,
}

/// Applies changes to the state with this root. They are sorted by the accounts' hashes.
pub(crate) fn apply(
    records: &impl Records,
    root: B256,
    tries: u64,
    changes: &[AccountChange],
) -> Result<Applied, TrieError> {
    let mut applied = Applied { tries, ..Applied::default() };
    let mut forest = Forest::new(records);
    // The storage tries that change, and whose each is.
    let mut owners: Vec<(B256, TrieId)> = Vec::new();
    for change in changes {
        let before = change.before.filter(|account| account.trie != ACCOUNTS);
        if let Some(account) = before.filter(|_| change.is_wiped || change.after.is_none()) {
            applied.dropped.push(account.trie);
        }
        let kept = before.filter(|_| !change.is_wiped);
        // In a trie that is new there is nothing to take away.
        let slots = change.slots.iter().filter(|(_, value)| kept.is_some() || !value.is_zero());
        if change.after.is_none() || slots.clone().next().is_none() {
            continue;
        }
        let (trie, root) = match kept {
            Some(account) => (account.trie, account.storage_root),
            None => {
                applied.tries += 1;
                (applied.tries, EMPTY_ROOT_HASH)
            }
        };
        let values: Vec<Change> = slots
            .clone()
            .map(|(slot, value)| (*slot, (!value.is_zero()).then(|| alloy_rlp::encode(value).into())))
            .collect();
        forest.apply(trie, root, &values)?;
        applied.slots.extend(slots.map(|(slot, value)| ((trie, *slot), *value)));
        owners.push((change.hash, trie));
    }
    let storage = forest.hash()?;
    let owner_of: HashMap<TrieId, B256> = owners.iter().map(|(owner, trie)| (*trie, *owner)).collect();
    applied.records = storage.records;

    let mut roots =
        owners.iter().zip(&storage.roots).map(|((owner, trie), (_, root))| (*owner, *trie, *root)).peekable();
    let mut leaves: Vec<Change> = Vec::with_capacity(changes.len());
    // A contract can be destroyed in one transaction of a block and made again in a later one just as it was. Its storage has been
    // built anew then, in a trie of another number, and is nothing new to anybody: no way down the accounts' trie leads to it that
    // this block has made.
    let mut made_again: HashSet<B256> = HashSet::new();
    for change in changes {
        let storage = match roots.next_if(|(owner, _, _)| *owner == change.hash) {
            Some((_, _, EMPTY_ROOT_HASH)) => (ACCOUNTS, EMPTY_ROOT_HASH),
            Some((_, trie, root)) => (trie, root),
            None => match change.before.filter(|_| !change.is_wiped) {
                Some(account) => (account.trie, account.storage_root),
                None => (ACCOUNTS, EMPTY_ROOT_HASH),
            },
        };
        let account = change.after.map(|info| Account { info, trie: storage.0, storage_root: storage.1 });
        if account != change.before {
            let leaf = account.map(|account| account.leaf());
            if leaf.is_some() && leaf == change.before.map(|account| account.leaf()) {
                made_again.insert(change.hash);
            }
            leaves.push((change.hash, leaf.map(Into::into)));
            applied.accounts.push((change.hash, account));
        }
    }
    let of_storage = storage.nodes.into_iter().map(|node| (owner_of.get(&node.trie).copied(), node));
    applied.nodes.extend(of_storage.filter(|(owner, _)| owner.is_none_or(|owner| !made_again.contains(&owner))));
    let mut forest = Forest::new(records);
    forest.apply(ACCOUNTS, root, &leaves)?;
    let accounts = forest.hash()?;
    applied.root = accounts.roots.first().map_or(root, |(_, root)| *root);
    applied.records.extend(accounts.records);
    applied.nodes.extend(accounts.nodes.into_iter().map(|node| (None, node)));
    Ok(applied)
}
