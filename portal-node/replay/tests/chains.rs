//! Real chains: mainnet's beginning, and a private chain with every fork from Frontier to Osaka.

#![allow(clippy::unwrap_used)] // a test without the harness: clippy does not know it for one

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use alloy_primitives::{B256, b256, keccak256};
use cairn_archive::Archive;
use cairn_replay::eras::{self, EraError};
use cairn_replay::rules::ForkConfig;
use cairn_replay::store::{DiskStore, MemoryStore, Snapshot as _, Store as _};
use cairn_replay::{BatchLimits, Block, Changes, Genesis, Replay, Rules};
use cairn_vectors::VectorTest;
use content_types::ChainSpec;

const MAINNET: &str = "genesis/mainnet.json";
const ERAS: [&str; 2] = ["era1/mainnet-00000-5ec1ffb8.era1", "era1/mainnet-00001-a5364e9a.era1"];
const PRIVATE: [&str; 2] = ["execution-apis/genesis.json", "execution-apis/chain.rlp"];
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

fn every_fork_of_a_private_chain(root: &Path) {
    let genesis = genesis(root, PRIVATE[0]);
    let rules = private_rules(&genesis);
    let blocks = private_blocks(root);
    assert_eq!(blocks.len(), 54);
    let last = blocks.last().unwrap().header().clone();
    let mut replay = Replay::open(MemoryStore::default(), rules, genesis, BatchLimits::default()).unwrap();
    let mut seen = Vec::new();
    let progress = replay.run(blocks.into_iter().map(ok), |changes| {
        seen.push(changes);
        ControlFlow::Continue(())
    });
    let progress = progress.unwrap();
    assert_eq!(progress.blocks, 54);
    assert_eq!(replay.reached().unwrap().state_root, last.state_root);
    assert_eq!(seen.iter().map(|changes| changes.number).collect::<Vec<_>>(), (0..=54).collect::<Vec<_>>());
    nodes_hold_together(&seen);
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

fn mainnet_blocks(root: &Path) -> impl Iterator<Item = Result<Block, EraError>> + Send + use<> {
    eras::blocks(ERAS.map(|era| Archive::open(root.join(era)).unwrap()), 0)
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
        VectorTest::new("mainnet_from_genesis", &[MAINNET, ERAS[0], ERAS[1]], mainnet_from_genesis),
    ]);
}
