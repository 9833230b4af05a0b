//! The real genesis files: mainnet's, and that of a private chain.

#![allow(clippy::unwrap_used)] // a test without the harness: clippy does not know it for one

use std::fs;
use std::path::Path;

use alloy_primitives::b256;
use cairn_replay::{Genesis, Rules};
use cairn_vectors::VectorTest;
use content_types::ChainSpec;

const MAINNET: &str = "genesis/mainnet.json";

fn mainnet_begins_with_its_root(root: &Path) {
    let genesis = Genesis::from_json(&fs::read_to_string(root.join(MAINNET)).unwrap()).unwrap();
    assert_eq!(genesis.alloc.len(), 8893);
    assert_eq!(genesis.state_root(), b256!("d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544"));
    assert_eq!(genesis.header(&Rules::mainnet()).hash_slow(), ChainSpec::mainnet().genesis_hash());
}

fn main() {
    cairn_vectors::run(vec![VectorTest::new("mainnet_begins_with_its_root", &[MAINNET], mainnet_begins_with_its_root)]);
}
