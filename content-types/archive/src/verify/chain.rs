//! What joins the blocks of an archive: parent hashes, total difficulties, the accumulator, proofs that reach from one
//! header to those before it, and the file's name.

use alloy_primitives::{B256, U256};
use content_types::HeaderVerifier;
use content_types::header::{EpochRecord, HeaderError, HeaderRecord};
use content_types::trust::TrustListKind;

use crate::archive::Archive;
use crate::component::{Component, Format, MAX_BLOCKS};
use crate::e2store::RecordType;
use crate::error::{ArchivePlace, ArchiveRule, Mismatch};
use crate::name::ArchiveName;

use super::Trusted;
use super::blocks::BlockFacts;
use super::difficulty;
use super::report::Report;
use super::witness::{KnownBlock, Witness};

/// Checks what joins the blocks and enters the outcome, with what is good, into the report. `last_hash` is the hash of
/// the last block, if a proved header of another file names it.
pub(super) fn check(
    archive: &Archive,
    facts: &[BlockFacts],
    last_hash: Option<B256>,
    Trusted { verifier, witness }: Trusted<'_>,
    report: &mut Report,
) {
    let difficulties = difficulty::agreed(facts);
    let proved = facts.iter().map(|block| block.proof).collect();
    let vouched = vec![false; facts.len()];
    let mut chain =
        ChainCheck { archive, facts, last_hash, verifier, report, difficulties, proved, vouched, anchored: false };
    chain.check_links();
    chain.check_total_difficulties();
    let epoch_root = chain.check_epoch();
    chain.prove_backwards();
    if let Some(witness) = witness {
        chain.ask(witness);
    }
    chain.report_unproved();
    chain.check_name(epoch_root);
    chain.enter_good();
}

/// The check of what the blocks of an archive say of one another.
struct ChainCheck<'a> {
    archive: &'a Archive,
    facts: &'a [BlockFacts],
    last_hash: Option<B256>,
    verifier: &'a HeaderVerifier,
    report: &'a mut Report,
    /// The total difficulty of each block as the file agrees on it, or nothing.
    difficulties: Vec<U256>,
    /// Whether something outside the file vouches for the agreed total difficulties.
    anchored: bool,
    /// Which headers are the chain's: proved, or vouched for.
    proved: Vec<bool>,
    /// Which of them a witness vouched for alone.
    vouched: Vec<bool>,
}

