//! Files as other writers make them, and files of which a part is missing.

use bytes::Bytes;
use cairn_archive::e2store::{RecordHeader, RecordType, split_record};
use cairn_archive::verify::verify_archive;
use cairn_archive::{Archive, ArchiveRule, Component, Format, proof_record};
use proptest::prelude::*;

use crate::chain::Chain;
use crate::profiles::assert_holds;

type Record = (RecordType, Vec<u8>);

fn records(mut file: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while !file.is_empty() {
        let (header, data, rest) = split_record(file).unwrap();
        records.push((header.kind, data.to_vec()));
        file = rest;
    }
    records
}

/// Puts an ere file together whose sections and whose index slots are in the orders given.
fn assemble(records: &[Record], sections: &[RecordType], slots: &[RecordType]) -> Bytes {
    let mut file = Vec::new();
    let mut write = |kind: RecordType, data: &[u8]| {
        let offset = file.len() as i64;
        file.extend_from_slice(&RecordHeader::new(kind, data.len() as u32).encode());
        file.extend_from_slice(data);
        offset
    };
    write(RecordType::VERSION, &[]);
    let mut offsets = Vec::new();
    for section in sections {
        for (kind, data) in records.iter().filter(|(kind, _)| kind == section) {
            offsets.push((*kind, write(*kind, data)));
        }
    }
    let position = records
        .iter()
        .filter(|(kind, _)| *kind == RecordType::ACCUMULATOR)
        .fold(None, |_, (kind, data)| Some(write(*kind, data) + 40));
    let of = |kind: &RecordType| offsets.iter().filter(|(each, _)| each == kind).map(|(_, at)| *at).collect::<Vec<_>>();
    let columns: Vec<_> = slots.iter().map(of).collect();
    let position = position.unwrap_or(file.len() as i64);
    let mut index = 0_u64.to_le_bytes().to_vec();
    for block in 0..columns[0].len() {
        columns.iter().for_each(|column| index.extend_from_slice(&(column[block] - position).to_le_bytes()));
    }
    index.extend_from_slice(&(columns.len() as u64).to_le_bytes());
    index.extend_from_slice(&(columns[0].len() as u64).to_le_bytes());
    file.extend_from_slice(&RecordHeader::new(RecordType::DYNAMIC_BLOCK_INDEX, index.len() as u32).encode());
    file.extend_from_slice(&index);
    file.into()
}

fn ere(chain: &Chain, components: impl IntoIterator<Item = Component>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::read(chain.write(dir.path(), chain.ere(components))).unwrap()
}

fn open(file: impl Into<Bytes>) -> Archive {
    Archive::from_source(Box::new(file.into()), "a file in memory").unwrap()
}

const HEADER: RecordType = RecordType::HEADER;
const BODY: RecordType = RecordType::BODY;
const RECEIPTS: RecordType = RecordType::SLIM_RECEIPTS;
const DIFFICULTY: RecordType = RecordType::TOTAL_DIFFICULTY;
const PROOF: RecordType = RecordType::PROOF;

#[test]
fn sections_and_slots_may_be_in_any_order() {
    let chain = Chain::of_all_times();
    let records = records(&ere(&chain, Component::ALL));
    for (sections, slots) in [
        ([HEADER, BODY, RECEIPTS, PROOF, DIFFICULTY], [HEADER, BODY, RECEIPTS, DIFFICULTY, PROOF]),
        ([HEADER, BODY, RECEIPTS, PROOF, DIFFICULTY], [HEADER, BODY, RECEIPTS, PROOF, DIFFICULTY]),
        ([HEADER, BODY, RECEIPTS, DIFFICULTY, PROOF], [HEADER, BODY, RECEIPTS, DIFFICULTY, PROOF]),
        ([HEADER, BODY, PROOF, RECEIPTS, DIFFICULTY], [HEADER, BODY, PROOF, DIFFICULTY, RECEIPTS]),
    ] {
        let archive = open(assemble(&records, &sections, &slots));
        assert!(archive.damage().is_none());
        assert_holds(&archive, &chain);
        let report = verify_archive(&archive, &chain.verifier, 1, |_| {}).unwrap();
        assert!(report.is_intact(), "{:?}", report.findings);
    }
}

