//! The state of a block: accounts, some with code and storage, of which a part changes with each block. What an account is at a
//! block follows from the seed, its number and the block's, so that any block's state can be made without those before.

mod trie;

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use bytes::Bytes;
use content_types::state::{ContentKey, Proved};

use self::trie::{Located, Trie};
use crate::random::{Purpose, Random};

/// An account changes with one of so many blocks.
const CHANGES_EVERY: u64 = 8;
/// One of so many accounts is a contract.
const CONTRACT_EVERY: u64 = 4;
/// Slots of a contract's storage, at most; some have none.
const MAX_SLOTS: u64 = 40;
/// Bytes of code, at most.
const MAX_CODE: u64 = 2_000;

/// The accounts of one block.
#[derive(Debug, Clone)]
pub struct State {
    accounts: Vec<StateAccount>,
    trie: Trie,
}

/// An account as it is at a block.
#[derive(Debug, Clone)]
pub struct StateAccount {
    /// Where it is.
    pub address: Address,
    /// What the account trie has of it.
    pub account: TrieAccount,
    /// What its code is; empty where it has none.
    pub code: Bytes,
    /// Its slots that are not zero.
    pub storage: Vec<(U256, U256)>,
    trie: Option<Trie>,
}

impl State {
    /// The state of block `number` of a chain with so many accounts.
    pub fn of(seed: u64, count: usize, number: u64) -> Self {
        let accounts: Vec<_> = (0..count as u64).map(|nth| StateAccount::new(seed, nth, number)).collect();
        let leaf = |account: &StateAccount| (keccak256(account.address), alloy_rlp::encode(account.account));
        let trie = Trie::new(accounts.iter().map(leaf).collect());
        Self { accounts, trie }
    }

    /// What the block's header has.
    pub fn root(&self) -> B256 {
        self.trie.root()
    }

    /// All accounts, in no order.
    pub fn accounts(&self) -> &[StateAccount] {
        &self.accounts
    }

    /// The nodes that show what the account trie has under an address, if it has anything.
    pub fn account_proof(&self, address: &Address) -> Vec<Bytes> {
        self.trie.proof(&keccak256(address))
    }

    /// The nodes that show what stands in a slot of an account, if anything does.
    pub fn storage_proof(&self, address: &Address, slot: U256) -> Vec<Bytes> {
        let account = self.accounts.iter().find(|account| account.address == *address);
        let trie = account.and_then(|account| account.trie.as_ref());
        trie.map(|trie| trie.proof(&keccak256(B256::from(slot)))).unwrap_or_default()
    }

    /// Every node and every code with the proof that it is offered with, for the block with this hash.
    pub fn contents(&self, block_hash: B256) -> Vec<(ContentKey, Proved)> {
        let key = |located: &Located<'_>| (located.path, located.node_hash());
        let mut contents = Vec::new();
        self.trie.visit(&mut |located| {
            let (path, node_hash) = key(located);
            let proof = located.proof.to_vec();
            contents
                .push((ContentKey::AccountTrieNode { path, node_hash }, Proved::AccountTrieNode { proof, block_hash }));
        });
        for account in &self.accounts {
            let address_hash = keccak256(account.address);
            let account_proof = self.trie.proof(&address_hash);
            if let Some(trie) = &account.trie {
                trie.visit(&mut |located| {
                    let (path, node_hash) = key(located);
                    let (storage_proof, account_proof) = (located.proof.to_vec(), account_proof.clone());
                    contents.push((
                        ContentKey::StorageTrieNode { address_hash, path, node_hash },
                        Proved::StorageTrieNode { storage_proof, account_proof, block_hash },
                    ));
                });
            }
            if !account.code.is_empty() {
                let code = account.code.clone();
                let key = ContentKey::Code { address_hash, code_hash: account.account.code_hash };
                contents.push((key, Proved::Code { code, account_proof, block_hash }));
            }
        }
        contents
    }
}

