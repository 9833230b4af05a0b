//! `HistoricalSummariesWithProof` of the beacon network: summaries together with their branch in a beacon state.

use alloy_primitives::{B256, FixedBytesSliceExt};

use super::{HistoricalSummary, TrustError, TrustListKind, summary};
use crate::merkle::root_from_branch;

/// Generalized index of `historical_summaries` in a `BeaconState` before Electra: field 27 of up to 32.
const GINDEX_CAPELLA: u64 = 1 << 5 | 27;

/// The same from Electra on: field 27 of up to 64 (beacon network, `HISTORICAL_SUMMARIES_GINDEX_ELECTRA`).
const GINDEX_ELECTRA: u64 = 1 << 6 | 27;

/// Bytes of the part before the proof: a `uint64` and the offset of the summaries.
const HEAD_LENGTH: usize = 12;

/// Summaries and the branch from their root to a beacon state root. Well-formed, unchecked: only
/// [`HistoricalSummaries::from_state_proof`](super::HistoricalSummaries::from_state_proof) makes a trusted list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoricalSummariesWithProof {
    epoch: u64,
    summaries: Vec<HistoricalSummary>,
    proof: Vec<B256>,
}

impl HistoricalSummariesWithProof {
    /// Decodes the SSZ container, without the fork digest that precedes it on the beacon network. Whether the state is
    /// one from before Electra or after shows in where the summaries begin.
    ///
    /// # Errors
    ///
    /// [`TrustError::Malformed`] when the bytes are no such container.
    pub fn decode(bytes: &[u8]) -> Result<Self, TrustError> {
        let list = TrustListKind::HistoricalSummaries;
        let malformed = |reason| TrustError::Malformed { list, length: bytes.len(), reason };
        let (head, rest) =
            bytes.split_first_chunk::<HEAD_LENGTH>().ok_or_else(|| malformed("too short for epoch and offset"))?;
        let [e0, e1, e2, e3, e4, e5, e6, e7, o0, o1, o2, o3] = *head;
        let offset = u32::from_le_bytes([o0, o1, o2, o3]);
        let depth = [GINDEX_CAPELLA, GINDEX_ELECTRA]
            .map(|gindex| gindex.ilog2() as usize)
            .into_iter()
            .find(|depth| offset as usize == HEAD_LENGTH + depth * 32)
            .ok_or_else(|| malformed("the summaries begin behind no proof of a known beacon state"))?;
        let (proof, summaries) =
            rest.split_at_checked(depth * 32).ok_or_else(|| malformed("too short for the proof"))?;
        Ok(Self {
            epoch: u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]),
            summaries: summary::decode(summaries)?,
            proof: proof.chunks_exact(32).map(B256::from_slice).collect(),
        })
    }

    /// The SSZ container.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.epoch.to_le_bytes().to_vec();
        bytes.extend_from_slice(&((HEAD_LENGTH + self.proof.as_flattened().len()) as u32).to_le_bytes());
        bytes.extend_from_slice(self.proof.as_flattened());
        bytes.extend(summary::encode(&self.summaries));
        bytes
    }

    /// The epoch of the beacon state, as the container says.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The summaries, unchecked.
    pub fn summaries(&self) -> &[HistoricalSummary] {
        &self.summaries
    }

    /// The beacon state root that summaries and proof lead to.
    pub fn state_root(&self) -> B256 {
        let gindex = if self.proof.len() == GINDEX_CAPELLA.ilog2() as usize { GINDEX_CAPELLA } else { GINDEX_ELECTRA };
        root_from_branch(&summary::root_of(&self.summaries), &self.proof, gindex)
    }

    pub(super) fn into_summaries(self) -> Vec<HistoricalSummary> {
        self.summaries
    }
}
