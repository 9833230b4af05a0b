//! What a witness says counts for the blocks that it was asked for, and for no others.

use std::ops::RangeInclusive;
use std::sync::Mutex;

use alloy_primitives::{B256, U256};
use cairn_archive::verify::{FolderReport, KnownBlock, Verdict, Witness, verify_files_with};
use cairn_archive::write::Plan;
use cairn_archive::{ArchiveRule, Component};
use content_types::HeaderVerifier;

use crate::chain::Chain;

/// Knows a chain, but for what it is made to lie about.
struct Teller<'a> {
    chain: &'a Chain,
    lie: Option<u64>,
    tells_difficulty: bool,
    /// Of blocks behind this one it knows nothing.
    last: u64,
    asked: Mutex<Vec<RangeInclusive<u64>>>,
}

impl<'a> Teller<'a> {
    fn of(chain: &'a Chain) -> Self {
        Self { chain, lie: None, tells_difficulty: true, last: chain.last(), asked: Mutex::default() }
    }
}

impl Witness for Teller<'_> {
    fn blocks(&self, blocks: RangeInclusive<u64>) -> Option<Vec<KnownBlock>> {
        self.asked.lock().unwrap().push(blocks.clone());
        let known = |number: u64| {
            let block = &self.chain.blocks[number as usize];
            let hash = if self.lie == Some(number) { B256::repeat_byte(7) } else { block.hash };
            KnownBlock { hash, total_difficulty: self.tells_difficulty.then_some(block.total_difficulty) }
        };
        (*blocks.end() <= self.last).then(|| blocks.map(known).collect())
    }
}

fn verify(dir: &tempfile::TempDir, verifier: &HeaderVerifier, witness: &Teller<'_>) -> FolderReport {
    verify_files_with(&[dir.path()], verifier, Some(witness), 2, |_| {}).unwrap()
}

fn bare(blocks: RangeInclusive<u64>) -> Plan {
    Plan::ere("private", blocks, [Component::Receipts].into_iter().collect())
}

#[test]
fn what_nothing_proves_is_right_by_its_word_and_not_proved() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    chain.write(dir.path(), bare(5..=8));
    let report = verify(&dir, &chain.untrusting(), &Teller::of(&chain));
    let file = &report.files[0];
    assert_eq!(file.verdict(), Verdict::Vouched, "{:?}", file.findings);
    assert!(!file.is_intact() && !report.is_intact());
    assert_eq!(file.good(Component::Receipts), [5..=8]);

    let liar = Teller { lie: Some(6), ..Teller::of(&chain) };
    let report = verify(&dir, &chain.untrusting(), &liar);
    let file = &report.files[0];
    assert_eq!(file.verdict(), Verdict::Damaged);
    let other = file.findings.iter().find(|finding| matches!(finding.rule, ArchiveRule::OtherBlock(_))).unwrap();
    assert_eq!(other.place.block, Some(6));
    assert_eq!(file.good(Component::Header), [5..=5, 7..=8]);

    let short = Teller { last: 7, ..Teller::of(&chain) };
    assert_eq!(verify(&dir, &chain.untrusting(), &short).files[0].verdict(), Verdict::Unproved);
}

#[test]
fn proofs_that_no_list_reaches_are_no_obstacle_and_total_difficulties_have_to_be_told() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    chain.write(dir.path(), chain.ere(Component::ALL));
    let silent = Teller { tells_difficulty: false, ..Teller::of(&chain) };
    let report = verify(&dir, &chain.untrusting(), &silent);
    let file = &report.files[0];
    // The sum begins with block 0.
    assert_eq!(file.verdict(), Verdict::Vouched, "{:?}", file.findings);
    assert_eq!((file.good_count(Component::Proof), file.good_count(Component::TotalDifficulty)), (0, chain.last() + 1));

    let later = tempfile::tempdir().unwrap();
    let plan = Plan::ere("private", 1..=3, [Component::TotalDifficulty].into_iter().collect());
    chain.write(later.path(), plan);
    assert_eq!(verify(&later, &chain.untrusting(), &silent).files[0].verdict(), Verdict::Unproved);
    assert_eq!(verify(&later, &chain.untrusting(), &Teller::of(&chain)).files[0].verdict(), Verdict::Vouched);

    let mut other = Chain::of_all_times();
    other.blocks[2].total_difficulty += U256::ONE;
    assert_eq!(verify(&later, &chain.untrusting(), &Teller::of(&other)).files[0].verdict(), Verdict::Damaged);
}

#[test]
fn it_is_asked_for_what_is_open_and_its_word_proves_nothing_else() {
    let chain = Chain::of_all_times();
    let dir = tempfile::tempdir().unwrap();
    chain.write(dir.path(), bare(4..=6));
    chain.write(dir.path(), bare(7..=10));
    // A header that is vouched for names its parent, and proves it no more than itself.
    let teller = Teller::of(&chain);
    let report = verify(&dir, &chain.untrusting(), &teller);
    assert!(report.files.iter().all(|file| file.verdict() == Verdict::Vouched), "{report:?}");
    assert_eq!(*teller.asked.lock().unwrap(), [7..=10, 4..=6]);

    let proved = tempfile::tempdir().unwrap();
    chain.write(proved.path(), chain.ere([Component::Proof]));
    let teller = Teller::of(&chain);
    assert_eq!(verify(&proved, &chain.verifier, &teller).files[0].verdict(), Verdict::Proved);
    assert_eq!(*teller.asked.lock().unwrap(), []);
}
