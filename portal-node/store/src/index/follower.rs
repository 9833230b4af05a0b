//! The index as the running store sees it: the engine, and in front of it what has changed since the last checkpoint.
//!
//! Commits only touch memory. A checkpoint seals what there is, brings it into the engine in the order of the keys, and
//! flushes, while commits go on. So an entry that comes and goes between two checkpoints costs the engine nothing, and many
//! that come share a page.
//!
//! An engine that has grown far beyond what its entries need is renewed: copied into a fresh one while everything goes on.

use std::{collections::BTreeMap, iter, mem, ops::ControlFlow, sync::Arc, thread, time::Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::{Batch, EntryChanges, EntryKey, Index, KeyOrder, RecordLocation, meta, pages};
use crate::error::IndexError;

/// Changes of entries that the engine may be behind, beside those that are being brought in: some 15 MB. Who commits more
/// waits for the checkpoint.
const MAX_BEHIND: usize = 1 << 18;

/// Bytes that are copied in one go when the engine is renewed. An engine may let no reads through meanwhile: sled has one
/// lock for all databases of a process.
const COPIED_AT_ONCE: usize = 32 << 10;
/// Pause after each of these steps, as a multiple of the time that it took.
const PAUSE_PER_COPY: u32 = 1;

/// No key comes after this one: all begin with a small number.
const LAST_KEY: [u8; 1] = [0xff];

/// An index engine that follows the volumes.
pub(crate) struct Follower {
    engine: RwLock<Arc<dyn Index>>,
    recent: RwLock<Recent>,
    /// Held by whoever changes the engine.
    changing: Mutex<()>,
}

/// What the engine has not got yet.
#[derive(Default)]
struct Recent {
    /// What was committed since the last checkpoint began.
    open: Changes,
    /// What was committed before, until the engine has it.
    sealed: Option<Arc<Changes>>,
}

/// Changes, the last one of each key.
#[derive(Default)]
struct Changes {
    entries: EntryChanges,
    /// Of counters and of the place in the volumes. They belong to the entries: the engine gets all or nothing.
    counters: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Follower {
    pub(crate) fn new(engine: Box<dyn Index>) -> Self {
        Self { engine: RwLock::new(engine.into()), recent: RwLock::default(), changing: Mutex::default() }
    }

    /// The engine, for reading what is not entries.
    pub(crate) fn engine(&self) -> Arc<dyn Index> {
        self.engine.read().clone()
    }

    /// Makes a commit visible: the changes of entries, and those of counters that go with them. Commits come in the order
    /// in which this is called.
    pub(crate) fn commit(&self, entries: EntryChanges, counters: Batch) -> Result<(), IndexError> {
        if self.behind() >= MAX_BEHIND {
            let changing = self.changing.lock();
            // Whoever was at it is done, unless it failed.
            self.bring_in(&changing)?;
            self.seal();
        }
        let mut recent = self.recent.write();
        recent.open.entries.extend(entries);
        recent.open.counters.extend(counters.into_changes());
        Ok(())
    }

    /// Changes of entries since the last checkpoint began.
    pub(crate) fn behind(&self) -> usize {
        self.recent.read().open.entries.len()
    }

    /// Brings in at once what is neither entries nor counters.
    pub(crate) fn apply_beside(&self, batch: Batch) -> Result<(), IndexError> {
        let _changing = self.changing.lock();
        self.engine().apply(batch)
    }

    /// Returns when everything that was committed before is in the engine and safe from a crash.
    pub(crate) fn checkpoint(&self) -> Result<(), IndexError> {
        let changing = self.changing.lock();
        // What a commit sealed that could not wait, or what could not be brought in before.
        self.bring_in(&changing)?;
        self.seal();
        self.bring_in(&changing)?;
        self.engine().flush()
    }

    fn seal(&self) {
        let mut recent = self.recent.write();
        if recent.sealed.is_none() {
            recent.sealed = Some(Arc::new(mem::take(&mut recent.open)));
        }
    }

    fn bring_in(&self, _changing: &MutexGuard<'_, ()>) -> Result<(), IndexError> {
        let Some(sealed) = self.recent.read().sealed.clone() else { return Ok(()) };
        let counters = sealed.counters.iter().fold(Batch::default(), |mut batch, (key, value)| {
            match value {
                Some(value) => batch.put(&key[..], &value[..]),
                None => batch.remove(&key[..]),
            }
            batch
        });
        bring_in(&*self.engine(), &sealed.entries, counters)?;
        let sealed = (sealed, self.recent.write().sealed.take());
        // Freeing it takes time that nobody has to wait for.
        drop(sealed);
        Ok(())
    }

    /// Copies everything that is to be kept into `fresh`, which takes the engine's place, and returns the old one; or `None`
    /// when it is told to stop before. After a failure the old one goes on. Until `fresh` is complete it has no position, so that it is not taken for complete after a crash.
    pub(crate) fn renew(
        &self,
        fresh: Box<dyn Index>,
        is_kept: &dyn Fn(&[u8], &[u8]) -> bool,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<dyn Index>>, IndexError> {
        let _changing = self.changing.lock();
        let old = self.engine();
        let mut first = Vec::new();
        loop {
            if is_stopped() {
                return Ok(None);
            }
            let started = Instant::now();
            let mut batch = Batch::default();
            let mut last = Vec::new();
            let mut bytes = 0;
            old.scan(&first, &LAST_KEY, KeyOrder::Rising, &mut |key, value| {
                if is_kept(key, value) {
                    batch.put(key, value);
                }
                last = key.to_vec();
                bytes += key.len() + value.len();
                if bytes < COPIED_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if last.is_empty() {
                break;
            }
            fresh.apply(batch.without(&meta::POSITION))?;
            // The next key after one is that key with a zero behind it.
            first = last;
            first.push(0);
            thread::sleep(started.elapsed() * PAUSE_PER_COPY);
        }
        fresh.flush()?;
        if let Some(position) = old.get(&meta::POSITION)? {
            let mut batch = Batch::default();
            batch.put(meta::POSITION, position);
            fresh.apply(batch)?;
            fresh.flush()?;
        }
        *self.engine.write() = fresh.into();
        Ok(Some(old))
    }

    /// Where an entry lies.
    pub(crate) fn get(&self, key: &EntryKey) -> Result<Option<RecordLocation>, IndexError> {
        {
            let recent = self.recent.read();
            let sealed = || recent.sealed.as_ref()?.entries.get(key);
            if let Some(location) = recent.open.entries.get(key).or_else(sealed) {
                return Ok(*location);
            }
        }
        pages::get(&*self.engine(), key)
    }

    /// Calls `visit` with the entries of one sub-network from `first` to `last`, both included, in this order, until
    /// it breaks. Commits wait meanwhile.
    pub(crate) fn scan(
        &self,
        (first, last): (EntryKey, EntryKey),
        order: KeyOrder,
        mut visit: impl FnMut(EntryKey, RecordLocation) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        let recent = self.recent.read();
        let none = EntryChanges::new();
        let sealed = recent.sealed.as_ref().map_or(&none, |sealed| &sealed.entries);
        let is_before = |a: &EntryKey, b: &EntryKey| match order {
            KeyOrder::Rising => a < b,
            KeyOrder::Falling => a > b,
        };
        let [mut open, mut sealed] = [&recent.open.entries, sealed].map(|changes| {
            let range = changes.range(first..=last).map(|(key, location)| (*key, *location));
            let range: Box<dyn Iterator<Item = _>> = match order {
                KeyOrder::Rising => Box::new(range),
                KeyOrder::Falling => Box::new(range.rev()),
            };
            range.peekable()
        });
        let mut changes = iter::from_fn(|| match (open.peek(), sealed.peek()) {
            (Some((newer, _)), Some((older, _))) if is_before(older, newer) => sealed.next(),
            (Some((newer, _)), Some((older, _))) if older == newer => {
                sealed.next();
                open.next()
            }
            (None, _) => sealed.next(),
            (Some(_), _) => open.next(),
        })
        .peekable();

        let mut is_stopped = false;
        let mut pass_on = |is_stopped: &mut bool, (key, location): (EntryKey, Option<RecordLocation>)| {
            let flow = location.map_or(ControlFlow::Continue(()), |location| visit(key, location));
            *is_stopped = flow.is_break();
            flow
        };
        pages::scan(&*self.engine(), (first, last), order, &mut |key, location| {
            while let Some(change) = changes.next_if(|(other, _)| is_before(other, &key)) {
                pass_on(&mut is_stopped, change)?;
            }
            let current = changes.next_if(|(other, _)| *other == key).unwrap_or((key, Some(location)));
            pass_on(&mut is_stopped, current)
        })?;
        while !is_stopped && let Some(change) = changes.next() {
            let _ = pass_on(&mut is_stopped, change);
        }
        Ok(())
    }
}

/// Brings changes of entries into an engine, and then what goes with them. Cut off in between, the engine says that its
/// counters don't belong to its entries.
pub(crate) fn bring_in(engine: &dyn Index, entries: &EntryChanges, mut rest: Batch) -> Result<(), IndexError> {
    if !entries.is_empty() {
        let mut begin = Batch::default();
        begin.put(meta::UNFINISHED, []);
        engine.apply(begin)?;
        pages::merge(engine, entries)?;
        rest.remove(meta::UNFINISHED);
    }
    if rest.is_empty() { Ok(()) } else { engine.apply(rest) }
}

#[cfg(test)]
mod tests {
    use content_types::{Distance, SubNetwork};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{IndexEngine, SledEngine, record::Place};

    fn key(number: u8) -> EntryKey {
        let mut distance = [0; 32];
        distance[0] = number;
        EntryKey::new(SubNetwork::LegacyHistory, Distance::from_be_bytes(distance))
    }

    fn location(len: u32) -> RecordLocation {
        RecordLocation { place: Place { volume: 1, offset: 0 }, len }
    }

    /// What happens after a commit.
    #[derive(Debug, Clone, Copy)]
    enum Then {
        Nothing,
        Seal,
        Checkpoint,
    }

    impl Then {
        const ALL: [Self; 3] = [Self::Nothing, Self::Seal, Self::Checkpoint];
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// However far the engine is behind, what is seen is what was committed.
        #[test]
        fn the_engine_may_be_behind(
            commits in vec((vec((any::<u8>(), any::<Option<u32>>()), 1..6), select(&Then::ALL)), 1..40),
            nearest: u8,
            farthest: u8,
            renewed_after in 0..40_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let follower = Follower::new(SledEngine::open(dir.path(), 1 << 20).unwrap());
            let mut model = BTreeMap::new();
            let fresh_dir = tempfile::tempdir().unwrap();
            for (i, (changes, then)) in commits.into_iter().enumerate() {
                if i == renewed_after {
                    let fresh = SledEngine::open(fresh_dir.path(), 1 << 20).unwrap();
                    follower.renew(fresh, &|_, _| true, &|| false).unwrap();
                }
                let changes: EntryChanges =
                    changes.into_iter().map(|(number, len)| (key(number), len.map(location))).collect();
                model.extend(&changes);
                follower.commit(changes, Batch::default()).unwrap();
                match then {
                    Then::Nothing => {}
                    Then::Seal => follower.seal(),
                    Then::Checkpoint => follower.checkpoint().unwrap(),
                }
                let bounds = (key(nearest.min(farthest)), key(nearest.max(farthest)));
                let expected: Vec<_> =
                    model.range(bounds.0..=bounds.1).filter_map(|(key, location)| Some((*key, (*location)?))).collect();
                for order in [KeyOrder::Rising, KeyOrder::Falling] {
                    let mut found = Vec::new();
                    follower.scan(bounds, order, |key, location| {
                        found.push((key, location));
                        ControlFlow::Continue(())
                    }).unwrap();
                    if order == KeyOrder::Falling {
                        found.reverse();
                    }
                    prop_assert_eq!(&found, &expected);
                }
                for (key, location) in &model {
                    prop_assert_eq!(follower.get(key).unwrap(), *location);
                }
            }
        }
    }
}
