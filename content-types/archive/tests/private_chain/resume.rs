//! Files that are assembled by one writer after the other, each of which is killed.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_archive::e2store::split_record;
use cairn_archive::write::{ArchiveWriter, Plan, spooled_bytes};
use cairn_archive::{Archive, ArchiveRule, Component, Format};
use proptest::prelude::*;

use crate::chain::Chain;

/// What happens to a writer.
#[derive(Debug, Clone)]
enum Step {
    /// The next component, in an order of chance.
    Put,
    Flush,
    Sync,
    /// The process ends. Of spool, journal and target so many bytes are left, in 1,024ths, and a byte of each is changed.
    Kill {
        left: [u64; 3],
        flipped: [Option<(u64, u8)>; 3],
    },
}

fn step() -> impl Strategy<Value = Step> {
    let left = prop_oneof![3 => Just(1024_u64), 1 => 0..1024_u64];
    let flipped = prop_oneof![4 => Just(None), 1 => (any::<u64>(), 1..=255_u8).prop_map(Some)];
    let kill = ([left.clone(), left.clone(), left], [flipped.clone(), flipped.clone(), flipped]);
    prop_oneof![
        20 => Just(Step::Put),
        3 => Just(Step::Flush),
        1 => Just(Step::Sync),
        1 => kill.prop_map(|(left, flipped)| Step::Kill { left, flipped }),
    ]
}

fn hidden(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The spool, the journal and the target of a folder that has nothing else.
fn spool_journal_target(dir: &Path) -> [PathBuf; 3] {
    let [journal, spool, target] = hidden(dir).try_into().unwrap();
    let kinds = [&spool, &journal, &target].map(|path| path.extension().unwrap().to_str().unwrap());
    assert_eq!(kinds, ["spool", "journal", "tmp"]);
    [spool, journal, target]
}

fn all(plan: &Plan) -> Vec<(u64, Component)> {
    plan.blocks().flat_map(|number| plan.components().iter().map(move |component| (number, component))).collect()
}

fn held(writer: &ArchiveWriter) -> Vec<(u64, Component)> {
    all(writer.plan()).into_iter().filter(|(number, component)| writer.holds(*number, *component)).collect()
}

fn put_missing(chain: &Chain, writer: &mut ArchiveWriter) {
    for (number, component) in all(writer.plan()) {
        if !writer.holds(number, component) {
            chain.put(writer, number, component);
        }
    }
}

/// Each case makes some thousand system calls, and waits for the disk.
const CASES: u32 = 64;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn whatever_is_killed_the_file_is_the_same_in_the_end(
        steps in prop::collection::vec(step(), 0..200),
        order: u64,
        is_era1: bool,
    ) {
        let (chain, plan) = if is_era1 {
            let chain = Chain::before_merge(7);
            let plan = chain.era1();
            (chain, plan)
        } else {
            let chain = Chain::of_all_times();
            let plan = chain.ere(Component::ALL);
            (chain, plan)
        };
        let whole = tempfile::tempdir().unwrap();
        let expected = chain.write(whole.path(), plan.clone());

        let mut dir = tempfile::tempdir().unwrap();
        let mut writer = ArchiveWriter::resume(dir.path(), plan.clone()).unwrap();
        let mut state = order;
        let mut flushed = Vec::new();
        for step in steps {
            match step {
                Step::Put => {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    let free: Vec<_> = all(&plan).into_iter().filter(|(number, each)| !writer.holds(*number, *each)).collect();
                    if let Some((number, component)) = free.get((state >> 33) as usize % free.len().max(1)) {
                        chain.put(&mut writer, *number, *component);
                    }
                }
                Step::Flush | Step::Sync => {
                    if matches!(step, Step::Flush) { writer.flush() } else { writer.sync() }.unwrap();
                    flushed = held(&writer);
                }
                Step::Kill { left, flipped } => {
                    // What is on the disk now goes on elsewhere; the writer's own end comes too late for it.
                    let next = tempfile::tempdir().unwrap();
                    for ((path, left), flipped) in spool_journal_target(dir.path()).iter().zip(left).zip(flipped) {
                        let mut bytes = fs::read(path).unwrap();
                        bytes.truncate((bytes.len() as u64 * left / 1024) as usize);
                        if let (Some((at, flip)), 1..) = (flipped, bytes.len()) {
                            let at = (at % bytes.len() as u64) as usize;
                            bytes[at] ^= flip;
                        }
                        fs::write(next.path().join(path.file_name().unwrap()), bytes).unwrap();
                    }
                    drop(writer);
                    dir = next;
                    writer = ArchiveWriter::resume(dir.path(), plan.clone()).unwrap();
                    let is_sound = left == [1024; 3] && flipped == [None; 3];
                    // Whatever was lost before, and however much of it.
                    if is_sound {
                        prop_assert!(flushed.iter().all(|(number, component)| writer.holds(*number, *component)));
                    }
                    flushed = held(&writer);
                }
            }
            for number in plan.blocks().filter(|number| writer.holds(*number, Component::Header)) {
                prop_assert_eq!(&writer.header(number).unwrap().unwrap()[..], &chain.blocks[number as usize].header[..]);
            }
        }
        put_missing(&chain, &mut writer);
        let path = writer.finish().unwrap();
        prop_assert_eq!(hidden(dir.path()), std::slice::from_ref(&path));
        prop_assert_eq!(path.file_name(), expected.file_name());
        prop_assert!(fs::read(path).unwrap() == fs::read(expected).unwrap());
    }
}

