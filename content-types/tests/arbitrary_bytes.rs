//! Every decoder takes any bytes without a panic, and what it accepts encodes to the same bytes again.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

use alloy_consensus::Header;
use alloy_primitives::{Address, B64, B256, Bloom, U256};
use content_types::{
    ChainSpec, HeaderProof, HeaderWithProof, ProofKind, SummariesCheckpoint, TrustListKind, TrustLists, TrustRoots,
    header::{BlockProofHistoricalRoots, BlockProofHistoricalSummaries, Branch, DecodedHeader, EpochRecord},
    legacy_history::{EphemeralHeaders, OfferedHeader},
    trust::{
        HistoricalRoots, HistoricalSummaries, HistoricalSummariesWithProof, HistoricalSummary, PreMergeAccumulator,
    },
};
use proptest::{collection::vec, prelude::*};

fn hash() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::new)
}

fn branch<const N: usize>() -> impl Strategy<Value = Branch<N>> {
    any::<u64>()
        .prop_map(|seed| Branch(std::array::from_fn(|i| B256::from(U256::from(seed).wrapping_mul(U256::from(i + 1))))))
}

fn summaries_proof<const N: usize>() -> impl Strategy<Value = BlockProofHistoricalSummaries<N>> {
    (branch(), hash(), branch(), any::<u64>()).prop_map(
        |(beacon_block_proof, beacon_block_root, execution_block_proof, slot)| BlockProofHistoricalSummaries {
            beacon_block_proof,
            beacon_block_root,
            execution_block_proof,
            slot,
        },
    )
}

fn proof(kind: ProofKind) -> BoxedStrategy<HeaderProof> {
    match kind {
        ProofKind::HistoricalHashes => branch().prop_map(HeaderProof::HistoricalHashes).boxed(),
        ProofKind::HistoricalRoots => (branch(), hash(), branch(), any::<u64>())
            .prop_map(|(beacon_block_proof, beacon_block_root, execution_block_proof, slot)| {
                HeaderProof::HistoricalRoots(BlockProofHistoricalRoots {
                    beacon_block_proof,
                    beacon_block_root,
                    execution_block_proof,
                    slot,
                })
            })
            .boxed(),
        ProofKind::HistoricalSummariesCapella => {
            summaries_proof().prop_map(HeaderProof::HistoricalSummariesCapella).boxed()
        }
        ProofKind::HistoricalSummariesDeneb => {
            summaries_proof().prop_map(HeaderProof::HistoricalSummariesDeneb).boxed()
        }
    }
}

/// Headers with any number of the fields that forks have added.
fn header() -> impl Strategy<Value = DecodedHeader> {
    let fields = (hash(), any::<[u8; 20]>(), any::<[u8; 32]>(), any::<u64>(), any::<u64>(), vec(any::<u8>(), 0..33));
    (fields, 0..16_700_000_u64, 1_500_000_000..1_800_000_000_u64, 0..6_usize).prop_map(
        |((root, address, difficulty, gas, nonce, extra_data), number, timestamp, forks)| {
            let header = Header {
                parent_hash: root,
                state_root: root,
                beneficiary: Address::from(address),
                logs_bloom: Bloom::repeat_byte(address[0]),
                difficulty: U256::from_be_bytes(difficulty),
                number,
                gas_limit: gas,
                timestamp,
                extra_data: extra_data.into(),
                nonce: B64::from(nonce),
                base_fee_per_gas: (forks > 0).then_some(gas),
                withdrawals_root: (forks > 1).then_some(root),
                blob_gas_used: (forks > 2).then_some(gas),
                excess_blob_gas: (forks > 2).then_some(nonce),
                parent_beacon_block_root: (forks > 3).then_some(root),
                requests_hash: (forks > 4).then_some(root),
                ..Header::default()
            };
            DecodedHeader::decode(alloy_rlp::encode(&header).into()).unwrap()
        },
    )
}

fn header_with_proof() -> impl Strategy<Value = HeaderWithProof> {
    header().prop_flat_map(|header| {
        let kind = ChainSpec::mainnet().proof_kind(header.number(), header.header().timestamp).unwrap();
        (Just(header), proof(kind)).prop_map(|(header, proof)| HeaderWithProof { header, proof })
    })
}

/// What is done to a valid encoding: the bytes at some places are changed, and the end is cut off or extended.
fn damage() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, isize)> {
    (vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), -40..40_isize)
}

fn damaged(bytes: &[u8], (changes, growth): (Vec<(prop::sample::Index, u8)>, isize)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (index, byte) in changes {
        if !bytes.is_empty() {
            let index = index.index(bytes.len());
            bytes[index] ^= byte;
        }
    }
    bytes.resize(bytes.len().saturating_add_signed(growth), 0);
    bytes
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..1200)
}

fn decode_header_with_proof(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(value) = HeaderWithProof::decode(bytes, &ChainSpec::mainnet()) {
        prop_assert_eq!(value.encode(), bytes);
        // What was decoded is what was hashed: there is no second encoding of a header.
        prop_assert_eq!(&alloy_rlp::encode(value.header.header()), value.header.rlp());
    }
    Ok(())
}

