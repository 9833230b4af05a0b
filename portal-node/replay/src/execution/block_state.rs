//! The state while one block is executed: what was read stays at hand, what transactions change is collected.
//!
//! The machine hands over what a transaction has touched, from Spurious Dragon on with the empty accounts among it, which go;
//! before, it marks those that stay (EIP-161).

use std::fmt;

use alloy_evm::revm::bytecode::Bytecode;
use alloy_evm::revm::database_interface::{DBErrorMarker, Database, DatabaseCommit};
use alloy_evm::revm::state as evm;
use alloy_primitives::map::{AddressMap, B256Map, U256Map};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use bytes::Bytes;

use super::code_cache::CodeCache;
use crate::state::{Account, AccountChange, AccountInfo, View};
use crate::store::StoreError;

/// What cannot be read while a block is executed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An account has code that the store has not.
    #[error("the store has no code with the hash {0}")]
    NoCode(B256),
    /// A block asks for an older one that the store does not know.
    #[error("the store does not have the hash of block {0}")]
    NoBlockHash(u64),
}

impl DBErrorMarker for StateError {}

/// An account as the block has it so far.
#[derive(Debug, Clone)]
struct Entry {
    hash: B256,
    before: Option<Account>,
    now: Option<AccountInfo>,
    /// Whether the storage it had before is gone.
    is_wiped: bool,
    is_changed: bool,
    slots: U256Map<Slot>,
    /// What has changed since the state's root was last asked for.
    recent: Recent,
}

#[derive(Debug, Clone, Default)]
struct Recent {
    slots: Vec<U256>,
    is_wiped: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: B256,
    before: U256,
    now: U256,
}

/// The state of one block.
pub(crate) struct BlockState<'a, V> {
    view: &'a V,
    codes: &'a mut CodeCache,
    accounts: AddressMap<Entry>,
    new_codes: B256Map<Bytes>,
    /// Accounts that have changed since the state's root was last asked for.
    recent: Vec<Address>,
}

impl<V> fmt::Debug for BlockState<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockState").field("accounts", &self.accounts.len()).finish_non_exhaustive()
    }
}

impl<'a, V: View> BlockState<'a, V> {
    pub(crate) fn new(view: &'a V, codes: &'a mut CodeCache) -> Self {
        Self { view, codes, accounts: AddressMap::default(), new_codes: B256Map::default(), recent: Vec::new() }
    }

    /// What the block has changed, and the code that it has made.
    pub(crate) fn into_changes(self) -> (Vec<AccountChange>, B256Map<Bytes>) {
        let changed = self.accounts.into_values().filter(|entry| entry.is_changed);
        let mut changes: Vec<AccountChange> = changed
            .map(|entry| {
                let slots = entry.slots.values().filter(|slot| slot.now != slot.before);
                AccountChange {
                    hash: entry.hash,
                    before: entry.before,
                    after: entry.now,
                    is_wiped: entry.is_wiped,
                    slots: sorted(slots.map(|slot| (slot.hash, slot.now)).collect()),
                }
            })
            .collect();
        changes.sort_unstable_by_key(|change| change.hash);
        (changes, self.new_codes)
    }

    /// What has changed since this was last asked, against the state that `before` knows.
    pub(crate) fn take_recent(&mut self, before: impl Fn(&B256) -> Option<Option<Account>>) -> Vec<AccountChange> {
        let mut recent = std::mem::take(&mut self.recent);
        recent.sort_unstable();
        recent.dedup();
        let mut changes: Vec<AccountChange> = recent
            .iter()
            .filter_map(|address| {
                let entry = self.accounts.get_mut(address)?;
                let Recent { mut slots, is_wiped } = std::mem::take(&mut entry.recent);
                slots.sort_unstable();
                slots.dedup();
                let slots = slots.iter().filter_map(|number| entry.slots.get(number));
                Some(AccountChange {
                    hash: entry.hash,
                    before: before(&entry.hash).unwrap_or(entry.before),
                    after: entry.now,
                    is_wiped,
                    slots: sorted(slots.map(|slot| (slot.hash, slot.now)).collect()),
                })
            })
            .collect();
        changes.sort_unstable_by_key(|change| change.hash);
        changes
    }

