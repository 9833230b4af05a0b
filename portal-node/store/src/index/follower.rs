//! The index as the running store sees it: the engine, and in front of it the changes that are acknowledged but not in
//! the engine yet. A commit does so not wait for the engine, and the engine's own pauses are nobody's.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
};

use parking_lot::{Mutex, RwLock};

use super::{Batch, EntryKey, Index, Location};
use crate::error::IndexError;

/// Changes of entries that the engine may be behind. Whoever commits more brings some in himself.
const MAX_BEHIND: usize = 16_384;

/// A change of an entry: where it is now, or that it is gone.
pub(crate) type EntryChange = (EntryKey, Option<Location>);

/// An index engine that follows the volumes.
pub(crate) struct Follower {
    engine: Box<dyn Index>,
    /// The last change of each entry that the engine has not got yet, and which commit made it.
    recent: RwLock<BTreeMap<EntryKey, (Option<Location>, u64)>>,
    queue: Mutex<Queue>,
    /// Held while a commit is brought into the engine, so that they go in order.
    applying: Mutex<()>,
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
        Self { engine, recent: RwLock::default(), queue: Mutex::default(), applying: Mutex::default() }
    }

    /// The engine, for what is not entries.
    pub(crate) fn engine(&self) -> &dyn Index {
        &*self.engine
    }

    /// Makes a commit visible: its batch for the engine, and the changes of entries that are in it. Commits come in the
    /// order in which they are pushed.
    pub(crate) fn push(&self, batch: Batch, changes: Vec<EntryChange>) -> Result<(), IndexError> {
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

    /// Brings the oldest commit into the engine; returns whether there was one.
    pub(crate) fn apply_one(&self) -> Result<bool, IndexError> {
        let _applying = self.applying.lock();
        let commit = {
            let mut queue = self.queue.lock();
            if let Some(failure) = &queue.failure {
                return Err(failure.clone());
            }
            let Some(commit) = queue.commits.pop_front() else { return Ok(false) };
            commit
        };
        if let Err(error) = self.engine.apply(commit.batch) {
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
        // Another thread may be at the last commit.
        drop(self.applying.lock());
        self.engine.flush()
    }

    /// Where an entry lies.
    pub(crate) fn get(&self, key: &EntryKey) -> Result<Option<Location>, IndexError> {
        if let Some((location, _)) = self.recent.read().get(key) {
            return Ok(*location);
        }
        self.engine.get(key.as_bytes())?.map(|value| Location::decode(key.as_bytes(), &value)).transpose()
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
        self.engine.scan(first.as_bytes(), last.as_bytes(), backwards, &mut |key, value| {
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
        ) {
            let dir = tempfile::tempdir().unwrap();
            let follower = Follower::new(SledEngine::open(dir.path(), 1 << 20).unwrap());
            let mut model = BTreeMap::new();
            for (changes, applied) in commits {
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
