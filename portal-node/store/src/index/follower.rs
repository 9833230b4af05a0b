//! The index as the running store sees it: the engine, and in front of it the changes that are acknowledged but not in
//! the engine yet. A commit brings its changes in itself, except while the engine is busy with being renewed.
//!
//! An engine that has grown far beyond what its entries need is renewed: copied into a fresh one while everything goes on.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    sync::Arc,
    thread,
    time::Instant,
};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::{Batch, EntryKey, Index, Location, meta};
use crate::error::IndexError;

/// Changes of entries that the engine may be behind. Who commits more waits for it.
const MAX_BEHIND: usize = 16_384;

/// Entries that are copied in one go when the engine is renewed. An engine may let no reads through meanwhile: sled has one
/// lock for all databases of a process.
const COPIED_AT_ONCE: usize = 64;
/// Pause after each of these steps, as a multiple of the time that it took.
const PAUSE_PER_COPY: u32 = 3;
/// Commits that may be left for the moment in which the fresh engine takes over.
const MAX_LEFT_OVER: usize = 16;

/// No key comes after this one: all begin with a small number.
const LAST_KEY: [u8; 1] = [0xff];

/// A change of an entry: where it is now, or that it is gone.
pub(crate) type EntryChange = (EntryKey, Option<Location>);

/// An index engine that follows the volumes.
pub(crate) struct Follower {
    engine: RwLock<Arc<dyn Index>>,
    /// The last change of each entry that the engine has not got yet, and which commit made it.
    recent: RwLock<BTreeMap<EntryKey, (Option<Location>, u64)>>,
    queue: Mutex<Queue>,
    /// Held while a commit is brought into the engine, so that they go in order.
    applying: Mutex<()>,
    /// What was brought into the engine since a renewal began.
    catch_up: Mutex<Option<Vec<Batch>>>,
}

#[derive(Default)]
struct Queue {
    commits: VecDeque<Commit>,
    next: u64,
    failure: Option<IndexError>,
}

struct Commit {
    number: u64,
    batch: Batch,
    keys: Vec<EntryKey>,
}

impl Follower {
    pub(crate) fn new(engine: Box<dyn Index>) -> Self {
        Self {
            engine: RwLock::new(engine.into()),
            recent: RwLock::default(),
            queue: Mutex::default(),
            applying: Mutex::default(),
            catch_up: Mutex::default(),
        }
    }

    /// The engine, for reading what is not entries.
    pub(crate) fn engine(&self) -> Arc<dyn Index> {
        self.engine.read().clone()
    }

    /// Makes a commit visible: its batch for the engine, and the changes of entries that are in it. Commits come in the
    /// order in which they are pushed.
    fn push(&self, batch: Batch, changes: Vec<EntryChange>) -> Result<(), IndexError> {
        while self.is_far_behind() && self.apply_one()? {}
        let mut queue = self.queue.lock();
        if let Some(failure) = &queue.failure {
            return Err(failure.clone());
        }
        let number = queue.next;
        queue.next += 1;
        let keys = changes.iter().map(|(key, _)| *key).collect();
        self.recent.write().extend(changes.into_iter().map(|(key, location)| (key, (location, number))));
        queue.commits.push_back(Commit { number, batch, keys });
        Ok(())
    }

    fn is_far_behind(&self) -> bool {
        self.recent.read().len() >= MAX_BEHIND
    }

    /// [`Self::push`], and brings all that was pushed into the engine, unless somebody else is at it.
    pub(crate) fn commit(&self, batch: Batch, changes: Vec<EntryChange>) -> Result<(), IndexError> {
        self.push(batch, changes)?;
        while let Some(applying) = self.applying.try_lock() {
            if !self.apply_next(&applying)? {
                break;
            }
        }
        Ok(())
    }

    /// Brings the oldest commit into the engine; returns whether there was one.
    fn apply_one(&self) -> Result<bool, IndexError> {
        self.apply_next(&self.applying.lock())
    }

    fn apply_next(&self, _applying: &MutexGuard<'_, ()>) -> Result<bool, IndexError> {
        let commit = {
            let mut queue = self.queue.lock();
            if let Some(failure) = &queue.failure {
                return Err(failure.clone());
            }
            let Some(commit) = queue.commits.pop_front() else { return Ok(false) };
            commit
        };
        if let Some(catch_up) = &mut *self.catch_up.lock() {
            catch_up.push(commit.batch.clone());
        }
        if let Err(error) = self.engine().apply(commit.batch) {
            // What comes after it must not be applied without it.
            self.queue.lock().failure = Some(error.clone());
            return Err(error);
        }
        let mut recent = self.recent.write();
        for key in commit.keys {
            if recent.get(&key).is_some_and(|(_, number)| *number == commit.number) {
                recent.remove(&key);
            }
        }
        Ok(true)
    }

    /// Returns when everything that was pushed before is safe from a crash.
    pub(crate) fn checkpoint(&self) -> Result<(), IndexError> {
        while self.apply_one()? {}
        self.engine().flush()
    }

