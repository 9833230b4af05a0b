//! Which era is announced next. No I/O: the time goes in, eras come out.
//!
//! A holder of everything has thousands of eras, and each announcement asks some thirty peers. They go out a few at a
//! time; since each is renewed twelve hours after it went out, they stay spread from then on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Records last a day; whoever misses one renewal is still found until the next.
pub(crate) const RENEW_AFTER: Duration = Duration::from_secs(12 * 3600);

/// Nobody took the record: the first retry. Each further one waits twice as long.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The longest wait between retries.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How the announcing of an era goes.
#[derive(Debug, Clone, Copy)]
struct QueuedEra {
    /// When it is to be announced; nothing while that is under way.
    due: Option<Instant>,
    /// How often in a row nobody took it.
    failures: u32,
    /// Whether somebody has taken it.
    is_announced: bool,
}

/// The eras to be announced, each with its time.
#[derive(Debug)]
pub(crate) struct ProvideQueue {
    eras: BTreeMap<u64, QueuedEra>,
    due: BTreeSet<(Instant, u64)>,
    /// Announcements under way, those of eras that were dropped meanwhile among them.
    running: BTreeSet<u64>,
    max_running: usize,
    max_eras: usize,
}

impl ProvideQueue {
    /// A queue of at most `max_eras`, with at most `max_running` under way at once.
    pub(crate) fn new(max_running: usize, max_eras: usize) -> Self {
        Self { eras: BTreeMap::new(), due: BTreeSet::new(), running: BTreeSet::new(), max_running, max_eras }
    }

    /// Replaces the set of eras. New ones are due at once, the others keep their time. Of too many, the lowest are
    /// taken.
    pub(crate) fn replace(&mut self, eras: &BTreeSet<u64>, now: Instant) {
        let wanted: BTreeSet<u64> = eras.iter().copied().take(self.max_eras).collect();
        let dropped: Vec<u64> = self.eras.keys().copied().filter(|era| !wanted.contains(era)).collect();
        for era in dropped {
            if let Some(due) = self.eras.remove(&era).and_then(|state| state.due) {
                self.due.remove(&(due, era));
            }
        }
        for era in wanted {
            if !self.eras.contains_key(&era) {
                // One that was dropped and is back before its announcement ended waits for that end.
                let due = (!self.running.contains(&era)).then_some(now);
                self.eras.insert(era, QueuedEra { due, failures: 0, is_announced: false });
                self.due.extend(due.map(|due| (due, era)));
            }
        }
    }

    /// The eras that are announced.
    pub(crate) fn eras(&self) -> impl Iterator<Item = u64> {
        self.eras.keys().copied()
    }

    /// The next era to announce now. It is under way until [`finish`](Self::finish).
    pub(crate) fn next(&mut self, now: Instant) -> Option<u64> {
        if self.running.len() >= self.max_running {
            return None;
        }
        let &(due, era) = self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.remove(&(due, era));
        self.eras.get_mut(&era)?.due = None;
        self.running.insert(era);
        Some(era)
    }

