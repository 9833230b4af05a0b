//! Conversion keeps all content.

use cairn_archive::convert::{Step, Target, convert};
use cairn_archive::verify::verify_archive;
use cairn_archive::{Archive, ArchiveRule, Component, Format};

use crate::chain::Chain;
use crate::profiles::assert_holds;

const ALL: std::ops::RangeInclusive<u64> = 0..=u64::MAX;

#[test]
fn there_and_back_again() {
    let chain = Chain::before_merge(9);
    let dir = tempfile::tempdir().unwrap();
    let era1 = chain.write(dir.path(), chain.era1());
    let original = std::fs::read(&era1).unwrap();
    for proofs in [true, false] {
        let target = Target::Ere { proofs, receipts: true };
        let mut steps = Vec::new();
        let ere = convert(&Archive::open(&era1).unwrap(), ALL, "private", target, dir.path(), |step| steps.push(step));
        let ere = Archive::open(ere.unwrap()).unwrap();
        assert!(steps.contains(&Step::Read { blocks: 9, total: 9 }));
        assert!(matches!(steps.last(), Some(Step::Written { bytes, total }) if bytes == total));
        assert_eq!((ere.format(), ere.components().has(Component::Proof)), (Format::Ere, proofs));
        assert_holds(&ere, &chain);
        assert!(verify_archive(&ere, &chain.verifier, 1, |_| {}).unwrap().is_intact());

        let back = convert(&ere, ALL, "private", Target::Era1, dir.path(), |_| {}).unwrap();
        assert_eq!(back, era1);
        assert_eq!(std::fs::read(back).unwrap(), original);
    }
}

#[test]
fn era1_takes_the_blocks_before_the_merge() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    // The proofs stand in for total difficulties that the file does not record.
    let source = chain.write(dir.path(), chain.ere([Component::Receipts, Component::Proof]));
    let path = convert(&Archive::open(source).unwrap(), ALL, "private", Target::Era1, dir.path(), |_| {}).unwrap();
    let archive = Archive::open(path).unwrap();
    assert_eq!(archive.blocks(), 0..=3);
    assert!(verify_archive(&archive, &chain.verifier, 1, |_| {}).unwrap().is_intact());
}

#[test]
fn a_part_of_an_era_is_exported_with_its_proofs() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let source = Archive::open(chain.write(dir.path(), chain.ere(Component::ALL))).unwrap();
    let target = Target::Ere { proofs: true, receipts: true };
    for blocks in [0..=0, 2..=5, 6..=9] {
        let path = convert(&source, blocks.clone(), "private", target, dir.path(), |_| {}).unwrap();
        let part = Archive::open(path).unwrap();
        assert_eq!(part.blocks(), blocks);
        assert_holds(&part, &chain);
        let report = verify_archive(&part, &chain.verifier, 1, |_| {}).unwrap();
        assert!(report.is_intact(), "{:?}", report.findings);
    }
    let outside = convert(&source, 11..=12, "private", target, dir.path(), |_| {}).unwrap_err();
    assert!(matches!(outside.rule, ArchiveRule::OutOfRange(_)));
}

#[test]
fn what_the_source_lacks_is_named() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let source = Archive::open(chain.write(dir.path(), chain.ere([]))).unwrap();
    for (target, lacking) in [
        (Target::Ere { proofs: false, receipts: true }, Component::Receipts),
        (Target::Ere { proofs: true, receipts: false }, Component::Proof),
    ] {
        let error = convert(&source, ALL, "private", target, dir.path(), |_| {}).unwrap_err();
        assert!(matches!(error.rule, ArchiveRule::Missing(component) if component == lacking), "{error}");
    }
}
