//! Merkle Patricia tries that live in the store: changes go in, the new root and every new node come out, and no more is read
//! than the nodes on the way to a change.
//!
//! | module | what |
//! |---|---|
//! | `path` | where in a trie a node is |
//! | `node` | what a trie is made of, and the RLP of nodes |
//! | `record` | what the store has of a trie |
//! | `apply` | the shape that tries have after changes |
//! | `hash` | the hashes of what changed, in batches |

mod apply;
mod hash;
mod node;
mod path;
mod record;
#[cfg(test)]
mod tests;

pub use apply::TrieId;
pub(crate) use apply::{Change, Forest, Records};
pub(crate) use hash::HashedNode;
pub(crate) use path::TriePath;
pub use record::DamagedRecord;

use content_types::trie::Nibbles;

use crate::store::StoreError;

/// A trie that cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum TrieError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store has is no node.
    #[error(transparent)]
    Damaged(#[from] DamagedRecord),
    /// A branch is not where its parent says.
    #[error("the store has no branch at {path} of trie {trie}")]
    Missing {
        /// The trie.
        trie: TrieId,
        /// Where the branch has to be.
        path: Nibbles,
    },
    /// One trie was changed twice in one go.
    #[error("a trie was changed twice in one go")]
    ChangedTwice,
}
