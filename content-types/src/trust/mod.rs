//! What trust starts from: a few roots for each chain, and the lists behind them.
//!
//! A list exists in memory only after it was checked against its root, or against a beacon state root that the caller
//! trusts: its type has no other constructor.

mod historical_roots;
mod historical_summaries;
mod lists;
mod pre_merge;
mod summaries_with_proof;
mod summary;

pub use historical_roots::HistoricalRoots;
pub use historical_summaries::HistoricalSummaries;
pub use lists::TrustLists;
pub use pre_merge::PreMergeAccumulator;
pub use summaries_with_proof::HistoricalSummariesWithProof;
pub use summary::HistoricalSummary;

use std::fmt;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

/// Depth of the trees of `historical_roots` and `historical_summaries` (consensus specification,
/// `HISTORICAL_ROOTS_LIMIT`).
const HISTORICAL_ROOTS_DEPTH: usize = 24;

/// Entries of `historical_roots` or `historical_summaries` that are decoded at most: two hundred years of periods.
pub const MAX_LIST_ENTRIES: usize = 1 << 16;

/// The roots of a chain's lists. Where one is missing, its list can't be checked, so the headers it covers can't be
/// proved by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustRoots {
    /// Hash tree root of the frozen pre-merge accumulator (EIP-7643).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_merge: Option<B256>,
    /// Hash tree root of `historical_roots`, frozen since Capella.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub historical_roots: Option<B256>,
    /// A prefix of `historical_summaries`, which keeps growing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summaries: Option<SummariesCheckpoint>,
}

/// The first entries of `historical_summaries`, as a beacon state once had them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SummariesCheckpoint {
    /// How many entries.
    pub count: usize,
    /// Hash tree root of the list of these entries.
    pub root: B256,
}

impl TrustRoots {
    /// The root that a list is checked against.
    pub fn root(&self, kind: TrustListKind) -> Option<B256> {
        match kind {
            TrustListKind::PreMergeAccumulator => self.pre_merge,
            TrustListKind::HistoricalRoots => self.historical_roots,
            TrustListKind::HistoricalSummaries => self.summaries.map(|checkpoint| checkpoint.root),
        }
    }

    /// The list that a root belongs to.
    pub fn kind_of(&self, root: &B256) -> Option<TrustListKind> {
        TrustListKind::ALL.into_iter().find(|kind| self.root(*kind) == Some(*root))
    }
}

/// One of the lists that header proofs lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustListKind {
    /// Roots of the epochs before the merge.
    PreMergeAccumulator,
    /// Roots of the periods from the beacon chain's start until Capella.
    HistoricalRoots,
    /// Roots of the periods from Capella on.
    HistoricalSummaries,
}

impl TrustListKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PreMergeAccumulator, Self::HistoricalRoots, Self::HistoricalSummaries];

    /// Bytes of an encoded list of this kind at most.
    pub const fn max_len(self) -> usize {
        match self {
            Self::PreMergeAccumulator => pre_merge::MAX_ENCODED_LENGTH,
            Self::HistoricalRoots => MAX_LIST_ENTRIES * historical_roots::ENTRY_LENGTH,
            Self::HistoricalSummaries => MAX_LIST_ENTRIES * summary::ENTRY_LENGTH,
        }
    }
}

impl fmt::Display for TrustListKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreMergeAccumulator => "pre-merge accumulator",
            Self::HistoricalRoots => "historical roots",
            Self::HistoricalSummaries => "historical summaries",
        })
    }
}

/// A list that can't be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The bytes are not the list's SSZ encoding.
    #[error("these {length} bytes are not the {list}: {reason}")]
    Malformed {
        /// The list that they were taken for.
        list: TrustListKind,
        /// Bytes that there are.
        length: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The chain has no root to check the list against.
    #[error("no root of the {0} is known for this chain")]
    NoRoot(TrustListKind),
    /// The list has another root than the trusted one.
    #[error("the root of the {list} is {actual}, but {expected} is trusted")]
    WrongRoot {
        /// The list.
        list: TrustListKind,
        /// The trusted root.
        expected: B256,
        /// The list's own root.
        actual: B256,
    },
    /// The list is shorter than the checkpoint.
    #[error("{actual} historical summaries can't be checked: the trusted root is that of the first {needed}")]
    TooFewSummaries {
        /// Entries that the checkpoint covers.
        needed: usize,
        /// Entries that there are.
        actual: usize,
    },
    /// The list does not lead to the beacon state root.
    #[error("the historical summaries lead to the beacon state root {actual}, not to the trusted {expected}")]
    NotInState {
        /// The trusted beacon state root.
        expected: B256,
        /// The root that list and proof lead to.
        actual: B256,
    },
    /// The bytes are none of the chain's lists.
    #[error("these {length} bytes are none of the lists whose roots are known for this chain")]
    Unrecognized {
        /// Bytes that there are.
        length: usize,
    },
}

/// Splits an SSZ list into items of `N` bytes.
fn items<const N: usize>(list: TrustListKind, bytes: &[u8]) -> Result<&[[u8; N]], TrustError> {
    let malformed = |reason| TrustError::Malformed { list, length: bytes.len(), reason };
    if bytes.len() > list.max_len() {
        return Err(malformed("too long"));
    }
    let (items, rest) = bytes.as_chunks();
    if rest.is_empty() { Ok(items) } else { Err(malformed("no whole number of entries")) }
}
