//! What is wrong with a proof, or with a node on the way down a trie.

use alloy_primitives::B256;

use super::nibbles::Nibbles;
use super::node::NodeError;

/// A proof that proves nothing, or something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no node in it, or none where the way goes on.
    #[error("the proof ends after {0} nodes, before what it is to prove")]
    TooShort(usize),
    /// There are nodes behind the one that is proved.
    #[error("{0} nodes more than it takes")]
    Extraneous(usize),
    /// A node is not the one that its place asks for: that of the root, or the child of the one before.
    #[error("node {position} has the hash {actual}, and not {expected}")]
    NotLinked {
        /// Place in the proof, counted from 0.
        position: usize,
        /// The hash that the root or the node before has there.
        expected: B256,
        /// The node's own.
        actual: B256,
    },
    /// A node is malformed.
    #[error("node {position}: {source}")]
    Node {
        /// Place in the proof, counted from 0.
        position: usize,
        /// What is wrong with it.
        source: NodeError,
    },
    /// The way does not lead through the trie, or no node begins at its end.
    #[error("the trie has no node at {way}: the way ends at node {position}")]
    NoSuchNode {
        /// The node's place in the trie.
        way: Nibbles,
        /// Place in the proof, counted from 0.
        position: usize,
    },
    /// There is no account under the address, and so no storage and no code.
    #[error("the state has no such account")]
    NoAccount,
    /// What stands in the account trie is no account.
    #[error("a malformed account: {0}")]
    MalformedAccount(alloy_rlp::Error),
    /// What stands in a storage trie is no number of 256 bits.
    #[error("a malformed slot: {0}")]
    MalformedSlot(alloy_rlp::Error),
    /// The proof of the account that the storage, or the code, belongs to.
    #[error("the proof of the account: {0}")]
    Account(#[source] Box<ProofError>),
    /// The node at that place is another.
    #[error("the node that is proved has the hash {actual}, and not {expected}")]
    OtherNode {
        /// The hash in the key.
        expected: B256,
        /// That of what came.
        actual: B256,
    },
    /// The code of the account, or what came as code, is another.
    #[error("code with the hash {actual}, and not {expected}")]
    OtherCode {
        /// The hash in the key.
        expected: B256,
        /// That of the account, or of what came.
        actual: B256,
    },
    /// An account without code has none to be proved.
    #[error("no code: the account is no contract")]
    NoCode,
}
