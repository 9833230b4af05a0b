//! The frozen pre-merge accumulator: the root of each epoch of 8,192 blocks before the merge (EIP-7643).

use std::{fmt, sync::Arc};

use alloy_primitives::{B256, FixedBytesSliceExt};

use super::{TrustError, TrustListKind, TrustRoots, items};
use crate::{
    limits::OFFSET_LENGTH,
    merkle::{MerkleTree, hash_pair, mix_in_length},
};

/// Depth of the tree of epoch roots (`MAX_HISTORICAL_EPOCHS` = 2,048).
const EPOCHS_DEPTH: usize = 11;

/// Depth of the tree of the current epoch's records, of which a frozen accumulator has none.
const CURRENT_EPOCH_DEPTH: usize = 13;

/// Bytes of the offsets of both lists, `historical_epochs` and `current_epoch`.
const OFFSETS_LENGTH: usize = 2 * OFFSET_LENGTH;

/// Bytes of the longest encoding.
pub(super) const MAX_ENCODED_LENGTH: usize = OFFSETS_LENGTH + (32 << EPOCHS_DEPTH);

const LIST: TrustListKind = TrustListKind::PreMergeAccumulator;

/// The epoch roots of a chain, checked against its trusted root. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PreMergeAccumulator {
    epoch_roots: Arc<[B256]>,
}

impl PreMergeAccumulator {
    /// Checks the SSZ encoding of a frozen `HistoricalHashesAccumulator` against its root.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when the bytes are malformed or have another root, or no root is known.
    pub fn from_ssz(bytes: &[u8], roots: &TrustRoots) -> Result<Self, TrustError> {
        let expected = roots.pre_merge.ok_or(TrustError::NoRoot(LIST))?;
        let malformed = |reason| TrustError::Malformed { list: LIST, length: bytes.len(), reason };
        if bytes.len() > MAX_ENCODED_LENGTH {
            return Err(malformed("too long"));
        }
        let (offsets, epochs) =
            bytes.split_at_checked(OFFSETS_LENGTH).ok_or_else(|| malformed("too short for two offsets"))?;
        if offsets != encode_offsets(bytes.len()) {
            return Err(malformed("the offsets are not those of a list of epoch roots and an empty current epoch"));
        }
        let epoch_roots: Arc<[B256]> = items(LIST, epochs)?.iter().copied().map(B256::new).collect();
        let actual = Self::root_of(&epoch_roots).ok_or_else(|| malformed("too many epochs"))?;
        if actual != expected {
            return Err(TrustError::WrongRoot { list: LIST, expected, actual });
        }
        Ok(Self { epoch_roots })
    }

    /// The hash tree root of a frozen accumulator of the epoch roots given. `None` when there are more than 2,048.
    pub fn root_of(epoch_roots: &[B256]) -> Option<B256> {
        let epochs = MerkleTree::new(epoch_roots.to_vec(), EPOCHS_DEPTH)?;
        let current_epoch = MerkleTree::new(Vec::new(), CURRENT_EPOCH_DEPTH)?;
        Some(hash_pair(&mix_in_length(&epochs.root(), epoch_roots.len()), &mix_in_length(&current_epoch.root(), 0)))
    }

    /// The SSZ encoding of a frozen accumulator of the epoch roots given.
    pub fn encode(epoch_roots: &[B256]) -> Vec<u8> {
        let mut bytes = encode_offsets(OFFSETS_LENGTH + epoch_roots.as_flattened().len()).to_vec();
        bytes.extend_from_slice(epoch_roots.as_flattened());
        bytes
    }

    /// The SSZ encoding.
    pub fn to_ssz(&self) -> Vec<u8> {
        Self::encode(&self.epoch_roots)
    }

    /// The root of each epoch, the first one's first.
    pub fn epoch_roots(&self) -> &[B256] {
        &self.epoch_roots
    }
}

impl fmt::Debug for PreMergeAccumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreMergeAccumulator({} epochs)", self.epoch_roots.len())
    }
}

/// The offsets of `historical_epochs`, right behind them, and of `current_epoch`, empty and hence at the end.
fn encode_offsets(length: usize) -> [u8; OFFSETS_LENGTH] {
    let [a, b, c, d] = (OFFSETS_LENGTH as u32).to_le_bytes();
    let [e, f, g, h] = (length as u32).to_le_bytes();
    [a, b, c, d, e, f, g, h]
}