#[test]
fn four_components_are_told_apart_by_their_records() {
    let chain = Chain::of_all_times();
    for fourth in [Component::TotalDifficulty, Component::Proof] {
        let archive = open(ere(&chain, [Component::Receipts, fourth]));
        assert_eq!(archive.components().iter().count(), 4);
        assert!(archive.components().has(fourth));
        assert_holds(&archive, &chain);
    }
}

#[test]
fn a_header_in_another_blocks_place_is_not_passed_off_for_it() {
    let chain = Chain::of_all_times();
    let mut records = records(&ere(&chain, [Component::Proof]));
    let headers: Vec<_> = (0..records.len()).filter(|at| records[*at].0 == HEADER).collect();
    records.swap(headers[5], headers[6]);
    let archive = open(assemble(&records, &[HEADER, BODY, PROOF], &[HEADER, BODY, PROOF]));
    for number in [5, 6] {
        let error = archive.header(number).unwrap_err();
        assert!(matches!(error.rule, ArchiveRule::Number(_)), "{error}");
        assert_eq!(error.place.block, Some(number));
    }
    let report = verify_archive(&archive, &chain.verifier, 1, |_| {}).unwrap();
    assert_eq!(report.findings.iter().filter(|finding| matches!(finding.rule, ArchiveRule::Number(_))).count(), 2);
    assert_eq!(report.good(Component::Body), [0..=4, 7..=chain.last()]);
}

#[test]
fn an_index_that_starts_elsewhere_is_not_believed() {
    let chain = Chain::before_merge(6);
    let dir = tempfile::tempdir().unwrap();
    let mut era1 = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    let starting_number = era1.len() - 8 * (1 + 6 + 1);
    era1[starting_number + 1] = 0x20;
    let archive = open(era1);
    assert_eq!(archive.blocks(), 0..=5);
    assert!(matches!(archive.damage().unwrap().rule, ArchiveRule::Index(_)));
    assert_holds(&archive, &chain);
}

/// An era1 file of `count` blocks with another index: it counts so many blocks, and `slot` makes a slot of the block's
/// offset and of the index's.
fn reindexed(file: &[u8], count: usize, counted: usize, slot: impl Fn(i64, i64) -> i64) -> Vec<u8> {
    let at = file.len() - 8 * (count + 3);
    let (before, index) = file.split_at(at);
    let mut numbers = index[8..].chunks_exact(8).map(|number| i64::from_le_bytes(number.try_into().unwrap()));
    let start = numbers.next().unwrap();
    let offsets: Vec<_> = numbers.take(count).map(|relative| at as i64 + relative).collect();
    let mut file = before.to_vec();
    file.extend_from_slice(&RecordHeader::new(RecordType::BLOCK_INDEX, 8 * (counted as u32 + 2)).encode());
    file.extend_from_slice(&start.to_le_bytes());
    for nth in 0..counted {
        // Whoever counts blocks that are not there lets them begin where the file does.
        let offset = offsets.get(nth).copied().unwrap_or(0);
        file.extend_from_slice(&slot(offset, at as i64).to_le_bytes());
    }
    file.extend_from_slice(&(counted as u64).to_le_bytes());
    file
}

