//! Blocks and parts of them as people and programs read them: JSON as execution clients' `eth_*` methods give it, or the
//! RLP that the chain commits to.
//!
//! | module | what |
//! |---|---|
//! | `block` | headers, transactions, whole blocks |
//! | `receipts` | receipts, with what follows from their transactions |
//! | `sender` | who signed a transaction |
//! | `blob_fees` | what blob gas cost |
//! | `pieces` | what of a block is wanted, in which form, as bytes |
//!
//! The types are those of `alloy-rpc-types-eth`. Senders follow from the signatures; to recover them takes some 0.1 ms of the
//! processor each, so what is here belongs on a thread for that, as [`Node::present`](crate::Node::present) has it.

mod blob_fees;
mod block;
mod pieces;
mod receipts;
mod sender;
#[cfg(test)]
mod tests;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{BlockBody, Header, TxEnvelope};
use alloy_primitives::B256;
use alloy_rlp::Decodable;
use alloy_rpc_types_eth::Withdrawals;
use content_types::ProvedHeader;

pub use blob_fees::BlobFees;
pub use block::{BodyJson, block, body, header};
pub(crate) use pieces::piece;
pub use pieces::{PieceError, PieceForm, What};
pub use receipts::receipts;

/// Why a body or receipts cannot be shown as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresentError {
    /// A transaction or receipt of an unknown kind.
    #[error(transparent)]
    Rlp(#[from] alloy_rlp::Error),
    /// A value that JSON has no form for.
    #[error("{0}")]
    Json(String),
    /// Bytes that belong to nothing.
    #[error("{count} bytes follow its end")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A receipt of a type that has no JSON form here.
    #[error("receipt {index} is of the unknown type {tx_type}")]
    ReceiptType {
        /// Its place in the block.
        index: usize,
        /// Its type.
        tx_type: u8,
    },
    /// Neither a status nor a state root.
    #[error("receipt {index} tells neither a status nor a state root")]
    ReceiptOutcome {
        /// Its place in the block.
        index: usize,
    },
    /// There is not a receipt for each transaction.
    #[error("{receipts} receipts are not those of {transactions} transactions")]
    Count {
        /// Receipts.
        receipts: usize,
        /// Transactions.
        transactions: usize,
    },
    /// No key can have made the signature.
    #[error("the signature of transaction {index} is nobody's")]
    Signature {
        /// Its place in the block.
        index: usize,
    },
}

/// The block that is shown. Whether its header is proved is for the caller to know.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    header: &'a Header,
    hash: B256,
}

impl<'a> Shown<'a> {
    /// The block with this header, whose hash is `hash`.
    pub const fn new(header: &'a Header, hash: B256) -> Self {
        Self { header, hash }
    }
}

impl<'a> From<&'a ProvedHeader> for Shown<'a> {
    fn from(proved: &'a ProvedHeader) -> Self {
        Self::new(proved.header(), proved.hash())
    }
}

/// A block's body, with the sender of each transaction.
#[derive(Clone, Debug)]
pub struct Body {
    transactions: Vec<Recovered<TxEnvelope>>,
    /// Their hashes.
    ommers: Vec<B256>,
    withdrawals: Option<Withdrawals>,
    /// Bytes of its fields in RLP, without the list around them.
    fields_len: usize,
}

impl Body {
    /// Decodes RLP `[transactions, ommers, withdrawals?]` and recovers the senders.
    ///
    /// # Errors
    /// [`PresentError`] when it is none, or a transaction is of an unknown kind or signed by nobody.
    pub fn decode(rlp: &[u8]) -> Result<Self, PresentError> {
        let fields_len = fields_of(rlp)?.len();
        let BlockBody { transactions, ommers, withdrawals } = BlockBody::<TxEnvelope>::decode(&mut &*rlp)?;
        let recovered = transactions.into_iter().enumerate().map(|(index, transaction)| {
            let sender = sender::of(&transaction).ok_or(PresentError::Signature { index })?;
            Ok(Recovered::new_unchecked(transaction, sender))
        });
        let transactions = recovered.collect::<Result<_, PresentError>>()?;
        let ommers = ommers.iter().map(Header::hash_slow).collect();
        Ok(Self { transactions, ommers, withdrawals, fields_len })
    }
}

/// What is in a list that nothing follows.
fn fields_of(rlp: &[u8]) -> Result<&[u8], PresentError> {
    let mut rest = rlp;
    let fields = alloy_rlp::Header::decode_bytes(&mut rest, true)?;
    if rest.is_empty() { Ok(fields) } else { Err(PresentError::TrailingBytes { count: rest.len() }) }
}
