//! Which blocks have pieces without an end: the position goes as far as none before it has.

use std::collections::BTreeMap;

/// Blocks that are handed out, in rising order.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Pieces without an end of each block that has such.
    open: BTreeMap<u64, u64>,
    /// The first block that was not given whole yet.
    given_until: u64,
    count: u64,
}

impl Ledger {
    pub(super) const fn new(next: u64) -> Self {
        Self { open: BTreeMap::new(), given_until: next, count: 0 }
    }

    /// A piece of a block was given.
    pub(super) fn give(&mut self, block: u64) {
        *self.open.entry(block).or_default() += 1;
        self.count += 1;
    }

    /// All of a block was given.
    pub(super) fn block_given(&mut self, block: u64) {
        self.given_until = self.given_until.max(block.saturating_add(1));
    }

    /// A piece of a block has its end.
    pub(super) fn end(&mut self, block: u64) {
        let Some(open) = self.open.get_mut(&block) else { return };
        *open = open.saturating_sub(1);
        if *open == 0 {
            self.open.remove(&block);
        }
        self.count = self.count.saturating_sub(1);
    }

    /// Pieces without an end.
    pub(super) const fn open(&self) -> u64 {
        self.count
    }

    /// The first block with a piece without an end, or that was not given whole.
    pub(super) fn next(&self) -> u64 {
        self.open.keys().next().copied().unwrap_or(self.given_until).min(self.given_until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_position_waits_for_the_last_piece_of_each_block_and_for_all_of_it_to_be_given() {
        let mut ledger = Ledger::new(7);
        [7, 7, 8].into_iter().for_each(|block| ledger.give(block));
        ledger.block_given(7);
        ledger.end(8);
        assert_eq!((ledger.next(), ledger.open()), (7, 2), "the end of a later one");
        ledger.end(7);
        assert_eq!(ledger.next(), 7);
        ledger.end(7);
        assert_eq!((ledger.next(), ledger.open()), (8, 0), "more of block 8 may come");
        ledger.block_given(8);
        ledger.block_given(9);
        assert_eq!(ledger.next(), 10, "a block that brings nothing");
    }

    proptest! {
        #[test]
        fn the_position_never_passes_what_is_open(ends in prop::collection::vec(0..40_usize, 0..60), pieces in 1..4_u64) {
            let mut ledger = Ledger::new(0);
            let mut open: Vec<u64> = (0..10).flat_map(|block| vec![block; pieces as usize]).collect();
            open.iter().for_each(|block| ledger.give(*block));
            (0..10).for_each(|block| ledger.block_given(block));
            for end in ends {
                if end < open.len() {
                    ledger.end(open.remove(end));
                }
                prop_assert_eq!(ledger.next(), open.iter().min().copied().unwrap_or(10));
                prop_assert_eq!(ledger.open(), open.len() as u64);
            }
        }
    }
}
