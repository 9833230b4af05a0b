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
            Some(last) => {
                let every = self.every.get();
                let next = (last / every).checked_add(1)?.checked_mul(every)?;
                (next <= newest).then_some(next)
            }
        }
    }

    /// The newest block that counts.
    pub fn newest(&self, head: u64) -> Option<u64> {
        head.checked_sub(self.behind).map(|newest| newest - newest % self.every)
    }
}

#[cfg(test)]
mod tests {
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
