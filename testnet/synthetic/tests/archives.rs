//! The chain's archives hold the chain, and verify.

#![allow(clippy::unwrap_used)] // in functions that tests call, which clippy does not know for tests

use cairn_archive::{Archive, Component, Format, verify::verify_archive};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};

fn chain(pre_merge_blocks: u64, later: u64) -> SyntheticChain {
    let config = SyntheticConfig {
        seed: 11,
        pre_merge_blocks,
        bellatrix_blocks: later,
        capella_blocks: later,
        deneb_blocks: later,
        block_size: 300,
        accounts: 0,
    };
    SyntheticChain::new(config).unwrap()
}

fn check(chain: &SyntheticChain, archive: &Archive) {
    let report = verify_archive(archive, &chain.verifier(), 2, |_| {}).unwrap();
    assert!(report.is_intact(), "{report:?}");
    for number in archive.blocks() {
        let block = chain.block(number).unwrap();
        assert_eq!(&archive.header(number).unwrap(), block.header.rlp());
        assert_eq!(archive.body(number).unwrap(), block.body);
        let receipts = archive.receipts(number).unwrap().unwrap();
        assert_eq!(receipts.bytes, block.receipts_in(receipts.encoding).unwrap());
        if archive.components().has(Component::Proof) {
            assert_eq!(archive.proof(number).unwrap(), Some(block.proof));
        }
    }
}

#[test]
fn era1_before_the_merge_and_ere_after_it() {
    let chain = chain(8192 + 5, 20);
    let dir = tempfile::tempdir().unwrap();
    let paths = chain.write_archives(dir.path()).unwrap();
    let archives: Vec<_> = paths.iter().map(|path| Archive::open(path).unwrap()).collect();
    assert_eq!(archives.iter().map(Archive::format).collect::<Vec<_>>(), [Format::Era1, Format::Ere]);
    assert_eq!(archives.iter().map(Archive::blocks).collect::<Vec<_>>(), [0..=8191, 8192..=8192 + 64]);
    archives.iter().for_each(|archive| check(&chain, archive));
}

#[test]
fn an_era_that_is_not_full() {
    let chain = chain(30, 0);
    let dir = tempfile::tempdir().unwrap();
    for format in [Format::Era1, Format::Ere] {
        let archive = Archive::open(chain.write_archive(0, format, dir.path()).unwrap()).unwrap();
        assert_eq!((archive.format(), archive.blocks()), (format, 0..=29));
        check(&chain, &archive);
    }
    assert!(chain.write_archive(1, Format::Ere, dir.path()).is_err(), "the chain has no second era");
}

#[test]
fn blocks_after_the_merge_do_not_fit_an_era1_file() {
    let dir = tempfile::tempdir().unwrap();
    assert!(chain(30, 5).write_archive(0, Format::Era1, dir.path()).is_err());
}
