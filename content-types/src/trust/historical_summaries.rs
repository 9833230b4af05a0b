//! `historical_summaries` of the beacon state, which grow by an entry a period.

use std::{fmt, sync::Arc};

use alloy_primitives::B256;

use super::{
    HISTORICAL_ROOTS_DEPTH, HistoricalSummariesWithProof, SummariesCheckpoint, TrustError, TrustListKind, TrustRoots,
    items,
};
use crate::merkle::{MerkleTree, hash_pair, mix_in_length};

/// Bytes of an entry.
pub(super) const ENTRY_LENGTH: usize = 64;

const LIST: TrustListKind = TrustListKind::HistoricalSummaries;

/// A period's entry in `historical_summaries` (consensus specification, `HistoricalSummary`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HistoricalSummary {
    /// Root of the period's block roots.
    pub block_summary_root: B256,
    /// Root of the period's state roots.
    pub state_summary_root: B256,
}

impl HistoricalSummary {
    fn root(&self) -> B256 {
        hash_pair(&self.block_summary_root, &self.state_summary_root)
    }
}

/// A prefix of a chain's `historical_summaries`, checked. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoricalSummaries {
    summaries: Arc<[HistoricalSummary]>,
}

impl HistoricalSummaries {
    /// Checks the SSZ encoding of `List[HistoricalSummary, HISTORICAL_ROOTS_LIMIT]` against the chain's checkpoint. Of a
    /// list that is longer than the checkpoint, only the entries that the checkpoint covers are kept.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when the bytes are malformed, shorter than the checkpoint or have another root, or no checkpoint is
    /// known.
    pub fn from_ssz(bytes: &[u8], roots: &TrustRoots) -> Result<Self, TrustError> {
        let SummariesCheckpoint { count, root: expected } = roots.summaries.ok_or(TrustError::NoRoot(LIST))?;
        let summaries = decode(bytes)?;
        let Some(covered) = summaries.get(..count) else {
            return Err(TrustError::TooFewSummaries { needed: count, actual: summaries.len() });
        };
        let actual = Self::root_of(covered);
        if actual != expected {
            return Err(TrustError::WrongRoot { list: LIST, expected, actual });
        }
        Ok(Self { summaries: covered.into() })
    }

    /// Checks summaries against the root of the beacon state that they were taken from. All of them are kept.
    ///
    /// `state_root` must be one that the caller trusts, for example because a light client has proved it final.
    ///
    /// # Errors
    ///
    /// [`TrustError::NotInState`] when the summaries don't lead to that root.
    pub fn from_state_proof(summaries: HistoricalSummariesWithProof, state_root: B256) -> Result<Self, TrustError> {
        let actual = summaries.state_root();
        if actual != state_root {
            return Err(TrustError::NotInState { expected: state_root, actual });
        }
        Ok(Self { summaries: summaries.into_summaries().into() })
    }

    /// The hash tree root of the list of the entries given.
    pub fn root_of(summaries: &[HistoricalSummary]) -> B256 {
        let leaves = summaries.iter().map(HistoricalSummary::root).collect();
        mix_in_length(&MerkleTree::of_fitting(leaves, HISTORICAL_ROOTS_DEPTH).root(), summaries.len())
    }

    /// The SSZ encoding of the entries given.
    pub fn encode(summaries: &[HistoricalSummary]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(summaries.len() * ENTRY_LENGTH);
        for summary in summaries {
            bytes.extend_from_slice(summary.block_summary_root.as_slice());
            bytes.extend_from_slice(summary.state_summary_root.as_slice());
        }
        bytes
    }

    /// The SSZ encoding.
    pub fn to_ssz(&self) -> Vec<u8> {
        Self::encode(&self.summaries)
    }

    /// The summaries of the periods from Capella on.
    pub fn summaries(&self) -> &[HistoricalSummary] {
        &self.summaries
    }
}

impl fmt::Debug for HistoricalSummaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HistoricalSummaries({})", self.summaries.len())
    }
}

/// Decodes the SSZ encoding of a list of summaries.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<HistoricalSummary>, TrustError> {
    let summaries = items::<ENTRY_LENGTH>(LIST, bytes)?.iter().map(|entry| {
        let (block_summary_root, state_summary_root) = entry.split_at(32);
        HistoricalSummary {
            block_summary_root: B256::from_slice(block_summary_root),
            state_summary_root: B256::from_slice(state_summary_root),
        }
    });
    Ok(summaries.collect())
}
