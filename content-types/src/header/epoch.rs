//! Epochs of 8,192 blocks before the merge, and the proofs of their blocks ("The Historical Hashes Accumulator" of the
//! legacy history network).

use alloy_primitives::{B256, U256};

use super::BlockProofHistoricalHashesAccumulator;
use crate::merkle::{MerkleTree, hash_pair, length_chunk, mix_in_length};

/// Blocks of a whole epoch. The last epoch before the merge may be shorter.
pub const EPOCH_SIZE: u64 = 1 << EPOCH_DEPTH;

/// Depth of the tree of an epoch's records.
const EPOCH_DEPTH: usize = 13;

/// Bytes of an encoded [`HeaderRecord`].
const RECORD_LENGTH: usize = 64;

/// An `EpochRecord` that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// More blocks than an epoch has.
    #[error("an epoch has {EPOCH_SIZE} blocks, not {0}")]
    TooManyBlocks(usize),
    /// The encoding is not a whole number of records.
    #[error("{0} bytes are no whole number of header records of {RECORD_LENGTH} bytes")]
    Length(usize),
}

/// What the accumulator records about a block before the merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeaderRecord {
    /// The block's hash.
    pub block_hash: B256,
    /// The sum of the difficulties of all blocks up to and including this one.
    pub total_difficulty: U256,
}

impl HeaderRecord {
    fn root(&self) -> B256 {
        hash_pair(&self.block_hash, &self.total_difficulty_chunk())
    }

    fn total_difficulty_chunk(&self) -> B256 {
        B256::new(self.total_difficulty.to_le_bytes())
    }
}

/// The records of one epoch's blocks, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpochRecord {
    records: Vec<HeaderRecord>,
}

impl EpochRecord {
    /// An epoch of the records given.
    ///
    /// # Errors
    ///
    /// [`EpochError::TooManyBlocks`] when there are more than [`EPOCH_SIZE`].
    pub fn new(records: Vec<HeaderRecord>) -> Result<Self, EpochError> {
        if records.len() as u64 > EPOCH_SIZE {
            return Err(EpochError::TooManyBlocks(records.len()));
        }
        Ok(Self { records })
    }

    /// Decodes the SSZ encoding, `List[HeaderRecord, EPOCH_SIZE]`.
    ///
    /// # Errors
    ///
    /// [`EpochError`] when the bytes are no whole number of records or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, EpochError> {
        let (records, rest) = bytes.as_chunks::<RECORD_LENGTH>();
        if !rest.is_empty() {
            return Err(EpochError::Length(bytes.len()));
        }
        if records.len() as u64 > EPOCH_SIZE {
            return Err(EpochError::TooManyBlocks(records.len()));
        }
        let records = records.iter().map(|record| {
            let (block_hash, total_difficulty) = record.split_at(32);
            HeaderRecord {
                block_hash: B256::from_slice(block_hash),
                total_difficulty: U256::from_le_slice(total_difficulty),
            }
        });
        Ok(Self { records: records.collect() })
    }

    /// The SSZ encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.records.len() * RECORD_LENGTH);
        for record in &self.records {
            bytes.extend_from_slice(record.block_hash.as_slice());
            bytes.extend_from_slice(record.total_difficulty_chunk().as_slice());
        }
        bytes
    }

    /// The records, in ascending order of their blocks.
    pub fn records(&self) -> &[HeaderRecord] {
        &self.records
    }

    /// Hashes the epoch's tree, which then gives any number of proofs.
    pub fn into_tree(self) -> EpochTree {
        let roots = self.records.iter().map(HeaderRecord::root).collect();
        EpochTree { records: self.records, tree: MerkleTree::of_fitting(roots, EPOCH_DEPTH) }
    }
}

/// An epoch's merkle tree.
#[derive(Debug, Clone)]
pub struct EpochTree {
    records: Vec<HeaderRecord>,
    tree: MerkleTree,
}

impl EpochTree {
    /// The hash tree root of the `EpochRecord`: an entry of the accumulator, and the accumulator root of an era1 file.
    pub fn root(&self) -> B256 {
        mix_in_length(&self.tree.root(), self.records.len())
    }

    /// The records, in ascending order of their blocks.
    pub fn records(&self) -> &[HeaderRecord] {
        &self.records
    }

    /// The proof of the epoch's block number `index`, counted from 0. `None` when the epoch has no such block.
    pub fn prove(&self, index: usize) -> Option<BlockProofHistoricalHashesAccumulator> {
        let record = self.records.get(index)?;
        let mut siblings = vec![record.total_difficulty_chunk()];
        siblings.extend(self.tree.branch(index)?);
        siblings.push(length_chunk(self.records.len()));
        BlockProofHistoricalHashesAccumulator::from_slice(&siblings)
    }
}
