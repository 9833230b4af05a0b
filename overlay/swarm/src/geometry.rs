//! How history is cut up: runs of 256 blocks of one component, which peers hold, announce and schedule, and parts of runs,
//! which they ask each other for. The unit of verification and of blame is the block.

use std::ops::{Range, RangeInclusive};

use content_types::{Distance, NodeId, history};

/// Blocks of a run, which is aligned: its first block is a multiple of this.
pub const RUN_BLOCKS: u64 = history::BLOCKS_PER_RUN;

/// Blocks above this are in no prediction: far above any chain's head for decades. What a peer says of the head is a number
/// from the wire, and the walk over all that lies below it has to end: it takes a millisecond with this one.
pub const MAX_BLOCK: u64 = (1 << 27) - 1;

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

    /// Replaces what is known of the runs of a window by `ranges`, which are ascending, apart, and within it. As far as
    /// [`MAX_RUN_RANGES`] allows; false if there would be more. One pass, however scattered they are.
    pub fn replace(&mut self, window: Range<u64>, ranges: &[Range<u64>]) -> bool {
        let mut merged = Vec::with_capacity(self.ranges.len() + ranges.len());
        let before = self.ranges.iter().map(|range| range.start..range.end.min(window.start));
        let behind = self.ranges.iter().map(|range| range.start.max(window.end)..range.end);
        for range in before.chain(ranges.iter().cloned()).chain(behind).filter(|range| range.start < range.end) {
            match merged.last_mut() {
                Some(Range { end, .. }) if *end >= range.start => *end = range.end.max(*end),
                _ => merged.push(range),
            }
        }
        let fits = merged.len() <= MAX_RUN_RANGES;
        merged.truncate(MAX_RUN_RANGES);
        self.ranges = merged;
        fits
    }

    /// Adds all runs of another set, as far as [`MAX_RUN_RANGES`] allows. One pass over both.
    pub fn union(&mut self, other: &Self) {
        let (mut own, mut others) =
            (std::mem::take(&mut self.ranges).into_iter().peekable(), other.ranges().peekable());
        let mut merged: Vec<Range<u64>> = Vec::new();
        loop {
            let is_own = match (own.peek(), others.peek()) {
                (Some(own), Some(other)) => own.start <= other.start,
                (own, _) => own.is_some(),
            };
            let Some(range) = (if is_own { own.next() } else { others.next() }) else { break };
            match merged.last_mut() {
                Some(Range { end, .. }) if *end >= range.start => *end = range.end.max(*end),
                _ => merged.push(range),
            }
        }
        merged.truncate(MAX_RUN_RANGES);
        self.ranges = merged;
    }

    /// The runs of this set that are not in the other, as far as [`MAX_RUN_RANGES`] allows. One pass over both.
    pub fn difference(&self, other: &Self) -> Self {
        let mut others = other.ranges.iter().peekable();
        let mut left = Vec::new();
        for Range { mut start, end } in self.ranges() {
            while let Some(other) = others.peek() {
                if other.end <= start {
                    others.next();
                } else if other.start >= end {
                    break;
                } else {
                    if start < other.start {
                        left.push(start..other.start);
                    }
                    start = other.end;
                    if start >= end {
                        break;
                    }
                }
            }
            if start < end {
                left.push(start..end);
            }
        }
        left.truncate(MAX_RUN_RANGES);
        Self { ranges: left }
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

    /// The runs that are in both sets, as far as [`MAX_RUN_RANGES`] allows. One pass over both.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut own, mut others) = (self.ranges().peekable(), other.ranges().peekable());
        let mut common: Vec<Range<u64>> = Vec::new();
        while let (Some(a), Some(b)) = (own.peek(), others.peek())
            && common.len() < MAX_RUN_RANGES
        {
            let both = a.start.max(b.start)..a.end.min(b.end);
            if !both.is_empty() {
                common.push(both);
            }
            if a.end <= b.end {
                own.next()
            } else {
                others.next()
            };
        }
        Self { ranges: common }
    }

    /// The runs of a component up to `last_block`, and [`MAX_BLOCK`] at most, of which each block's content ID on the History network lies within
    /// `radius` of a node: those that a peer holds if it has all that it should. None of headers, whose content IDs have no
    /// order.
    pub fn predicted(component: Component, node: &NodeId, radius: &Distance, last_block: u64) -> Self {
        Self::within(component, node, radius, last_block, |blocks| {
            blocks.start().div_ceil(RUN_BLOCKS)..(blocks.end() + 1) / RUN_BLOCKS
        })
    }

    /// The same of which some block's content ID does: those that a peer holds something of if it has all that it should.
    pub fn touched(component: Component, node: &NodeId, radius: &Distance, last_block: u64) -> Self {
        Self::within(component, node, radius, last_block, |blocks| {
            blocks.start() / RUN_BLOCKS..blocks.end() / RUN_BLOCKS + 1
        })
    }

    fn within(
        component: Component,
        node: &NodeId,
        radius: &Distance,
        last_block: u64,
        runs_of: impl Fn(RangeInclusive<u64>) -> Range<u64>,
    ) -> Self {
        let content_type = match component {
            Component::Headers => return Self::default(),
            Component::Bodies => history::ContentType::BlockBody,
            Component::Receipts => history::ContentType::BlockReceipts,
        };
        let mut runs = Self::default();
        if *radius == Distance::ZERO {
            return runs;
        }
        for blocks in history::blocks_within(content_type, node, radius, last_block.min(MAX_BLOCK)) {
            let of_them = runs_of(blocks);
            if !of_them.is_empty() && !runs.insert(of_them) {
                break;
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use content_types::Key as _;
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

    fn set(runs: &BTreeSet<u64>) -> RunSet {
        let mut set = RunSet::default();
        runs.iter().for_each(|run| assert!(set.insert(*run..*run + 1)));
        set
    }

    proptest! {
        #[test]
        fn sets_are_joined_parted_and_replaced_in_one_pass(
            a in prop::collection::btree_set(0..200_u64, 0..120), b in prop::collection::btree_set(0..200_u64, 0..120),
            first in 0..150_u64, len in 0..80_u64,
        ) {
            let (runs, other) = (set(&a), set(&b));
            let mut union = runs.clone();
            union.union(&other);
            prop_assert_eq!(union, set(&(&a | &b)));
            prop_assert_eq!(runs.difference(&other), set(&(&a - &b)));
            prop_assert_eq!(runs.intersection(&other), set(&(&a & &b)));
            let window = first..first + len;
            let within: BTreeSet<u64> = b.iter().copied().filter(|run| window.contains(run)).collect();
            let without: BTreeSet<u64> = a.iter().copied().filter(|run| !window.contains(run)).collect();
            let mut replaced = runs;
            prop_assert!(replaced.replace(window, &set(&within).ranges().collect::<Vec<_>>()));
            prop_assert_eq!(replaced, set(&(&within | &without)));
        }
    }

    proptest! {
        #[test]
        fn a_run_is_predicted_if_each_block_lies_within_and_touched_if_one_does(
            node: [u8; 32], radius: [u8; 32], closer in 0..12_u32, run in 0..600_u64,
        ) {
            let mut radius = radius;
            let near = u16::from_be_bytes([radius[0], radius[1]]) >> closer;
            radius[..2].copy_from_slice(&near.to_be_bytes());
            let (node, radius) = (node.into(), Distance::from_be_bytes(radius));
            let run = Run { component: Component::Receipts, index: run };
            let is_within = |number| {
                let id = history::ContentKey::BlockReceipts { number }.content_id();
                NodeId::distance(&node, &id) <= radius
            };
            let predicted = RunSet::predicted(run.component, &node, &radius, run.blocks().end - 1);
            let touched = RunSet::touched(run.component, &node, &radius, run.blocks().end - 1);
            prop_assert_eq!(predicted.contains(run.index), run.blocks().all(is_within));
            prop_assert_eq!(touched.contains(run.index), run.blocks().any(is_within));
        }
    }

    #[test]
    fn no_number_from_the_wire_makes_a_prediction_long() {
        // A walk over all of them would take days.
        for radius in [Distance::ZERO, Distance::from_log2(0), Distance::from_log2(239), Distance::MAX] {
            let runs = RunSet::predicted(Component::Bodies, &[7; 32].into(), &radius, u64::MAX);
            assert!(runs.ranges().all(|range| range.end <= (MAX_BLOCK + 1) / RUN_BLOCKS));
        }
    }

    #[test]
    fn what_is_too_scattered_is_cut_off_where_it_becomes_too_much() {
        let scattered = |from: u64| (0..MAX_RUN_RANGES as u64).map(move |at| (from + 2 * at)..(from + 2 * at + 1));
        let mut runs = RunSet::default();
        assert!(runs.replace(0..1 << 20, &scattered(0).collect::<Vec<_>>()));
        assert!(!runs.replace(1 << 20..1 << 21, &scattered(1 << 20).collect::<Vec<_>>()));
        assert_eq!(runs.ranges().len(), MAX_RUN_RANGES);
        let mut other = RunSet::default();
        assert!(other.replace(0..1 << 22, &scattered(1 << 21).collect::<Vec<_>>()));
        other.union(&runs);
        assert_eq!(other.ranges().len(), MAX_RUN_RANGES);
    }

    #[test]
    fn a_part_lies_within_one_run() {
        let part = |blocks| Part::new(Component::Bodies, blocks);
        assert_eq!(part(256..512).map(Part::run), Some(Run { component: Component::Bodies, index: 1 }));
        assert_eq!(part(300..301).map(Part::blocks), Some(300..301));
        assert_eq!((part(255..257), part(5..5), part(0..257)), (None, None, None));
    }
}