    /// Copies everything into `fresh`, which takes the engine's place, and returns the old one; or `None` when it is told to
    /// stop before. Until `fresh` is complete it has no position, so that it is not taken for complete after a crash.
    pub(crate) fn renew(
        &self,
        fresh: Box<dyn Index>,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<dyn Index>>, IndexError> {
        {
            let _applying = self.applying.lock();
            *self.catch_up.lock() = Some(Vec::new());
        }
        let renewed = self.copy_to(fresh, is_stopped);
        *self.catch_up.lock() = None;
        renewed
    }

    fn copy_to(
        &self,
        fresh: Box<dyn Index>,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<dyn Index>>, IndexError> {
        let old = self.engine();
        let mut first = Vec::new();
        loop {
            if is_stopped() {
                return Ok(None);
            }
            let started = Instant::now();
            let mut batch = Batch::default();
            let mut last = Vec::new();
            old.scan(&first, &LAST_KEY, false, &mut |key, value| {
                batch.put(key, value);
                last = key.to_vec();
                if batch.len() < COPIED_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if batch.len() == 0 {
                break;
            }
            fresh.apply(batch.without(&meta::POSITION))?;
            // The next key after one is that key with a zero behind it.
            first = last;
            first.push(0);
            thread::sleep(started.elapsed() * PAUSE_PER_COPY);
        }
        // What changed while it was copied is changed once more.
        while self.catch_up(&*fresh)? > MAX_LEFT_OVER {}
        fresh.flush()?;
        let _applying = self.applying.lock();
        self.catch_up(&*fresh)?;
        fresh.flush()?;
        if let Some(position) = old.get(&meta::POSITION)? {
            let mut batch = Batch::default();
            batch.put(meta::POSITION, position);
            fresh.apply(batch)?;
        }
        fresh.flush()?;
        *self.engine.write() = fresh.into();
        Ok(Some(old))
    }

    /// Brings into `fresh` what it has missed; returns how many commits that were.
    fn catch_up(&self, fresh: &dyn Index) -> Result<usize, IndexError> {
        let missed = self.catch_up.lock().as_mut().map(std::mem::take).unwrap_or_default();
        let count = missed.len();
        for batch in missed {
            fresh.apply(batch.without(&meta::POSITION))?;
        }
        Ok(count)
    }

    /// Where an entry lies.
    pub(crate) fn get(&self, key: &EntryKey) -> Result<Option<Location>, IndexError> {
        if let Some((location, _)) = self.recent.read().get(key) {
            return Ok(*location);
        }
        self.engine().get(key.as_bytes())?.map(|value| Location::decode(key.as_bytes(), &value)).transpose()
    }

    /// Calls `visit` with the entries from `first` to `last`, both included, in falling order when `backwards`, until it
    /// breaks. Commits wait meanwhile.
    pub(crate) fn scan(
        &self,
        (first, last): (EntryKey, EntryKey),
        backwards: bool,
        mut visit: impl FnMut(EntryKey, Location) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        let recent = self.recent.read();
        let range = recent.range(first..=last);
        let range: Box<dyn Iterator<Item = _>> = if backwards { Box::new(range.rev()) } else { Box::new(range) };
        let mut range = range.map(|(key, (location, _))| (*key, *location)).peekable();
        let mut is_stopped = false;
        let mut pass_on = |is_stopped: &mut bool, (key, location): EntryChange| {
            let flow = location.map_or(ControlFlow::Continue(()), |location| visit(key, location));
            *is_stopped = flow.is_break();
            flow
        };
        let mut failure = None;
        self.engine().scan(first.as_bytes(), last.as_bytes(), backwards, &mut |key, value| {
            let entry = EntryKey::decode(key).and_then(|key| Ok((key, Location::decode(key.as_bytes(), value)?)));
            let (key, location) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let is_before = |other: &EntryKey| if backwards { *other > key } else { *other < key };
            while let Some(change) = range.next_if(|(other, _)| is_before(other)) {
                pass_on(&mut is_stopped, change)?;
            }
            let current = range.next_if(|(other, _)| *other == key).unwrap_or((key, Some(location)));
            pass_on(&mut is_stopped, current)
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        while !is_stopped && let Some(change) = range.next() {
            let _ = pass_on(&mut is_stopped, change);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use content_types::{Distance, SubNetwork};
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{IndexEngine, SledEngine, record::Place};

    fn key(number: u8) -> EntryKey {
        let mut distance = [0; 32];
        distance[0] = number;
        EntryKey::new(SubNetwork::State, Distance::from_be_bytes(distance))
    }

    fn location(len: u32) -> Location {
        Location { place: Place { volume: 1, offset: 0 }, len }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// However far the engine is behind, what is seen is what was pushed.
        #[test]
        fn the_engine_may_be_behind(
            commits in vec((vec((any::<u8>(), any::<Option<u32>>()), 1..6), 0..3_usize), 1..40),
            nearest: u8,
            farthest: u8,
            renewed_after in 0..40_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let follower = Follower::new(SledEngine::open(dir.path(), 1 << 20).unwrap());
            let mut model = BTreeMap::new();
            let fresh_dir = tempfile::tempdir().unwrap();
            for (i, (changes, applied)) in commits.into_iter().enumerate() {
                if i == renewed_after {
                    let fresh = SledEngine::open(fresh_dir.path(), 1 << 20).unwrap();
                    follower.renew(fresh, &|| false).unwrap();
                }
                let changes: BTreeMap<_, _> =
                    changes.into_iter().map(|(number, len)| (key(number), len.map(location))).collect();
                let mut batch = Batch::default();
                for (key, location) in &changes {
                    match location {
                        Some(location) => batch.put(key.as_bytes(), location.encode()),
                        None => batch.remove(key.as_bytes()),
                    }
                    model.insert(*key, *location);
                }
                follower.push(batch, changes.into_iter().collect()).unwrap();
                for _ in 0..applied {
                    follower.apply_one().unwrap();
                }
                let bounds = (key(nearest.min(farthest)), key(nearest.max(farthest)));
                let expected: Vec<_> =
                    model.range(bounds.0..=bounds.1).filter_map(|(key, location)| Some((*key, (*location)?))).collect();
                for backwards in [false, true] {
                    let mut found = Vec::new();
                    follower.scan(bounds, backwards, |key, location| {
                        found.push((key, location));
                        ControlFlow::Continue(())
                    }).unwrap();
                    if backwards {
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