#[test]
fn an_index_that_is_wrong_hides_no_good_block() {
    let chain = Chain::before_merge(6);
    let dir = tempfile::tempdir().unwrap();
    let era1 = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    let relative = |offset: i64, index: i64| offset - index;
    assert_eq!(reindexed(&era1, 6, 6, relative), era1);
    for (what, file) in [
        ("offsets from the file's start", reindexed(&era1, 6, 6, |offset, _| offset)),
        ("nothing but zeros", reindexed(&era1, 6, 6, |_, _| 0)),
        ("a full era's count", reindexed(&era1, 6, 8192, relative)),
        ("one block too many", reindexed(&era1, 6, 7, relative)),
        ("one block too few", reindexed(&era1, 6, 5, relative)),
    ] {
        let archive = open(file);
        assert_eq!(archive.blocks(), 0..=5, "{what}");
        assert!(matches!(archive.damage().unwrap().rule, ArchiveRule::Index(_)), "{what}");
        assert_holds(&archive, &chain);
        assert!(archive.accumulator_root().unwrap().is_some(), "{what}");
        let report = verify_archive(&archive, &chain.verifier, 1, |_| {}).unwrap();
        assert!(matches!(report.findings[..], [ref one] if matches!(one.rule, ArchiveRule::Index(_))), "{what}");
        assert_eq!(report.good(Component::Receipts), [0..=5], "{what}");
    }
}

#[test]
fn a_damaged_record_does_not_speak_against_the_index() {
    let chain = Chain::before_merge(6);
    let dir = tempfile::tempdir().unwrap();
    let era1 = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    // The first header's type, and the length of the record before the last block: a walk ends there.
    for at in [8, open(era1.clone()).extent(Component::Header, 4..=4).unwrap().starts[0] as usize + 4] {
        let mut damaged = era1.clone();
        damaged[at] ^= 0x7f;
        let archive = open(damaged);
        assert!(archive.damage().is_none());
        assert_eq!(archive.blocks(), 0..=5);
        archive.body(5).unwrap();
    }
}

#[test]
fn an_ere_index_of_offsets_from_the_start_hides_no_good_block() {
    let chain = Chain::of_all_times();
    let mut file = ere(&chain, Component::ALL);
    let (count, width) = (chain.last() as usize + 1, 5);
    let at = file.len() - 8 * (count * width + 4);
    let slots = at + 16..at + 16 + 8 * count * width;
    for slot in file[slots].chunks_exact_mut(8) {
        let offset = i64::from_le_bytes(slot.try_into().unwrap()) + at as i64;
        slot.copy_from_slice(&offset.to_le_bytes());
    }
    let archive = open(file);
    assert!(matches!(archive.damage().unwrap().rule, ArchiveRule::Index(_)));
    assert_holds(&archive, &chain);
}

#[test]
fn an_era1_file_needs_its_accumulator() {
    let chain = Chain::before_merge(6);
    let dir = tempfile::tempdir().unwrap();
    let era1 = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    let (index, accumulator) = (era1.len() - 8 * 9, era1.len() - 8 * 9 - 40);
    let mut without = [&era1[..accumulator], &era1[index..]].concat();
    for slot in without[accumulator + 16..].chunks_exact_mut(8).take(6) {
        let relative = i64::from_le_bytes(slot.try_into().unwrap()) + 40;
        slot.copy_from_slice(&relative.to_le_bytes());
    }
    let archive = open(without);
    assert!(archive.damage().is_none());
    assert_eq!(archive.accumulator_root().unwrap(), None);
    let report = verify_archive(&archive, &chain.verifier, 1, |_| {}).unwrap();
    assert!(matches!(report.findings[..], [ref one] if matches!(one.rule, ArchiveRule::NoAccumulator)));
    assert_eq!(report.good(Component::Body), [0..=5]);
}

#[test]
fn the_older_suffix_is_read() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let path = chain.write(dir.path(), chain.ere([Component::Proof]));
    let name = path.file_name().unwrap().to_str().unwrap().replace("-noreceipts.ere", ".erae");
    std::fs::rename(&path, dir.path().join(&name)).unwrap();
    let report = cairn_archive::verify::verify_files(&[dir.path()], &chain.verifier, 1, |_| {}).unwrap();
    assert_eq!(report.files.len(), 1);
    assert!(report.is_intact(), "{report:?}");
}

