//! A bounded map whose entries live for a fixed time: what was noted recently, and no more than that.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// Entries expire in the order in which they were put in, because all live equally long.
#[derive(Debug)]
pub(crate) struct ExpiringMap<K, V> {
    lifetime: Duration,
    capacity: usize,
    entries: HashMap<K, (V, Instant)>,
    /// Keys with the time of each `insert`; a key that was put in again stands here more than once.
    order: VecDeque<(K, Instant)>,
}

impl<K: Copy + Eq + Hash, V> ExpiringMap<K, V> {
    pub(crate) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { lifetime, capacity, entries: HashMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn insert(&mut self, key: K, value: V, now: Instant) {
        self.entries.insert(key, (value, now));
        self.order.push_back((key, now));
        while let Some((oldest, at)) = self.order.front().copied()
            && (self.order.len() > self.capacity || now.duration_since(at) >= self.lifetime)
        {
            self.order.pop_front();
            // Put in again since, it lives on.
            if self.entries.get(&oldest).is_some_and(|(_, inserted)| *inserted == at) {
                self.entries.remove(&oldest);
            }
        }
    }

    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<&V> {
        let (value, inserted) = self.entries.get(key)?;
        (now.duration_since(*inserted) < self.lifetime).then_some(value)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(10);

    #[test]
    fn entries_expire_and_insertion_renews() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut map = ExpiringMap::new(LIFETIME, 8);
        map.insert(1, 'a', at(0));
        map.insert(1, 'b', at(5));
        assert_eq!(map.get(&1, at(14)), Some(&'b'));
        assert_eq!(map.get(&1, at(15)), None);
        map.insert(2, 'c', at(12));
        assert_eq!(map.get(&1, at(12)), Some(&'b'), "the first insertion's end is not the second's");
        map.insert(3, 'd', at(30));
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn never_above_capacity() {
        let now = Instant::now();
        let mut map = ExpiringMap::new(LIFETIME, 4);
        for key in 0..100 {
            map.insert(key, (), now);
            map.insert(key, (), now);
            assert!(map.len() <= 4 && map.order.len() <= 4);
        }
        assert_eq!(map.get(&99, now), Some(&()));
        assert_eq!(map.get(&0, now), None);
    }
}
