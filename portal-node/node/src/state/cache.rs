//! Nodes and codes that were read lately, by their hash: the upper levels of a trie are the same in every read.

use alloy_primitives::B256;
use bytes::Bytes;
use hashlink::LruCache;

/// Bytes that one of them counts for beyond its own.
const OVERHEAD: usize = 128;

/// A cache bounded in bytes; what was not used for longest gives way.
pub(super) struct NodeCache {
    by_hash: LruCache<B256, Bytes>,
    bytes: usize,
    max_bytes: usize,
}

impl NodeCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { by_hash: LruCache::new_unbounded(), bytes: 0, max_bytes }
    }

    pub(super) fn get(&mut self, hash: &B256) -> Option<Bytes> {
        self.by_hash.get(hash).cloned()
    }

    /// Keeps a value under its hash, which the caller has checked.
    pub(super) fn insert(&mut self, hash: B256, value: Bytes) {
        // A slice of a message would keep all of it.
        let value = Bytes::copy_from_slice(&value);
        self.bytes += value.len() + OVERHEAD;
        if let Some(before) = self.by_hash.insert(hash, value) {
            self.bytes -= before.len() + OVERHEAD;
        }
        while self.bytes > self.max_bytes
            && let Some((_, oldest)) = self.by_hash.remove_lru()
        {
            self.bytes -= oldest.len() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_bytes_and_forgets_what_was_not_used_for_longest() {
        let mut cache = NodeCache::new(4 * (100 + OVERHEAD));
        let hash = B256::repeat_byte;
        for nth in 0..4 {
            cache.insert(hash(nth), vec![nth; 100].into());
            cache.insert(hash(nth), vec![nth; 100].into());
        }
        assert!(cache.get(&hash(0)).is_some(), "the same again takes no room");
        cache.insert(hash(4), vec![4; 101].into());
        assert!(cache.get(&hash(0)).is_some() && cache.get(&hash(4)).is_some());
        assert!(cache.get(&hash(1)).is_none() && cache.get(&hash(2)).is_none());
        cache.insert(hash(5), vec![0; 10_000].into());
        assert_eq!((cache.by_hash.len(), cache.bytes), (0, 0), "what is larger than all of it is not kept");
    }
}