fn decode_ephemeral(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(value) = EphemeralHeaders::decode(bytes) {
        prop_assert_eq!(value.encode(), bytes);
        let _ = value.verify(B256::ZERO, 0);
    }
    if let Ok(value) = OfferedHeader::decode(bytes) {
        prop_assert_eq!(value.encode(), bytes);
        let _ = value.verify(B256::ZERO);
    }
    Ok(())
}

fn decode_lists(bytes: &[u8], roots: &TrustRoots) -> Result<(), TestCaseError> {
    for kind in TrustListKind::ALL {
        let mut lists = TrustLists::default();
        if lists.import(kind, bytes, roots).is_ok() {
            let encoded = lists.encoded(&roots.root(kind).unwrap(), roots).unwrap();
            prop_assert!(bytes.starts_with(&encoded));
        }
    }
    if let Ok(value) = HistoricalSummariesWithProof::decode(bytes) {
        prop_assert_eq!(value.encode(), bytes);
        prop_assert!(HistoricalSummaries::from_state_proof(value, B256::ZERO).is_err());
    }
    if let Ok(value) = EpochRecord::decode(bytes) {
        prop_assert_eq!(value.encode(), bytes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn headers_round_trip(value in header_with_proof()) {
        let encoded = value.encode();
        prop_assert_eq!(HeaderWithProof::decode(&encoded, &ChainSpec::mainnet()), Ok(value));
    }

    #[test]
    fn ephemeral_headers_round_trip(headers in vec(header(), 0..5), damage in damage()) {
        let headers: Vec<_> = headers.iter().map(|header| header.rlp().to_vec()).collect();
        if let Some(header) = headers.first() {
            let offered = OfferedHeader::new(header.clone()).unwrap();
            prop_assert_eq!(&OfferedHeader::decode(&offered.encode()), &Ok(offered.clone()));
            decode_ephemeral(&damaged(&offered.encode(), damage.clone()))?;
        }
        let value = EphemeralHeaders::new(headers).unwrap();
        prop_assert_eq!(&EphemeralHeaders::decode(&value.encode()), &Ok(value.clone()));
        decode_ephemeral(&damaged(&value.encode(), damage))?;
    }

    #[test]
    fn lists_round_trip(hashes in vec(hash(), 1..40), epoch: u64, electra: bool, damage in damage()) {
        let summaries: Vec<_> = hashes
            .iter()
            .map(|hash| HistoricalSummary { block_summary_root: *hash, state_summary_root: B256::ZERO })
            .collect();
        let roots = TrustRoots {
            pre_merge: PreMergeAccumulator::root_of(&hashes),
            historical_roots: Some(HistoricalRoots::root_of(&hashes)),
            summaries: Some(SummariesCheckpoint {
                count: summaries.len(),
                root: HistoricalSummaries::root_of(&summaries),
            }),
        };
        let lists = [
            (TrustListKind::PreMergeAccumulator, PreMergeAccumulator::encode(&hashes)),
            (TrustListKind::HistoricalRoots, HistoricalRoots::encode(&hashes)),
            (TrustListKind::HistoricalSummaries, HistoricalSummaries::encode(&summaries)),
        ];
        let mut imported = TrustLists::default();
        for (kind, encoded) in &lists {
            prop_assert_eq!(imported.import_any(encoded, &roots), Ok(*kind));
            prop_assert_eq!(imported.encoded(&roots.root(*kind).unwrap(), &roots), Some(encoded.clone()));
            decode_lists(&damaged(encoded, damage.clone()), &roots)?;
        }

        let proof_length = if electra { 6 } else { 5 };
        let mut with_proof = epoch.to_le_bytes().to_vec();
        with_proof.extend((12_u32 + 32 * proof_length).to_le_bytes());
        with_proof.resize(12 + 32 * proof_length as usize, 0xee);
        with_proof.extend(HistoricalSummaries::encode(&summaries));
        let decoded = HistoricalSummariesWithProof::decode(&with_proof).unwrap();
        prop_assert_eq!(decoded.encode(), with_proof.clone());
        let state_root = decoded.state_root();
        let trusted = HistoricalSummaries::from_state_proof(decoded, state_root).unwrap();
        prop_assert_eq!(trusted.summaries(), summaries);
        decode_lists(&damaged(&with_proof, damage), &roots)?;
    }

    #[test]
    fn damaged_headers(value in header_with_proof(), damage in damage()) {
        decode_header_with_proof(&damaged(&value.encode(), damage))?;
    }

    #[test]
    fn arbitrary_bytes(bytes in bytes()) {
        decode_header_with_proof(&bytes)?;
        decode_ephemeral(&bytes)?;
        decode_lists(&bytes, ChainSpec::mainnet().trust_roots())?;
        for kind in ProofKind::ALL {
            prop_assert_eq!(HeaderProof::decode(kind, &bytes).is_ok(), bytes.len() == kind.encoded_len());
        }
        prop_assert!(DecodedHeader::decode(bytes.into()).is_err());
    }

    #[test]
    fn arbitrary_text_is_no_chain(text in ".{0,200}") {
        prop_assert!(ChainSpec::from_json(&text).is_err());
    }

    #[test]
    fn damaged_chain_specifications(damage in damage()) {
        let text = damaged(ChainSpec::mainnet().to_json().as_bytes(), damage);
        if let Ok(spec) = ChainSpec::from_json(&String::from_utf8_lossy(&text)) {
            prop_assert_eq!(ChainSpec::from_json(&spec.to_json()), Ok(spec));
        }
    }
}
