//! Proved headers that were used lately, by number and by hash.

use alloy_primitives::B256;
use content_types::ProvedHeader;
use hashlink::LruCache;

/// A bounded cache; the header that was not used for longest gives way.
pub(crate) struct HeaderCache {
    by_hash: LruCache<B256, ProvedHeader>,
    /// Follows `by_hash`: a number is here exactly as long as its header is there.
    by_number: LruCache<u64, B256>,
}

impl HeaderCache {
    /// A cache of at most `capacity` headers.
    pub(crate) fn new(capacity: usize) -> Self {
        // Both maps grow as they fill, the number only bounds them.
        Self { by_hash: LruCache::new(capacity), by_number: LruCache::new(capacity) }
    }

    pub(crate) fn insert(&mut self, header: ProvedHeader) {
        self.by_number.insert(header.number(), header.hash());
        self.by_hash.insert(header.hash(), header);
    }

    pub(crate) fn by_hash(&mut self, hash: &B256) -> Option<ProvedHeader> {
        let header = self.by_hash.get(hash)?.clone();
        // Touched in both, so that both forget in the same order.
        self.by_number.get(&header.number());
        Some(header)
    }

    pub(crate) fn by_number(&mut self, number: u64) -> Option<ProvedHeader> {
        let hash = *self.by_number.get(&number)?;
        self.by_hash.get(&hash).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }
}
