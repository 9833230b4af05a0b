//! `historical_roots` of the beacon state, frozen since Capella.

use std::{fmt, sync::Arc};

use alloy_primitives::{B256, FixedBytesSliceExt};

use super::{HISTORICAL_ROOTS_DEPTH, TrustError, TrustListKind, TrustRoots, items};
use crate::merkle::{MerkleTree, mix_in_length};

/// Bytes of an entry.
pub(super) const ENTRY_LENGTH: usize = 32;

const LIST: TrustListKind = TrustListKind::HistoricalRoots;

/// The `historical_roots` of a chain, checked against their trusted root. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoricalRoots {
    roots: Arc<[B256]>,
}

impl HistoricalRoots {
    /// Checks the SSZ encoding of `List[Root, HISTORICAL_ROOTS_LIMIT]` against its root.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when the bytes are malformed or have another root, or no root is known.
    pub fn from_ssz(bytes: &[u8], roots: &TrustRoots) -> Result<Self, TrustError> {
        let expected = roots.historical_roots.ok_or(TrustError::NoRoot(LIST))?;
        let roots: Arc<[B256]> = items::<ENTRY_LENGTH>(LIST, bytes)?.iter().copied().map(B256::new).collect();
        let actual = Self::root_of(&roots);
        if actual != expected {
            return Err(TrustError::WrongRoot { list: LIST, expected, actual });
        }
        Ok(Self { roots })
    }

    /// The hash tree root of the list of the entries given.
    pub fn root_of(roots: &[B256]) -> B256 {
        mix_in_length(&MerkleTree::of_fitting(roots.to_vec(), HISTORICAL_ROOTS_DEPTH).root(), roots.len())
    }

    /// The SSZ encoding of the entries given.
    pub fn encode(roots: &[B256]) -> Vec<u8> {
        roots.as_flattened().to_vec()
    }

    /// The SSZ encoding.
    pub fn to_ssz(&self) -> Vec<u8> {
        Self::encode(&self.roots)
    }

    /// The root of each period's `HistoricalBatch`, the first one's first.
    pub fn roots(&self) -> &[B256] {
        &self.roots
    }
}

impl fmt::Debug for HistoricalRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HistoricalRoots({})", self.roots.len())
    }
}
