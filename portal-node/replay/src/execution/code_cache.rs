//! Code that was analysed already: where one may jump to in it. A few contracts have most of the calls.

use alloy_evm::revm::bytecode::Bytecode;
use alloy_primitives::B256;
use hashlink::LruCache;

/// Codes that are kept. Each has at most 24,576 bytes since Spurious Dragon, and its analysis an eighth of that: 28 MiB.
const MAX_CODES: usize = 1 << 10;

/// Analysed code by its hash, the least recently used of which goes.
pub(crate) struct CodeCache(LruCache<B256, Bytecode>);

impl CodeCache {
    pub(crate) fn new() -> Self {
        Self(LruCache::new(MAX_CODES))
    }

    pub(crate) fn get(&mut self, hash: &B256) -> Option<Bytecode> {
        self.0.get(hash).cloned()
    }

    pub(crate) fn insert(&mut self, hash: B256, code: Bytecode) {
        self.0.insert(hash, code);
    }
}
