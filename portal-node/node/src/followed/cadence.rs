//! Which blocks are proved by who follows the chain: every n-th, so far behind the head that it stays. An execution client has the state
//! of the youngest blocks alone, so what was missed for too long is passed over.

use std::num::NonZeroU64;

/// Every how many blocks, and how far behind the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Blocks whose number is a multiple of this.
    pub every: NonZeroU64,
    /// Blocks that follow on one before it counts.
    pub behind: u64,
}

impl Cadence {
    /// The block that has its turn when the chain's head is `head` and `last` was the last one; `None`: none yet.
    pub fn next(&self, last: Option<u64>, head: u64) -> Option<u64> {
        let newest = self.newest(head)?;
        match last {
            None => Some(newest),
            Some(last) => self.after(last).filter(|next| *next <= newest),
        }
    }

    /// Whether the last block that has its turn, with none after `to`, is behind.
    pub fn has_ended(&self, last: Option<u64>, to: u64) -> bool {
        last.is_some_and(|last| self.after(last).is_none_or(|next| next > to))
    }

    /// Of the blocks between one whose state is gone and one whose state is there, the first whose state is there: a client has that of
    /// all from some block on. It is asked for a few of them.
    ///
    /// # Errors
    /// The first that it fails with, where that is not that the state is gone.
    pub async fn first_there<E>(
        &self,
        gone: u64,
        there: u64,
        is_there: impl AsyncFn(u64) -> Result<bool, E>,
    ) -> Result<u64, E> {
        let every = self.every.get();
        let (mut gone, mut there) = (gone / every, there / every);
        while there.saturating_sub(gone) > 1 {
            let middle = gone + (there - gone) / 2;
            if is_there(middle * every).await? {
                there = middle;
            } else {
                gone = middle;
            }
        }
        Ok(there * every)
    }

    /// The newest block that counts: it has its turn, and is as far from the head as it has to be.
    pub fn newest(&self, head: u64) -> Option<u64> {
        head.checked_sub(self.behind).map(|newest| newest - newest % self.every)
    }

    fn after(&self, last: u64) -> Option<u64> {
        let every = self.every.get();
        (last / every).checked_add(1)?.checked_mul(every)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_have_their_turn_in_order_and_none_before_it_stays(every in 1..50_u64, behind in 0..100_u64, head in 0..5000_u64) {
            let cadence = Cadence { every: NonZeroU64::new(every).unwrap(), behind };
            let mut last = None;
            for head in head..head + 300 {
                while let Some(next) = cadence.next(last, head) {
                    prop_assert!(next % every == 0 && next + behind <= head);
                    prop_assert!(last.is_none_or(|last| next == last + every));
                    last = Some(next);
                }
                prop_assert_eq!(last.is_some(), head >= behind);
                prop_assert!(last.is_none_or(|last| last + every + behind > head), "one is overdue");
            }
        }
    }

    proptest! {
        #[test]
        fn the_first_state_that_is_there_is_found_with_few_questions(every in 1..50_u64, gone in 0..9_u64, first in 1..999_u64, more in 0..999_u64) {
            let cadence = Cadence { every: NonZeroU64::new(every).unwrap(), behind: 0 };
            let (first, there) = (gone + first, gone + first + more);
            let asked = std::cell::Cell::new(0);
            let is_there = async |block: u64| {
                asked.set(asked.get() + 1);
                Ok::<_, ()>(block >= first * every)
            };
            let found = cadence.first_there(gone * every, there * every, is_there).now_or_never();
            prop_assert_eq!(found, Some(Ok(first * every)));
            prop_assert!(asked.get() <= 11, "{}", asked.get());
        }
    }

    #[test]
    fn it_has_ended_when_no_block_is_left() {
        let cadence = Cadence { every: NonZeroU64::new(10).unwrap(), behind: 2 };
        assert!(!cadence.has_ended(None, 5) && !cadence.has_ended(Some(20), 30));
        assert!(cadence.has_ended(Some(20), 29) && cadence.has_ended(Some(30), 30));
        // After another number of blocks between them.
        assert!(!cadence.has_ended(Some(25), 30) && cadence.has_ended(Some(u64::MAX), u64::MAX));
    }

    #[test]
    fn what_was_made_at_other_blocks_is_followed_by_the_next_multiple() {
        let cadence = Cadence { every: NonZeroU64::new(10).unwrap(), behind: 2 };
        assert_eq!(cadence.next(Some(25), 40), Some(30));
        assert_eq!(cadence.next(Some(25), 31), None);
        assert_eq!(cadence.next(None, 1), None);
        assert_eq!(cadence.next(None, 31), Some(20));
        assert_eq!(cadence.next(Some(u64::MAX), u64::MAX), None);
    }
}
