//! Checks header proofs against the trusted lists of a chain.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::B256;
use bytes::Bytes;

use super::{
    BlockProofHistoricalHashesAccumulator, Branch, DecodedHeader, HeaderError, HeaderProof, HeaderWithProof, RunError,
    epoch::EPOCH_SIZE,
    period::{BLOCK_HASH_GINDEX_BELLATRIX, BLOCK_HASH_GINDEX_DENEB, SLOTS_PER_HISTORICAL_ROOT},
};
use crate::{ChainSpec, TrustLists, merkle::root_from_branch, trust::TrustListKind};

/// A header that is proved to belong to the chain. Only a [`HeaderVerifier`], or a proved child, makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedHeader(DecodedHeader);

impl ProvedHeader {
    /// The block hash.
    pub const fn hash(&self) -> B256 {
        self.0.hash()
    }

    /// The decoded fields.
    pub const fn header(&self) -> &Header {
        self.0.header()
    }

    /// The RLP encoding.
    pub const fn rlp(&self) -> &Bytes {
        self.0.rlp()
    }

    /// The block number.
    pub const fn number(&self) -> u64 {
        self.0.number()
    }

    /// Proves `parent` by its hash, which this header names.
    ///
    /// # Errors
    ///
    /// [`HeaderError::NotParent`] when `parent` has another hash.
    pub fn prove_parent(&self, parent: DecodedHeader) -> Result<Self, HeaderError> {
        let expected = self.header().parent_hash;
        if parent.hash() != expected {
            return Err(HeaderError::NotParent { number: parent.number(), expected, actual: parent.hash() });
        }
        Ok(Self(parent))
    }
}

/// Checks headers of one chain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HeaderVerifier {
    chain: Arc<ChainSpec>,
    lists: TrustLists,
}

impl HeaderVerifier {
    /// A verifier of the headers of `chain` against its lists. Without a list, the headers that it covers can't be
    /// proved.
    pub fn new(chain: Arc<ChainSpec>, lists: TrustLists) -> Self {
        Self { chain, lists }
    }

    /// The chain whose headers are checked.
    pub fn chain(&self) -> &Arc<ChainSpec> {
        &self.chain
    }

    /// The lists that proofs lead to.
    pub fn lists(&self) -> &TrustLists {
        &self.lists
    }

    /// Checks an SSZ-encoded `BlockHeaderWithProof`.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] names the rule that header or proof break.
    pub fn verify(&self, header_with_proof: &[u8]) -> Result<ProvedHeader, HeaderError> {
        let HeaderWithProof { header, proof } = HeaderWithProof::decode(header_with_proof, &self.chain)?;
        self.prove(header, &proof)
    }

    /// Checks a decoded header against its proof.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] names the rule that the proof breaks.
    pub fn prove(&self, header: DecodedHeader, proof: &HeaderProof) -> Result<ProvedHeader, HeaderError> {
        let (number, timestamp) = (header.number(), header.header().timestamp);
        let expected = self.chain.proof_kind(number, timestamp)?;
        if proof.kind() != expected {
            return Err(HeaderError::WrongProofKind { number, expected, actual: proof.kind() });
        }
        match proof {
            HeaderProof::HistoricalHashes(branch) => self.check_epoch(&header, branch)?,
            HeaderProof::HistoricalRoots(proof) => {
                self.check_execution_block(
                    &header,
                    &proof.execution_block_proof,
                    BLOCK_HASH_GINDEX_BELLATRIX,
                    &proof.beacon_block_root,
                    proof.slot,
                )?;
                self.check_historical_root(number, &proof.beacon_block_proof, proof.beacon_block_root, proof.slot)?;
            }
            HeaderProof::HistoricalSummariesCapella(proof) => {
                self.check_execution_block(
                    &header,
                    &proof.execution_block_proof,
                    BLOCK_HASH_GINDEX_BELLATRIX,
                    &proof.beacon_block_root,
                    proof.slot,
                )?;
                self.check_summary(number, &proof.beacon_block_proof, proof.beacon_block_root, proof.slot)?;
            }
            HeaderProof::HistoricalSummariesDeneb(proof) => {
                self.check_execution_block(
                    &header,
                    &proof.execution_block_proof,
                    BLOCK_HASH_GINDEX_DENEB,
                    &proof.beacon_block_root,
                    proof.slot,
                )?;
                self.check_summary(number, &proof.beacon_block_proof, proof.beacon_block_root, proof.slot)?;
            }
        }
        Ok(ProvedHeader(header))
    }

