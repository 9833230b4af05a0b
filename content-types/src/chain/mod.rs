//! What tells one chain from another, as a value: its name, its forks, its beacon clock, its trust roots.
//!
//! Nothing in validation knows which chain it deals with except from the [`ChainSpec`] it is given, so two chains can
//! live in one process. Built in are [`ChainSpec::mainnet`] and [`ChainSpec::sepolia`]; a private chain comes from a file,
//! see [`ChainSpec::from_json`]. Which proof its forks ask of a header is said where proofs
//! are, in `header`.
//!
//! Sizes that the specifications fix for every chain (8,192 blocks an epoch, 8,192 slots a period: proofs would have
//! other lengths otherwise) are constants beside what they measure. A short private chain gets by with partly filled
//! epochs and periods.

mod known;
mod parameters;
#[cfg(test)]
mod tests;

pub use parameters::{BeaconClock, ChainParameters, ChainSpecError, SLOTS_PER_HISTORICAL_ROOT};

use alloy_primitives::B256;

use crate::TrustRoots;

/// A chain's specification, free of contradictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSpec(ChainParameters);

impl ChainSpec {
    /// A chain with the parameters given.
    ///
    /// # Errors
    ///
    /// [`ChainSpecError`] says which parameters contradict each other.
    pub fn new(parameters: ChainParameters) -> Result<Self, ChainSpecError> {
        parameters.check()?;
        Ok(Self(parameters))
    }

    /// Reads a private chain's specification: a JSON object with the fields of [`ChainParameters`].
    ///
    /// # Errors
    ///
    /// [`ChainSpecError`] when the text is no such object, a field is missing or unknown, or fields contradict each other.
    pub fn from_json(text: &str) -> Result<Self, ChainSpecError> {
        Self::new(serde_json::from_str(text).map_err(|error| ChainSpecError::Json(error.to_string()))?)
    }

    /// The text that [`ChainSpec::from_json`] reads back as the same specification.
    pub fn to_json(&self) -> String {
        self.0.to_json()
    }

    /// The parameters that the chain was made of.
    pub fn parameters(&self) -> &ChainParameters {
        &self.0
    }

    /// The chain's name, part of the names of its archive files.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The chain ID (EIP-155), announced in node records.
    pub fn chain_id(&self) -> u64 {
        self.0.chain_id
    }

    /// Hash of block 0.
    pub fn genesis_hash(&self) -> B256 {
        self.0.genesis_hash
    }

    /// Number of the first block after the merge; `None` while the chain has not merged.
    pub fn merge_block(&self) -> Option<u64> {
        self.0.merge_block
    }

    /// The roots that all trust starts from.
    pub fn trust_roots(&self) -> &TrustRoots {
        &self.0.trust_roots
    }

    /// Whether a block comes before the merge, so that its header is proved by the pre-merge accumulator.
    pub fn is_pre_merge(&self, number: u64) -> bool {
        self.0.merge_block.is_none_or(|merge_block| number < merge_block)
    }

    /// The slot that begins at `timestamp` (seconds since 1970), if one does.
    pub fn slot_at(&self, timestamp: u64) -> Option<u64> {
        self.0.beacon.as_ref()?.slot_at(timestamp)
    }

    /// When a slot begins, in seconds since 1970. `None` without a beacon chain, or out of range.
    pub fn slot_time(&self, slot: u64) -> Option<u64> {
        let beacon = self.0.beacon.as_ref()?;
        slot.checked_mul(beacon.seconds_per_slot)?.checked_add(beacon.genesis_time)
    }

    /// The first slot of Capella, with which `historical_roots` ends and `historical_summaries` begins.
    pub fn capella_slot(&self) -> Option<u64> {
        self.slot_at(self.0.shanghai_time?)
    }

    /// Which entry of `historical_summaries` covers a slot; `None` before Capella.
    pub fn summary_index(&self, slot: u64) -> Option<u64> {
        let capella_period = self.capella_slot()? / SLOTS_PER_HISTORICAL_ROOT;
        (slot / SLOTS_PER_HISTORICAL_ROOT).checked_sub(capella_period)
    }
}