#[test]
fn one_writer_at_a_time_and_other_plans_beside_it() {
    let chain = Chain::before_merge(4);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::resume(dir.path(), chain.era1()).unwrap();
    let other = ArchiveWriter::resume(dir.path(), chain.ere([])).unwrap();
    let refused = ArchiveWriter::resume(dir.path(), chain.era1()).unwrap_err();
    assert!(matches!(refused.rule, ArchiveRule::InUse), "{refused}");

    chain.put(&mut writer, 2, Component::Header);
    drop(writer);
    other.discard().unwrap();
    let writer = ArchiveWriter::resume(dir.path(), chain.era1()).unwrap();
    assert_eq!(held(&writer), [(2, Component::Header)]);
    assert_eq!(writer.header(1).unwrap(), None);
    assert_eq!(writer.header(9).unwrap(), None);
    writer.discard().unwrap();
    assert!(hidden(dir.path()).is_empty());
}

#[test]
fn what_fails_at_the_end_can_be_made_good() {
    let chain = Chain::before_merge(4);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::resume(dir.path(), chain.era1()).unwrap();
    for (number, component) in all(writer.plan()).into_iter().skip(1) {
        chain.put(&mut writer, number, component);
    }
    let missing = writer.finish().unwrap_err();
    assert!(matches!(missing.rule, ArchiveRule::Missing(Component::Header)), "{missing}");
    let mut writer = ArchiveWriter::resume(dir.path(), chain.era1()).unwrap();
    assert_eq!(writer.missing(Component::Header), [0..=0]);
    put_missing(&chain, &mut writer);
    writer.finish().unwrap();
}

#[test]
fn what_stands_of_a_file_is_told_of_its_own_plan_alone() {
    let chain = Chain::before_merge(4);
    let dir = tempfile::tempdir().unwrap();
    let bytes = |plan: &Plan| spooled_bytes(dir.path(), plan);
    let (plan, others) = (chain.era1(), [chain.ere([]), chain.ere([Component::Receipts])]);
    assert_eq!(bytes(&plan), 0);
    let mut writer = ArchiveWriter::resume(dir.path(), plan.clone()).unwrap();
    put_missing(&chain, &mut writer);
    writer.flush().unwrap();
    let longest = spool_journal_target(dir.path()).map(|path| fs::metadata(path).unwrap().len());
    assert_eq!(bytes(&plan), longest[0].max(longest[2]));
    assert_eq!(others.each_ref().map(bytes), [0, 0]);
    writer.finish().unwrap();
    assert_eq!(bytes(&plan), 0);
}

