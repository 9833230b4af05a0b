//! Building proofs: from an epoch's records before the merge, from a period's block roots after it.

use std::path::Path;

use alloy_primitives::B256;
use cairn_vectors::VectorTest;
use content_types::{
    HeaderProof,
    header::{BeaconBlock, Branch, EpochRecord, Period},
    merkle::MerkleTree,
};
use serde::Deserialize;

use super::{headers::proof_of, history_test, mainnet, read, yaml};

pub(crate) fn tests() -> Vec<VectorTest> {
    vec![
        history_test("epoch_record", epoch_record),
        history_test("historical_roots_proofs", historical_roots_proofs),
        history_test("historical_summaries_proofs", historical_summaries_proofs),
    ]
}

fn epoch_record(root: &Path) {
    let bytes = read(root, "accumulator/epoch-record-00122.ssz");
    let record = EpochRecord::decode(&bytes).unwrap();
    assert_eq!(record.encode(), bytes);

    let tree = record.into_tree();
    let verifier = mainnet(root);
    assert_eq!(tree.root(), verifier.lists().pre_merge.as_ref().unwrap().epoch_roots()[122]);

    let (header, proof) = proof_of(root, 1_000_010);
    let index = 1_000_010 - 122 * 8192;
    assert_eq!(tree.records()[index].block_hash, header.hash());
    assert_eq!(HeaderProof::HistoricalHashes(tree.prove(index).unwrap()), proof);
    assert_eq!(tree.prove(8192), None);
}

/// `block_proofs_*`: the parts of a post-merge proof.
#[derive(Deserialize)]
struct BlockProof {
    execution_block_header: B256,
    execution_block_proof: Vec<B256>,
    beacon_block_root: B256,
    beacon_block_proof: Vec<B256>,
    slot: u64,
}

impl BlockProof {
    fn read(root: &Path, fork: &str, number: u64) -> Self {
        yaml(&read(root, &format!("headers_with_proof/block_proofs_{fork}/beacon_block_proof-{number}.yaml")))
    }

    fn beacon_block<const N: usize>(&self) -> BeaconBlock<N> {
        let block = BeaconBlock {
            slot: self.slot,
            block_hash: self.execution_block_header,
            execution_block_proof: Branch::from_slice(&self.execution_block_proof).unwrap(),
        };
        assert_eq!(block.root(), self.beacon_block_root);
        block
    }
}

fn roots(bytes: &[u8]) -> Vec<B256> {
    bytes.chunks(32).map(B256::from_slice).collect()
}

fn historical_roots_proofs(root: &Path) {
    let verifier = mainnet(root);
    for number in [15_537_394, 15_539_558, 15_547_621, 17_034_869] {
        let expected = BlockProof::read(root, "bellatrix", number);
        let batch = read(root, &format!("headers_with_proof/beacon_data/{number}/historical_batch.ssz"));
        let (block_roots, state_roots) = batch.split_at(batch.len() / 2);
        let state_roots_root = MerkleTree::new(roots(state_roots), 13).unwrap().root();
        let period = Period::new(roots(block_roots)).unwrap();
        let index = (expected.slot / 8192) as usize;
        let trusted = verifier.lists().historical_roots.as_ref().unwrap().roots()[index];
        assert_eq!(period.historical_root(&state_roots_root), trusted);

        let proof = period.prove_historical_roots(&expected.beacon_block(), state_roots_root).unwrap();
        let HeaderProof::HistoricalRoots(parts) = proof else { panic!("a {} proof", proof.kind()) };
        assert_eq!(parts.beacon_block_proof.as_slice(), expected.beacon_block_proof);
        let (header, in_header_vector) = proof_of(root, number);
        assert_eq!(proof, in_header_vector);
        verifier.prove(header, &proof).unwrap();
    }
}

fn historical_summaries_proofs(root: &Path) {
    let verifier = mainnet(root);
    for (fork, number) in
        [("capella", 17_034_870), ("capella", 17_062_257), ("capella", 19_426_586), ("deneb", 19_426_587)]
    {
        let expected = BlockProof::read(root, fork, number);
        let period =
            Period::new(roots(&read(root, &format!("headers_with_proof/beacon_data/{number}/block_roots.ssz"))))
                .unwrap();
        let proof = match fork {
            "capella" => period.prove_historical_summaries_capella(&expected.beacon_block()),
            _ => period.prove_historical_summaries_deneb(&expected.beacon_block()),
        }
        .unwrap();
        let beacon_block_proof = match proof {
            HeaderProof::HistoricalSummariesCapella(proof) => proof.beacon_block_proof,
            HeaderProof::HistoricalSummariesDeneb(proof) => proof.beacon_block_proof,
            other => panic!("a {} proof", other.kind()),
        };
        assert_eq!(beacon_block_proof.as_slice(), expected.beacon_block_proof);
        let (header, in_header_vector) = proof_of(root, number);
        assert_eq!(proof, in_header_vector);
        verifier.prove(header, &proof).unwrap();
    }
}
