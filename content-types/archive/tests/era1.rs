//! The two real era1 files: mainnet's blocks 0 to 16,383.

#![allow(clippy::unwrap_used)] // a test without the harness: clippy does not know it for one

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{U256, b256};
use bytes::Bytes;
use cairn_archive::convert::{Target, convert};
use cairn_archive::verify::{verify_archive, verify_files};
use cairn_archive::{Archive, ArchiveRule, Component, Format};
use cairn_vectors::VectorTest;
use content_types::block::{ReceiptsEncoding, transcode};
use content_types::trust::TrustListKind;
use content_types::{ChainSpec, HeaderVerifier, TrustLists};

const FILES: [&str; 2] = ["era1/mainnet-00000-5ec1ffb8.era1", "era1/mainnet-00001-a5364e9a.era1"];
const TRUST: &str = "trust/historical_hashes_accumulator.ssz";
const NEEDS: &[&str] = &[FILES[0], FILES[1], TRUST];
const THREADS: usize = 2;
/// Flips tried on a real file; the private chain's files are small enough to try each byte.
const FLIPS: usize = 40;
const ALL: std::ops::RangeInclusive<u64> = 0..=u64::MAX;

fn paths(root: &Path) -> [PathBuf; 2] {
    FILES.map(|file| root.join(file))
}

fn verifier(root: &Path) -> HeaderVerifier {
    let chain = Arc::new(ChainSpec::mainnet());
    let mut lists = TrustLists::default();
    let accumulator = fs::read(root.join(TRUST)).unwrap();
    lists.import(TrustListKind::PreMergeAccumulator, &accumulator, chain.trust_roots()).unwrap();
    HeaderVerifier::new(chain, lists)
}

fn genesis_is_mainnets(root: &Path) {
    let archive = Archive::open(&paths(root)[0]).unwrap();
    assert_eq!((archive.format(), archive.era(), archive.blocks()), (Format::Era1, 0, 0..=8191));
    let genesis = archive.decoded_header(0).unwrap();
    assert_eq!(genesis.hash(), b256!("0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"));
    assert_eq!(archive.total_difficulty(0).unwrap(), Some(U256::from(17_179_869_184_u64)));
}

fn all_blocks_verify(root: &Path) {
    let report = verify_files(&[root.join("era1")], &verifier(root), THREADS, |_| {}).unwrap();
    assert!(report.is_intact(), "{:?}", report.files.iter().find_map(|file| file.findings.first()));
    assert!(report.missing_eras.is_empty());
    for (file, era) in report.files.iter().zip(0..) {
        assert_eq!(file.blocks, era * 8192..=era * 8192 + 8191);
        for component in file.components.iter() {
            assert_eq!(file.good_count(component), 8192, "{component}");
        }
        // So every byte of the compressed records was compared.
        assert_eq!(file.foreign_compression, 0);
    }
}

fn built_proofs_hold(root: &Path) {
    let verifier = verifier(root);
    for path in paths(root) {
        let archive = Archive::open(path).unwrap();
        for number in archive.blocks().step_by(511) {
            let header = archive.header_with_proof(number).unwrap();
            assert_eq!(verifier.verify(&header.encode()).unwrap().number(), number);
        }
    }
}

fn to_ere_and_back_keeps_all_content(root: &Path) {
    let verifier = verifier(root);
    let dir = tempfile::tempdir().unwrap();
    for path in paths(root) {
        let era1 = Archive::open(&path).unwrap().pinned().unwrap();
        let target = Target::Ere { proofs: true, receipts: true };
        let ere = Archive::open(convert(&era1, ALL, "mainnet", target, dir.path(), |_| {}).unwrap()).unwrap();
        let report = verify_archive(&ere, &verifier, THREADS, |_| {}).unwrap();
        assert!(report.is_intact(), "{:?}", report.findings.first());
        assert_eq!(report.good_count(Component::Proof), 8192);

        let back = convert(&ere, ALL, "mainnet", Target::Era1, dir.path(), |_| {}).unwrap();
        assert_eq!(back.file_name(), path.file_name());
        let (ere, back) = (ere.pinned().unwrap(), Archive::open(back).unwrap().pinned().unwrap());
        for number in era1.blocks() {
            for other in [&ere, &back] {
                assert_eq!(era1.header(number).unwrap(), other.header(number).unwrap());
                assert_eq!(era1.body(number).unwrap(), other.body(number).unwrap());
                assert_eq!(era1.total_difficulty(number).unwrap(), other.total_difficulty(number).unwrap());
                let (expected, found) =
                    (era1.receipts(number).unwrap().unwrap(), other.receipts(number).unwrap().unwrap());
                let found = transcode::receipts(found.encoding, ReceiptsEncoding::Rlp, &found.bytes).unwrap();
                assert_eq!(expected.bytes, found);
            }
        }
        assert_eq!(era1.accumulator_root().unwrap(), back.accumulator_root().unwrap());
    }
}

fn a_changed_byte_is_found(root: &Path) {
    let verifier = verifier(root);
    let file = fs::read(&paths(root)[1]).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..FLIPS {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let at = (state >> 16) as usize % file.len();
        let flip = ((state >> 56) as u8).max(1);
        let mut damaged = file.clone();
        damaged[at] ^= flip;
        let archive = Archive::from_source(Box::new(Bytes::from(damaged)), "damaged").unwrap();
        let report = verify_archive(&archive, &verifier, THREADS, |_| {}).unwrap();
        let is_told = !report.is_intact() || report.foreign_compression > 0;
        assert!(is_told, "byte {at} changed by {flip:#x} was not noticed");
        let damage = &report.findings[0];
        let is_of_block = damage.place.block.is_some_and(|number| archive.blocks().contains(&number));
        assert!(is_of_block || !matches!(damage.rule, ArchiveRule::Snappy(_)), "{damage}");
        assert!(report.good_count(Component::Body) >= 8191 || report.good_count(Component::Header) == 0, "{damage}");
    }
}

fn main() {
    cairn_vectors::run(vec![
        VectorTest::new("genesis_is_mainnets", NEEDS, genesis_is_mainnets),
        VectorTest::new("all_blocks_verify", NEEDS, all_blocks_verify),
        VectorTest::new("built_proofs_hold", NEEDS, built_proofs_hold),
        VectorTest::new("to_ere_and_back_keeps_all_content", NEEDS, to_ere_and_back_keeps_all_content),
        VectorTest::new("a_changed_byte_is_found", NEEDS, a_changed_byte_is_found),
    ]);
}
