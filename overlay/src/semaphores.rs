//! Semaphores by key, such as a peer or a subnet: each key has its own share of what all of them share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Keys that are noted before those that hold nothing are cleared away.
const MAX_IDLE: usize = 1024;

/// A semaphore for each key. It is forgotten when nobody holds or awaits a permit of it, so that whoever came once takes no
/// room for ever.
#[derive(Debug)]
pub struct Semaphores<K> {
    permits: usize,
    by_key: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Eq + Hash> Semaphores<K> {
    /// Semaphores of so many permits each.
    pub fn new(permits: usize) -> Self {
        Self { permits, by_key: Mutex::default() }
    }

    /// The semaphore of a key. Its permits are to be taken as owned ones: they keep it.
    pub fn of(&self, key: K) -> Arc<Semaphore> {
        let mut by_key = self.by_key.lock();
        if let Some(semaphore) = by_key.get(&key).and_then(Weak::upgrade) {
            return semaphore;
        }
        if by_key.len() >= MAX_IDLE {
            by_key.retain(|_, semaphore| semaphore.strong_count() > 0);
        }
        let semaphore = Arc::new(Semaphore::new(self.permits));
        by_key.insert(key, Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_permits_as_long_as_one_is_held() {
        let semaphores = Semaphores::new(2);
        let held = semaphores.of(1).try_acquire_many_owned(2).unwrap();
        assert!(semaphores.of(1).try_acquire_owned().is_err());
        assert!(semaphores.of(2).try_acquire_owned().is_ok());
        drop(held);
        assert!(semaphores.of(1).try_acquire_many_owned(2).is_ok());
    }

    #[test]
    fn only_keys_that_hold_something_are_kept() {
        let semaphores = Semaphores::new(1);
        let held: Vec<_> = (0..3).map(|key| semaphores.of(key).try_acquire_owned().unwrap()).collect();
        for key in 0..10 * MAX_IDLE {
            semaphores.of(key);
        }
        assert!(semaphores.by_key.lock().len() <= MAX_IDLE);
        assert!((0..3).all(|key| semaphores.of(key).try_acquire_owned().is_err()));
        drop(held);
    }
}