    /// Checks a run of RLP-encoded headers in ascending order: each is the parent of the next, and `last_proof` proves
    /// the last one, hence all of them.
    ///
    /// # Errors
    ///
    /// [`RunError`] names the last header of the run that can't be proved. Headers after it are good: a run that starts
    /// behind it passes.
    pub fn verify_run(&self, headers: &[Bytes], last_proof: &HeaderProof) -> Result<Vec<ProvedHeader>, RunError> {
        let mut proved: Vec<ProvedHeader> = Vec::with_capacity(headers.len());
        for (position, rlp) in headers.iter().enumerate().rev() {
            let child = proved.last();
            let mut number = child.and_then(|child| child.number().checked_sub(1));
            let result = DecodedHeader::decode(rlp.clone()).and_then(|header| match child {
                Some(child) => child.prove_parent(header),
                None => {
                    number = Some(header.number());
                    self.prove(header, last_proof)
                }
            });
            proved.push(result.map_err(|source| RunError { position, number, source })?);
        }
        proved.reverse();
        Ok(proved)
    }

    fn check_epoch(
        &self,
        header: &DecodedHeader,
        branch: &BlockProofHistoricalHashesAccumulator,
    ) -> Result<(), HeaderError> {
        let number = header.number();
        let list = TrustListKind::PreMergeAccumulator;
        let epochs = self.lists.pre_merge.as_ref().ok_or(HeaderError::ListMissing { number, list })?.epoch_roots();
        let epoch = number / EPOCH_SIZE;
        let root = entry(epochs, epoch, number, list)?;
        // Records are pairs: the block hash is the left half, the total difficulty the right one.
        let index = 2 * (number % EPOCH_SIZE);
        if root_from_branch(&header.hash(), branch.as_slice(), index) != *root {
            return Err(HeaderError::NotInEpoch { number, hash: header.hash(), epoch });
        }
        Ok(())
    }

    fn check_execution_block<const N: usize>(
        &self,
        header: &DecodedHeader,
        branch: &Branch<N>,
        gindex: u64,
        beacon_block_root: &B256,
        slot: u64,
    ) -> Result<(), HeaderError> {
        let (number, hash, timestamp) = (header.number(), header.hash(), header.header().timestamp);
        let expected = self.chain.slot_at(timestamp).ok_or(HeaderError::NoSlot { number, timestamp })?;
        if slot != expected {
            return Err(HeaderError::WrongSlot { number, expected, actual: slot });
        }
        if root_from_branch(&hash, branch.as_slice(), gindex) != *beacon_block_root {
            let beacon_block_root = *beacon_block_root;
            return Err(HeaderError::NotInBeaconBlock { number, hash, beacon_block_root, slot });
        }
        Ok(())
    }

    fn check_historical_root(
        &self,
        number: u64,
        branch: &Branch<14>,
        beacon_block_root: B256,
        slot: u64,
    ) -> Result<(), HeaderError> {
        let list = TrustListKind::HistoricalRoots;
        let roots = self.lists.historical_roots.as_ref().ok_or(HeaderError::ListMissing { number, list })?.roots();
        let index = slot / SLOTS_PER_HISTORICAL_ROOT;
        let root = entry(roots, index, number, list)?;
        check_beacon_block(branch.as_slice(), beacon_block_root, slot, root, list, index)
    }

    fn check_summary(
        &self,
        number: u64,
        branch: &Branch<13>,
        beacon_block_root: B256,
        slot: u64,
    ) -> Result<(), HeaderError> {
        let list = TrustListKind::HistoricalSummaries;
        let summaries = self.lists.summaries.as_ref().ok_or(HeaderError::ListMissing { number, list })?.summaries();
        // The list starts with the period in which Capella does; the ones before it are in `historical_roots`.
        let index = self.chain.summary_index(slot).ok_or(HeaderError::NoSummary { number, slot })?;
        let summary = entry(summaries, index, number, list)?;
        check_beacon_block(branch.as_slice(), beacon_block_root, slot, &summary.block_summary_root, list, index)
    }
}

fn entry<T>(entries: &[T], index: u64, number: u64, list: TrustListKind) -> Result<&T, HeaderError> {
    usize::try_from(index).ok().and_then(|index| entries.get(index)).ok_or(HeaderError::BeyondList {
        number,
        list,
        index,
        length: entries.len(),
    })
}

fn check_beacon_block(
    branch: &[B256],
    beacon_block_root: B256,
    slot: u64,
    root: &B256,
    list: TrustListKind,
    index: u64,
) -> Result<(), HeaderError> {
    if root_from_branch(&beacon_block_root, branch, slot % SLOTS_PER_HISTORICAL_ROOT) != *root {
        return Err(HeaderError::BeaconBlockNotInList { beacon_block_root, slot, list, index });
    }
    Ok(())
}
