//! Capsules of a synthetic chain's state: made, checked, and refused with anything about them changed.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

use std::collections::HashMap;
use std::sync::LazyLock;

use alloy_consensus::Header;
use alloy_primitives::{Address, U256, hex, keccak256};
use alloy_trie::TrieAccount;
use bytes::Bytes;
use cairn_synthetic::{State, SyntheticChain, SyntheticConfig};
use content_types::capsule::{Capsule, CapsuleError, Claim, MakeError};
use content_types::capsules::{ContentKey as CapsuleKey, shared};
use content_types::room::{Evidence, Form};
use content_types::state::ContentKey;
use content_types::verify::Unverified;
use content_types::{BlockId, ContentId, Key as _};
use proptest::prelude::*;

const BLOCK: u64 = 60;

struct World {
    chain: SyntheticChain,
    state: State,
    held: HashMap<ContentId, Bytes>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let chain = SyntheticChain::new(SyntheticConfig { accounts: 120, ..SyntheticConfig::small() }).unwrap();
    let state = chain.state(BLOCK);
    let block_hash = chain.block_hash(BLOCK).unwrap();
    let bare = |(key, proved): (ContentKey, content_types::state::Proved)| {
        let (_, bare) = proved.check(&key).unwrap();
        (key.content_id(), bare.0)
    };
    let held = state.contents(block_hash).into_iter().map(bare).collect();
    World { chain, state, held }
});

impl World {
    fn make(&self, claims: Vec<Claim>) -> Capsule {
        let block = self.chain.block(BLOCK).unwrap();
        let get = |key: &ContentKey| self.held.get(&key.content_id()).cloned().ok_or("not held");
        Capsule::make(&block.header, Some(&block.proof), claims, get).unwrap()
    }
}

/// Some accounts that there are and some that there are not, with some of their slots.
fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let claim = |(nth, slots, code): (usize, Vec<usize>, bool)| {
        let accounts = WORLD.state.accounts();
        let absent = Address::repeat_byte(nth as u8);
        let (address, storage) =
            accounts.get(nth).map_or((absent, &[][..]), |account| (account.address, &account.storage[..]));
        let slot = |nth: &usize| storage.get(*nth).map_or(U256::from(*nth) << 200, |(slot, _)| *slot);
        Claim { address, slots: slots.iter().map(slot).collect(), code }
    };
    let one = (0..150_usize, prop::collection::vec(0..60_usize, 0..8), any::<bool>()).prop_map(claim);
    prop::collection::vec(one, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_capsule_tells_what_the_state_is(claims in claims()) {
        let capsule = WORLD.make(claims.clone());
        let read = Capsule::decode(&capsule.encode()).unwrap();
        prop_assert_eq!(&read, &capsule);
        prop_assert_eq!(read.prove_header(&WORLD.chain.verifier()).unwrap().number(), BLOCK);
        let opened = read.open().unwrap();
        prop_assert_eq!(opened.header.hash(), WORLD.chain.block_hash(BLOCK).unwrap());
        for Claim { address, slots, code } in claims {
            let told = opened.accounts.iter().find(|account| account.address == address).unwrap();
            let real = WORLD.state.accounts().iter().find(|account| account.address == address);
            prop_assert_eq!(told.account, real.map(|real| real.account));
            for slot in slots {
                let told = told.slots.iter().find(|of| of.slot == slot).unwrap().value;
                let real = real.and_then(|real| real.storage.iter().find(|(of, _)| *of == slot));
                prop_assert_eq!(told, real.map_or(U256::ZERO, |(_, value)| *value));
            }
            if code {
                let real = real.map(|real| real.code.clone()).unwrap_or_default();
                prop_assert_eq!(told.code.clone().unwrap(), real);
            }
        }
    }

    /// All that it took to make it, each with a proof that leads to it from the state root.
    #[test]
    fn what_a_capsule_tells_is_given_to_the_state_network(claims in claims()) {
        let capsule = WORLD.make(claims.clone());
        let contents = capsule.open().unwrap().contents();
        let get = |key: &ContentKey| {
            let (state_root, bare) = contents.get(key).ok_or("not in it")?.clone().check(key).map_err(|_| "not proved")?;
            if state_root == header().state_root { Ok(bare.0) } else { Err("another state") }
        };
        let block = WORLD.chain.block(BLOCK).unwrap();
        let again = Capsule::make(&block.header, Some(&block.proof), claims, get);
        prop_assert_eq!(again.as_ref(), Ok(&capsule));
        prop_assert!(contents.len() >= capsule.nodes.len() + capsule.codes.len());
    }

    #[test]
    fn changed_in_any_byte_it_is_refused(claims in claims(), at: prop::sample::Index, bit in 0..8_u8) {
        let capsule = WORLD.make(claims).encode();
        let mut changed = capsule.to_vec();
        changed[at.index(capsule.len())] ^= 1_u8 << bit;
        let stands = |bytes: Vec<u8>| {
            let capsule = Capsule::decode(&bytes.into()).ok()?;
            capsule.prove_header(&WORLD.chain.verifier()).ok()?;
            capsule.open().ok()
        };
        prop_assert!(stands(capsule.to_vec()).is_some());
        prop_assert_eq!(stands(changed), None);
        let cut = at.index(capsule.len());
        prop_assert_eq!(stands(capsule[..cut].to_vec()), None);
        prop_assert_eq!(stands([&capsule[..], &[0]].concat()), None);
    }

    #[test]
    fn arbitrary_bytes_are_a_capsule_or_are_refused(bytes: Vec<u8>) {
        if let Ok(capsule) = Capsule::decode(&bytes.clone().into()) {
            prop_assert_eq!(capsule.encode(), bytes);
            let _ = capsule.open();
        }
    }
}

