//! A short private chain with blocks from before the merge, from the merge on, from Capella on and from Deneb on: every
//! rule of header proofs, kept and broken.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

mod builder;

use std::sync::Arc;

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::{
    ChainSpec, HeaderError, HeaderProof, HeaderVerifier, HeaderWithProof, ProofKind, SummariesCheckpoint,
    TrustListKind, TrustLists, header::DecodedHeader, trust::HistoricalSummaries,
};

use builder::{BELLATRIX, CAPELLA, DENEB, LENGTH, PrivateChain, SECONDS_PER_SLOT, beacon_block_root, decoded};

/// A block of each part of the chain, with the kind of proof that it needs.
const ONE_OF_EACH: [(usize, ProofKind); 4] = [
    (BELLATRIX - 1, ProofKind::HistoricalHashes),
    (BELLATRIX, ProofKind::HistoricalRoots),
    (CAPELLA, ProofKind::HistoricalSummariesCapella),
    (DENEB, ProofKind::HistoricalSummariesDeneb),
];

#[test]
fn every_header_is_proved() {
    let chain = PrivateChain::build();
    let verifier = chain.verifier();
    for (number, (header, proof)) in chain.headers.iter().zip(&chain.proofs).enumerate() {
        let value = HeaderWithProof { header: header.clone(), proof: *proof }.encode();
        let proved = verifier.verify(&value).unwrap();
        assert_eq!((proved.number(), proved.hash(), proved.rlp()), (number as u64, header.hash(), header.rlp()));
    }
    for (number, kind) in ONE_OF_EACH {
        assert_eq!(chain.proofs[number].kind(), kind);
    }
}

#[test]
fn one_proof_proves_a_run() {
    let chain = PrivateChain::build();
    let run = chain.run();
    let proved = chain.verifier().verify_run(&run, &chain.proofs[LENGTH - 1]).unwrap();
    assert!(proved.iter().map(|header| header.hash()).eq(chain.headers.iter().map(DecodedHeader::hash)));
    assert_eq!(chain.verifier().verify_run(&[], &chain.proofs[0]), Ok(vec![]));
}

#[test]
fn a_broken_run_names_the_block() {
    let chain = PrivateChain::build();
    let verifier = chain.verifier();
    let (last, last_proof) = (LENGTH - 1, &chain.proofs[LENGTH - 1]);

    let mut run = chain.run();
    run.remove(7);
    let error = verifier.verify_run(&run, last_proof).unwrap_err();
    assert_eq!((error.position, error.number), (6, Some(7)));
    assert!(matches!(error.source, HeaderError::NotParent { number: 6, .. }), "{error}");

    let mut run = chain.run();
    run[3] = Bytes::from_static(b"\xc0");
    let error = verifier.verify_run(&run, last_proof).unwrap_err();
    assert_eq!((error.position, error.number), (3, Some(3)));
    assert!(error.to_string().starts_with("header 3 of the run, block 3: malformed header"), "{error}");
    assert!(verifier.verify_run(&run[4..], last_proof).is_ok());

    let mut run = chain.run();
    run[last] = chain.sibling(last).rlp().clone();
    let error = verifier.verify_run(&run, last_proof).unwrap_err();
    assert_eq!((error.position, error.number), (last, Some(last as u64)));
    assert!(matches!(error.source, HeaderError::NotInBeaconBlock { .. }), "{error}");

    run[last] = Bytes::new();
    assert_eq!(verifier.verify_run(&run, last_proof).unwrap_err().number, None);
}

#[test]
fn a_proof_of_another_kind() {
    let chain = PrivateChain::build();
    for (number, expected) in ONE_OF_EACH {
        for (other, actual) in ONE_OF_EACH {
            if expected != actual {
                let error = chain.verifier().prove(chain.headers[number].clone(), &chain.proofs[other]).unwrap_err();
                assert_eq!(error, HeaderError::WrongProofKind { number: number as u64, expected, actual });
            }
        }
    }
}

#[test]
fn a_proof_of_the_wrong_length() {
    let chain = PrivateChain::build();
    for (number, kind) in ONE_OF_EACH {
        let value = HeaderWithProof { header: chain.headers[number].clone(), proof: chain.proofs[number] }.encode();
        let shorter = &value[..value.len() - 1];
        let longer = [&value[..], &[0]].concat();
        for (value, actual) in [(shorter, kind.encoded_len() - 1), (&longer, kind.encoded_len() + 1)] {
            let expected = HeaderError::ProofLength { kind, expected: kind.encoded_len(), actual };
            assert_eq!(chain.verifier().verify(value), Err(expected));
        }
    }
}

/// A block that is not on the chain takes the proof of the one that is.
#[test]
fn another_block_of_the_same_number() {
    let chain = PrivateChain::build();
    for (number, kind) in ONE_OF_EACH {
        let error = chain.verifier().prove(chain.sibling(number), &chain.proofs[number]).unwrap_err();
        match kind {
            ProofKind::HistoricalHashes => assert!(matches!(error, HeaderError::NotInEpoch { .. }), "{error}"),
            _ => assert!(matches!(error, HeaderError::NotInBeaconBlock { .. }), "{error}"),
        }
    }
}