#[test]
fn an_unknown_kind_of_proof_is_named() {
    let chain = Chain::of_all_times();
    let mut records = records(&ere(&chain, [Component::Proof]));
    let (_, data) = records.iter_mut().find(|(kind, _)| *kind == PROOF).unwrap();
    let content = proof_record::encode(chain.blocks[0].proof.as_ref().unwrap());
    // The list's header takes three bytes, then comes the kind: 0, which RLP writes as 0x80.
    assert_eq!(content[3], 0x80);
    let unknown = [&content[..3], &[9], &content[4..]].concat();
    cairn_archive::snappy::Encoder::new().encode(&unknown, data).unwrap();
    let archive = open(assemble(&records, &[HEADER, BODY, PROOF], &[HEADER, BODY, PROOF]));
    let error = archive.proof(0).unwrap_err();
    assert!(matches!(error.rule, ArchiveRule::ProofKind(9)), "{error}");
    assert_eq!((error.place.block, error.place.record), (Some(0), Some(PROOF)));
    archive.proof(1).unwrap();
}

#[test]
fn stored_data_is_bounded_and_of_its_component() {
    let chain = Chain::of_all_times();
    let mut records = records(&ere(&chain, [Component::Proof]));
    let proofs: Vec<_> = (0..records.len()).filter(|at| records[*at].0 == PROOF).collect();
    let limit = Component::Proof.stored_limit();
    records[proofs[1]].1 = vec![7; limit as usize];
    records[proofs[2]].1 = vec![7; limit as usize + 1];
    let file = assemble(&records, &[HEADER, BODY, PROOF], &[HEADER, BODY, PROOF]);
    let archive = open(file.clone());
    // What is in it is the caller's business.
    assert_eq!(archive.stored(1, Component::Proof).unwrap().unwrap()[..], vec![7; limit as usize]);
    let too_long = archive.stored(2, Component::Proof).unwrap_err();
    assert!(
        matches!(too_long.rule, ArchiveRule::TooLong { length, limit: most } if (length, most) == (limit + 1, limit))
    );
    assert_eq!(archive.stored(2, Component::Receipts).unwrap(), None);
    let outside = archive.stored(chain.last() + 1, Component::Proof).unwrap_err();
    assert!(matches!(outside.rule, ArchiveRule::OutOfRange(_)), "{outside}");

    let mut file = file.to_vec();
    let at = archive.extent(Component::Proof, 3..=3).unwrap().starts[0] as usize;
    file[at..at + 2].copy_from_slice(&RECEIPTS.0);
    let wrong = open(file).stored(3, Component::Proof).unwrap_err();
    assert!(matches!(wrong.rule, ArchiveRule::WrongType { expected: PROOF, found: RECEIPTS }), "{wrong}");
}

#[test]
fn what_follows_a_cut_is_missing_and_the_rest_stays_usable() {
    let chain = Chain::before_merge(6);
    let dir = tempfile::tempdir().unwrap();
    let era1 = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    for file in [era1, ere(&chain, [Component::Receipts, Component::TotalDifficulty])] {
        let whole = open(file.clone());
        let mut most_held = 0;
        for length in 0..file.len() {
            let Ok(archive) = Archive::from_source(Box::new(Bytes::from(file[..length].to_vec())), "cut") else {
                assert_eq!(most_held, 0);
                continue;
            };
            assert!(archive.damage().is_some());
            let mut held = 0;
            for component in archive.components().iter() {
                for number in archive.held(component).into_iter().flatten() {
                    held += 1;
                    assert_eq!(
                        archive.component_len(number, component).unwrap(),
                        whole.component_len(number, component).unwrap()
                    );
                    if component == Component::Body {
                        assert_eq!(archive.body(number).unwrap(), whole.body(number).unwrap());
                    }
                }
            }
            assert!(held >= most_held);
            most_held = held;
        }
        assert_eq!(most_held, 6 * 4);
    }
}