#[test]
fn a_spool_of_another_layout_is_replaced() {
    let chain = Chain::before_merge(4);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::resume(dir.path(), chain.era1()).unwrap();
    put_missing(&chain, &mut writer);
    drop(writer);
    let [spool, journal, target] = spool_journal_target(dir.path());
    let mut bytes = fs::read(&journal).unwrap();
    bytes[8] += 1;
    fs::write(&journal, bytes).unwrap();
    let writer = ArchiveWriter::resume(dir.path(), chain.era1()).unwrap();
    assert_eq!(held(&writer), []);
    assert_eq!(fs::metadata(spool).unwrap().len(), 0);
    assert_eq!(fs::metadata(target).unwrap().len(), 8, "the version record alone");
}

#[test]
fn compressed_records_are_stored_as_they_are() {
    let chain = Chain::of_all_times();
    for plan in [chain.ere(Component::ALL), Chain::before_merge(4).era1()] {
        let chain = if plan.format() == Format::Era1 { Chain::before_merge(4) } else { Chain::of_all_times() };
        let dir = tempfile::tempdir().unwrap();
        let original = chain.write(dir.path(), plan.clone());
        let bytes = fs::read(&original).unwrap();
        let archive = Archive::open(&original).unwrap();
        let copies = tempfile::tempdir().unwrap();
        let mut writer = ArchiveWriter::resume(copies.path(), plan.clone()).unwrap();
        for component in plan.components().iter() {
            let extent = archive.extent(component, plan.blocks()).unwrap();
            for (start, number) in extent.starts.iter().zip(plan.blocks()) {
                let mut rest = &bytes[*start as usize..];
                for each in &extent.components {
                    let (header, data, behind) = split_record(rest).unwrap();
                    assert_eq!(header.kind, each.record_type(plan.format()));
                    if *each == component && component == Component::Header && number % 2 == 0 {
                        writer.put_header_stream(data).unwrap();
                    } else if *each == component {
                        writer.put_stream(number, component, data).unwrap();
                    }
                    rest = behind;
                }
                assert!(rest.len() as u64 >= bytes.len() as u64 - extent.end);
            }
            // The facts about headers have to be found again.
            writer.flush().unwrap();
            drop(writer);
            writer = ArchiveWriter::resume(copies.path(), plan.clone()).unwrap();
        }
        assert!(fs::read(writer.finish().unwrap()).unwrap() == bytes);
    }
}

#[test]
fn streams_that_are_none_are_refused() {
    let chain = Chain::before_merge(4);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::resume(dir.path(), chain.era1()).unwrap();
    let mut stream = Vec::new();
    cairn_archive::snappy::Encoder::new().encode(&chain.blocks[1].header, &mut stream).unwrap();
    let padded = [&stream[..], &[0xfe, 1, 0, 0, 7]].concat();
    let rules = [
        writer.put_stream(1, Component::Body, &padded),
        writer.put_stream(1, Component::Body, b"no stream"),
        writer.put_header_stream(&padded),
        writer.put_stream(2, Component::Header, &stream),
        writer.put_stream(1, Component::TotalDifficulty, &[0; 31]),
        writer.put_stream(1, Component::Receipts, &vec![0; Component::Receipts.stored_limit() as usize + 1]),
        writer.put_stream(4, Component::Header, &stream),
    ]
    .map(|put| put.unwrap_err().rule);
    assert!(matches!(rules[0], ArchiveRule::SkippableChunk), "{:?}", rules[0]);
    assert!(matches!(rules[1], ArchiveRule::SkippableChunk), "{:?}", rules[1]);
    assert!(matches!(rules[2], ArchiveRule::SkippableChunk), "{:?}", rules[2]);
    assert!(matches!(rules[3], ArchiveRule::Number(_)), "{:?}", rules[3]);
    assert!(matches!(rules[4], ArchiveRule::Length(_)), "{:?}", rules[4]);
    assert!(matches!(rules[5], ArchiveRule::TooLong { .. }), "{:?}", rules[5]);
    assert!(held(&writer).is_empty());
    writer.put_stream(1, Component::Header, &stream).unwrap();
    assert_eq!(writer.header(1).unwrap().unwrap(), chain.blocks[1].header.0);
}

