//! Counts by key that forget a key at zero, so that what was counted once takes no room for ever.

use std::{collections::HashMap, hash::Hash};

/// How often each key was added and not removed since.
#[derive(Debug, Clone)]
pub(crate) struct Tally<K> {
    counts: HashMap<K, usize>,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { counts: HashMap::new() }
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// One more of this key.
    pub(crate) fn add(&mut self, key: K) {
        *self.counts.entry(key).or_default() += 1;
    }

    /// One less of this key; whether there was one.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let Some(count) = self.counts.get_mut(key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(key);
        }
        true
    }

    /// How many there are of this key.
    pub(crate) fn of(&self, key: &K) -> usize {
        self.counts.get(key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn it_counts_like_a_list(steps in vec((any::<bool>(), 0_u8..4), 0..100)) {
            let (mut tally, mut list) = (Tally::default(), Vec::new());
            for (adds, key) in steps {
                if adds {
                    tally.add(key);
                    list.push(key);
                } else {
                    let place = list.iter().position(|other| *other == key);
                    prop_assert_eq!(tally.remove(&key), place.is_some());
                    place.map(|place| list.swap_remove(place));
                }
                for key in 0..4 {
                    prop_assert_eq!(tally.of(&key), list.iter().filter(|other| **other == key).count());
                }
                prop_assert_eq!(tally.counts.is_empty(), list.is_empty());
            }
        }
    }
}
