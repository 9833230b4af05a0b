//! The two real era1 files: mainnet's blocks 0 to 16,383.

use std::path::{Path, PathBuf};

use alloy_primitives::{U256, b256};
use cairn_archive::{Archive, Component, Format};
use cairn_vectors::VectorTest;

const FILES: [&str; 2] = ["era1/mainnet-00000-5ec1ffb8.era1", "era1/mainnet-00001-a5364e9a.era1"];

fn paths(root: &Path) -> [PathBuf; 2] {
    FILES.map(|file| root.join(file))
}

fn every_block_is_read(root: &Path) {
    let mut parent = None;
    for (path, era) in paths(root).iter().zip(0..) {
        let archive = Archive::open(path).unwrap().pinned().unwrap();
        assert!(archive.damage().is_none());
        assert_eq!((archive.format(), archive.era()), (Format::Era1, era));
        assert_eq!(archive.blocks(), era * 8192..=era * 8192 + 8191);
        for number in archive.blocks() {
            let header = archive.decoded_header(number).unwrap();
            assert_eq!(header.header().parent_hash, parent.unwrap_or_default());
            parent = Some(header.hash());
            let body = archive.body(number).unwrap();
            assert_eq!(archive.component_len(number, Component::Body).unwrap(), Some(body.len() as u64));
            assert!(archive.receipts(number).unwrap().is_some());
            assert!(archive.total_difficulty(number).unwrap().unwrap() >= header.header().difficulty);
            assert_eq!(archive.proof(number).unwrap(), None);
        }
    }
}

fn genesis_is_mainnets(root: &Path) {
    let archive = Archive::open(&paths(root)[0]).unwrap();
    let genesis = archive.decoded_header(0).unwrap();
    assert_eq!(genesis.hash(), b256!("0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"));
    assert_eq!(archive.total_difficulty(0).unwrap(), Some(U256::from(17_179_869_184_u64)));
    assert_eq!(archive.epoch_tree().unwrap().root(), archive.accumulator_root().unwrap().unwrap());
}

fn main() {
    cairn_vectors::run(vec![
        VectorTest::new("every_block_is_read", &FILES, every_block_is_read),
        VectorTest::new("genesis_is_mainnets", &FILES, genesis_is_mainnets),
    ]);
}
