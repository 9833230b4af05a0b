//! How history is cut up: runs of 256 blocks of one component, which peers hold, announce and schedule, and parts of runs,
//! which they ask each other for. The unit of verification and of blame is the block.

use std::ops::Range;

use content_types::{Distance, NodeId, history};

/// Blocks of a run, which is aligned: its first block is a multiple of this.
pub const RUN_BLOCKS: u64 = history::BLOCKS_PER_RUN;

/// Ranges of runs that a [`RunSet`] holds at most. What a peer says beyond that is not noted.
pub const MAX_RUN_RANGES: usize = 4096;

/// A component of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// Headers with their proofs.
    Headers,
    /// Bodies.
    Bodies,
    /// Receipts.
    Receipts,
}

impl Component {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All of them, in the order of their codes on the wire.
    pub const ALL: [Self; Self::COUNT] = [Self::Headers, Self::Bodies, Self::Receipts];

    /// Its place in [`Component::ALL`].
    pub const fn index(self) -> usize {
        self.code() as usize
    }

    /// Its code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Headers => 0,
            Self::Bodies => 1,
            Self::Receipts => 2,
        }
    }

    /// The component with a code.
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// 256 consecutive blocks of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    /// Of what.
    pub component: Component,
    /// The first block's number divided by [`RUN_BLOCKS`].
    pub index: u64,
}

impl Run {
    /// The run that a block lies in.
    pub const fn of(component: Component, number: u64) -> Self {
        Self { component, index: number / RUN_BLOCKS }
    }

    /// Its blocks.
    pub const fn blocks(self) -> Range<u64> {
        let first = self.index.saturating_mul(RUN_BLOCKS);
        first..first.saturating_add(RUN_BLOCKS)
    }
}

/// Consecutive blocks within one run: what one request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Of what.
    pub component: Component,
    /// The first block's number.
    pub first: u64,
    /// How many blocks, 1 to 256.
    pub count: u16,
}

impl Part {
    /// The part with these blocks; `None` unless they lie within one run.
    pub fn new(component: Component, blocks: Range<u64>) -> Option<Self> {
        let last = blocks.end.checked_sub(1).filter(|last| *last >= blocks.start)?;
        if blocks.start / RUN_BLOCKS != last / RUN_BLOCKS {
            return None;
        }
        Some(Self { component, first: blocks.start, count: u16::try_from(blocks.end - blocks.start).ok()? })
    }

    /// Its blocks.
    pub fn blocks(self) -> Range<u64> {
        self.first..self.first.saturating_add(u64::from(self.count))
    }

    /// The run that it is a part of.
    pub const fn run(self) -> Run {
        Run::of(self.component, self.first)
    }
}

/// The runs of one component that somebody holds, as ranges of their indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSet {
    /// Ascending, neither empty nor touching each other.
    ranges: Vec<Range<u64>>,
}

impl RunSet {
    /// Whether a run is in it.
    pub fn contains(&self, index: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.start <= index);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|range| range.contains(&index))
    }

    /// Adds runs; false if that would take more ranges than [`MAX_RUN_RANGES`].
    pub fn insert(&mut self, runs: Range<u64>) -> bool {
        if runs.is_empty() {
            return true;
        }
        let from = self.ranges.partition_point(|range| range.end < runs.start);
        let to = self.ranges.partition_point(|range| range.start <= runs.end);
        if from == to && self.ranges.len() >= MAX_RUN_RANGES {
            return false;
        }
        let start = self.ranges.get(from).filter(|_| from < to).map_or(runs.start, |range| range.start.min(runs.start));
        let end = self.ranges[from..to].last().map_or(runs.end, |range| range.end.max(runs.end));
        self.ranges.splice(from..to, std::iter::once(start..end));
        true
    }

    /// Takes runs out; false if that would take more ranges than [`MAX_RUN_RANGES`].
    pub fn remove(&mut self, runs: Range<u64>) -> bool {
        if runs.is_empty() {
            return true;
        }
        let from = self.ranges.partition_point(|range| range.end <= runs.start);
        let to = self.ranges.partition_point(|range| range.start < runs.end).max(from);
        let cut = &self.ranges[from..to];
        let before = cut.first().map(|range| range.start..runs.start);
        let after = cut.last().map(|range| runs.end..range.end);
        let left: Vec<_> = [before, after].into_iter().flatten().filter(|range| !range.is_empty()).collect();
        if self.ranges.len() - (to - from) + left.len() > MAX_RUN_RANGES {
            return false;
        }
        self.ranges.splice(from..to, left);
        true
    }

    /// Adds all runs of another set, as far as [`MAX_RUN_RANGES`] allows.
    pub fn union(&mut self, other: &Self) {
        for range in other.ranges() {
            self.insert(range);
        }
    }

    /// The runs of this set that are not in the other, as far as [`MAX_RUN_RANGES`] allows.
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = self.clone();
        for range in other.ranges() {
            left.remove(range);
        }
        left
    }

    /// The last run below a bound.
    pub fn last_before(&self, bound: u64) -> Option<u64> {
        let below = self.ranges.partition_point(|range| range.start < bound);
        let range = self.ranges.get(below.checked_sub(1)?)?;
        range.end.min(bound).checked_sub(1)
    }

    /// Its ranges, ascending.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<u64>> {
        self.ranges.iter().cloned()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many runs there are.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// The runs of a component up to `last_block` of which each block's content ID on the History network lies within
    /// `radius` of a node: those that a peer holds if it has all that it should. None of headers, whose content IDs have no
    /// order.
    pub fn predicted(component: Component, node: &NodeId, radius: &Distance, last_block: u64) -> Self {
        let content_type = match component {
            Component::Headers => return Self::default(),
            Component::Bodies => history::ContentType::BlockBody,
            Component::Receipts => history::ContentType::BlockReceipts,
        };
        let mut runs = Self::default();
        for blocks in history::blocks_within(content_type, node, radius, last_block) {
            let (first, end) = (blocks.start().div_ceil(RUN_BLOCKS), (blocks.end() + 1) / RUN_BLOCKS);
            if first < end && !runs.insert(first..end) {
                break;
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_set_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..40_u64, 0..8_u64), 0..60)) {
            let (mut runs, mut expected) = (RunSet::default(), BTreeSet::new());
            for (is_added, first, len) in steps {
                if is_added {
                    prop_assert!(runs.insert(first..first + len));
                    expected.extend(first..first + len);
                } else {
                    prop_assert!(runs.remove(first..first + len));
                    expected.retain(|run| !(first..first + len).contains(run));
                }
                prop_assert_eq!(runs.ranges().flatten().collect::<BTreeSet<_>>(), expected.clone());
                prop_assert_eq!(runs.len(), expected.len() as u64);
                prop_assert!((0..50).all(|run| runs.contains(run) == expected.contains(&run)));
                let ranges: Vec<_> = runs.ranges().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }

    #[test]
    fn a_part_lies_within_one_run() {
        let part = |blocks| Part::new(Component::Bodies, blocks);
        assert_eq!(part(256..512).map(Part::run), Some(Run { component: Component::Bodies, index: 1 }));
        assert_eq!(part(300..301).map(Part::blocks), Some(300..301));
        assert_eq!((part(255..257), part(5..5), part(0..257)), (None, None, None));
    }
}