#[test]
fn no_proof_is_built_from_the_tree_of_half_an_epoch() {
    let chain = Chain::before_merge(6);
    let dir = tempfile::tempdir().unwrap();
    let era1 = std::fs::read(chain.write(dir.path(), chain.era1())).unwrap();
    let whole = open(era1.clone());
    whole.header_with_proof(0).unwrap();
    let fourth = whole.extent(Component::Header, 3..=3).unwrap().starts[0] as usize;
    // A bare end of the records may be that of the epoch, where only the index was lost.
    let cut = open(era1[..fourth + 20].to_vec());
    assert!(cut.is_cut() && cut.blocks() == (0..=2));
    let error = cut.header_with_proof(0).unwrap_err();
    assert!(matches!(error.rule, ArchiveRule::Missing(Component::Proof)), "{error}");
}

#[test]
fn a_cut_file_says_what_is_missing_and_what_is_good() {
    let chain = Chain::of_all_times();
    let file = ere(&chain, [Component::Proof]);
    let bodies_end = file.len() - 3000;
    let archive = open(file[..bodies_end].to_vec());
    assert_eq!(archive.format(), Format::Ere);
    let report = verify_archive(&archive, &chain.verifier, 2, |_| {}).unwrap();
    let held = archive.held(Component::Proof);
    assert!(!held.is_empty() && *held[0].end() < chain.last());
    assert_eq!(report.good(Component::Proof), held);
    let missing =
        report.findings.iter().find(|finding| matches!(finding.rule, ArchiveRule::MissingRange { .. })).unwrap();
    assert_eq!(missing.place.block, Some(held[0].end() + 1));
}

#[test]
fn a_damaged_index_costs_nothing_but_the_index() {
    let chain = Chain::of_all_times();
    let mut file = ere(&chain, Component::ALL);
    let length = file.len();
    file[length - 8..].fill(0xff);
    let archive = open(file);
    assert!(matches!(archive.damage().unwrap().rule, ArchiveRule::Index(_)));
    assert_holds(&archive, &chain);
    let report = verify_archive(&archive, &chain.verifier, 1, |_| {}).unwrap();
    assert!(!report.is_intact());
    for component in Component::ALL {
        assert_eq!(report.good(component), [0..=chain.last()]);
    }
}

/// Reads whatever an archive offers.
fn read_everything(archive: &Archive) {
    let _ = (archive.accumulator_root(), archive.epoch_tree());
    for number in archive.blocks().take(20) {
        let _ = (archive.header_with_proof(number), archive.body(number), archive.receipts(number));
        let _ = (archive.total_difficulty(number), archive.proof(number));
        for component in Component::ALL {
            let _ = (archive.component_len(number, component), archive.stored(number, component));
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_archive_or_read_without_panic(bytes: Vec<u8>) {
        if let Ok(archive) = Archive::from_source(Box::new(Bytes::from(bytes)), "arbitrary") {
            read_everything(&archive);
        }
    }

    #[test]
    fn scrambled_archives_are_read_without_panic(
        is_era1: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1..9_usize), 1..20),
    ) {
        let chain = Chain::before_merge(3);
        let dir = tempfile::tempdir().unwrap();
        let plan = if is_era1 { chain.era1() } else { chain.ere(Component::ALL) };
        let mut file = std::fs::read(chain.write(dir.path(), plan)).unwrap();
        for (at, value, count) in changes {
            let at = at.index(file.len());
            let end = file.len().min(at + count);
            file[at..end].fill(value);
        }
        if let Ok(archive) = Archive::from_source(Box::new(Bytes::from(file)), "scrambled") {
            read_everything(&archive);
            let _ = verify_archive(&archive, &chain.verifier, 1, |_| {});
        }
    }
}
