//! The state against one that is kept as plain maps, and its root against alloy's, made anew from these.

use std::collections::BTreeMap;

use alloy_primitives::{B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use proptest::prelude::*;

use super::*;
use crate::changes::{Changes, TrieNode};
use crate::offers::Offers;
use crate::store::{MemoryStore, Reached, Snapshot as _, Store as _, Table};

#[derive(Debug, Clone, Default, PartialEq)]
struct PlainAccount {
    nonce: u64,
    slots: BTreeMap<u8, u8>,
}

/// What happens to an account in a block.
#[derive(Debug, Clone)]
struct Event {
    account: u8,
    /// 0: it goes. 1: it is made anew, with nothing of what it had. 2: it goes and is made again just as it was, if it is there.
    /// Else: it is changed, and made if it is not there.
    kind: u8,
    nonce: u64,
    /// A value of 0 takes the slot away.
    slots: BTreeMap<u8, u8>,
}

fn event() -> impl Strategy<Value = Event> {
    (0u8..6, 0u8..7, 0u64..3, prop::collection::btree_map(0u8..40, 0u8..3, 0..20))
        .prop_map(|(account, kind, nonce, slots)| Event { account, kind, nonce, slots })
}

fn hash(number: u8) -> B256 {
    keccak256([number])
}

fn root_of(leaves: BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack(key), &value);
    }
    builder.root()
}

fn plain_root(all: &BTreeMap<u8, PlainAccount>) -> B256 {
    let leaves = all.iter().map(|(number, account)| {
        let slots = account.slots.iter().map(|(slot, value)| (hash(*slot), alloy_rlp::encode(U256::from(*value))));
        let leaf = TrieAccount {
            nonce: account.nonce,
            balance: U256::from(1),
            storage_root: root_of(slots.collect()),
            code_hash: KECCAK256_EMPTY,
        };
        (hash(*number), alloy_rlp::encode(leaf))
    });
    root_of(leaves.collect())
}

/// The event as a change, and what it makes of the plain account.
fn happen(event: &Event, plain: &mut BTreeMap<u8, PlainAccount>, before: Option<Account>) -> AccountChange {
    match plain.get(&event.account).cloned().filter(|_| event.kind == 2) {
        Some(PlainAccount { nonce, slots }) => {
            happen_as_told(&Event { kind: 1, nonce, slots, ..event.clone() }, plain, before)
        }
        None => happen_as_told(event, plain, before),
    }
}

fn happen_as_told(event: &Event, plain: &mut BTreeMap<u8, PlainAccount>, before: Option<Account>) -> AccountChange {
    if event.kind < 2 {
        plain.remove(&event.account);
    }
    let mut slots = BTreeMap::new();
    if event.kind > 0 {
        let account = plain.entry(event.account).or_default();
        account.nonce = event.nonce;
        for (slot, value) in &event.slots {
            slots.insert(hash(*slot), U256::from(*value));
            match value {
                0 => account.slots.remove(slot),
                value => account.slots.insert(*slot, *value),
            };
        }
    }
    let after = (event.kind > 0).then_some(AccountInfo {
        nonce: event.nonce,
        balance: U256::from(1),
        code_hash: KECCAK256_EMPTY,
    });
    let slots = slots.into_iter().collect();
    AccountChange { hash: hash(event.account), before, after, is_wiped: event.kind < 2, slots }
}

/// What these changes have brought.
fn brought(applied: &Applied) -> Changes {
    let nodes = applied.nodes.iter().map(|(account, node)| TrieNode {
        account: *account,
        path: node.path.nibbles(),
        hash: node.hash,
        rlp: node.rlp.clone().into(),
    });
    Changes {
        number: 0,
        block_hash: B256::ZERO,
        state_root: applied.root,
        gas_used: 0,
        transactions: 0,
        nodes: nodes.collect(),
        codes: Vec::new(),
    }
}

#[test]
fn block_hashes_are_found_in_every_layer() {
    let store = MemoryStore::default();
    let mut view = LayeredView::new(store.snapshot().unwrap());
    let hash = |number: u64| keccak256(number.to_be_bytes());
    for number in 0..700 {
        view.collecting.add_block(number, hash(number));
        for back in 0..number.min(256) {
            assert_eq!(view.block_hash(number - back).unwrap(), Some(hash(number - back)));
        }
        if number % 100 == 99 {
            // As when a batch is on its way to the store, and then as when it is there.
            let pending = std::sync::Arc::new(std::mem::take(&mut view.collecting));
            view.writing = Some(pending.clone());
            assert_eq!(view.block_hash(number).unwrap(), Some(hash(number)));
            let reached = Reached { number, hash: hash(number), state_root: EMPTY_ROOT_HASH, tries: 0 };
            store.commit(&pending.to_batch(), reached).unwrap();
            (view.snapshot, view.writing) = (store.snapshot().unwrap(), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_state_is_what_plain_maps_say(
        blocks in prop::collection::vec((prop::collection::vec(event(), 0..6), any::<bool>()), 1..12),
    ) {
        let store = MemoryStore::default();
        let mut view = LayeredView::new(store.snapshot().unwrap());
        let mut plain: BTreeMap<u8, PlainAccount> = BTreeMap::new();
        let mut at = Reached { number: 0, hash: B256::ZERO, state_root: EMPTY_ROOT_HASH, tries: 0 };
        for (events, is_written) in blocks {
            // One change for each account of a block.
            let events: BTreeMap<B256, Event> =
                events.into_iter().map(|event| (hash(event.account), event)).collect();
            let mut changes = Vec::new();
            for (account, event) in &events {
                changes.push(happen(event, &mut plain, view.account(account).unwrap()));
            }
            let applied = apply(&view, at.state_root, at.tries, &changes).unwrap();
            prop_assert_eq!(applied.root, plain_root(&plain));
            // Whatever is new can be offered with its proof out of what is new.
            let brought = brought(&applied);
            for offer in Offers::of(&brought).iter() {
                prop_assert!(offer.is_ok(), "{:?}", offer);
            }
            view.collecting.add(&applied);
            at = Reached { number: at.number + 1, state_root: applied.root, tries: applied.tries, ..at };
            if is_written {
                let pending = std::mem::take(&mut view.collecting);
                store.commit(&pending.to_batch(), at).unwrap();
                view = LayeredView::new(store.snapshot().unwrap());
            }
            for number in 0..6 {
                let (account, expected) = (view.account(&hash(number)).unwrap(), plain.get(&number));
                prop_assert_eq!(account.map(|account| account.info.nonce), expected.map(|account| account.nonce));
                let Some((account, expected)) = account.zip(expected) else { continue };
                for slot in 0..40 {
                    let value = view.slot(account.trie, &hash(slot)).unwrap();
                    prop_assert_eq!(value, U256::from(*expected.slots.get(&slot).unwrap_or(&0)));
                }
            }
        }
        // Nothing is left of tries that are nobody's.
        let pending = std::mem::take(&mut view.collecting);
        store.commit(&pending.to_batch(), at).unwrap();
        let slots: usize = plain.values().map(|account| account.slots.len()).sum();
        prop_assert_eq!(store.len(Table::Slots), slots);
        prop_assert_eq!(store.len(Table::Accounts), plain.len());
        if plain.is_empty() {
            prop_assert_eq!(store.len(Table::Nodes), 0);
        }
        prop_assert_eq!(store.snapshot().unwrap().reached(), Some(at));
    }
}
