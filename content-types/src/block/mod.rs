//! Block bodies and receipts, checked and re-encoded as the raw bytes they arrive in.
//!
//! A header commits to a body and to receipts through the roots of ordered tries. Those roots are computed here over
//! slices of the received bytes: the list headers are walked strictly, no transaction is decoded. The same walk turns
//! one encoding into another.
//!
//! | | [`BodyEncoding`] | [`ReceiptsEncoding`] |
//! |---|---|---|
//! | History (`0x5000`), `.ere` | `Rlp` | `Slim` |
//! | Legacy History (`0x500B`) | `Ssz` | `Ssz` |
//! | `.era1` | `Rlp` | `Rlp` |

mod bloom;
mod body;
mod eip2718;
mod error;
mod keccak;
mod lists;
mod receipts;
mod rlp;
mod span;
mod ssz;
pub mod transcode;
mod trie;
pub mod validate;

pub use body::{BodyEncoding, BodyRoots};
pub use error::{BlockPlace, Malformed, Rule};
pub use receipts::{ReceiptsEncoding, ReceiptsRoots};
pub use trie::ordered_trie_root;

/// Most transactions, and so receipts, of one block: `MAX_TRANSACTION_COUNT` of the Legacy History specification.
pub const MAX_TRANSACTION_COUNT: usize = 1 << 14;
/// Largest EIP-2718 encoding of a transaction, bytes: `MAX_TRANSACTION_LENGTH` of the Legacy History specification.
pub const MAX_TRANSACTION_LEN: usize = 1 << 24;
/// Largest EIP-2718 encoding of a receipt, bytes: `MAX_RECEIPT_LENGTH` of the Legacy History specification.
pub const MAX_RECEIPT_LEN: usize = 1 << 27;
/// Largest RLP list of ommers, bytes: `MAX_ENCODED_UNCLES_LENGTH` of the Legacy History specification.
pub const MAX_OMMERS_LEN: usize = 1 << 15;
/// Most withdrawals of one block: `MAX_WITHDRAWAL_COUNT` of the Legacy History specification.
pub const MAX_WITHDRAWAL_COUNT: usize = 16;
/// Largest RLP encoding of a withdrawal, bytes: `WITHDRAWAL_LENGTH` of the Legacy History specification.
pub const MAX_WITHDRAWAL_LEN: usize = 64;
