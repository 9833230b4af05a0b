//! What is wrong with a capsule.

use alloy_primitives::Address;

use crate::HeaderError;
use crate::layout::LayoutError;
use crate::trie::ProofError;

/// A capsule that does not prove what it claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapsuleError {
    /// It is not laid out as a capsule is.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its digest is not that of the rest: it was damaged, or changed.
    #[error("the digest does not belong to the rest of it: it was damaged or changed")]
    Digest,
    /// What stands for the header is none.
    #[error("the header: {0}")]
    Header(#[from] HeaderError),
    /// A node or a code is another than its place asks for, or malformed.
    #[error("account {address}: {source}")]
    Account {
        /// Which account's part it is.
        address: Address,
        /// What is wrong.
        source: ProofError,
    },
    /// A node or a code is missing.
    #[error("account {address}: a {what} is missing")]
    Missing {
        /// Which account's part it is.
        address: Address,
        /// "node" or "code".
        what: &'static str,
    },
    /// There are nodes or codes that nothing leads to.
    #[error("{0} nodes or codes more than it takes")]
    Extraneous(usize),
    /// It tells of other accounts or slots, or of another block, than its key on the network says.
    #[error("another capsule than its key stands for: {0}")]
    OtherKey(&'static str),
    /// On the network a capsule goes without the proof of its header, so that there is one value for each key.
    #[error("a capsule with the proof of its header, where it goes without")]
    WithHeaderProof,
    /// To check it would take too long: there are more steps from node to node than this.
    #[error("it takes more than {0} steps from node to node to check it")]
    TooManySteps(usize),
    /// The codes that it tells have more bytes than this, each as often as there are accounts that have it.
    #[error("it tells of more than {0} bytes of code")]
    TooMuchCode(usize),
    /// There is no proof of the header in it.
    #[error("it has no proof of its header: hold the block's hash against one that you trust")]
    NoHeaderProof,
}

/// Why a capsule was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeError<E> {
    /// What was asked for a node or a code did not have it.
    #[error(transparent)]
    Source(E),
    /// What it gave is another one.
    #[error(transparent)]
    Wrong(#[from] CapsuleError),
}
