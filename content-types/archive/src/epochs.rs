//! Epoch trees, from which proofs of blocks before the merge are built, kept for a few archives at a time.
//!
//! A tree takes about a megabyte and some 10 ms to build. An archivist serves thousands of archives, so the trees live
//! in one cache that all archives of a node share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use content_types::header::EpochTree;

/// Trees that a cache holds unless told otherwise.
const DEFAULT_TREES: usize = 8;

/// The tree of one archive's epoch, once somebody has built it.
#[derive(Debug, Default)]
pub(crate) struct Cell(Mutex<Option<Arc<EpochTree>>>);

impl Cell {
    /// Whether the tree is there. One that is being built now is not.
    fn is_built(&self) -> bool {
        self.0.try_lock().is_ok_and(|tree| tree.is_some())
    }

    /// The tree, built now if it was not before. Others who want the same tree wait; a failure is not kept.
    pub(crate) fn get_or_build<E>(&self, build: impl FnOnce() -> Result<EpochTree, E>) -> Result<Arc<EpochTree>, E> {
        let mut tree = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = &*tree {
            return Ok(tree.clone());
        }
        Ok(tree.insert(Arc::new(build()?)).clone())
    }
}

/// The epoch trees last used, about a megabyte each.
#[derive(Debug)]
pub struct EpochCache {
    capacity: usize,
    next_key: AtomicU64,
    cells: Mutex<VecDeque<(u64, Arc<Cell>)>>,
}

impl EpochCache {
    /// A cache of `capacity` trees, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), next_key: AtomicU64::new(0), cells: Mutex::default() }
    }

    /// A key that no other archive uses with this cache.
    pub(crate) fn new_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the tree for `key` is there.
    pub(crate) fn has(&self, key: u64) -> bool {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().any(|(held, cell)| *held == key && cell.is_built())
    }

    /// The cell for `key`, which becomes the one last used. The lock is not held while a tree is built.
    pub(crate) fn cell(&self, key: u64) -> Arc<Cell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = match cells.iter().position(|(held, _)| *held == key) {
            Some(at) => cells.remove(at).map(|(_, cell)| cell).unwrap_or_default(),
            None => Arc::default(),
        };
        cells.push_back((key, cell.clone()));
        if cells.len() > self.capacity {
            cells.pop_front();
        }
        cell
    }
}

impl Default for EpochCache {
    fn default() -> Self {
        Self::new(DEFAULT_TREES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_unused_for_longest_makes_room() {
        let cache = EpochCache::new(2);
        let keys = [cache.new_key(), cache.new_key(), cache.new_key()];
        let first = cache.cell(keys[0]);
        let second = cache.cell(keys[1]);
        assert!(Arc::ptr_eq(&first, &cache.cell(keys[0])));
        cache.cell(keys[2]);
        assert!(Arc::ptr_eq(&first, &cache.cell(keys[0])));
        assert!(!Arc::ptr_eq(&second, &cache.cell(keys[1])));
    }
}
