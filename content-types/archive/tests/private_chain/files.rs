//! Files on the disk: how they appear, how they vanish, what the writer refuses.

use std::fs;

use cairn_archive::verify::verify_files;
use cairn_archive::write::{ArchiveWriter, Plan};
use cairn_archive::{Archive, ArchiveRule, Component};

use crate::chain::{Chain, Lengths};
use crate::profiles::assert_holds;

#[test]
fn components_may_come_in_any_order() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::create(dir.path(), chain.ere(Component::ALL)).unwrap();
    for component in Component::ALL.into_iter().rev() {
        for number in (0..=chain.last()).rev().step_by(2).chain((0..chain.last()).rev().step_by(2)) {
            assert!(writer.missing(component).iter().any(|range| range.contains(&number)));
            chain.put(&mut writer, number, component);
        }
        assert!(writer.missing(component).is_empty());
    }
    let path = writer.finish().unwrap();
    let in_order = chain.write(tempfile::tempdir().unwrap().path(), chain.ere(Component::ALL));
    assert_eq!(path.file_name(), in_order.file_name());
    assert_holds(&Archive::open(path).unwrap(), &chain);
}

#[test]
fn a_file_under_another_name_leaves_the_one_with_the_usual_name_alone() {
    let chain = Chain::before_merge(3);
    let dir = tempfile::tempdir().unwrap();
    let usual = chain.write(dir.path(), chain.era1());
    fs::write(&usual, "somebody's").unwrap();
    let mut writer = ArchiveWriter::create(dir.path(), chain.era1()).unwrap();
    for number in 0..=2 {
        chain.era1().components().iter().for_each(|component| chain.put(&mut writer, number, component));
    }
    let path = writer.finish_as("mine.era1").unwrap();
    assert_eq!(path, dir.path().join("mine.era1"));
    assert_eq!(Archive::open(path).unwrap().blocks(), 0..=2);
    assert_eq!(fs::read(usual).unwrap(), b"somebody's");
}

#[test]
fn nothing_is_left_of_a_file_that_was_not_finished() {
    let chain = Chain::before_merge(3);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::create(dir.path(), chain.era1()).unwrap();
    chain.put(&mut writer, 1, Component::Body);
    let error = writer.finish().unwrap_err();
    assert!(matches!(error.rule, ArchiveRule::Missing(Component::Header)), "{error}");
    assert_eq!(error.place.block, Some(0));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_writer_refuses_what_does_not_fit() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    for (first, last) in [(5, 4), (8000, 8192)] {
        let refused = ArchiveWriter::create(dir.path(), Plan::era1("private", first..=last)).unwrap_err();
        assert!(matches!(refused.rule, ArchiveRule::Unwritable(_)));
    }
    let mut writer = ArchiveWriter::create(dir.path(), Plan::ere("private", 0..=3, Default::default())).unwrap();
    chain.put(&mut writer, 1, Component::Header);
    let refusals = [
        writer.put_header(&chain.blocks[1].header).unwrap_err(),
        writer.put_header(&chain.blocks[4].header).unwrap_err(),
        writer.put_header(b"no header").unwrap_err(),
        writer.put_receipts(1, &chain.receipts(1)).unwrap_err(),
        writer.put_body(1, &vec![0; Component::Body.limit() + 1]).unwrap_err(),
    ];
    let [twice, outside, malformed, unplanned, too_long] = refusals.map(|error| error.rule);
    assert!(matches!(twice, ArchiveRule::Unwritable(_)));
    assert!(matches!(outside, ArchiveRule::OutOfRange(_)));
    assert!(matches!(malformed, ArchiveRule::Header(_)));
    assert!(matches!(unplanned, ArchiveRule::Unwritable(_)));
    assert!(matches!(too_long, ArchiveRule::TooLong { .. }));
}

#[test]
fn blocks_that_are_no_chain_are_not_written() {
    let (chain, other) = (Chain::before_merge(4), Chain::of_all_times());
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::create(dir.path(), chain.era1()).unwrap();
    for number in 0..4 {
        // Up to the merge the chains are equal, so the total difficulty of a block of the other is put off by one.
        for component in [Component::Header, Component::Body, Component::Receipts] {
            other.put(&mut writer, number, component);
        }
        let value = chain.blocks[number as usize].total_difficulty;
        writer.put_total_difficulty(number, value + alloy_primitives::U256::from(number / 3)).unwrap();
    }
    let error = writer.finish().unwrap_err();
    assert!(matches!(error.rule, ArchiveRule::TotalDifficulty(_)), "{error}");
    assert_eq!(error.place.block, Some(3));
}

#[test]
fn headers_that_do_not_follow_each_other_are_not_written() {
    // The chains part at block 2: it lies before the merge in one and after it in the other.
    let chain = Chain::of_all_times();
    let other = Chain::new(Lengths { before_merge: 2, bellatrix: 2, capella: 1, deneb: 1 });
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::create(dir.path(), Plan::ere("private", 2..=3, Default::default())).unwrap();
    for (chain, number) in [(&chain, 2), (&other, 3)] {
        chain.put(&mut writer, number, Component::Header);
        chain.put(&mut writer, number, Component::Body);
    }
    let error = writer.finish().unwrap_err();
    assert!(matches!(error.rule, ArchiveRule::ParentHash(_)), "{error}");
    assert_eq!(error.place.block, Some(2));
}

