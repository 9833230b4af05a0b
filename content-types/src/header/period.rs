//! Periods of 8,192 slots of the beacon chain, and the proofs of the blocks after the merge in them.
//!
//! A peer only checks such proofs; they are built by whoever has beacon blocks, or makes them up for a private chain.

use alloy_primitives::B256;

use super::{BlockProofHistoricalRoots, BlockProofHistoricalSummaries, Branch, HeaderProof};
use crate::merkle::{MerkleTree, hash_pair, root_from_branch};

pub use crate::chain::SLOTS_PER_HISTORICAL_ROOT;

/// Depth of the tree of a period's block roots.
const PERIOD_DEPTH: usize = SLOTS_PER_HISTORICAL_ROOT.ilog2() as usize;

/// Place of the block hash in a beacon block before Deneb, as a generalized index: field 4 of `BeaconBlock` (5 fields,
/// depth 3), field 9 of `BeaconBlockBody` (up to 16, depth 4), field 12 of `ExecutionPayload` (up to 16, depth 4).
pub(super) const BLOCK_HASH_GINDEX_BELLATRIX: u64 = ((1 << 3 | 4) << 4 | 9) << 4 | 12;

/// The same from Deneb on: the `ExecutionPayload` has more than 16 fields, depth 5.
pub(super) const BLOCK_HASH_GINDEX_DENEB: u64 = ((1 << 3 | 4) << 4 | 9) << 5 | 12;

/// What a proof needs to know of a beacon block: where its block hash lies. `N` is 11 before Deneb and 12 from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeaconBlock<const N: usize> {
    /// Slot of the beacon block.
    pub slot: u64,
    /// Hash of the execution block that it carries.
    pub block_hash: B256,
    /// From the block hash to the beacon block's root.
    pub execution_block_proof: Branch<N>,
}

impl<const N: usize> BeaconBlock<N> {
    /// The beacon block's hash tree root.
    pub fn root(&self) -> B256 {
        let gindex = if N == 11 { BLOCK_HASH_GINDEX_BELLATRIX } else { BLOCK_HASH_GINDEX_DENEB };
        root_from_branch(&self.block_hash, self.execution_block_proof.as_slice(), gindex)
    }
}

/// The roots of a period's beacon blocks, a whole period or the part of it that is there.
#[derive(Debug, Clone)]
pub struct Period {
    block_roots: MerkleTree,
}

impl Period {
    /// A period with the block roots given, by slot; a slot without a block repeats the root before it. `None` when there
    /// are more than [`SLOTS_PER_HISTORICAL_ROOT`].
    pub fn new(block_roots: Vec<B256>) -> Option<Self> {
        MerkleTree::new(block_roots, PERIOD_DEPTH).map(|block_roots| Self { block_roots })
    }

    /// `block_summary_root` of the period's entry in `historical_summaries`.
    pub fn block_summary_root(&self) -> B256 {
        self.block_roots.root()
    }

    /// The period's entry in `historical_roots`: the root of its `HistoricalBatch`, whose other half are the state roots.
    pub fn historical_root(&self, state_roots_root: &B256) -> B256 {
        hash_pair(&self.block_summary_root(), state_roots_root)
    }

    /// Proves the block in `block`, from before Capella. The beacon block's root must be among the period's.
    pub fn prove_historical_roots(&self, block: &BeaconBlock<11>, state_roots_root: B256) -> Option<HeaderProof> {
        let mut siblings = self.block_roots.branch(index(block.slot))?;
        siblings.push(state_roots_root);
        Some(HeaderProof::HistoricalRoots(BlockProofHistoricalRoots {
            beacon_block_proof: Branch::from_slice(&siblings)?,
            beacon_block_root: block.root(),
            execution_block_proof: block.execution_block_proof,
            slot: block.slot,
        }))
    }

    /// Proves the block in `block`, from Capella until Deneb. The beacon block's root must be among the period's.
    pub fn prove_historical_summaries_capella(&self, block: &BeaconBlock<11>) -> Option<HeaderProof> {
        self.prove_historical_summaries(block).map(HeaderProof::HistoricalSummariesCapella)
    }

    /// Proves the block in `block`, from Deneb on. The beacon block's root must be among the period's.
    pub fn prove_historical_summaries_deneb(&self, block: &BeaconBlock<12>) -> Option<HeaderProof> {
        self.prove_historical_summaries(block).map(HeaderProof::HistoricalSummariesDeneb)
    }

    fn prove_historical_summaries<const N: usize>(
        &self,
        block: &BeaconBlock<N>,
    ) -> Option<BlockProofHistoricalSummaries<N>> {
        Some(BlockProofHistoricalSummaries {
            beacon_block_proof: Branch::from_slice(&self.block_roots.branch(index(block.slot))?)?,
            beacon_block_root: block.root(),
            execution_block_proof: block.execution_block_proof,
            slot: block.slot,
        })
    }
}

/// Place of a slot in its period.
fn index(slot: u64) -> usize {
    (slot % SLOTS_PER_HISTORICAL_ROOT) as usize
}
