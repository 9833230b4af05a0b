//! The trusted lists against their compiled-in roots, and summaries against beacon state roots.

use std::{fs, io::Read, path::Path, sync::Arc};

use alloy_primitives::{B256, hex};
use cairn_vectors::VectorTest;
use content_types::{
    ChainSpec, HeaderVerifier, TrustListKind, TrustLists,
    trust::{HistoricalSummaries, HistoricalSummariesWithProof, TrustError},
};
use serde::Deserialize;

use super::{BEACON, ContentItem, SUMMARIES, history_test, mainnet, read, yaml};

/// Bytes of the fork digest before a value of the beacon network.
const FORK_DIGEST_LENGTH: usize = 4;

pub(crate) fn tests() -> Vec<VectorTest> {
    vec![
        history_test("lists", lists),
        history_test("damaged_lists", damaged_lists),
        history_test("longer_and_shorter_summaries", longer_and_shorter_summaries),
        history_test("hive_summaries", hive_summaries),
        VectorTest::new("summaries_with_proof", &[BEACON], summaries_with_proof),
    ]
}

fn files(root: &Path) -> [(TrustListKind, Vec<u8>, usize); 3] {
    let trust = |file: &str| fs::read(root.join("trust").join(file)).unwrap();
    [
        (TrustListKind::PreMergeAccumulator, trust("historical_hashes_accumulator.ssz"), 1897),
        (TrustListKind::HistoricalRoots, trust("historical_roots.ssz"), 758),
        (TrustListKind::HistoricalSummaries, read(root, SUMMARIES), 643),
    ]
}

fn lists(root: &Path) {
    let chain = ChainSpec::mainnet();
    let roots = chain.trust_roots();
    let mut lists = TrustLists::default();
    for (kind, bytes, entries) in files(root) {
        assert_eq!(lists.entries(kind), None);
        assert_eq!(lists.import_any(&bytes, roots), Ok(kind));
        assert_eq!(lists.entries(kind), Some(entries));
        assert_eq!(lists.encoded(&roots.root(kind).unwrap(), roots), Some(bytes));
    }
    assert_eq!(lists.encoded(&B256::ZERO, roots), None);
    assert_eq!(
        fs::read(root.join("trust/historical_hashes_accumulator.ssz")).unwrap(),
        read(root, "accumulator/historical_hashes_accumulator.ssz")
    );
}

fn damaged_lists(root: &Path) {
    let chain = ChainSpec::mainnet();
    let roots = chain.trust_roots();
    for (kind, bytes, _) in files(root) {
        for position in (0..bytes.len()).step_by(bytes.len() / 16).chain(0..8).chain([bytes.len() - 1]) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x10;
            let mut lists = TrustLists::default();
            assert!(lists.import(kind, &damaged, roots).is_err(), "{kind}, byte {position}");
            assert_eq!(lists, TrustLists::default());
        }
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..bytes.len() - 64], &bytes[1..], &[]] {
            assert!(TrustLists::default().import(kind, damaged, roots).is_err(), "{kind}, {} bytes", damaged.len());
        }
        let unrecognized = TrustError::Unrecognized { length: bytes.len() - 1 };
        assert_eq!(TrustLists::default().import_any(&bytes[1..], roots), Err(unrecognized));
        let sepolia = ChainSpec::sepolia();
        let error = TrustLists::default().import(kind, &bytes, sepolia.trust_roots()).unwrap_err();
        assert_eq!(error, TrustError::NoRoot(kind));
    }
}

fn longer_and_shorter_summaries(root: &Path) {
    let chain = ChainSpec::mainnet();
    let bytes = read(root, SUMMARIES);
    let known = HistoricalSummaries::from_ssz(&bytes, chain.trust_roots()).unwrap();
    let longer = [bytes.as_slice(), &[7; 64]].concat();
    assert_eq!(HistoricalSummaries::from_ssz(&longer, chain.trust_roots()).unwrap(), known);
    let error = HistoricalSummaries::from_ssz(&bytes[64..], chain.trust_roots()).unwrap_err();
    assert_eq!(error, TrustError::TooFewSummaries { needed: 643, actual: 642 });
}

