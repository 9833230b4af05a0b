//! `historical_summaries` of the beacon state, which grow by an entry a period.

use std::{fmt, sync::Arc};

use alloy_primitives::B256;

use super::{
    HistoricalSummariesWithProof, HistoricalSummary, SummariesCheckpoint, TrustError, TrustListKind, TrustRoots,
    summary,
};

const LIST: TrustListKind = TrustListKind::HistoricalSummaries;

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
        let summaries = summary::decode(bytes)?;
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
        summary::root_of(summaries)
    }

    /// The SSZ encoding of the entries given.
    pub fn encode(summaries: &[HistoricalSummary]) -> Vec<u8> {
        summary::encode(summaries)
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
