//! When a batch of runs is over though something of it is missing: a decision without I/O and clock.

use std::time::{Duration, Instant};

/// How long a batch goes on that brings nothing: a peer that serves others by turns comes round to this one within that.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same while nobody is connected that holds what is missing.
const UNSERVED_PATIENCE: Duration = Duration::from_secs(20);
/// The longest that a batch goes on.
const BATCH_TIME: Duration = Duration::from_secs(30 * 60);
/// Over how long it is looked at how fast a batch is.
const SPELL: Duration = Duration::from_secs(60);
/// What a batch brings in such a time at least, in bytes a second: less is what trickles from who does not want to bring it, and a
/// batch that it ends loses nothing, since what came stays.
const FLOOR: u64 = 16 << 10;
/// A node that itself takes no more than some bytes a second asks for this part of that.
const PART_OF_LIMIT: u64 = 8;

/// How a batch does.
#[derive(Debug)]
pub(super) struct BatchPatience {
    begun: Instant,
    /// When something came last, and how much was here then.
    last: Instant,
    kept: u64,
    /// When the spell began, and how much was here then.
    spell: (Instant, u64),
    floor: u64,
}

/// Why a batch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Too little comes.
    Stalled,
    /// It has lasted for long enough.
    TimedOut,
}

impl BatchPatience {
    /// `limit` is how many bytes a second this node takes at most.
    pub(super) fn new(now: Instant, limit: Option<u64>) -> Self {
        let floor = limit.map_or(FLOOR, |limit| FLOOR.min(limit / PART_OF_LIMIT));
        Self { begun: now, last: now, kept: 0, spell: (now, 0), floor }
    }

    /// So many bytes were kept until now. `is_served`: somebody is connected who holds something of what is missing; `is_preparing`:
    /// what it takes to ask for the rest is still being sought, so that nothing can be expected.
    pub(super) fn look(&mut self, now: Instant, kept: u64, is_served: bool, is_preparing: bool) -> Option<Over> {
        if kept > self.kept || is_preparing {
            (self.last, self.kept) = (now, kept);
        }
        let (since, before) = self.spell;
        let spell = now.saturating_duration_since(since);
        let is_too_slow = !is_preparing && spell >= SPELL && kept.saturating_sub(before) < self.floor * spell.as_secs();
        if spell >= SPELL || is_preparing {
            self.spell = (now, kept);
        }
        let patience = if is_served { PATIENCE } else { UNSERVED_PATIENCE };
        if is_too_slow || now.saturating_duration_since(self.last) > patience {
            return Some(Over::Stalled);
        }
        (now.saturating_duration_since(self.begun) > BATCH_TIME).then_some(Over::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a batch is over that brings so many bytes a second, and why.
    fn over(rate: u64, limit: Option<u64>, is_served: bool, prepared: Duration) -> (Duration, Over) {
        let start = Instant::now();
        let mut patience = BatchPatience::new(start, limit);
        let mut seconds = (0..).map(Duration::from_secs);
        let over = seconds.find_map(|after| {
            let over = patience.look(start + after, rate * after.as_secs(), is_served, after < prepared)?;
            Some((after, over))
        });
        over.unwrap()
    }

    #[test]
    fn who_brings_nothing_or_next_to_nothing_does_not_hold_it_up() {
        let none = Duration::ZERO;
        assert_eq!(over(0, None, true, none), (PATIENCE + Duration::from_secs(1), Over::Stalled));
        assert_eq!(over(0, None, false, none), (UNSERVED_PATIENCE + Duration::from_secs(1), Over::Stalled));
        assert_eq!(over(FLOOR - 1, None, true, none), (SPELL, Over::Stalled));
        assert_eq!(over(FLOOR, None, true, none), (BATCH_TIME + Duration::from_secs(1), Over::TimedOut));
    }

    #[test]
    fn a_node_that_takes_little_expects_little_and_what_cannot_come_yet_is_not_expected() {
        assert_eq!(over(FLOOR / 2, Some(FLOOR), true, Duration::ZERO).1, Over::TimedOut);
        assert_eq!(over(1, Some(0), true, Duration::ZERO).1, Over::TimedOut);
        let prepared = Duration::from_secs(600);
        let (after, why) = over(0, None, true, prepared);
        assert!(after >= prepared && after <= prepared + PATIENCE + Duration::from_secs(1) && why == Over::Stalled);
    }
}