/// The summaries that hive seeds come with a proof against a state root that is in no vector. This test takes that root
/// on trust; that they continue the compiled-in checkpoint shows that it can.
fn hive_summaries(root: &Path) {
    let verifier = mainnet(root);
    let file = read(root, "hive/fork_digest_historical_summaries_364328.ssz_snappy");
    let mut bytes = Vec::new();
    snap::read::FrameDecoder::new(file.as_slice()).read_to_end(&mut bytes).unwrap();
    let with_proof = HistoricalSummariesWithProof::decode(&bytes[FORK_DIGEST_LENGTH..]).unwrap();
    assert_eq!(with_proof.encode(), bytes[FORK_DIGEST_LENGTH..]);
    assert_eq!(with_proof.epoch(), 364_328);

    let checkpoint = ChainSpec::mainnet().trust_roots().summaries.unwrap();
    assert_eq!(HistoricalSummaries::root_of(&with_proof.summaries()[..checkpoint.count]), checkpoint.root);

    let state_root = with_proof.state_root();
    let mut lists = verifier.lists().clone();
    lists.extend_summaries(HistoricalSummaries::from_state_proof(with_proof, state_root).unwrap());
    // Whole periods of 256 epochs up to the state's, of which the first 758 are in `historical_roots`.
    let expected = Some(364_328 / 256 - 758);
    assert_eq!(lists.entries(TrustListKind::HistoricalSummaries), expected);
    // The shorter list does not push the longer one out.
    lists.import_any(&read(root, SUMMARIES), verifier.chain().trust_roots()).unwrap();
    assert_eq!(lists.entries(TrustListKind::HistoricalSummaries), expected);

    let verifier = HeaderVerifier::new(Arc::clone(verifier.chain()), lists);
    let items: Vec<ContentItem> = yaml(&read(root, "hive/success/22431083.yaml"));
    assert_eq!(verifier.verify(&items[0].content_value).unwrap().number(), 22_431_083);
}

#[derive(Deserialize)]
struct SummariesWithProof {
    #[serde(with = "hex::serde")]
    content_value: Vec<u8>,
    beacon_state_root: B256,
    historical_summaries_root: B256,
    epoch: u64,
}

fn summaries_with_proof(root: &Path) {
    for fork in ["deneb", "electra"] {
        let file = format!("{BEACON}/historical_summaries_with_proof/{fork}/historical_summaries_with_proof.yaml");
        let vector: SummariesWithProof = yaml(&fs::read(root.join(file)).unwrap());
        let bytes = &vector.content_value[FORK_DIGEST_LENGTH..];
        let with_proof = HistoricalSummariesWithProof::decode(bytes).unwrap();
        assert_eq!(with_proof.encode(), bytes);
        assert_eq!(with_proof.epoch(), vector.epoch);
        assert_eq!(HistoricalSummaries::root_of(with_proof.summaries()), vector.historical_summaries_root);

        let summaries = HistoricalSummaries::from_state_proof(with_proof.clone(), vector.beacon_state_root).unwrap();
        assert_eq!(summaries.summaries(), with_proof.summaries());
        let actual = vector.beacon_state_root;
        assert_eq!(
            HistoricalSummaries::from_state_proof(with_proof, B256::ZERO),
            Err(TrustError::NotInState { expected: B256::ZERO, actual })
        );
        // Everything but the epoch, which nothing binds, and the offset leads to the state root.
        for position in (12..bytes.len()).step_by(5) {
            let mut damaged = bytes.to_vec();
            damaged[position] ^= 1;
            let damaged = HistoricalSummariesWithProof::decode(&damaged).unwrap();
            assert_ne!(damaged.state_root(), vector.beacon_state_root, "byte {position}");
        }
    }
}
