//! A block as it is replayed: its header, its body, and who sent its transactions.

use alloy_consensus::transaction::{Recovered, SignerRecoverable as _};
use alloy_consensus::{Block as ConsensusBlock, BlockBody, Header, TxEnvelope};
use alloy_primitives::B256;
use alloy_rlp::Decodable as _;
use content_types::header::DecodedHeader;

/// A block whose body may be any. Nothing is checked here: the header has to be one that was proved to be the chain's, and a
/// body that is not the header's leads to another state.
#[derive(Debug, Clone)]
pub struct Block {
    hash: B256,
    header: Header,
    body: BlockBody<TxEnvelope>,
}

/// Bytes that are no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The body, or the block, is malformed.
    #[error("a malformed block: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// Something follows the body.
    #[error("{0} bytes behind the body")]
    TrailingBytes(usize),
    /// A signature is nobody's.
    #[error("the signature of transaction {0} is nobody's")]
    Signature(usize),
}

impl Block {
    /// A block from its header and its body as RLP, `[transactions, ommers]` or `[transactions, ommers, withdrawals]`, as
    /// archives have it.
    ///
    /// # Errors
    ///
    /// [`BlockError`].
    pub fn new(header: &DecodedHeader, mut body: &[u8]) -> Result<Self, BlockError> {
        let decoded = BlockBody::decode(&mut body)?;
        if !body.is_empty() {
            return Err(BlockError::TrailingBytes(body.len()));
        }
        Ok(Self { hash: header.hash(), header: header.header().clone(), body: decoded })
    }

    /// Takes one block in RLP, header and body in one list, from the front of `bytes`.
    ///
    /// # Errors
    ///
    /// [`BlockError::Rlp`].
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, BlockError> {
        let ConsensusBlock { header, body } = ConsensusBlock::<TxEnvelope>::decode(bytes)?;
        Ok(Self::from_parts(header, body))
    }

    /// A block from its parts.
    pub fn from_parts(header: Header, body: BlockBody<TxEnvelope>) -> Self {
        Self { hash: header.hash_slow(), header, body }
    }

    /// The Keccak-256 hash of the header.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Finds out who sent the transactions, which takes longer than executing most of them.
    ///
    /// # Errors
    ///
    /// [`BlockError::Signature`].
    pub fn recover(self) -> Result<RecoveredBlock, BlockError> {
        let Self { hash, header, body: BlockBody { transactions, ommers, withdrawals } } = self;
        let recovered = transactions.into_iter().enumerate().map(|(index, transaction)| {
            // A high `s` is valid before Homestead. Behind it a block with one is no block, and none that is proved has it.
            let sender = transaction.recover_signer_unchecked().map_err(|_| BlockError::Signature(index))?;
            Ok(Recovered::new_unchecked(transaction, sender))
        });
        let transactions = recovered.collect::<Result<_, BlockError>>()?;
        let withdrawals = withdrawals.map(|withdrawals| withdrawals.into_inner());
        Ok(RecoveredBlock { hash, header, transactions, ommers, withdrawals })
    }
}

/// A block that can be executed.
#[derive(Debug, Clone)]
pub struct RecoveredBlock {
    pub(crate) hash: B256,
    pub(crate) header: Header,
    pub(crate) transactions: Vec<Recovered<TxEnvelope>>,
    pub(crate) ommers: Vec<Header>,
    pub(crate) withdrawals: Option<Vec<alloy_eips::eip4895::Withdrawal>>,
}