    /// When the next era will be due, if anything is to be started at all.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due).filter(|_| self.running.len() < self.max_running)
    }

    /// An announcement ended; `is_taken` if some peer has the record.
    pub(crate) fn finish(&mut self, era: u64, is_taken: bool, now: Instant) {
        if !self.running.remove(&era) {
            return;
        }
        let Some(state) = self.eras.get_mut(&era) else { return };
        let wait = if is_taken {
            state.failures = 0;
            state.is_announced = true;
            RENEW_AFTER
        } else {
            let wait = RETRY_AFTER.saturating_mul(1 << state.failures.min(16)).min(MAX_RETRY_AFTER);
            state.failures = state.failures.saturating_add(1);
            wait
        };
        state.due = Some(now + wait);
        self.due.insert((now + wait, era));
    }

    /// Everything is due again, as when the addresses that are announced changed.
    pub(crate) fn renew_all(&mut self, now: Instant) {
        for (era, state) in &mut self.eras {
            if let Some(due) = state.due.as_mut() {
                self.due.remove(&(*due, *era));
                *due = now;
                self.due.insert((now, *era));
            }
        }
    }

    /// How many eras are to be announced.
    pub(crate) fn len(&self) -> usize {
        self.eras.len()
    }

    /// How many of them somebody has taken.
    pub(crate) fn announced(&self) -> usize {
        self.eras.values().filter(|era| era.is_announced).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(eras: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
        eras.into_iter().collect()
    }

    #[test]
    fn few_are_under_way_at_once_and_each_comes_again_after_twelve_hours() {
        let now = Instant::now();
        let mut queue = ProvideQueue::new(2, 100);
        queue.replace(&set(0..5), now);
        assert_eq!((queue.next(now), queue.next(now), queue.next(now)), (Some(0), Some(1), None));
        queue.finish(0, true, now);
        assert_eq!((queue.next(now), queue.next(now)), (Some(2), None));
        for era in [1, 2, 3, 4] {
            queue.finish(era, true, now);
            queue.next(now);
        }
        queue.finish(4, true, now);
        assert_eq!(queue.announced(), 5);
        assert_eq!(queue.next_due(), Some(now + RENEW_AFTER));
        assert_eq!(queue.next(now + RENEW_AFTER - Duration::from_secs(1)), None);
        assert_eq!(queue.next(now + RENEW_AFTER), Some(0));
    }

    #[test]
    fn what_nobody_took_is_tried_again_ever_later() {
        let mut now = Instant::now();
        let mut queue = ProvideQueue::new(1, 100);
        queue.replace(&set([7]), now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(queue.next(now), Some(7));
            queue.finish(7, false, now);
            let due = queue.next_due().unwrap();
            waits.push(due - now);
            now = due;
        }
        assert_eq!(waits[..3], [60, 120, 240].map(Duration::from_secs));
        assert_eq!(waits[8], MAX_RETRY_AFTER);
        assert_eq!(queue.announced(), 0);

        for (is_taken, wait) in [(true, RENEW_AFTER), (false, RETRY_AFTER)] {
            assert_eq!(queue.next(now), Some(7));
            queue.finish(7, is_taken, now);
            assert_eq!(queue.next_due(), Some(now + wait));
            now += wait;
        }
    }

    #[test]
    fn eras_that_stay_keep_their_time() {
        let now = Instant::now();
        let mut queue = ProvideQueue::new(4, 100);
        queue.replace(&set([1, 2]), now);
        for era in [1, 2] {
            assert_eq!(queue.next(now), Some(era));
            queue.finish(era, true, now);
        }
        queue.replace(&set([2, 3]), now);
        assert!(queue.eras().eq([2, 3]));
        assert_eq!((queue.next(now), queue.next(now)), (Some(3), None));
        queue.renew_all(now);
        assert_eq!(queue.next(now), Some(2));
    }

    #[test]
    fn an_era_that_comes_back_is_not_announced_twice_at_once() {
        let now = Instant::now();
        let mut queue = ProvideQueue::new(4, 100);
        queue.replace(&set([1]), now);
        assert_eq!(queue.next(now), Some(1));
        queue.replace(&set([]), now);
        queue.replace(&set([1]), now);
        assert_eq!(queue.next(now), None);
        queue.finish(1, true, now);
        assert_eq!(queue.next(now), None);
        assert_eq!(queue.next(now + RENEW_AFTER), Some(1));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Replace(BTreeSet<u64>),
        Next,
        Finish(u64, bool),
        Wait(u64),
        RenewAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::btree_set(0_u64..12, 0..12).prop_map(Step::Replace),
            Just(Step::Next),
            (0_u64..12, any::<bool>()).prop_map(|(era, is_taken)| Step::Finish(era, is_taken)),
            (0_u64..100_000).prop_map(Step::Wait),
            Just(Step::RenewAll),
        ]
    }

    proptest! {
        /// Whatever happens: never more under way than allowed, never an era that is not in the set or is under way
        /// already, and every era of the set is either under way or has exactly one time.
        #[test]
        fn bounds_hold(steps in prop::collection::vec(step(), 0..80)) {
            let (max_running, max_eras) = (3, 8);
            let mut queue = ProvideQueue::new(max_running, max_eras);
            let mut now = Instant::now();
            let mut running = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Replace(eras) => {
                        queue.replace(&eras, now);
                        prop_assert_eq!(queue.len(), eras.len().min(max_eras));
                    }
                    Step::Next => if let Some(era) = queue.next(now) {
                        prop_assert!(queue.eras.contains_key(&era));
                        prop_assert!(running.insert(era), "twice");
                        prop_assert!(running.len() <= max_running);
                    },
                    Step::Finish(era, is_taken) => {
                        running.remove(&era);
                        queue.finish(era, is_taken, now);
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                    Step::RenewAll => queue.renew_all(now),
                }
                let times: BTreeSet<_> =
                    queue.eras.iter().filter_map(|(era, state)| Some((state.due?, *era))).collect();
                prop_assert_eq!(&times, &queue.due);
                for (era, state) in &queue.eras {
                    prop_assert_eq!(state.due.is_none(), running.contains(era));
                }
            }
        }
    }
}
