//! What a replayed block hands out: everything that its state has and the one before had not.

use alloy_primitives::{B256, Bytes};
use content_types::trie::Nibbles;

/// What a block has brought. Its state's root was checked.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The block's number.
    pub number: u64,
    /// Its hash.
    pub block_hash: B256,
    /// The root of its state.
    pub state_root: B256,
    /// Gas that it took.
    pub gas_used: u64,
    /// How many transactions it has.
    pub transactions: usize,
    /// Nodes of tries that are new, or lie elsewhere than before. Nodes that stand in others by themselves (fewer than 32
    /// bytes) are not among them. In no order.
    pub nodes: Vec<TrieNode>,
    /// Code of accounts that had none or other code before.
    pub codes: Vec<AccountCode>,
}

/// A node of the account trie, or of an account's storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrieNode {
    /// The Keccak-256 hash of the address of the account whose storage it is; `None`: the account trie.
    pub account: Option<B256>,
    /// The way to it from its trie's root.
    pub path: Nibbles,
    /// The Keccak-256 hash of `rlp`.
    pub hash: B256,
    /// The node.
    pub rlp: Bytes,
}

/// An account's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountCode {
    /// The Keccak-256 hash of the account's address.
    pub account: B256,
    /// The Keccak-256 hash of `code`.
    pub hash: B256,
    /// The code.
    pub code: Bytes,
}
