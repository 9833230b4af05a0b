//! Real chains: mainnet's beginning, and a private chain with every fork from Frontier to Osaka.

#![allow(clippy::unwrap_used)] // a test without the harness: clippy does not know it for one

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use alloy_primitives::{B256, Bytes, b256, keccak256};
use cairn_archive::Archive;
use cairn_replay::eras::{EraError, EraPlan, MissingBlock};
use cairn_replay::offers::{GapError, Offers};
use cairn_replay::rules::ForkConfig;
use cairn_replay::store::{DiskStore, MemoryStore, Snapshot as _, Store as _};
use cairn_replay::{BatchLimits, Block, Changes, Genesis, Replay, Rules, TrieNode};
use cairn_vectors::VectorTest;
use content_types::ChainSpec;
use content_types::trie::Nibbles;
use serde_json::Value;

const MAINNET: &str = "genesis/mainnet.json";
const ERAS: [&str; 2] = ["era1/mainnet-00000-5ec1ffb8.era1", "era1/mainnet-00001-a5364e9a.era1"];
const PRIVATE: [&str; 2] = ["execution-apis/genesis.json", "execution-apis/chain.rlp"];
const FIXTURES: &str = "execution-apis/fixtures";
/// Bytes that the database may hold in memory.
const CACHE: usize = 64 << 20;

fn genesis(root: &Path, path: &str) -> Genesis {
    Genesis::from_json(&fs::read_to_string(root.join(path)).unwrap()).unwrap()
}

fn mainnet_begins_with_its_root(root: &Path) {
    let genesis = genesis(root, MAINNET);
    assert_eq!(genesis.alloc.len(), 8893);
    assert_eq!(genesis.state_root(), b256!("d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544"));
    assert_eq!(genesis.header(&Rules::mainnet()).hash_slow(), ChainSpec::mainnet().genesis_hash());
}

/// The private chain's blocks, from 1 on.
fn private_blocks(root: &Path) -> Vec<Block> {
    let bytes = fs::read(root.join(PRIVATE[1])).unwrap();
    let mut rest = bytes.as_slice();
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        blocks.push(Block::decode(&mut rest).unwrap());
    }
    blocks
}

fn private_rules(genesis: &Genesis) -> Rules {
    let config: &ForkConfig = genesis.config.as_ref().unwrap();
    Rules::from_config(config).unwrap()
}

fn ok(block: Block) -> Result<Block, Infallible> {
    Ok(block)
}

/// What each block of the private chain brings.
fn private_changes(root: &Path) -> Vec<Changes> {
    let genesis = genesis(root, PRIVATE[0]);
    let rules = private_rules(&genesis);
    let blocks = private_blocks(root);
    let last = blocks.last().unwrap().header().clone();
    let mut replay = Replay::open(MemoryStore::default(), rules, genesis, BatchLimits::default()).unwrap();
    let mut seen = Vec::new();
    let progress = replay.run(blocks.into_iter().map(ok), |changes| {
        seen.push(changes);
        ControlFlow::Continue(())
    });
    assert_eq!(progress.unwrap().blocks, 54);
    assert_eq!(replay.reached().unwrap().state_root, last.state_root);
    seen
}

fn every_fork_of_a_private_chain(root: &Path) {
    let seen = private_changes(root);
    assert_eq!(seen.iter().map(|changes| changes.number).collect::<Vec<_>>(), (0..=54).collect::<Vec<_>>());
    nodes_hold_together(&seen);
}

/// What a fixture asks, and what geth has answered: the parameters and the result.
fn fixture(root: &Path, path: &str) -> (Value, Value) {
    let text = fs::read_to_string(root.join(FIXTURES).join(path)).unwrap();
    let line = |mark: &str| -> Value {
        serde_json::from_str(text.lines().find_map(|line| line.strip_prefix(mark)).unwrap()).unwrap()
    };
    (line(">> ")["params"].take(), line("<< ")["result"].take())
}

fn hex_bytes(value: &Value) -> Bytes {
    value.as_str().unwrap().parse().unwrap()
}

/// Every node of the proofs, and the code, that geth has answered for this chain was handed out, at its place.
fn nodes_and_code_are_those_that_geth_tells(root: &Path) {
    let all = private_changes(root);
    for path in ["eth_getProof/get-account-proof-blockhash.io", "eth_getProof/get-account-proof-latest.io"] {
        let (question, answer) = fixture(root, path);
        let until = match question[2].as_str().unwrap() {
            "latest" => all.len(),
            hash => all.iter().position(|changes| changes.block_hash == hash.parse::<B256>().unwrap()).unwrap() + 1,
        };
        let key = Nibbles::of_key(&keccak256(hex_bytes(&question[0])));
        let proof = answer["accountProof"].as_array().unwrap();
        assert!(proof.len() > 1);
        for node in proof {
            let rlp = hex_bytes(node);
            let is_it = |node: &TrieNode| {
                node.account.is_none() && node.rlp == rlp && key.as_slice().starts_with(node.path.as_slice())
            };
            assert!(all[..until].iter().flat_map(|changes| &changes.nodes).any(is_it), "{path}: {rlp}");
        }
    }
    let (question, answer) = fixture(root, "eth_getCode/get-code-default-block.io");
    let (account, code) = (keccak256(hex_bytes(&question[0])), hex_bytes(&answer));
    let mut codes = all.iter().flat_map(|changes| &changes.codes);
    assert!(codes.any(|handed_out| handed_out.account == account && handed_out.code == code));
}

