//! An entry of `historical_summaries`, and lists of them, unchecked.

use alloy_primitives::B256;

use super::{HISTORICAL_ROOTS_DEPTH, TrustError, TrustListKind, items};
use crate::merkle::{MerkleTree, hash_pair, mix_in_length};

/// Bytes of an entry.
pub(super) const ENTRY_LENGTH: usize = 64;

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

/// The hash tree root of the list of the entries given.
pub(super) fn root_of(summaries: &[HistoricalSummary]) -> B256 {
    let leaves = summaries.iter().map(HistoricalSummary::root).collect();
    mix_in_length(&MerkleTree::of_fitting(leaves, HISTORICAL_ROOTS_DEPTH).root(), summaries.len())
}

/// The SSZ encoding of the entries given.
pub(super) fn encode(summaries: &[HistoricalSummary]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(summaries.len() * ENTRY_LENGTH);
    for summary in summaries {
        bytes.extend_from_slice(summary.block_summary_root.as_slice());
        bytes.extend_from_slice(summary.state_summary_root.as_slice());
    }
    bytes
}

/// Decodes the SSZ encoding of a list of summaries.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<HistoricalSummary>, TrustError> {
    let summaries = items::<ENTRY_LENGTH>(TrustListKind::HistoricalSummaries, bytes)?.iter().map(|entry| {
        let (block_summary_root, state_summary_root) = entry.split_at(32);
        HistoricalSummary {
            block_summary_root: B256::from_slice(block_summary_root),
            state_summary_root: B256::from_slice(state_summary_root),
        }
    });
    Ok(summaries.collect())
}