#[test]
fn a_later_file_proves_headers_but_no_total_difficulties() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    chain.write(dir.path(), Plan::ere("private", 1..=3, [Component::TotalDifficulty].into_iter().collect()));
    chain.write(dir.path(), Plan::ere("private", 4..=10, [Component::Proof].into_iter().collect()));
    let report = verify_files(&[dir.path()], &chain.verifier, 1, |_| {}).unwrap();
    let file = &report.files[0];
    assert!(
        matches!(file.findings[..], [ref one] if matches!(one.rule, ArchiveRule::Unproved(_))),
        "{:?}",
        file.findings
    );
    assert_eq!(file.good(Component::Body), [1..=3]);
    assert_eq!(file.good_count(Component::TotalDifficulty), 0);
}

#[test]
fn era1_ends_at_the_merge() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::create(dir.path(), chain.era1()).unwrap();
    for number in 0..=chain.last() {
        for component in writer.plan().components().iter() {
            chain.put(&mut writer, number, component);
        }
    }
    assert!(matches!(writer.finish().unwrap_err().rule, ArchiveRule::Unwritable(_)));
}

#[test]
fn an_archive_whose_file_goes_has_vanished() {
    let chain = Chain::before_merge(3);
    let dir = tempfile::tempdir().unwrap();
    let path = chain.write(dir.path(), chain.era1());
    let archive = Archive::open(&path).unwrap();
    archive.check_identity().unwrap();
    let moved = path.with_extension("moved");
    fs::rename(&path, &moved).unwrap();
    assert!(archive.check_identity().unwrap_err().is_vanished());
    assert!(archive.body(1).unwrap_err().is_vanished());
    fs::rename(&moved, &path).unwrap();
    archive.body(1).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert!(archive.body(1).unwrap_err().is_vanished());
}

#[test]
fn a_name_that_contradicts_the_content_is_found() {
    let chain = Chain::before_merge(3);
    let dir = tempfile::tempdir().unwrap();
    let path = chain.write(dir.path(), chain.era1());
    let right = path.file_name().unwrap().to_str().unwrap().to_owned();
    let hash = right["private-00000-".len()..right.len() - ".era1".len()].to_owned();
    for (name, is_right) in [
        (right.clone(), true),
        ("by-hand.era1".into(), true),
        (right.replace("private", "public"), false),
        (right.replace("00000", "00001"), false),
        (right.replace(".era1", ".ere"), false),
        ("private-00000-00000000.era1".into(), false),
        ("private-00007-DEADBEEF.era1".into(), false),
        (right.replace(&hash, &hash.to_uppercase()), true),
        (right.replace(".era1", " (1).era1"), true),
    ] {
        let path = dir.path().join(&name);
        fs::rename(dir.path().join(fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().file_name()), &path)
            .unwrap();
        let report = verify_files(&[&path], &chain.verifier, 1, |_| {}).unwrap();
        assert_eq!(report.is_intact(), is_right, "{name}");
        assert_eq!(report.files[0].findings.iter().any(|one| matches!(one.rule, ArchiveRule::Name { .. })), !is_right);
        // A name of another form is no claim that could be wrong; what the file should be called is told.
        let has_form = name.starts_with("private-0") && !name.contains(' ') || name.starts_with("public-");
        assert_eq!(report.files[0].proper_name.as_deref(), (!has_form).then_some(right.as_str()), "{name}");
    }
}

#[test]
fn a_folder_is_one_chain() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    let no_proofs = |blocks| Plan::ere("private", blocks, [Component::Receipts].into_iter().collect());
    let with_proofs = |blocks| Plan::ere("private", blocks, [Component::Proof].into_iter().collect());
    chain.write(dir.path(), no_proofs(4..=6));
    chain.write(dir.path(), with_proofs(7..=10));
    fs::write(dir.path().join("notes.txt"), "not an archive").unwrap();

    // The second file's proofs reach into the first, which has none.
    let report = verify_files(&[dir.path()], &chain.verifier, 2, |_| {}).unwrap();
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.files.iter().map(|file| file.blocks.clone()).collect::<Vec<_>>(), [4..=6, 7..=10]);
    assert_eq!(report.files[0].good(Component::Receipts), [4..=6]);

    // A third file, of another chain, does not continue into the first.
    let other = Chain::new(Lengths { before_merge: 3, bellatrix: 2, capella: 2, deneb: 3 });
    other.write(dir.path(), no_proofs(0..=3));
    fs::write(dir.path().join("empty.ere"), "").unwrap();
    let report = verify_files(&[dir.path()], &chain.verifier, 2, |_| {}).unwrap();
    assert_eq!(report.unreadable.len(), 1);
    let broken = &report.files[0];
    let last = broken.findings.iter().find(|finding| matches!(finding.rule, ArchiveRule::ParentHash(_))).unwrap();
    assert_eq!(last.place.block, Some(3));
    assert_eq!(broken.good_count(Component::Header), 0);
    assert_eq!(report.files[1].good(Component::Receipts), [4..=6]);
}
