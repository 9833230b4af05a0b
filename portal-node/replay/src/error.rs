//! What ends a replay: at which block, and why.

use std::fmt;

use alloy_primitives::B256;

use crate::block::BlockError;
use crate::execution::ExecutionError;
use crate::store::StoreError;
use crate::trie::TrieError;

/// A replay that has come to an end before its time.
#[derive(Debug, thiserror::Error)]
pub struct ReplayError {
    /// The block at which it ended, as far as that is known.
    pub number: Option<u64>,
    /// Why.
    #[source]
    pub trouble: Trouble,
}

impl ReplayError {
    pub(crate) fn new(number: Option<u64>, trouble: impl Into<Trouble>) -> Self {
        Self { number, trouble: trouble.into() }
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "block {number}: {}", self.trouble),
            None => self.trouble.fmt(f),
        }
    }
}

/// Why a replay ends.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Where the blocks come from has failed.
    #[error("reading the next block: {0}")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The block is none.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// It does not follow on the last one.
    #[error("expected is block {expected}")]
    Number {
        /// The number that follows.
        expected: u64,
    },
    /// It follows on another block.
    #[error("its parent is {actual}, and not {expected}")]
    Parent {
        /// The hash of the last block.
        expected: B256,
        /// The parent that it names.
        actual: B256,
    },
    /// A block that was replayed already had another hash: the store is another chain's.
    #[error("its hash is {actual}, and that of the block in the store {expected}")]
    OtherChain {
        /// The store's.
        expected: B256,
        /// The block's.
        actual: B256,
    },
    /// The execution failed, or yielded other than the header says.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The state behind it is another.
    #[error("the state's root is {actual}, and not {expected}")]
    StateRoot {
        /// The header's.
        expected: B256,
        /// That of the state.
        actual: B256,
    },
    /// A trie cannot be changed.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that writes to the store is gone.
    #[error("the thread that writes the state has ended")]
    WriterDied,
}
