//! Bodies and receipts against the header that commits to them.

use alloy_consensus::Header;
use alloy_primitives::B256;

use super::{BodyEncoding, BodyRoots, Malformed, ReceiptsEncoding, ReceiptsRoots};

/// Why a body is not that of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The bytes do not follow the encoding.
    #[error("malformed block body: {0}")]
    Malformed(#[from] Malformed),
    /// Other transactions than the header's.
    #[error("the transactions root is {computed}, the header of block {number} says {expected}")]
    TransactionsRoot {
        /// The header's block number.
        number: u64,
        /// The header's root.
        expected: B256,
        /// The body's root.
        computed: B256,
    },
    /// Other ommers than the header's. From the merge on, the header's hash is that of the empty list.
    #[error("the hash of the ommers is {computed}, the header of block {number} says {expected}")]
    OmmersHash {
        /// The header's block number.
        number: u64,
        /// The header's hash.
        expected: B256,
        /// The body's hash.
        computed: B256,
    },
    /// Other withdrawals than the header's.
    #[error("the withdrawals root is {computed}, the header of block {number} says {expected}")]
    WithdrawalsRoot {
        /// The header's block number.
        number: u64,
        /// The header's root.
        expected: B256,
        /// The body's root.
        computed: B256,
    },
    /// The header has a withdrawals root and the body has no list of withdrawals.
    #[error("the body has no list of withdrawals, the header of block {number} has their root")]
    MissingWithdrawals {
        /// The header's block number.
        number: u64,
    },
    /// The body has a list of withdrawals and the header is from before Shanghai.
    #[error("the body has a list of withdrawals, the header of block {number} has no root for it")]
    UnexpectedWithdrawals {
        /// The header's block number.
        number: u64,
    },
}

/// Why a list of receipts is not that of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptsError {
    /// The bytes do not follow the encoding.
    #[error("malformed receipts: {0}")]
    Malformed(#[from] Malformed),
    /// Other receipts than the header's.
    #[error("the receipts root is {computed}, the header of block {number} says {expected}")]
    Root {
        /// The header's block number.
        number: u64,
        /// The header's root.
        expected: B256,
        /// The list's root.
        computed: B256,
    },
    /// The receipts are the header's, yet their blooms do not add up to the header's.
    #[error("the union of the receipts' blooms is not the logs bloom in the header of block {number}")]
    LogsBloom {
        /// The header's block number.
        number: u64,
    },
}

/// Checks that `body` is the body of `header`: transactions root, ommers hash, withdrawals root or its absence.
///
/// # Errors
///
/// The body is malformed or is not the header's.
pub fn body(header: &Header, encoding: BodyEncoding, body: &[u8]) -> Result<(), BodyError> {
    body_roots(header, &BodyRoots::compute(encoding, body)?)
}

/// Checks that the body with these roots is the body of `header`, as [`body`] does.
///
/// # Errors
///
/// The body is not the header's.
pub fn body_roots(header: &Header, roots: &BodyRoots) -> Result<(), BodyError> {
    let number = header.number;
    let (expected, computed) = (header.transactions_root, roots.transactions);
    if computed != expected {
        return Err(BodyError::TransactionsRoot { number, expected, computed });
    }
    let (expected, computed) = (header.ommers_hash, roots.ommers_hash);
    if computed != expected {
        return Err(BodyError::OmmersHash { number, expected, computed });
    }
    match (header.withdrawals_root, roots.withdrawals) {
        (None, Some(_)) => Err(BodyError::UnexpectedWithdrawals { number }),
        (Some(_), None) => Err(BodyError::MissingWithdrawals { number }),
        (Some(expected), Some(computed)) if computed != expected => {
            Err(BodyError::WithdrawalsRoot { number, expected, computed })
        }
        _ => Ok(()),
    }
}

/// Checks that `receipts` are the receipts of `header`: receipts root and logs bloom.
///
/// # Errors
///
/// The list is malformed or is not the header's.
pub fn receipts(header: &Header, encoding: ReceiptsEncoding, receipts: &[u8]) -> Result<(), ReceiptsError> {
    receipts_roots(header, &ReceiptsRoots::compute(encoding, receipts)?)
}

/// Checks that the list with this root and bloom is the one of `header`, as [`receipts`] does.
///
/// # Errors
///
/// The list is not the header's.
pub fn receipts_roots(header: &Header, roots: &ReceiptsRoots) -> Result<(), ReceiptsError> {
    let number = header.number;
    let (expected, computed) = (header.receipts_root, roots.root);
    if computed != expected {
        return Err(ReceiptsError::Root { number, expected, computed });
    }
    if roots.logs_bloom != header.logs_bloom {
        return Err(ReceiptsError::LogsBloom { number });
    }
    Ok(())
}
