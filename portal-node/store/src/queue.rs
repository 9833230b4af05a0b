//! What waits to be committed. Whoever gets hold of the committer commits for everybody who waits, so that they share one
//! write and one sync.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use parking_lot::MutexGuard;

use crate::{
    commit::MIN_UNRECLAIMED,
    core::{Committer, Core},
    error::StoreError,
    record::{Item, MAX_KEY_LEN, MAX_VALUE_LEN},
    work::{Placement, Ticket, Work},
};

/// Bytes of values after which a commit takes in nothing more that waits.
const MAX_COMMIT_BYTES: u64 = 8 << 20;
/// Share of what is held, in percent, that may be dead and still take room before puts are slowed down.
const MAX_UNRECLAIMED_PERCENT: u64 = 5;
/// Bytes a second to which they are slowed down then: giving room back keeps up with as much.
const SLOW_RATE: u64 = 100_000_000;
/// What a put takes at most for the sake of this, in microseconds for each percent of what may be unreclaimed.
const MICROS_PER_PERCENT: u64 = 25;

impl Core {
    /// Stores items; returns when they are safe from a crash.
    pub(crate) fn put(&self, items: Vec<Item>) -> Result<Vec<Placement>, StoreError> {
        for item in &items {
            let network = item.network;
            if item.key.len() > MAX_KEY_LEN {
                return Err(StoreError::KeyTooLong { network, len: item.key.len(), max: MAX_KEY_LEN });
            }
            if item.value.len() > MAX_VALUE_LEN {
                return Err(StoreError::ValueTooLarge { network, len: item.value.len(), max: MAX_VALUE_LEN });
            }
        }
        let mut placements = Vec::with_capacity(items.len());
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let mut bytes = 0;
            let mut puts = Vec::new();
            while let Some(item) = items.next_if(|item| bytes == 0 || bytes + item.record_len() <= MAX_COMMIT_BYTES) {
                bytes += item.record_len();
                puts.push(item);
            }
            let started = Instant::now();
            placements.extend(self.commit_with_others(Work { puts, ..Work::default() })?);
            thread::sleep(pause(bytes, started.elapsed(), self.pressure_percent()));
        }
        Ok(placements)
    }

    /// Commits something that is not a put.
    pub(crate) fn commit_now(&self, work: Work) -> Result<(), StoreError> {
        self.commit_with_others(work).map(drop)
    }

    /// Returns when the work is committed. Whoever held the committer before may have done it.
    fn commit_with_others(&self, work: Work) -> Result<Vec<Placement>, StoreError> {
        let ticket = Ticket::new(work);
        self.queue.lock().push(ticket.clone());
        let mut committer = self.committer.lock();
        loop {
            if let Some(answer) = ticket.answer.lock().take() {
                return answer;
            }
            if !self.queue.lock().iter().any(|waiting| Arc::ptr_eq(waiting, &ticket)) {
                // Whoever had it in the group did not come to answer: it panicked.
                return Err(StoreError::BrokenOff);
            }
            self.commit_next(&mut committer);
        }
    }

    /// Commits what waits, as much of it as goes into one commit.
    fn commit_next(&self, committer: &mut MutexGuard<'_, Committer>) {
        let mut group = self.next_group();
        if group.iter().any(|ticket| ticket.has_puts)
            && let Err(error) = self.look_for_room()
        {
            // What gives room back goes on.
            let refused = group.extract_if(.., |ticket| ticket.has_puts);
            refused.for_each(|ticket| *ticket.answer.lock() = Some(Err(error.clone())));
        }
        let mut work = Work::default();
        let put_counts: Vec<_> = group
            .iter()
            .map(|ticket| {
                let part = mem::take(&mut *ticket.work.lock());
                let count = part.puts.len();
                work.add(part);
                count
            })
            .collect();
        let mut answer = self.commit(committer, &work);
        if !work.puts.is_empty() {
            self.learn_of_write(answer.as_ref().map(drop));
        }
        for (ticket, count) in group.iter().zip(put_counts) {
            let part = answer.as_mut().map(|placements| placements.drain(..count).collect());
            *ticket.answer.lock() = Some(part.map_err(|error| error.clone()));
        }
    }

    fn next_group(&self) -> Vec<Arc<Ticket>> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        let count = queue
            .iter()
            .enumerate()
            .take_while(|(i, ticket)| {
                bytes += ticket.bytes;
                *i == 0 || bytes <= MAX_COMMIT_BYTES
            })
            .count();
        queue.drain(..count).collect()
    }

    /// How far evicting is ahead of giving room back, in percent of what is allowed: beyond that the disk might become too
    /// full.
    fn pressure_percent(&self) -> u64 {
        let unreclaimed = self.buried.load(Ordering::Relaxed) + self.unpunched.load(Ordering::Relaxed);
        let held: u64 = self.ledger.read().networks.iter().map(|usage| usage.bytes).sum();
        let allowed = MIN_UNRECLAIMED.max(held / 100 * MAX_UNRECLAIMED_PERCENT);
        (unreclaimed * 100 / allowed).max(self.overfull_percent.load(Ordering::Relaxed))
    }
}

