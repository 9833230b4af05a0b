//! What a store is told when it is opened.

use std::{fmt, path::PathBuf};

use alloy_primitives::B256;
use content_types::{NodeId, SubNetwork};

/// Bytes after which a volume is closed and the next one begun.
pub const VOLUME_LEN: u32 = 64 << 20;

/// Bytes of memory that the index engine may use for its cache.
pub const INDEX_CACHE: u64 = 16 << 20;

/// Bytes of the file system that the store leaves free: room for the index and for rewriting volumes.
pub const DISK_RESERVE: u64 = 256 << 20;

/// Where a store lies, whose it is and how much it may hold.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The store's directory; created when it is missing.
    pub dir: PathBuf,
    /// The chain that the content is of. A store of another one is refused; `None` takes any.
    pub chain: Option<Chain>,
    /// The node whose neighbourhood is kept: eviction begins with what lies farthest from it.
    pub node_id: NodeId,
    /// Bytes that may be held for each sub-network.
    pub budgets: Budgets,
    /// Bytes of the file system that are left free.
    pub disk_reserve: u64,
    /// Bytes of memory for the index engine's cache.
    pub index_cache: u64,
    /// Bytes after which a volume is closed.
    pub volume_len: u32,
}

impl StoreConfig {
    /// A configuration with the default sizes, for content of any chain.
    pub fn new(dir: impl Into<PathBuf>, node_id: NodeId, budgets: Budgets) -> Self {
        Self {
            dir: dir.into(),
            chain: None,
            node_id,
            budgets,
            disk_reserve: DISK_RESERVE,
            index_cache: INDEX_CACHE,
            volume_len: VOLUME_LEN,
        }
    }
}

/// What tells a chain from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Its number by EIP-155.
    pub id: u64,
    /// The hash of its first block.
    pub genesis_hash: B256,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with genesis {}", self.id, self.genesis_hash)
    }
}

/// Bytes that may be held for each sub-network: records, with their keys and headers. Nothing is held without a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budgets([u64; SubNetwork::ALL.len()]);

impl Budgets {
    /// No budget for any sub-network.
    pub const NONE: Self = Self([0; SubNetwork::ALL.len()]);

    /// Gives `network` a budget of `bytes`.
    #[must_use]
    pub fn with(mut self, network: SubNetwork, bytes: u64) -> Self {
        self.0[network.index()] = bytes;
        self
    }

    /// Whether anything may be held at all.
    pub(crate) fn is_any(&self) -> bool {
        self.0.iter().any(|budget| *budget > 0)
    }

    /// The budget of `network`, in bytes.
    pub fn get(&self, network: SubNetwork) -> u64 {
        self.0[network.index()]
    }
}
