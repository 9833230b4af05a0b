//! The parameters of a chain: the file of a private chain, and the rules that keep them from contradicting each other.

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::TrustRoots;

/// Slots of a period (consensus specification, `SLOTS_PER_HISTORICAL_ROOT`).
pub const SLOTS_PER_HISTORICAL_ROOT: u64 = 1 << 13;

/// Characters of a chain's name: it becomes part of file names.
const MAX_NAME_LENGTH: usize = 32;

/// What a chain is made of. In a file: a JSON object with these fields in camel case, hashes as `0x…`, times in seconds
/// since 1970. Fields that are optional here may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainParameters {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// The chain ID (EIP-155).
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis_hash: B256,
    /// Number of the first block after the merge. Left out: the chain has not merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_block: Option<u64>,
    /// When Shanghai and Capella began, at the start of a period of 8,192 slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shanghai_time: Option<u64>,
    /// When Cancun and Deneb began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancun_time: Option<u64>,
    /// When Amsterdam and Gloas began: execution payloads left the beacon block body, and no kind of header proof is
    /// defined for what came after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amsterdam_time: Option<u64>,
    /// The beacon chain's clock. Left out: the chain has not merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beacon: Option<BeaconClock>,
    /// The roots that all trust starts from.
    pub trust_roots: TrustRoots,
}

/// How slots and timestamps of the beacon chain correspond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BeaconClock {
    /// When slot 0 began, in seconds since 1970.
    pub genesis_time: u64,
    /// Seconds from one slot to the next.
    pub seconds_per_slot: u64,
}

impl BeaconClock {
    pub(super) fn slot_at(&self, timestamp: u64) -> Option<u64> {
        let since_genesis = timestamp.checked_sub(self.genesis_time)?;
        let is_start = since_genesis.checked_rem(self.seconds_per_slot)? == 0;
        is_start.then_some(since_genesis / self.seconds_per_slot)
    }
}

/// Parameters that are no chain's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainSpecError {
    /// The text is no JSON object with the fields of [`ChainParameters`].
    #[error("malformed chain specification: {0}")]
    Json(String),
    /// The name can't be part of a file name.
    #[error("the name {0:?} is not 1 to {MAX_NAME_LENGTH} lower-case letters, digits and hyphens")]
    Name(String),
    /// A field needs another.
    #[error("{field} is given but {needed} is not")]
    Needs {
        /// The field that is there.
        field: &'static str,
        /// The field that is not.
        needed: &'static str,
    },
    /// Forks come in the wrong order.
    #[error("{later} comes before {earlier}")]
    ForkOrder {
        /// The fork that must not come later.
        earlier: &'static str,
        /// The fork that must not come earlier.
        later: &'static str,
    },
    /// A slot takes no time.
    #[error("beacon.secondsPerSlot is 0")]
    NoSlotTime,
    /// No slot begins at the time of a fork.
    #[error("no slot begins at {field} {time}")]
    NotAtSlot {
        /// The fork's field.
        field: &'static str,
        /// Its time.
        time: u64,
    },
    /// Capella begins in the middle of a period.
    #[error("shanghaiTime falls on slot {slot}, which is no multiple of {SLOTS_PER_HISTORICAL_ROOT}")]
    CapellaInsidePeriod {
        /// The slot of Capella.
        slot: u64,
    },
    /// A trust root covers no block.
    #[error("{root} is given, but it covers no block: {reason}")]
    EmptyRoot {
        /// The root's field.
        root: &'static str,
        /// Why it covers none.
        reason: &'static str,
    },
}

impl ChainParameters {
    pub(super) fn to_json(&self) -> String {
        // Strings, numbers and structs of them can't fail to serialize.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), ChainSpecError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > MAX_NAME_LENGTH || !self.name.chars().all(allowed) {
            return Err(ChainSpecError::Name(self.name.clone()));
        }
        self.check_forks()?;
        self.check_roots()
    }

    fn check_forks(&self) -> Result<(), ChainSpecError> {
        let needs = |field, is_there: bool, needed, needed_is_there: bool| {
            if is_there && !needed_is_there { Err(ChainSpecError::Needs { field, needed }) } else { Ok(()) }
        };
        needs("mergeBlock", self.merge_block.is_some(), "beacon", self.beacon.is_some())?;
        needs("beacon", self.beacon.is_some(), "mergeBlock", self.merge_block.is_some())?;
        needs("shanghaiTime", self.shanghai_time.is_some(), "mergeBlock", self.merge_block.is_some())?;
        needs("cancunTime", self.cancun_time.is_some(), "shanghaiTime", self.shanghai_time.is_some())?;
        needs("amsterdamTime", self.amsterdam_time.is_some(), "cancunTime", self.cancun_time.is_some())?;
        if self.cancun_time < self.shanghai_time && self.cancun_time.is_some() {
            return Err(ChainSpecError::ForkOrder { earlier: "shanghaiTime", later: "cancunTime" });
        }
        if self.amsterdam_time < self.cancun_time && self.amsterdam_time.is_some() {
            return Err(ChainSpecError::ForkOrder { earlier: "cancunTime", later: "amsterdamTime" });
        }

        let Some(beacon) = self.beacon else { return Ok(()) };
        if beacon.seconds_per_slot == 0 {
            return Err(ChainSpecError::NoSlotTime);
        }
        let slot_of = |field, time| beacon.slot_at(time).ok_or(ChainSpecError::NotAtSlot { field, time });
        if let Some(time) = self.shanghai_time {
            let slot = slot_of("shanghaiTime", time)?;
            if slot % SLOTS_PER_HISTORICAL_ROOT != 0 {
                return Err(ChainSpecError::CapellaInsidePeriod { slot });
            }
        }
        if let Some(time) = self.cancun_time {
            slot_of("cancunTime", time)?;
        }
        if let Some(time) = self.amsterdam_time {
            slot_of("amsterdamTime", time)?;
        }
        Ok(())
    }

    fn check_roots(&self) -> Result<(), ChainSpecError> {
        let TrustRoots { pre_merge, historical_roots, summaries } = self.trust_roots;
        let needs_blocks = |root, is_there: bool, covers_none: bool, reason| {
            if is_there && covers_none { Err(ChainSpecError::EmptyRoot { root, reason }) } else { Ok(()) }
        };
        needs_blocks(
            "trustRoots.preMerge",
            pre_merge.is_some(),
            self.merge_block == Some(0),
            "the chain merged with block 0",
        )?;
        needs_blocks(
            "trustRoots.historicalRoots",
            historical_roots.is_some(),
            self.merge_block.is_none(),
            "the chain has not merged",
        )?;
        needs_blocks(
            "trustRoots.historicalRoots",
            historical_roots.is_some(),
            self.beacon.is_some_and(|beacon| self.shanghai_time == Some(beacon.genesis_time)),
            "Capella began with slot 0",
        )?;
        needs_blocks(
            "trustRoots.summaries",
            summaries.is_some(),
            self.shanghai_time.is_none(),
            "Capella has not begun",
        )?;
        needs_blocks(
            "trustRoots.summaries",
            summaries.is_some(),
            summaries.is_some_and(|summaries| summaries.count == 0),
            "its count is 0",
        )
    }
}