impl ChainCheck<'_> {
    fn hash(&self, nth: usize) -> Option<B256> {
        self.facts[nth].header.map(|header| header.hash)
    }

    /// The hash of a block as its child names it: the next block in the file, or the first one of the next file.
    fn named_hash(&self, nth: usize) -> Option<B256> {
        match self.facts.get(nth + 1) {
            Some(next) => next.header.map(|header| header.parent_hash),
            None => self.last_hash,
        }
    }

    fn check_links(&mut self) {
        for nth in 0..self.facts.len() {
            let both = self.hash(nth).zip(self.named_hash(nth));
            if let Some((hash, named)) = both.filter(|(hash, named)| hash != named) {
                let place = self.place(nth, Component::Header);
                self.report.add(place.broken(ArchiveRule::ParentHash(Mismatch::new(hash, named))));
            }
        }
    }

    fn check_total_difficulties(&mut self) {
        for (nth, agreed) in self.difficulties.iter().enumerate() {
            let proved = self.facts[nth].proved_difficulty;
            self.anchored |= proved == Some(*agreed);
            let expected = proved.unwrap_or(*agreed);
            if let Some(found) = self.facts[nth].total_difficulty.filter(|found| *found != expected) {
                let place = self.place(nth, Component::TotalDifficulty);
                self.report.add(place.broken(ArchiveRule::TotalDifficulty(Mismatch::new(expected, found))));
            }
        }
    }

    /// Compares the root over the epoch with the trusted one, which then proves every header that is a leaf, and with
    /// the accumulator record. Returns the root of the epoch, if it can be told.
    fn check_epoch(&mut self) -> Option<B256> {
        let epoch = usize::try_from(self.archive.era()).ok();
        let list = self.verifier.lists().pre_merge.as_ref();
        let trusted = list.zip(epoch).and_then(|(list, epoch)| list.epoch_roots().get(epoch)).copied();
        let trusted = trusted.filter(|_| self.starts_before_merge());
        let leaves = self.epoch_leaves();
        let root =
            leaves.as_deref().and_then(|leaves| Some(EpochRecord::new(leaves.to_vec()).ok()?.into_tree().root()));
        match (&leaves, root, trusted) {
            (Some(leaves), Some(root), Some(trusted)) if root == trusted => {
                self.anchored = true;
                for (nth, leaf) in leaves.iter().enumerate() {
                    self.proved[nth] |= self.hash(nth) == Some(leaf.block_hash);
                }
            }
            // Of a part of an epoch nobody expects the root; its headers have to be proved otherwise.
            (Some(leaves), Some(root), Some(trusted)) if self.is_whole(leaves.len()) => {
                self.report.add(self.archive.place().broken(ArchiveRule::EpochRoot(Mismatch::new(trusted, root))));
            }
            _ => {}
        }
        let expected = trusted.or(root);
        self.check_accumulator(expected);
        expected
    }

    fn check_accumulator(&mut self, expected: Option<B256>) {
        let found = match self.archive.accumulator_root() {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => return self.report.add(error),
        };
        let place = self.archive.place().record(RecordType::ACCUMULATOR);
        let place = ArchivePlace { offset: self.archive.index().accumulator, ..place };
        match expected {
            Some(expected) if found == expected => {}
            Some(expected) => self.report.add(place.broken(ArchiveRule::Accumulator(Mismatch::new(expected, found)))),
            None => self.report.add(place.broken(ArchiveRule::Unproved("nothing vouches for this accumulator"))),
        }
    }

    fn starts_before_merge(&self) -> bool {
        let first = self.facts.iter().find_map(|block| block.header);
        first.is_some_and(|header| !header.difficulty.is_zero())
    }

    /// Whether `count` blocks before the merge are all that the epoch has.
    fn is_whole(&self, count: usize) -> bool {
        count as u64 == MAX_BLOCKS || count < self.facts.len()
    }

    /// The records of the epoch's blocks before the merge, if the file starts with the epoch and they can all be told.
    fn epoch_leaves(&self) -> Option<Vec<HeaderRecord>> {
        let start = *self.archive.blocks().start();
        if !start.is_multiple_of(MAX_BLOCKS) || !self.starts_before_merge() {
            return None;
        }
        let hashes = self.leaf_hashes();
        let mut sum = (start == 0).then_some(U256::ZERO);
        let mut leaves = Vec::new();
        for (nth, hash) in hashes.into_iter().enumerate() {
            let difficulty = self.facts[nth].header.map(|header| header.difficulty);
            if difficulty.is_some_and(|difficulty| difficulty.is_zero()) {
                break;
            }
            sum = sum.zip(difficulty).map(|(sum, difficulty)| sum.wrapping_add(difficulty));
            let total_difficulty = self.difficulties.get(nth).copied().or(sum)?;
            leaves.push(HeaderRecord { block_hash: hash?, total_difficulty });
        }
        Some(leaves)
    }

    /// The hash of each block. A child's word counts more than the header itself, unless the child is contradicted in
    /// turn: so a header that is damaged or that does not belong there is bridged.
    fn leaf_hashes(&self) -> Vec<Option<B256>> {
        let mut hashes = vec![None; self.facts.len()];
        let mut child_is_good = self.last_hash.is_some();
        for nth in (0..self.facts.len()).rev() {
            let (own, named) = (self.hash(nth), self.named_hash(nth));
            hashes[nth] = if child_is_good { named.or(own) } else { own.or(named) };
            child_is_good = own.is_some() && own == hashes[nth];
        }
        hashes
    }

    /// A proved header proves the one before it, and so on down to the first that does not fit.
    fn prove_backwards(&mut self) {
        for nth in (0..self.facts.len()).rev() {
            let child_is_proved = self.proved.get(nth + 1).copied().unwrap_or(true);
            let fits = self.hash(nth).is_some() && self.hash(nth) == self.named_hash(nth);
            self.proved[nth] |= child_is_proved && fits;
        }
    }

    /// Asks a witness for the blocks whose headers are not proved. What it says counts for the blocks that it named and for no
    /// others, in this file or another: nothing is proved by it.
    fn ask(&mut self, witness: &dyn Witness) {
        let is_open = |nth: &usize| self.hash(*nth).is_some() && !self.proved[*nth];
        let Some(first) = (0..self.facts.len()).find(is_open) else { return };
        let last = (first..self.facts.len()).rfind(is_open).unwrap_or(first);
        let Some(known) = witness.blocks(self.number(first)..=self.number(last)) else { return };
        for (nth, known) in (first..=last).zip(known) {
            self.hear(nth, known);
        }
        let (start, vouched) = (*self.archive.blocks().start(), &self.vouched);
        self.report.is_vouched = vouched.contains(&true);
        // That proofs cannot be checked matters no more.
        self.report.forget_unproved(|block| {
            let nth = block.checked_sub(start).and_then(|nth| usize::try_from(nth).ok());
            nth.and_then(|nth| vouched.get(nth)) == Some(&true)
        });
    }

    fn hear(&mut self, nth: usize, known: KnownBlock) {
        let Some(hash) = self.hash(nth).filter(|_| !self.proved[nth]) else { return };
        if hash != known.hash {
            let place = self.place(nth, Component::Header);
            return self.report.add(place.broken(ArchiveRule::OtherBlock(Mismatch::new(known.hash, hash))));
        }
        (self.proved[nth], self.vouched[nth]) = (true, true);
        let Some(agreed) = self.difficulties.get(nth).copied() else { return };
        // The sum begins with the first block, whoever tells it or not.
        let genesis = self.facts[nth].header.filter(|_| self.number(nth) == 0).map(|header| header.difficulty);
        match known.total_difficulty.or(genesis) {
            Some(known) if known == agreed => self.anchored = true,
            Some(known) => {
                let place = self.place(nth, Component::TotalDifficulty);
                self.report.add(place.broken(ArchiveRule::TotalDifficulty(Mismatch::new(known, agreed))));
            }
            None => {}
        }
    }

    /// Says once why headers that can be read are not proved. Those that their child contradicts were reported.
    fn report_unproved(&mut self) {
        let fits = |nth: usize| self.named_hash(nth).is_none_or(|named| self.hash(nth) == Some(named));
        let unproved = (0..self.facts.len()).find(|nth| self.hash(*nth).is_some() && !self.proved[*nth] && fits(*nth));
        if let Some(nth) = unproved {
            let place = self.place(nth, Component::Header);
            self.report.add(place.broken(self.why_unproved(nth)));
        } else if !self.anchored && self.facts.iter().any(|block| block.total_difficulty.is_some()) {
            let place = self.place(0, Component::TotalDifficulty);
            self.report.add(place.broken(ArchiveRule::Unproved("nothing vouches for the total difficulties")));
        }
    }

    fn why_unproved(&self, nth: usize) -> ArchiveRule {
        let number = self.number(nth);
        let before_merge = self.facts[nth].header.is_some_and(|header| !header.difficulty.is_zero());
        let list = TrustListKind::PreMergeAccumulator;
        if before_merge && self.verifier.lists().pre_merge.is_none() {
            return ArchiveRule::Proof(Box::new(HeaderError::ListMissing { number, list }));
        }
        ArchiveRule::Unproved(if self.archive.components().has(Component::Proof) {
            "the header is not proved, nor is one that it is an ancestor of"
        } else if before_merge && self.epoch_leaves().is_none() {
            "headers are not proved: there are no proofs, and the root over the epoch cannot be computed from the file"
        } else if before_merge {
            "headers are not proved: there are no proofs, and the root over them is not that of their epoch"
        } else {
            "headers are not proved: there are no proofs in the file"
        })
    }

    /// Compares the file's name with what is in the file. One that has not the form of an archive's says nothing that
    /// could be wrong; what it would be called is told.
    fn check_name(&mut self, epoch_root: Option<B256>) {
        let Some(text) = self.archive.path().and_then(|path| path.file_name()?.to_str()) else { return };
        let found = ArchiveName::parse(text);
        let last = self.facts.len() - 1;
        let root = match self.archive.format() {
            Format::Era1 => epoch_root,
            Format::Ere => self.hash(last).filter(|_| self.proved[last]).or(self.last_hash),
        };
        let short_hash = root.map(|root| [root.0[0], root.0[1], root.0[2], root.0[3]]);
        let Some(short_hash) = short_hash.or(found.as_ref().map(|found| found.short_hash)) else { return };
        let network = self.verifier.chain().name();
        let components = self.archive.components();
        let mut expected = ArchiveName::new(network, self.archive.era(), short_hash, self.archive.format(), components);
        let Some(found) = found else {
            self.report.proper_name = Some(expected.to_string().into());
            return;
        };
        // Names with the older suffix say nothing about the profile.
        if text.ends_with(".erae") {
            (expected.proofs, expected.receipts) = (found.proofs, found.receipts);
        }
        if expected != found {
            let rule = ArchiveRule::Name { expected: expected.to_string().into(), found: text.into() };
            self.report.add(self.archive.place().broken(rule));
        }
    }

    fn enter_good(&mut self) {
        for component in Component::ALL {
            let good = (0..self.facts.len()).filter(|nth| self.is_good(*nth, component));
            self.report.good[component.slot()] = crate::ranges::of(good.map(|nth| self.number(nth)));
        }
        let is_proved = self.proved.first() == Some(&true) && self.vouched.first() != Some(&true);
        let first = self.facts.first().and_then(|block| block.header).filter(|_| is_proved);
        self.report.first_parent = first.map(|header| header.parent_hash);
    }

    fn is_good(&self, nth: usize, component: Component) -> bool {
        let block = &self.facts[nth];
        match component {
            Component::Header => self.proved[nth],
            Component::Body => self.proved[nth] && block.body,
            Component::Receipts => self.proved[nth] && block.receipts,
            Component::TotalDifficulty => {
                self.anchored && block.total_difficulty.is_some_and(|found| self.difficulties.get(nth) == Some(&found))
            }
            Component::Proof => block.proof,
        }
    }

    fn number(&self, nth: usize) -> u64 {
        self.archive.blocks().start() + nth as u64
    }

    fn place(&self, nth: usize, component: Component) -> ArchivePlace {
        let number = self.number(nth);
        let kind = component.record_type(self.archive.format());
        let offset = self.archive.locate(number, component).ok().map(|at| at.offset);
        ArchivePlace { offset, ..self.archive.place().record(kind).block(number) }
    }
}
