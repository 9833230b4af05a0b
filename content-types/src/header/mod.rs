//! Headers and their proofs.
//!
//! A header is believed when its Keccak hash is proved to belong to the chain. Which of the four kinds of proof applies
//! follows from the header's number and timestamp and from the chain's forks ([`ChainSpec::proof_kind`]):
//!
//! | blocks | proof | leads to |
//! |---|---|---|
//! | before the merge | [`BlockProofHistoricalHashesAccumulator`] | an epoch root of the pre-merge accumulator |
//! | until Capella | [`BlockProofHistoricalRoots`] | an entry of `historical_roots` |
//! | until Deneb | [`BlockProofHistoricalSummariesCapella`] | an entry of `historical_summaries` |
//! | from Deneb on | [`BlockProofHistoricalSummariesDeneb`] | an entry of `historical_summaries` |
//!
//! [`HeaderVerifier`] checks proofs; what it lets through is a [`ProvedHeader`], and there is no other way to get one.
//! [`epoch`] builds the proofs of blocks before the merge, [`period`] those after it.
//!
//! [`ChainSpec::proof_kind`]: crate::ChainSpec::proof_kind

pub mod epoch;
pub mod period;

mod decoded;
mod error;
mod kind;
mod on_chain;
mod proof;
mod verifier;
mod with_proof;

pub use decoded::DecodedHeader;
pub use epoch::{EpochRecord, EpochTree, HeaderRecord};
pub use error::{HeaderError, RunError};
pub use kind::ProofKind;
pub use period::{BeaconBlock, Period};
pub use proof::{
    BlockProofHistoricalHashesAccumulator, BlockProofHistoricalRoots, BlockProofHistoricalSummaries,
    BlockProofHistoricalSummariesCapella, BlockProofHistoricalSummariesDeneb, Branch, HeaderProof,
};
pub use verifier::{HeaderVerifier, ProvedHeader};
pub use with_proof::HeaderWithProof;