    pub(crate) fn view(&self) -> &'a V {
        self.view
    }

    fn entry(&mut self, address: Address) -> Result<&mut Entry, StoreError> {
        use std::collections::hash_map::Entry as Place;
        match self.accounts.entry(address) {
            Place::Occupied(entry) => Ok(entry.into_mut()),
            Place::Vacant(place) => {
                let hash = keccak256(address);
                let before = self.view.account(&hash)?;
                Ok(place.insert(Entry::new(hash, before)))
            }
        }
    }

    /// Takes what a transaction has made of an account.
    fn commit_account(&mut self, address: Address, account: evm::Account) {
        if !account.is_touched() {
            return;
        }
        if let Some(code) = account.info.code.as_ref().filter(|code| !code.is_empty()) {
            let hash = account.info.code_hash;
            let is_new =
                self.accounts.get(&address).and_then(|entry| entry.now).is_none_or(|now| now.code_hash != hash);
            if is_new {
                self.codes.insert(hash, code.clone());
                self.new_codes.insert(hash, code.original_bytes().0);
            }
        }
        // Whatever is committed was read before: the machine changes nothing that it has not loaded.
        let Some(entry) = self.accounts.get_mut(&address) else { return };
        entry.is_changed = true;
        self.recent.push(address);
        if account.is_selfdestructed() {
            entry.destroy();
            return;
        }
        if account.is_created() {
            entry.destroy();
        } else if account.is_empty() {
            entry.destroy();
            return;
        }
        let evm::AccountInfo { balance, nonce, code_hash, .. } = account.info;
        entry.now = Some(AccountInfo { nonce, balance, code_hash });
        for (number, slot) in account.storage {
            if slot.is_changed() {
                entry.write(number, slot.present_value);
            }
        }
    }
}

impl Entry {
    fn new(hash: B256, before: Option<Account>) -> Self {
        let now = before.map(|account| account.info);
        Self {
            hash,
            before,
            now,
            is_wiped: false,
            is_changed: false,
            slots: U256Map::default(),
            recent: Recent::default(),
        }
    }

    /// Takes everything away. From here on the storage begins anew.
    fn destroy(&mut self) {
        self.now = None;
        self.is_wiped = true;
        self.slots.clear();
        self.recent = Recent { slots: Vec::new(), is_wiped: true };
    }

    fn write(&mut self, number: U256, value: U256) {
        let slot = self.slots.entry(number);
        // A slot that was not read is one of an account that is new, and was 0.
        let slot = slot.or_insert_with(|| Slot { hash: slot_hash(number), before: U256::ZERO, now: U256::ZERO });
        slot.now = value;
        self.recent.slots.push(number);
    }
}

fn slot_hash(number: U256) -> B256 {
    keccak256(number.to_be_bytes::<32>())
}

fn sorted(mut slots: Vec<(B256, U256)>) -> Vec<(B256, U256)> {
    slots.sort_unstable_by_key(|(hash, _)| *hash);
    slots
}

impl<V: View> Database for BlockState<'_, V> {
    type Error = StateError;

    fn basic(&mut self, address: Address) -> Result<Option<evm::AccountInfo>, StateError> {
        let now = self.entry(address)?.now;
        Ok(now.map(|AccountInfo { nonce, balance, code_hash }| evm::AccountInfo {
            balance,
            nonce,
            code_hash,
            // Without code there is nothing to ask for.
            code: (code_hash == KECCAK256_EMPTY).then(Bytecode::default),
            ..evm::AccountInfo::default()
        }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, StateError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        if let Some(code) = self.codes.get(&hash) {
            return Ok(code);
        }
        let code = match self.new_codes.get(&hash) {
            Some(code) => code.clone(),
            None => self.view.code(&hash)?.ok_or(StateError::NoCode(hash))?,
        };
        // What only looks like a delegation is code as any other: it was made before they were there.
        let raw = Bytes::clone(&code);
        let code = Bytecode::new_raw_checked(code.into()).unwrap_or_else(|_| Bytecode::new_legacy(raw.into()));
        self.codes.insert(hash, code.clone());
        Ok(code)
    }

    fn storage(&mut self, address: Address, number: U256) -> Result<U256, StateError> {
        let view = self.view;
        let entry = self.entry(address)?;
        if let Some(slot) = entry.slots.get(&number) {
            return Ok(slot.now);
        }
        let hash = slot_hash(number);
        let value = match entry.before.filter(|account| !entry.is_wiped && account.trie != 0) {
            Some(account) => view.slot(account.trie, &hash)?,
            None => U256::ZERO,
        };
        entry.slots.insert(number, Slot { hash, before: value, now: value });
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, StateError> {
        self.view.block_hash(number)?.ok_or(StateError::NoBlockHash(number))
    }
}

impl<V: View> DatabaseCommit for BlockState<'_, V> {
    fn commit(&mut self, changes: AddressMap<evm::Account>) {
        for (address, account) in changes {
            self.commit_account(address, account);
        }
    }

    fn commit_iter(&mut self, changes: &mut dyn Iterator<Item = (Address, evm::Account)>) {
        for (address, account) in changes {
            self.commit_account(address, account);
        }
    }
}
