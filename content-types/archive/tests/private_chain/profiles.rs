//! What is written is read again, in each profile, and verifies.

use cairn_archive::verify::verify_archive;
use cairn_archive::{Archive, ArchiveName, ArchiveRule, Component, Components, Format, proof_record, snappy};
use content_types::block::{ReceiptsEncoding, transcode};

use crate::chain::Chain;

/// Compares everything in an archive with the chain it was made of.
pub(crate) fn assert_holds(archive: &Archive, chain: &Chain) {
    let components = archive.components();
    for number in archive.blocks() {
        let block = &chain.blocks[number as usize];
        assert_eq!(archive.header(number).unwrap(), block.header.0);
        assert_eq!(archive.body(number).unwrap(), block.body.0);
        for component in Component::ALL {
            let stored = archive.stored(number, component).unwrap();
            assert_eq!(stored.is_some(), components.has(component));
            let expected = match component {
                Component::Header => archive.header(number).unwrap(),
                Component::Body => archive.body(number).unwrap(),
                Component::Receipts => archive.receipts(number).unwrap().map(|each| each.bytes).unwrap_or_default(),
                Component::Proof => block.proof.as_ref().map(proof_record::encode).unwrap_or_default().into(),
                Component::TotalDifficulty => block.total_difficulty.to_le_bytes_vec().into(),
            };
            if let Some(stored) = stored {
                let is_plain = component == Component::TotalDifficulty;
                let content =
                    if is_plain { stored.into() } else { snappy::decode(&stored, component.limit()).unwrap() };
                assert_eq!(content, expected, "{component} of block {number}");
            }
        }
        let receipts = archive.receipts(number).unwrap();
        assert_eq!(receipts.is_some(), components.has(Component::Receipts));
        if let Some(receipts) = receipts {
            let slim = transcode::receipts(receipts.encoding, ReceiptsEncoding::Slim, &receipts.bytes).unwrap();
            assert_eq!(slim, block.receipts.0);
            let length = archive.component_len(number, Component::Receipts).unwrap();
            assert_eq!(length, Some(receipts.bytes.len() as u64));
        }
        let total_difficulty = components.has(Component::TotalDifficulty).then_some(block.total_difficulty);
        assert_eq!(archive.total_difficulty(number).unwrap(), total_difficulty);
        assert_eq!(archive.proof(number).unwrap(), block.proof.filter(|_| components.has(Component::Proof)));
    }
    assert!(matches!(archive.header(archive.blocks().end() + 1).unwrap_err().rule, ArchiveRule::OutOfRange(_)));
}

fn optional() -> impl Iterator<Item = Components> {
    let all = [Component::Receipts, Component::TotalDifficulty, Component::Proof];
    (0..8_usize)
        .map(move |set| all.into_iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, c)| c).collect())
}

#[test]
fn every_ere_profile_is_read_and_verifies() {
    let chain = Chain::of_all_times();
    for components in optional() {
        let dir = tempfile::tempdir().unwrap();
        let path = chain.write(dir.path(), chain.ere(components.iter()));
        let archive = Archive::open(&path).unwrap();
        assert!(archive.damage().is_none());
        assert_eq!(archive.format(), Format::Ere);
        let name = ArchiveName::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
        assert_eq!(name.proofs, components.has(Component::Proof));
        assert_eq!(name.receipts, components.has(Component::Receipts));
        assert_eq!(name.short_hash[..], chain.blocks.last().unwrap().hash[..4]);
        assert_holds(&archive, &chain);

        let report = verify_archive(&archive, &chain.verifier, 2, |_| {}).unwrap();
        if components.has(Component::Proof) {
            assert!(report.is_intact(), "{components:?}: {:?}", report.findings);
            for component in archive.components().iter() {
                assert_eq!(report.good(component), [archive.blocks()], "{component}");
            }
        } else {
            // Without proofs the blocks after the merge cannot be proved. Those before it can: their epoch is whole.
            assert!(matches!(report.findings[..], [ref one] if matches!(one.rule, ArchiveRule::Unproved(_))));
            assert_eq!(report.good(Component::Header), [0..=3]);
        }
    }
}

#[test]
fn era1_is_read_and_verifies() {
    let chain = Chain::before_merge(9);
    let dir = tempfile::tempdir().unwrap();
    let path = chain.write(dir.path(), chain.era1());
    let archive = Archive::open(&path).unwrap();
    assert_eq!((archive.format(), archive.blocks(), archive.era()), (Format::Era1, 0..=8, 0));
    assert_holds(&archive, &chain);
    let root = archive.accumulator_root().unwrap().unwrap();
    assert_eq!(chain.verifier.lists().pre_merge.as_ref().unwrap().epoch_roots(), [root]);
    assert_eq!(ArchiveName::parse(path.file_name().unwrap().to_str().unwrap()).unwrap().short_hash, root[..4]);

    let report = verify_archive(&archive, &chain.verifier, 1, |_| {}).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
    assert_eq!(report.good_count(Component::Receipts), 9);
    assert_eq!(report.foreign_compression, 0);
}

#[test]
fn missing_proofs_are_built_before_the_merge() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(chain.write(dir.path(), chain.ere([Component::TotalDifficulty]))).unwrap();
    for number in 0..4 {
        let header = archive.header_with_proof(number).unwrap();
        assert_eq!(Some(header.proof), chain.blocks[number as usize].proof);
        chain.verifier.verify(&header.encode()).unwrap();
    }
    assert!(matches!(archive.header_with_proof(4).unwrap_err().rule, ArchiveRule::Missing(Component::Proof)));
}

#[test]
fn without_trust_lists_nothing_is_good() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(chain.write(dir.path(), chain.ere(Component::ALL))).unwrap();
    let report = verify_archive(&archive, &chain.untrusting(), 2, |_| {}).unwrap();
    assert!(!report.is_intact());
    for component in Component::ALL {
        assert_eq!(report.good_count(component), 0);
    }
}

#[test]
fn progress_ends_at_the_total() {
    let chain = Chain::before_merge(70);
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(chain.write(dir.path(), chain.era1())).unwrap();
    let most = std::sync::Mutex::new((0, 0));
    verify_archive(&archive, &chain.verifier, 3, |progress| {
        assert_eq!((progress.total_blocks, progress.total_bytes), (70, archive.file_len()));
        assert!(progress.bytes <= progress.total_bytes);
        let mut most = most.lock().unwrap();
        *most = (most.0.max(progress.blocks), most.1.max(progress.bytes));
    })
    .unwrap();
    let (blocks, bytes) = *most.lock().unwrap();
    assert_eq!(blocks, 70);
    assert!(bytes > archive.file_len() / 2);
}