/// How long a put of `bytes` that took some time has to pause. Only those that were quick do, so that none is slow.
fn pause(bytes: u64, taken: Duration, pressure_percent: u64) -> Duration {
    if pressure_percent < 100 {
        return Duration::ZERO;
    }
    let micros = (bytes / (SLOW_RATE / 1_000_000)).min(pressure_percent.saturating_mul(MICROS_PER_PERCENT));
    Duration::from_micros(micros).saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use content_types::SubNetwork;

    use super::*;
    use crate::{Budgets, Store, StoreConfig, work::Removal};

    const QUICK: Duration = Duration::from_micros(100);

    #[test]
    fn a_full_disk_refuses_puts_and_nothing_else() {
        let network = SubNetwork::LegacyHistory;
        let dir = tempfile::tempdir().unwrap();
        let budgets = Budgets::NONE.with(network, 1 << 20);
        let config = StoreConfig { disk_reserve: u64::MAX, ..StoreConfig::new(dir.path(), [7; 32].into(), budgets) };
        let store = Store::open(config, Box::new(|_| ())).unwrap();
        let value = Bytes::from_static(b"value");
        let item = Item { network, id: [3; 32].into(), key: Bytes::from_static(b"key"), value };
        let removal = Removal { network, id: item.id, location: None };
        let refused = Ticket::new(Work { puts: vec![item], ..Work::default() });
        store.core.queue.lock().push(refused.clone());
        store.core.commit_now(Work { removals: vec![removal], ..Work::default() }).unwrap();
        let answer = refused.answer.lock().take();
        assert!(matches!(answer, Some(Err(StoreError::DiskFull { .. }))), "{answer:?}");
        assert!(store.refusal().is_some_and(|why| why.is_disk_full()));
    }

    #[test]
    fn nobody_pauses_as_long_as_little_is_unreclaimed() {
        assert_eq!(pause(MAX_COMMIT_BYTES, Duration::ZERO, 99), Duration::ZERO);
    }

    #[test]
    fn who_is_quick_is_slowed_down_to_the_rate() {
        assert_eq!(pause(SLOW_RATE / 1_000, QUICK, 100), Duration::from_millis(1) - QUICK);
        assert_eq!(pause(SLOW_RATE / 1_000, Duration::from_millis(1), 100), Duration::ZERO);
    }

    #[test]
    fn large_puts_pause_longer_the_more_is_unreclaimed() {
        let [at_limit, beyond] = [100, 300].map(|percent| pause(MAX_COMMIT_BYTES, QUICK, percent));
        assert_eq!((at_limit + QUICK) * 3, beyond + QUICK);
        assert_eq!(pause(MAX_COMMIT_BYTES, QUICK, u64::MAX), pause(MAX_COMMIT_BYTES, QUICK, 100_000));
    }
}
