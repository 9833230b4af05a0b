//! Runs of one component as bits. A set of ranges holds so many ranges at most, which is right for what a single peer says; what
//! many peers say together, and what is here of it, may be as scattered as it likes: a bit for each run that there can be takes
//! 64 kB, and no claim pushes another one out.

use std::ops::{Range, RangeInclusive};

use cairn_swarm::geometry::{Component, MAX_BLOCK, RUN_BLOCKS, RunSet};
use content_types::{Distance, NodeId, history};

use crate::parts::content_type_of;

/// Runs that there can be of a component: what lies above is in no set.
pub(super) const MAX_RUNS: u64 = (MAX_BLOCK + 1) / RUN_BLOCKS;
/// Runs of a word.
pub(super) const WORD_RUNS: u64 = u64::BITS as u64;

/// Runs of each component.
pub(super) type ComponentBits = [RunBits; Component::COUNT];

/// A set of runs below [`MAX_RUNS`].
#[derive(Clone, Debug, Default)]
pub(super) struct RunBits {
    /// As many as it takes for the highest run that was ever in it.
    words: Vec<u64>,
}

impl RunBits {
    /// The runs of a component up to `last` of which some block lies within `radius` of a node. None of headers, whose content IDs
    /// have no order.
    pub(super) fn touched(component: Component, node: &NodeId, radius: &Distance, last: u64) -> Self {
        Self::within(component, node, radius, last, |blocks| blocks.start() / RUN_BLOCKS..blocks.end() / RUN_BLOCKS + 1)
    }

    /// The same of which each block does.
    pub(super) fn predicted(component: Component, node: &NodeId, radius: &Distance, last: u64) -> Self {
        Self::within(component, node, radius, last, whole_runs)
    }

    fn within(
        component: Component,
        node: &NodeId,
        radius: &Distance,
        last: u64,
        runs_of: impl Fn(&RangeInclusive<u64>) -> Range<u64>,
    ) -> Self {
        let mut within = Self::default();
        let Some(content_type) = content_type_of(component).filter(|_| *radius != Distance::ZERO) else {
            return within;
        };
        let last_block = last.min(MAX_RUNS - 1) * RUN_BLOCKS + (RUN_BLOCKS - 1);
        for blocks in history::blocks_within(content_type, node, radius, last_block) {
            within.insert(runs_of(&blocks));
        }
        within
    }

    /// Adds runs.
    pub(super) fn insert(&mut self, runs: Range<u64>) {
        let runs = runs.start..runs.end.min(MAX_RUNS);
        if runs.is_empty() {
            return;
        }
        let words = (runs.end.div_ceil(WORD_RUNS)) as usize;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        for (word, mask) in masks(runs) {
            if let Some(bits) = self.words.get_mut(word) {
                *bits |= mask;
            }
        }
    }

    /// Whether a run is in it.
    pub(super) fn contains(&self, run: u64) -> bool {
        let bits = usize::try_from(run / WORD_RUNS).ok().and_then(|word| self.words.get(word));
        bits.is_some_and(|bits| bits >> (run % WORD_RUNS) & 1 == 1)
    }

    /// Adds what is in another one.
    pub(super) fn add(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(bits, other)| *bits |= other);
    }

    /// Adds a claim as far as it lies within another set.
    pub(super) fn add_claim(&mut self, claim: &RunSet, within: &Self) {
        if self.words.len() < within.words.len() {
            self.words.resize(within.words.len(), 0);
        }
        for (word, mask) in within.masks_of(claim) {
            if let (Some(bits), Some(within)) = (self.words.get_mut(word), within.words.get(word)) {
                *bits |= mask & within;
            }
        }
    }

    /// Whether any run of a claim is in it.
    pub(super) fn has_any_of(&self, claim: &RunSet) -> bool {
        self.masks_of(claim).any(|(word, mask)| self.words.get(word).is_some_and(|bits| bits & mask != 0))
    }

    /// Keeps what is in another one, too.
    pub(super) fn keep(&mut self, other: &Self) {
        self.words.truncate(other.words.len());
        self.words.iter_mut().zip(&other.words).for_each(|(bits, other)| *bits &= other);
    }

    /// Takes out what is in another one.
    pub(super) fn take_out(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(bits, other)| *bits &= !other);
    }

    /// Empties one of `slices` slices: every so many words one that belongs to it.
    pub(super) fn empty_slice(&mut self, slice: usize, slices: usize) {
        self.words.iter_mut().skip(slice).step_by(slices.max(1)).for_each(|bits| *bits = 0);
    }

    /// How many runs there are.
    pub(super) fn len(&self) -> u64 {
        self.words.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// The runs, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let words = (0..).step_by(WORD_RUNS as usize).zip(&self.words).filter(|(_, bits)| **bits != 0);
        words.flat_map(|(first, bits)| {
            (0..WORD_RUNS).filter(move |run| bits >> run & 1 == 1).map(move |run| first + run)
        })
    }

    /// The same as ranges, as many as a set of those holds, the lowest.
    pub(super) fn to_set(&self) -> RunSet {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for run in self.iter() {
            match ranges.last_mut() {
                Some(last) if last.end == run => last.end += 1,
                _ => ranges.push(run..run + 1),
            }
        }
        let mut set = RunSet::default();
        set.replace(0..MAX_RUNS, &ranges);
        set
    }

    /// The words that a claim touches of those that are here, and which bits of them.
    fn masks_of<'a>(&self, claim: &'a RunSet) -> impl Iterator<Item = (usize, u64)> + use<'a> {
        let end = self.words.len() as u64 * WORD_RUNS;
        claim
            .ranges()
            .take_while(move |runs| runs.start < end)
            .flat_map(move |runs| masks(runs.start..runs.end.min(end)))
    }
}