/// A block that is not on the chain comes with a beacon block that is not on the chain either.
#[test]
fn a_made_up_beacon_block() {
    let chain = PrivateChain::build();
    for number in [BELLATRIX, CAPELLA, DENEB] {
        let sibling = chain.sibling(number);
        let mut proof = chain.proofs[number];
        let slot = *slot_of(&mut proof);
        let made_up = beacon_block_root(number, slot, sibling.hash());
        *beacon_block_root_of(&mut proof) = made_up;
        let error = chain.verifier().prove(sibling, &proof).unwrap_err();
        let (list, index) = match number {
            BELLATRIX => (TrustListKind::HistoricalRoots, 0),
            CAPELLA => (TrustListKind::HistoricalSummaries, 0),
            _ => (TrustListKind::HistoricalSummaries, 1),
        };
        assert_eq!(error, HeaderError::BeaconBlockNotInList { beacon_block_root: made_up, slot, list, index });
    }
}

#[test]
fn a_slot_that_is_not_the_headers() {
    let chain = PrivateChain::build();
    for number in [BELLATRIX, CAPELLA, DENEB] {
        let expected = *slot_of(&mut chain.proofs[number].clone());
        // The same place in another period, the next slot, and one out of range.
        for actual in [expected + 8192, expected + 1, u64::MAX] {
            let mut proof = chain.proofs[number];
            *slot_of(&mut proof) = actual;
            let error = HeaderError::WrongSlot { number: number as u64, expected, actual };
            assert_eq!(chain.verifier().prove(chain.headers[number].clone(), &proof), Err(error));
        }
        let mut header = chain.headers[number].header().clone();
        header.timestamp += SECONDS_PER_SLOT - 1;
        let error = HeaderError::NoSlot { number: number as u64, timestamp: header.timestamp };
        assert_eq!(chain.verifier().prove(decoded(&header), &chain.proofs[number]), Err(error));
    }
}

fn slot_of(proof: &mut HeaderProof) -> &mut u64 {
    match proof {
        HeaderProof::HistoricalRoots(proof) => &mut proof.slot,
        HeaderProof::HistoricalSummariesCapella(proof) => &mut proof.slot,
        HeaderProof::HistoricalSummariesDeneb(proof) => &mut proof.slot,
        HeaderProof::HistoricalHashes(_) => panic!("a block before the merge has no slot"),
    }
}

fn beacon_block_root_of(proof: &mut HeaderProof) -> &mut B256 {
    match proof {
        HeaderProof::HistoricalRoots(proof) => &mut proof.beacon_block_root,
        HeaderProof::HistoricalSummariesCapella(proof) => &mut proof.beacon_block_root,
        HeaderProof::HistoricalSummariesDeneb(proof) => &mut proof.beacon_block_root,
        HeaderProof::HistoricalHashes(_) => panic!("a block before the merge has no beacon block"),
    }
}

#[test]
fn a_list_that_is_missing_or_too_short() {
    let chain = PrivateChain::build();
    let without = |kind| {
        let mut lists = chain.lists.clone();
        match kind {
            TrustListKind::PreMergeAccumulator => lists.pre_merge = None,
            TrustListKind::HistoricalRoots => lists.historical_roots = None,
            TrustListKind::HistoricalSummaries => lists.summaries = None,
        }
        HeaderVerifier::new(Arc::new(chain.spec()), lists)
    };
    for (number, list) in [
        (0, TrustListKind::PreMergeAccumulator),
        (BELLATRIX, TrustListKind::HistoricalRoots),
        (CAPELLA, TrustListKind::HistoricalSummaries),
        (DENEB, TrustListKind::HistoricalSummaries),
    ] {
        let error = without(list).prove(chain.headers[number].clone(), &chain.proofs[number]);
        assert_eq!(error, Err(HeaderError::ListMissing { number: number as u64, list }));
    }

    // The chain's later periods are trusted no longer when the checkpoint covers only the first.
    let summaries = chain.lists.summaries.as_ref().unwrap().summaries();
    let mut parameters = chain.parameters.clone();
    parameters.trust_roots.summaries =
        Some(SummariesCheckpoint { count: 1, root: HistoricalSummaries::root_of(&summaries[..1]) });
    let mut lists = TrustLists::default();
    let all = HistoricalSummaries::encode(summaries);
    lists.import(TrustListKind::HistoricalSummaries, &all, &parameters.trust_roots).unwrap();
    let verifier = HeaderVerifier::new(Arc::new(ChainSpec::new(parameters).unwrap()), lists);
    assert!(verifier.prove(chain.headers[CAPELLA].clone(), &chain.proofs[CAPELLA]).is_ok());
    assert_eq!(
        verifier.prove(chain.headers[DENEB].clone(), &chain.proofs[DENEB]),
        Err(HeaderError::BeyondList {
            number: DENEB as u64,
            list: TrustListKind::HistoricalSummaries,
            index: 1,
            length: 1
        })
    );
}

#[test]
fn no_proof_is_known_after_amsterdam() {
    let chain = PrivateChain::build();
    let mut parameters = chain.parameters.clone();
    let timestamp = chain.headers[LENGTH - 1].header().timestamp;
    parameters.amsterdam_time = Some(timestamp);
    let verifier = HeaderVerifier::new(Arc::new(ChainSpec::new(parameters).unwrap()), chain.lists.clone());
    let number = LENGTH as u64 - 1;
    assert_eq!(
        verifier.prove(chain.headers[LENGTH - 1].clone(), &chain.proofs[LENGTH - 1]),
        Err(HeaderError::NoProofKind { number, timestamp, fork_time: timestamp })
    );
    assert!(verifier.prove(chain.headers[LENGTH - 2].clone(), &chain.proofs[LENGTH - 2]).is_ok());
}

#[test]
fn the_specification_survives_its_file() {
    let spec = PrivateChain::build().spec();
    assert_eq!(ChainSpec::from_json(&spec.to_json()), Ok(spec));
}