/// Nothing can be left out, doubled or added: one set of claims has one capsule.
#[test]
fn a_capsule_has_each_node_once_and_in_its_place() {
    let accounts = WORLD.state.accounts();
    let rich = accounts.iter().max_by_key(|account| account.storage.len()).unwrap();
    let slots = rich.storage.iter().map(|(slot, _)| *slot).collect();
    let claim = Claim { address: rich.address, slots, code: true };
    let other = Claim { address: accounts[5].address, slots: Vec::new(), code: false };
    let capsule = WORLD.make(vec![claim.clone(), other, claim]);
    assert_eq!(capsule.claims.len(), 2, "what is told twice is told once");
    capsule.open().unwrap();

    let refused = |change: &dyn Fn(&mut Capsule)| {
        let mut changed = capsule.clone();
        change(&mut changed);
        changed.open().unwrap_err()
    };
    assert!(matches!(refused(&|of| drop(of.nodes.pop())), CapsuleError::Missing { what: "node", .. }));
    assert!(matches!(refused(&|of| drop(of.codes.pop())), CapsuleError::Missing { what: "code", .. }));
    assert_eq!(refused(&|of| of.nodes.push(of.nodes[0].clone())), CapsuleError::Extraneous(1));
    assert_eq!(refused(&|of| of.codes.push(Bytes::new())), CapsuleError::Extraneous(1));
    assert!(matches!(refused(&|of| of.nodes.swap(1, 2)), CapsuleError::Account { .. }));
    assert!(matches!(refused(&|of| of.nodes[1] = of.nodes[0].clone()), CapsuleError::Account { .. }));
    assert!(matches!(refused(&|of| of.codes[0] = Bytes::from_static(b"another")), CapsuleError::Account { .. }));
    assert!(matches!(refused(&|of| of.claims.truncate(1)), CapsuleError::Extraneous(_)));

    let unsorted = Capsule { claims: capsule.claims.iter().rev().cloned().collect(), ..capsule.clone() };
    assert!(Capsule::decode(&unsorted.encode()).is_err(), "claims have one order");
    let mut twice = capsule.clone();
    let claim = twice.claims.iter_mut().find(|claim| !claim.slots.is_empty()).unwrap();
    claim.slots.insert(0, claim.slots[0]);
    assert!(Capsule::decode(&twice.encode()).is_err(), "a slot is told once");
    let proofless = Capsule { header_proof: Bytes::new(), ..capsule.clone() };
    assert_eq!(proofless.prove_header(&WORLD.chain.verifier()).unwrap_err(), CapsuleError::NoHeaderProof);
    let block = WORLD.chain.block(BLOCK).unwrap();
    let nobody = |_: &ContentKey| Err("nobody has it");
    let error = Capsule::make(&block.header, None, capsule.claims, nobody).unwrap_err();
    assert_eq!(error, MakeError::Source("nobody has it"));
}

/// A node of these items, each encoded.
fn node(items: &[Vec<u8>]) -> Bytes {
    let payload = items.concat();
    let mut node = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut node);
    Bytes::from([node, payload].concat())
}

/// A trie whose branches lead to one and the same node in all places is small, and each slot goes through all of it.
fn made_up(slots: u64) -> Capsule {
    let child = |node: &Bytes| alloy_rlp::encode(keccak256(node));
    let mut storage = vec![node(&[vec![0x20], alloy_rlp::encode(&alloy_rlp::encode([7_u8; 32])[..])])];
    for _ in 0..64 {
        let mut items = vec![child(&storage[storage.len() - 1]); 16];
        items.push(vec![0x80]);
        storage.push(node(&items));
    }
    storage.reverse();
    let address = Address::ZERO;
    let account = TrieAccount { storage_root: keccak256(&storage[0]), ..Default::default() };
    let slots = (0..slots).map(U256::from).collect();
    of_one_account(account, Claim { address, slots, code: false }, storage)
}

/// A capsule of a state of one account, in a block of its own: the leaf is the whole trie.
fn of_one_account(account: TrieAccount, claim: Claim, storage: Vec<Bytes>) -> Capsule {
    let path = [&[0x20], keccak256(claim.address).as_slice()].concat();
    let leaf = node(&[alloy_rlp::encode(&path[..]), alloy_rlp::encode(&alloy_rlp::encode(account)[..])]);
    let header = Header { state_root: keccak256(&leaf), ..Default::default() };
    Capsule {
        header: alloy_rlp::encode(&header).into(),
        header_proof: Bytes::new(),
        claims: vec![claim],
        nodes: std::iter::once(leaf).chain(storage).collect(),
        codes: Vec::new(),
    }
}