impl From<&RunSet> for RunBits {
    fn from(set: &RunSet) -> Self {
        let mut bits = Self::default();
        set.ranges().for_each(|runs| bits.insert(runs));
        bits
    }
}

/// The runs that lie whole within some blocks.
pub(super) fn whole_runs(blocks: &RangeInclusive<u64>) -> Range<u64> {
    blocks.start().div_ceil(RUN_BLOCKS)..blocks.end().saturating_add(1) / RUN_BLOCKS
}

/// The words that some runs lie in, which are not none, and which bits of them.
fn masks(runs: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    let words = runs.start / WORD_RUNS..runs.end.div_ceil(WORD_RUNS);
    words.map(move |word| {
        let first = word * WORD_RUNS;
        let from = runs.start.saturating_sub(first);
        let until = (runs.end - first).min(WORD_RUNS);
        (word as usize, (u64::MAX << from) & (u64::MAX >> (WORD_RUNS - until)))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(runs: &BTreeSet<u64>) -> RunSet {
        let mut set = RunSet::default();
        runs.iter().for_each(|run| assert!(set.insert(*run..*run + 1)));
        set
    }

    fn bits(runs: &BTreeSet<u64>) -> RunBits {
        RunBits::from(&set(runs))
    }

    fn runs_of(bits: &RunBits) -> BTreeSet<u64> {
        bits.iter().collect()
    }

    fn any_runs() -> impl Strategy<Value = BTreeSet<u64>> {
        prop::collection::btree_set(0..400_u64, 0..200)
    }

    proptest! {
        #[test]
        fn it_is_a_set(ranges in prop::collection::vec((0..300_u64, 0..150_u64), 0..8)) {
            let (mut runs, mut expected) = (RunBits::default(), BTreeSet::new());
            for (first, len) in ranges {
                runs.insert(first..first + len);
                expected.extend(first..first + len);
                prop_assert_eq!(runs_of(&runs), expected.clone());
                prop_assert_eq!(runs.len(), expected.len() as u64);
                prop_assert!((0..500).all(|run| runs.contains(run) == expected.contains(&run)));
            }
        }

        #[test]
        fn sets_are_joined_cut_and_parted(a in any_runs(), b in any_runs(), c in any_runs()) {
            let change = |change: &dyn Fn(&mut RunBits)| {
                let mut runs = bits(&a);
                change(&mut runs);
                runs_of(&runs)
            };
            prop_assert_eq!(change(&|runs| runs.add(&bits(&b))), &a | &b);
            prop_assert_eq!(change(&|runs| runs.keep(&bits(&b))), &a & &b);
            prop_assert_eq!(change(&|runs| runs.take_out(&bits(&b))), &a - &b);
            prop_assert_eq!(change(&|runs| runs.add_claim(&set(&b), &bits(&c))), &a | &(&b & &c));
            prop_assert_eq!(bits(&a).has_any_of(&set(&b)), !(&a & &b).is_empty());
            prop_assert_eq!(bits(&a).to_set(), set(&a));
        }

        #[test]
        fn slices_together_are_everything_and_no_run_is_in_two(a in any_runs(), slices in 1..9_usize) {
            let mut left = bits(&a);
            let mut before = a.clone();
            for slice in 0..slices {
                left.empty_slice(slice, slices);
                let after = runs_of(&left);
                let gone = &before - &after;
                prop_assert!(after.is_subset(&before));
                prop_assert!(gone.iter().all(|run| (run / WORD_RUNS) as usize % slices == slice));
                before = after;
            }
            prop_assert!(before.is_empty());
        }

        #[test]
        fn what_lies_within_a_radius_is_what_a_set_of_ranges_says(node: [u8; 32], radius: [u8; 32], last in 0..600_u64) {
            let (node, radius) = (node.into(), Distance::from_be_bytes(radius));
            for component in Component::ALL {
                let last_block = last * RUN_BLOCKS + (RUN_BLOCKS - 1);
                let expected = RunSet::touched(component, &node, &radius, last_block);
                let touched = RunBits::touched(component, &node, &radius, last);
                prop_assert_eq!(runs_of(&touched), expected.ranges().flatten().collect::<BTreeSet<_>>());
                let expected = RunSet::predicted(component, &node, &radius, last_block);
                let predicted = RunBits::predicted(component, &node, &radius, last);
                prop_assert_eq!(runs_of(&predicted), expected.ranges().flatten().collect::<BTreeSet<_>>());
            }
        }
    }

    #[test]
    fn no_number_from_the_wire_makes_it_long() {
        let mut runs = RunBits::default();
        runs.insert(5..u64::MAX);
        runs.insert(u64::MAX - 1..u64::MAX);
        assert_eq!((runs.len(), runs.words.len() as u64), (MAX_RUNS - 5, MAX_RUNS / WORD_RUNS));
        assert!(!runs.contains(u64::MAX) && !runs.contains(MAX_RUNS));
        let touched = RunBits::touched(Component::Bodies, &[7; 32].into(), &Distance::MAX, u64::MAX);
        assert_eq!(touched.len(), MAX_RUNS);
    }
}