#[test]
fn the_records_of_consecutive_blocks_lie_in_their_extent() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(chain.write(dir.path(), chain.ere([Component::Receipts]))).unwrap();
    let extent = archive.extent(Component::Body, 2..=5).unwrap();
    assert_eq!((extent.first, extent.starts.len(), &extent.components[..]), (2, 4, &[Component::Body][..]));
    assert_eq!(extent.end, archive.extent(Component::Body, 6..=6).unwrap().bytes().start);
    let proof = archive.extent(Component::Proof, 2..=5).unwrap_err();
    assert!(matches!(proof.rule, ArchiveRule::Missing(Component::Proof)), "{proof}");
    for blocks in [0..=chain.last() + 1, 5..=chain.last() + 9] {
        assert!(matches!(archive.extent(Component::Body, blocks).unwrap_err().rule, ArchiveRule::OutOfRange(_)));
    }
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = archive.extent(Component::Body, 5..=2);
    assert!(matches!(backwards.unwrap_err().rule, ArchiveRule::OutOfRange(_)));
}

#[test]
fn a_run_is_read_as_its_records_are_one_by_one() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(chain.write(dir.path(), chain.ere([Component::Receipts]))).unwrap();
    let stored = |component, number| archive.stored(number, component).unwrap().unwrap();
    for component in [Component::Header, Component::Body, Component::Receipts] {
        for first in 0..=chain.last() {
            let length = stored(component, first).len();
            for (end, max_bytes) in
                [(chain.last() + 9, usize::MAX), (first + 3, usize::MAX), (first + 9, length + 1), (first + 9, 0)]
            {
                let run = archive.stored_run(component, first..end, max_bytes).unwrap();
                assert!(!run.is_empty() && first + run.len() as u64 <= end.min(chain.last() + 1));
                for (number, record) in (first..).zip(&run) {
                    assert_eq!(*record, stored(component, number), "{component:?} of {number}");
                }
                // It stops where it has enough, and not before, but for the file's last record.
                let bytes: usize = run.iter().map(|record| record.len()).sum();
                let before: usize = run[..run.len() - 1].iter().map(|record| record.len()).sum();
                let is_last = first + run.len() as u64 >= end.min(chain.last());
                assert!((bytes >= max_bytes || is_last) && (run.len() == 1 || before < max_bytes));
            }
        }
    }
    assert!(archive.stored_run(Component::Proof, 0..3, usize::MAX).unwrap().is_empty());
    let beyond = archive.stored_run(Component::Body, chain.last() + 1..chain.last() + 3, usize::MAX);
    assert!(matches!(beyond.unwrap_err().rule, ArchiveRule::OutOfRange(_)));
}

#[test]
fn a_run_ends_before_a_record_that_is_not_where_its_slot_says() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let path = chain.write(dir.path(), chain.ere([Component::Receipts]));
    let third = Archive::open(&path).unwrap().extent(Component::Body, 2..=2).unwrap().starts[0] as usize;
    for at in [third, third + 2] {
        // Its type, and then its length.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        let damaged = Archive::from_source(Box::new(Bytes::from(bytes)), "damaged").unwrap();
        assert_eq!(damaged.stored_run(Component::Body, 0..9, usize::MAX).unwrap().len(), 2);
        let alone = damaged.stored_run(Component::Body, 2..9, usize::MAX);
        let first = damaged.stored(2, Component::Body);
        assert_eq!(alone.is_ok(), first.is_ok());
    }
}
