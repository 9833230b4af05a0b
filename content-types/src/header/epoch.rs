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

#[cfg(test)]
mod tests {
    use alloy_primitives::b256;

    use super::*;
    use crate::merkle::root_from_branch;

    /// legacy/history/epoch-accumulator-test-vectors.md: the accumulator after the genesis block and the two after it.
    /// The vectors are from the time when it held up to 2^17 epochs.
    #[test]
    fn specification_vectors() {
        const EARLIER_EPOCHS_DEPTH: usize = 17;
        let blocks = [
            (b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"), 17_179_869_184_u64),
            (b256!("88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6"), 17_171_480_576),
            (b256!("b495a1d7e6663152ae92708da4843337b958146015a2802f4193a410044698c9"), 17_163_096_064),
        ];
        let roots = [
            b256!("b629833240bb2f5eabfb5245be63d730ca4ed30d6a418340ca476e7c1f1d98c0"),
            b256!("00cbebed829e1babb93f2300bebe7905a98cb86993c7fc09bb5b04626fd91ae5"),
            b256!("88cce8439ebc0c1d007177ffb6831c15c07b4361984cc52235b6fd728434f0c7"),
        ];
        let no_epochs = MerkleTree::new(Vec::new(), EARLIER_EPOCHS_DEPTH).unwrap().root();
        let mut records = Vec::new();
        let mut total_difficulty = U256::ZERO;
        for ((block_hash, difficulty), root) in blocks.into_iter().zip(roots) {
            total_difficulty += U256::from(difficulty);
            records.push(HeaderRecord { block_hash, total_difficulty });
            let epoch = EpochRecord::new(records.clone()).unwrap().into_tree();
            assert_eq!(hash_pair(&mix_in_length(&no_epochs, 0), &epoch.root()), root);
        }
    }

    /// The epoch of the merge: blocks 15,532,032 to 15,537,393.
    #[test]
    fn a_partial_epoch() {
        let records: Vec<_> = (0..5362_u64)
            .map(|number| HeaderRecord {
                block_hash: B256::from(U256::from(number + 1)),
                total_difficulty: U256::from(number),
            })
            .collect();
        let tree = EpochRecord::new(records.clone()).unwrap().into_tree();
        for index in [0, 1, 4095, 4096, 5361] {
            let proof = tree.prove(index).unwrap();
            assert_eq!(proof.as_slice()[14], length_chunk(5362));
            assert_eq!(root_from_branch(&records[index].block_hash, proof.as_slice(), 2 * index as u64), tree.root());
        }
        assert_eq!(tree.prove(5362), None);
    }

    #[test]
    fn epochs_are_bounded() {
        let record = HeaderRecord { block_hash: B256::ZERO, total_difficulty: U256::ZERO };
        assert_eq!(EpochRecord::new(vec![record; 8193]), Err(EpochError::TooManyBlocks(8193)));
        assert_eq!(EpochRecord::decode(&vec![0; 8193 * 64]), Err(EpochError::TooManyBlocks(8193)));
        assert_eq!(EpochRecord::decode(&[0; 65]), Err(EpochError::Length(65)));
        assert!(EpochRecord::decode(&vec![0; 8192 * 64]).is_ok());
    }
}
