//! One changed byte anywhere is found.

use bytes::Bytes;
use cairn_archive::verify::{Report, Verdict, verify_archive};
use cairn_archive::{Archive, ArchiveRule, Component};
use content_types::HeaderVerifier;

use crate::chain::Chain;
use crate::profiles::assert_holds;

fn verify(file: Vec<u8>, verifier: &HeaderVerifier) -> Option<Report> {
    let archive = Archive::from_source(Box::new(Bytes::from(file)), "a file in memory").ok()?;
    Some(verify_archive(&archive, verifier, 1, |_| {}).unwrap())
}

/// Flips bits in each byte in turn, others each time, and expects each flip to be found.
fn flip_each_byte(file: &[u8], verifier: &HeaderVerifier) {
    assert!(verify(file.to_vec(), verifier).unwrap().is_intact());
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for at in 0..file.len() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let flip = ((state >> 56) as u8).max(1);
        let mut damaged = file.to_vec();
        damaged[at] ^= flip;
        let report = verify(damaged, verifier).unwrap();
        assert!(
            !report.is_intact() || report.foreign_compression > 0,
            "byte {at} of {} changed by {flip:#x} was not noticed",
            file.len()
        );
    }
}

#[test]
fn each_byte_of_an_era1_file_counts() {
    let chain = Chain::before_merge(9);
    let dir = tempfile::tempdir().unwrap();
    flip_each_byte(&std::fs::read(chain.write(dir.path(), chain.era1())).unwrap(), &chain.verifier);
}

#[test]
fn each_byte_of_an_ere_file_counts() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let path = chain.write(dir.path(), chain.ere(Component::ALL));
    flip_each_byte(&std::fs::read(path).unwrap(), &chain.verifier);
}

#[test]
fn each_byte_of_an_ere_file_without_proofs_counts() {
    let chain = Chain::before_merge(9);
    let dir = tempfile::tempdir().unwrap();
    let path = chain.write(dir.path(), chain.ere([Component::Receipts, Component::TotalDifficulty]));
    flip_each_byte(&std::fs::read(path).unwrap(), &chain.verifier);
}

#[test]
fn each_byte_counts_where_no_header_can_be_proved() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let bare = std::fs::read(chain.write(dir.path(), chain.ere([Component::Receipts]))).unwrap();
    let whole = std::fs::read(chain.write(dir.path(), chain.ere(Component::ALL))).unwrap();
    for (file, verifier) in [(bare, &chain.verifier), (whole, &chain.untrusting())] {
        let sound = verify(file.clone(), verifier).unwrap();
        assert_eq!(sound.verdict(), Verdict::Unproved, "{:?}", sound.findings);
        assert!(!sound.is_intact() && sound.good_count(Component::Body) <= chain.last());
        for at in (0..file.len()).step_by(7) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x11;
            let report = verify(damaged, verifier).unwrap();
            let is_told = report.verdict() == Verdict::Damaged || report.foreign_compression > 0;
            assert!(is_told, "byte {at} of {} changed", file.len());
        }
    }
}

/// The offsets at which the records of a component lie, by block.
fn record_offsets(file: &[u8], component: Component) -> Vec<usize> {
    let archive = Archive::from_source(Box::new(Bytes::from(file.to_vec())), "").unwrap();
    let kind = component.record_type(archive.format());
    let mut offsets = Vec::new();
    let mut rest = file;
    while let Ok((header, _, after)) = cairn_archive::e2store::split_record(rest) {
        if header.kind == kind {
            offsets.push(file.len() - rest.len());
        }
        rest = after;
    }
    offsets
}

#[test]
fn damage_is_named_and_bounded() {
    let chain = Chain::before_merge(9);
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    for component in [Component::Header, Component::Body, Component::Receipts] {
        let offset = record_offsets(&file, component)[5];
        let mut damaged = file.clone();
        // Behind the record's header, the stream identifier and the chunk's header: the checksum.
        damaged[offset + 8 + 10 + 4] ^= 0x10;
        let report = verify(damaged, &chain.verifier).unwrap();
        let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
        assert!(matches!(finding.rule, ArchiveRule::Snappy(_)));
        assert_eq!(finding.place.record, Some(component.record_type(report.format)));
        assert_eq!((finding.place.block, finding.place.offset), (Some(5), Some(offset as u64)));
        // A damaged header takes the block's body and receipts with it, which nothing vouches for any more.
        let expected = |each| match component {
            Component::Header => each != Component::TotalDifficulty,
            _ => each == component,
        };
        for each in [Component::Header, Component::Body, Component::Receipts, Component::TotalDifficulty] {
            let good: &[_] = if expected(each) { &[0..=4, 6..=8] } else { &[0..=8] };
            assert_eq!(report.good(each), good, "{each} after damage to a {component}");
        }
    }
}

#[test]
fn reserved_bytes_cost_nothing_but_a_finding() {
    let chain = Chain::before_merge(9);
    let dir = tempfile::tempdir().unwrap();
    let mut file = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    let offset = record_offsets(&file, Component::Header)[5];
    file[offset + 7] = 1;
    let report = verify(file.clone(), &chain.verifier).unwrap();
    assert!(matches!(report.findings[..], [ref one] if matches!(one.rule, ArchiveRule::Reserved { .. })));
    assert_eq!(report.good(Component::Receipts), [0..=8]);
    assert_holds(&Archive::from_source(Box::new(Bytes::from(file)), "").unwrap(), &chain);
}

#[test]
fn a_lost_last_header_of_an_epoch_leaves_it_unproved() {
    let chain = Chain::before_merge(9);
    let dir = tempfile::tempdir().unwrap();
    let mut file = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    let offset = record_offsets(&file, Component::Header)[8];
    file[offset + 8 + 10 + 4] ^= 0x10;
    let report = verify(file, &chain.verifier).unwrap();
    assert_eq!(report.good_count(Component::Header), 0);
    assert!(report.findings.iter().any(|finding| matches!(finding.rule, ArchiveRule::Unproved(_))));
}

#[test]
fn a_wrong_length_is_blamed_on_its_record() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::read(chain.write(dir.path(), chain.ere(Component::ALL))).unwrap();
    let offset = record_offsets(&file, Component::Body)[3];
    let mut damaged = file.clone();
    damaged[offset + 2] -= 1;
    let report = verify(damaged, &chain.verifier).unwrap();
    assert!(report.findings.iter().all(|finding| finding.place.offset == Some(offset as u64)), "{:?}", report.findings);
    assert!(report.findings.iter().any(|finding| matches!(finding.rule, ArchiveRule::Length(_))));
    assert_eq!(report.good(Component::Body), [0..=2, 4..=chain.last()]);
}

#[test]
fn the_blocks_of_another_chain_are_not_proved() {
    let (chain, other) = (Chain::before_merge(9), Chain::before_merge(8));
    let dir = tempfile::tempdir().unwrap();
    for plan in [chain.era1(), chain.ere(Component::ALL)] {
        let file = std::fs::read(chain.write(dir.path(), plan)).unwrap();
        let report = verify(file, &other.verifier).unwrap();
        assert!(!report.is_intact());
        assert_eq!(report.good_count(Component::Header), 0);
        assert_eq!(report.good_count(Component::Body), 0);
    }
}