impl StateAccount {
    fn new(seed: u64, nth: u64, number: u64) -> Self {
        let mut of_all_blocks = Random::new(seed, Purpose::State, nth);
        let address = of_all_blocks.address();
        let is_contract = nth.is_multiple_of(CONTRACT_EVERY);
        let mut code = vec![0; if is_contract { 1 + of_all_blocks.below(MAX_CODE) as usize } else { 0 }];
        of_all_blocks.fill(&mut code);
        let slots = if is_contract { of_all_blocks.below(MAX_SLOTS) } else { 0 };
        // How often it has changed up to this block.
        let version = (number + of_all_blocks.below(CHANGES_EVERY)) / CHANGES_EVERY;
        let slot = |nth: u64| {
            // As in a Solidity contract: some slots in front, the rest under hashes. One changes with each version.
            let slot = if nth < 4 { U256::from(nth) } else { of_all_blocks.hash_of(nth).into() };
            let changed = if nth == version % slots.max(1) { version } else { 0 };
            (slot, U256::from(1 + nth * 1_000_003 + changed))
        };
        let storage: Vec<_> = (0..slots).map(slot).collect();
        let leaf = |(slot, value): &(U256, U256)| (keccak256(B256::from(*slot)), alloy_rlp::encode(value));
        let trie = (!storage.is_empty()).then(|| Trie::new(storage.iter().map(leaf).collect()));
        let account = TrieAccount {
            nonce: version,
            balance: U256::from(version) * U256::from(1_000_000_007_u64) + U256::from(nth),
            storage_root: trie.as_ref().map_or(EMPTY_ROOT_HASH, Trie::root),
            code_hash: if code.is_empty() { KECCAK_EMPTY } else { keccak256(&code) },
        };
        Self { address, account, code: code.into(), storage, trie }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use alloy_trie::{HashBuilder, Nibbles};
    use content_types::room::Key as _;
    use content_types::state::{Answer, Bare, Part, ReadOutput, StateRead};
    use content_types::{ContentId, Form};

    use super::*;

    fn root(leaves: impl Iterator<Item = (B256, Vec<u8>)>) -> B256 {
        let mut builder = HashBuilder::default();
        for (key, value) in leaves.collect::<BTreeMap<_, _>>() {
            builder.add_leaf(Nibbles::unpack(key), &value);
        }
        builder.root()
    }

    #[test]
    fn roots_are_those_of_another_implementation() {
        for count in [1, 2, 40, 300] {
            let state = State::of(5, count, 9);
            let leaves = state.accounts().iter().map(|of| (keccak256(of.address), alloy_rlp::encode(of.account)));
            assert_eq!(state.root(), root(leaves));
            for account in state.accounts() {
                let leaves = account
                    .storage
                    .iter()
                    .map(|(slot, value)| (keccak256(B256::from(*slot)), alloy_rlp::encode(value)));
                assert_eq!(account.account.storage_root, root(leaves));
            }
        }
        assert_eq!(State::of(5, 0, 9).root(), EMPTY_ROOT_HASH);
        assert_ne!(State::of(5, 40, 9).root(), State::of(5, 40, 10).root(), "it changes from block to block");
    }

    #[test]
    fn all_contents_are_proved_and_every_read_finds_its_way_through_them() {
        let state = State::of(3, 200, 17);
        let mut held = HashMap::new();
        for (key, proved) in state.contents(B256::ZERO) {
            let examined = key.examine(Form::Offered, proved.encode()).unwrap();
            let header = alloy_consensus::Header { state_root: state.root(), ..Default::default() };
            let bare = examined.check(Some(&header)).unwrap();
            assert!(held.insert(key.content_id(), Bare::decode(&key, &bare).unwrap().0).is_none(), "{key:?} twice");
        }
        for account in state.accounts() {
            let read = |part| read(&state, &account.address, part, &held);
            assert_eq!(read(Part::Account), Answer::Account(Some(account.account)));
            assert_eq!(read(Part::Code), Answer::Code(account.code.clone().into()));
            for (slot, value) in &account.storage {
                assert_eq!(read(Part::Slot(*slot)), Answer::Slot(*value));
            }
            assert_eq!(read(Part::Slot(U256::MAX)), Answer::Slot(U256::ZERO));
        }
        for absent in 0..50 {
            let read = |part| read(&state, &Address::repeat_byte(absent), part, &held);
            assert_eq!(read(Part::Account), Answer::Account(None));
            assert_eq!(read(Part::Slot(U256::ZERO)), Answer::Slot(U256::ZERO));
            assert_eq!(read(Part::Code), Answer::Code(Bytes::new().into()));
        }
    }

    /// Reads, and holds what can be offered of each step against what is held.
    fn read(state: &State, address: &Address, part: Part, held: &HashMap<ContentId, Bytes>) -> Answer {
        let mut read = StateRead::new(state.root(), address, part);
        loop {
            let key = match read.poll_output() {
                ReadOutput::Ask(key) => key,
                ReadOutput::Done(answer) => return answer,
            };
            let before = read.poll_output();
            assert!(read.handle_value(Bytes::from_static(b"another")).is_err());
            assert_eq!(read.poll_output(), before, "what is wrong changes nothing");
            let value = held[&key.content_id()].clone();
            read.handle_value(value.clone()).unwrap();
            let (offered, proved) = read.offer(B256::ZERO).unwrap();
            assert_eq!(offered, key);
            assert_eq!(proved.check(&key).unwrap(), (state.root(), Bare(value)));
        }
    }
}