/// Each node that was handed out has its hash, and is the root of its block's state or has a parent that was handed out.
fn nodes_hold_together(all: &[Changes]) {
    let mut known: HashMap<B256, ()> = HashMap::new();
    for changes in all {
        let roots = changes.nodes.iter().filter(|node| node.account.is_none() && node.path.is_empty());
        if let Some(root) = roots.last() {
            assert_eq!(root.hash, changes.state_root);
        }
        for node in &changes.nodes {
            assert_eq!(keccak256(&node.rlp), node.hash);
            known.insert(node.hash, ());
        }
        for code in &changes.codes {
            assert_eq!(keccak256(&code.code), code.hash);
        }
        assert!(known.contains_key(&changes.state_root), "block {}", changes.number);
    }
}

/// As a peer of the state network would: each item is held against the state root of its block.
fn assert_all_are_proved(changes: &Changes) {
    let offers = Offers::of(changes);
    let mut count = 0;
    for offer in offers.iter() {
        let (key, proved) = offer.unwrap();
        let (state_root, bare) = proved.check(&key).unwrap_or_else(|error| panic!("{key:?}: {error}"));
        assert_eq!((state_root, keccak256(&bare.0)), (changes.state_root, key.hash()));
        count += 1;
    }
    assert_eq!((count, offers.len()), (changes.nodes.len() + changes.codes.len(), count));
}

fn what_each_block_brings_is_proved_by_what_it_brings(root: &Path) {
    let all = private_changes(root);
    all.iter().for_each(assert_all_are_proved);
    assert!(all.iter().any(|changes| !changes.codes.is_empty()));
    // With a node less there is no proof of those below it, and the others have theirs.
    let mut changes = all.into_iter().max_by_key(|changes| changes.nodes.len()).unwrap();
    let root_at = changes.nodes.iter().position(|node| node.account.is_some() && node.path.is_empty()).unwrap();
    let lost = changes.nodes.swap_remove(root_at);
    let below = changes.nodes.iter().filter(|node| node.account == lost.account).count();
    let gaps: Vec<_> = Offers::of(&changes).iter().filter_map(Result::err).collect();
    assert_eq!(gaps, vec![GapError { number: changes.number, path: Nibbles::ROOT }; below]);
}

fn mainnets_genesis_is_proved(root: &Path) {
    let mut replay =
        Replay::open(MemoryStore::default(), Rules::mainnet(), genesis(root, MAINNET), BatchLimits::default()).unwrap();
    let mut count = 0;
    let none = std::iter::empty::<Result<Block, Infallible>>();
    replay
        .run(none, |changes| {
            assert_all_are_proved(&changes);
            count += changes.nodes.len();
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(count > 8893, "a leaf of each account, and what is above");
}

fn mainnet_blocks(root: &Path) -> impl Iterator<Item = Result<Block, EraError>> + Send + use<> {
    EraPlan::new(mainnet_archives(root).into(), 1, None).unwrap().blocks()
}

fn mainnet_archives(root: &Path) -> [Archive; 2] {
    ERAS.map(|era| Archive::open(root.join(era)).unwrap())
}

fn archives_in_any_order_give_each_block_once(root: &Path) {
    let [first, second] = mainnet_archives(root);
    let all = vec![second.clone(), first.clone(), second.clone()];
    let plan = |archives: &[Archive], from, to| EraPlan::new(archives.to_vec(), from, to);
    let numbers = |plan: EraPlan| plan.blocks().map(|block| block.unwrap().header().number).collect::<Vec<_>>();
    assert_eq!(numbers(plan(&all, 8190, Some(8195)).unwrap()), (8190..=8195).collect::<Vec<_>>());
    assert_eq!(plan(&all, 1, None).unwrap().last(), Some(16_383));
    assert_eq!(plan(&all, 16_384, None).unwrap().last(), None, "nothing is left");
    assert_eq!(plan(&[second], 1, None).err(), Some(MissingBlock(1)));
    assert_eq!(plan(&[first], 1, Some(9000)).err(), Some(MissingBlock(8192)));
    assert_eq!(plan(&[], 1, None).unwrap().last(), None);
}

fn mainnet_from_genesis(root: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path().join("state"), CACHE).unwrap();
    let mut replay = Replay::open(store, Rules::mainnet(), genesis(root, MAINNET), BatchLimits::default()).unwrap();
    let progress = replay.run(mainnet_blocks(root), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(progress.blocks, 16_383);
    let reached = replay.reached().unwrap();
    assert_eq!(replay.store().snapshot().unwrap().reached(), Some(reached), "all is in the store");
    drop(replay);
    let store = DiskStore::open(folder.path().join("state"), CACHE).unwrap();
    let replay = Replay::open(store, Rules::mainnet(), genesis(root, MAINNET), BatchLimits::default()).unwrap();
    assert_eq!(replay.reached(), Some(reached));
}

fn main() {
    cairn_vectors::run(vec![
        VectorTest::new("mainnet_begins_with_its_root", &[MAINNET], mainnet_begins_with_its_root),
        VectorTest::new("every_fork_of_a_private_chain", &PRIVATE, every_fork_of_a_private_chain),
        VectorTest::new(
            "nodes_and_code_are_those_that_geth_tells",
            &[PRIVATE[0], PRIVATE[1], FIXTURES],
            nodes_and_code_are_those_that_geth_tells,
        ),
        VectorTest::new(
            "what_each_block_brings_is_proved_by_what_it_brings",
            &PRIVATE,
            what_each_block_brings_is_proved_by_what_it_brings,
        ),
        VectorTest::new(
            "archives_in_any_order_give_each_block_once",
            &[ERAS[0], ERAS[1]],
            archives_in_any_order_give_each_block_once,
        ),
        VectorTest::new("mainnets_genesis_is_proved", &[MAINNET], mainnets_genesis_is_proved),
        VectorTest::new("mainnet_from_genesis", &[MAINNET, ERAS[0], ERAS[1]], mainnet_from_genesis),
    ]);
}