#[test]
fn what_would_take_for_ever_to_check_is_refused() {
    assert_eq!(made_up(3).open().unwrap().accounts[0].slots.len(), 3, "it is as good as any other");
    assert!(matches!(made_up(65_536).open(), Err(CapsuleError::TooManySteps(_))));
}

fn header() -> Header {
    WORLD.chain.block(BLOCK).unwrap().header.header().clone()
}

/// What goes over the network under a key, held against the header of its block.
fn judged(key: &CapsuleKey, value: Bytes, header: &Header) -> Result<Bytes, Unverified> {
    key.examine(Form::Offered, value)?.check(Some(header))
}

fn some_claims() -> Vec<Claim> {
    let accounts = WORLD.state.accounts();
    let rich = accounts.iter().max_by_key(|account| account.storage.len()).unwrap();
    let slots = rich.storage.iter().map(|(slot, _)| *slot).collect();
    let other = Claim { address: accounts[5].address, slots: Vec::new(), code: false };
    vec![Claim { address: rich.address, slots, code: true }, other]
}

#[test]
fn on_the_network_a_capsule_is_found_by_its_block_and_what_it_tells_of() {
    let capsule = WORLD.make(some_claims());
    let (key, value) = shared(&capsule).unwrap();
    let block_hash = WORLD.chain.block_hash(BLOCK).unwrap();
    assert_eq!(key, CapsuleKey::of(block_hash, some_claims().into_iter().rev().collect()));
    assert_eq!(key.evidence(Form::Stored, &value).unwrap(), Evidence::Header(BlockId::Hash(block_hash)));
    assert_eq!(judged(&key, value.clone(), &header()).unwrap(), value);
    let read = Capsule::decode(&value).unwrap();
    assert_eq!(Capsule { header_proof: capsule.header_proof.clone(), ..read }, capsule, "but for the header's proof");
}

#[test]
fn what_is_not_the_capsule_of_its_key_is_refused_on_the_network() {
    let capsule = WORLD.make(some_claims());
    let (key, value) = shared(&capsule).unwrap();
    let refused = |key: &CapsuleKey, value: Bytes| match judged(key, value, &header()).unwrap_err() {
        Unverified::Rule(rule) => rule.downcast_ref::<CapsuleError>().unwrap().clone(),
        other => panic!("{other}"),
    };
    let (of_other_claims, other_value) = shared(&WORLD.make(some_claims()[..1].to_vec())).unwrap();
    assert!(matches!(refused(&key, other_value), CapsuleError::OtherKey(_)));
    assert!(matches!(refused(&of_other_claims, value.clone()), CapsuleError::OtherKey(_)));
    let of_other_block = CapsuleKey { block_hash: WORLD.chain.block_hash(BLOCK - 1).unwrap(), ..key };
    assert!(matches!(refused(&of_other_block, value.clone()), CapsuleError::OtherKey(_)));
    assert_eq!(refused(&key, capsule.encode()), CapsuleError::WithHeaderProof, "one value for each key");
    let short = Capsule { nodes: capsule.nodes[1..].to_vec(), header_proof: Bytes::new(), ..capsule.clone() };
    assert!(matches!(refused(&key, short.encode()), CapsuleError::Account { .. }));

    let other = Header { state_root: keccak256(b"another state"), ..header() };
    assert!(matches!(judged(&key, value, &other), Err(Unverified::State { .. })), "the header has the last word");
    // A header of its own, and a state that was made up to cost much.
    let (key, value) = shared(&made_up(5_000)).unwrap();
    assert!(matches!(refused(&key, value), CapsuleError::TooManySteps(_)));
    assert!(matches!(shared(&made_up(9_000)), Err(Unverified::TooLong { .. })));
}

/// A state of one account, in a block of its own.
fn of_the_protocol() -> Capsule {
    let address = Address::repeat_byte(0xaa);
    let account = TrieAccount { nonce: 1, balance: U256::from(1_000), ..Default::default() };
    of_one_account(account, Claim { address, slots: vec![U256::from(7)], code: true }, Vec::new())
}

#[test]
fn the_test_vectors_of_the_protocol_are_what_is_written_and_read() {
    let (key, value) = shared(&of_the_protocol()).unwrap();
    let id = key.content_id();
    let vectors = [("key", key.encode()), ("content ID", id.as_bytes().to_vec().into()), ("value", value.clone())];
    let written: String = vectors.iter().map(|(name, bytes)| format!("{name}: {}\n", hex::encode(bytes))).collect();
    let text = include_str!("../PROTOCOL.md");
    let block = text.split_once("```text vectors\n").and_then(|(_, block)| block.split_once("```")).unwrap().0;
    assert_eq!(block, written, "the vectors are\n{written}");

    let opened = Capsule::decode(&value).unwrap().open().unwrap();
    assert_eq!(judged(&key, value.clone(), opened.header.header()).unwrap(), value);
    let account = &opened.accounts[0];
    assert_eq!((account.account.unwrap().nonce, account.slots[0].value), (1, U256::ZERO));
}
