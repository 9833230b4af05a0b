//! The four kinds of header proof, as SSZ ("Block Header" of the legacy history network).

use alloy_primitives::{B256, FixedBytesSliceExt};
use bytes::Bytes;
use ssz::{Decode, DecodeError, Encode};
use ssz_derive::{Decode, Encode};

use super::{HeaderError, ProofKind};

/// `Vector[Bytes32, N]`: the siblings on the way up a merkle tree, from the bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Branch<const N: usize>(pub [B256; N]);

impl<const N: usize> Branch<N> {
    /// A branch of the siblings given, or `None` when there are not exactly `N`.
    pub fn from_slice(siblings: &[B256]) -> Option<Self> {
        siblings.try_into().ok().map(Self)
    }

    /// The siblings.
    pub const fn as_slice(&self) -> &[B256] {
        &self.0
    }
}

impl<const N: usize> Encode for Branch<N> {
    fn is_ssz_fixed_len() -> bool {
        true
    }

    fn ssz_fixed_len() -> usize {
        N * B256::len_bytes()
    }

    fn ssz_bytes_len(&self) -> usize {
        N * B256::len_bytes()
    }

    fn ssz_append(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(self.0.as_flattened());
    }
}

impl<const N: usize> Decode for Branch<N> {
    fn is_ssz_fixed_len() -> bool {
        true
    }

    fn ssz_fixed_len() -> usize {
        N * B256::len_bytes()
    }

    fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let expected = N * B256::len_bytes();
        if bytes.len() != expected {
            return Err(DecodeError::InvalidByteLength { len: bytes.len(), expected });
        }
        let mut siblings = [B256::ZERO; N];
        for (sibling, chunk) in siblings.iter_mut().zip(bytes.chunks_exact(B256::len_bytes())) {
            sibling.copy_from_slice(chunk);
        }
        Ok(Self(siblings))
    }
}

/// Proof of a block before the merge: its hash in the `EpochRecord` of its epoch.
pub type BlockProofHistoricalHashesAccumulator = Branch<15>;

/// Proof of a block from the merge until Capella.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BlockProofHistoricalRoots {
    /// From the beacon block root to the entry of `historical_roots`.
    pub beacon_block_proof: Branch<14>,
    /// Root of the beacon block that carries the block.
    pub beacon_block_root: B256,
    /// From the block hash to the beacon block root.
    pub execution_block_proof: Branch<11>,
    /// Slot of the beacon block.
    pub slot: u64,
}

/// Proof of a block from Capella on; `N` is the depth of the block hash in a beacon block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BlockProofHistoricalSummaries<const N: usize> {
    /// From the beacon block root to the `block_summary_root` of the entry of `historical_summaries`.
    pub beacon_block_proof: Branch<13>,
    /// Root of the beacon block that carries the block.
    pub beacon_block_root: B256,
    /// From the block hash to the beacon block root.
    pub execution_block_proof: Branch<N>,
    /// Slot of the beacon block.
    pub slot: u64,
}

/// Proof of a block from Capella until Deneb.
pub type BlockProofHistoricalSummariesCapella = BlockProofHistoricalSummaries<11>;

/// Proof of a block from Deneb on.
pub type BlockProofHistoricalSummariesDeneb = BlockProofHistoricalSummaries<12>;

impl ProofKind {
    /// Bytes of an encoded proof of this kind.
    pub fn encoded_len(self) -> usize {
        match self {
            Self::HistoricalHashes => <BlockProofHistoricalHashesAccumulator as Encode>::ssz_fixed_len(),
            Self::HistoricalRoots => <BlockProofHistoricalRoots as Encode>::ssz_fixed_len(),
            Self::HistoricalSummariesCapella => <BlockProofHistoricalSummariesCapella as Encode>::ssz_fixed_len(),
            Self::HistoricalSummariesDeneb => <BlockProofHistoricalSummariesDeneb as Encode>::ssz_fixed_len(),
        }
    }
}

impl TryFrom<u64> for ProofKind {
    type Error = HeaderError;

    fn try_from(number: u64) -> Result<Self, HeaderError> {
        Self::ALL.into_iter().find(|kind| u64::from(*kind as u8) == number).ok_or(HeaderError::UnknownProofKind(number))
    }
}

/// A header's proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant)] // 480 to 840 bytes: every variant is large, and proofs are not kept in numbers
pub enum HeaderProof {
    /// Of a block before the merge.
    HistoricalHashes(BlockProofHistoricalHashesAccumulator),
    /// Of a block from the merge until Capella.
    HistoricalRoots(BlockProofHistoricalRoots),
    /// Of a block from Capella until Deneb.
    HistoricalSummariesCapella(BlockProofHistoricalSummariesCapella),
    /// Of a block from Deneb on.
    HistoricalSummariesDeneb(BlockProofHistoricalSummariesDeneb),
}

impl HeaderProof {
    /// Which kind it is.
    pub const fn kind(&self) -> ProofKind {
        match self {
            Self::HistoricalHashes(_) => ProofKind::HistoricalHashes,
            Self::HistoricalRoots(_) => ProofKind::HistoricalRoots,
            Self::HistoricalSummariesCapella(_) => ProofKind::HistoricalSummariesCapella,
            Self::HistoricalSummariesDeneb(_) => ProofKind::HistoricalSummariesDeneb,
        }
    }

    /// Decodes the SSZ encoding of a proof of the kind given. The encoding does not tell its kind.
    ///
    /// # Errors
    ///
    /// [`HeaderError::ProofLength`] when the bytes don't have that kind's length.
    pub fn decode(kind: ProofKind, bytes: &[u8]) -> Result<Self, HeaderError> {
        let wrong_length = |_| HeaderError::ProofLength { kind, expected: kind.encoded_len(), actual: bytes.len() };
        match kind {
            ProofKind::HistoricalHashes => Decode::from_ssz_bytes(bytes).map(Self::HistoricalHashes),
            ProofKind::HistoricalRoots => Decode::from_ssz_bytes(bytes).map(Self::HistoricalRoots),
            ProofKind::HistoricalSummariesCapella => {
                Decode::from_ssz_bytes(bytes).map(Self::HistoricalSummariesCapella)
            }
            ProofKind::HistoricalSummariesDeneb => Decode::from_ssz_bytes(bytes).map(Self::HistoricalSummariesDeneb),
        }
        .map_err(wrong_length)
    }

    /// The SSZ encoding.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::HistoricalHashes(proof) => proof.as_ssz_bytes(),
            Self::HistoricalRoots(proof) => proof.as_ssz_bytes(),
            Self::HistoricalSummariesCapella(proof) => proof.as_ssz_bytes(),
            Self::HistoricalSummariesDeneb(proof) => proof.as_ssz_bytes(),
        }
        .into()
    }
}
