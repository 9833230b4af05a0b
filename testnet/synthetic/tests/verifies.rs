//! Whatever the chain hands out verifies through `content_types`, and depends on nothing but the configuration.

#![allow(clippy::unwrap_used)] // in functions that tests call, which clippy does not know for tests

use std::collections::BTreeSet;

use alloy_consensus::TxEnvelope;
use alloy_eips::eip2718::Decodable2718;
use cairn_synthetic::{Block, SyntheticChain, SyntheticConfig};
use content_types::{
    ChainSpec, HeaderVerifier, ProofKind, TrustListKind, TrustLists,
    block::{BodyEncoding, ReceiptsEncoding, validate},
};
use std::sync::Arc;

fn verify(verifier: &HeaderVerifier, block: &Block) {
    let header = verifier.verify(&block.header_with_proof()).unwrap();
    let header = header.header();
    validate::body(header, BodyEncoding::Rlp, &block.body).unwrap();
    validate::body(header, BodyEncoding::Ssz, &block.body_ssz().unwrap()).unwrap();
    for encoding in [ReceiptsEncoding::Slim, ReceiptsEncoding::Ssz, ReceiptsEncoding::Rlp] {
        validate::receipts(header, encoding, &block.receipts_in(encoding).unwrap()).unwrap();
    }
}

fn verify_all(config: SyntheticConfig) -> SyntheticChain {
    let chain = SyntheticChain::new(config).unwrap();
    let verifier = chain.verifier();
    for (number, block) in (0..).zip(chain.blocks()) {
        assert_eq!(block.number(), number);
        assert_eq!(chain.block_hash(number), Some(block.header.hash()));
        verify(&verifier, &block);
    }
    assert_eq!(chain.blocks().count() as u64, chain.config().blocks());
    assert!(chain.block(chain.config().blocks()).is_none());
    chain
}

#[test]
fn every_block_verifies() {
    let chain = verify_all(SyntheticConfig::small());
    let kinds: BTreeSet<ProofKind> = chain.blocks().map(|block| block.proof.kind()).collect();
    assert_eq!(kinds, BTreeSet::from(ProofKind::ALL));
    assert!(chain.blocks().any(|block| !block.header.header().ommers_hash_is_empty()));
}

#[test]
fn any_fork_can_be_left_out() {
    for left_out in 0..16 {
        let blocks = |fork: u32, count| if left_out >> fork & 1 == 1 { 0 } else { count };
        let config = SyntheticConfig {
            seed: 5,
            pre_merge_blocks: if left_out & 1 == 1 { 1 } else { 7 },
            bellatrix_blocks: blocks(1, 3),
            capella_blocks: blocks(2, 4),
            deneb_blocks: blocks(3, 5),
            block_size: 600,
            accounts: 40,
        };
        verify_all(config);
    }
}

#[test]
fn periods_and_epochs_may_be_whole() {
    let config = SyntheticConfig {
        seed: 2,
        pre_merge_blocks: 8192 + 3,
        bellatrix_blocks: 8192,
        capella_blocks: 8000,
        deneb_blocks: 300,
        block_size: 0,
        accounts: 0,
    };
    let chain = SyntheticChain::new(config.clone()).unwrap();
    let verifier = chain.verifier();
    for number in [0, 8191, 8192, 8194, 8195, 16_000, 16_386, 16_387, 24_386, 24_387, config.blocks() - 1] {
        verify(&verifier, &chain.block(number).unwrap());
    }
    let lists = chain.trust_lists();
    assert_eq!(TrustListKind::ALL.map(|kind| lists.entries(kind)), [Some(2), Some(2), Some(2)]);
}

#[test]
fn transactions_are_well_formed() {
    let chain = SyntheticChain::new(SyntheticConfig { block_size: 20_000, ..SyntheticConfig::small() }).unwrap();
    let mut kinds = BTreeSet::new();
    for block in chain.blocks() {
        let ssz = block.body_ssz().unwrap();
        for envelope in ssz_transactions(&ssz) {
            let mut rest = envelope;
            let transaction = TxEnvelope::decode_2718(&mut rest).unwrap();
            assert!(rest.is_empty());
            kinds.insert(u8::from(transaction.tx_type()));
        }
    }
    assert_eq!(kinds, BTreeSet::from([0, 1, 2, 3, 4]));
}

/// The transactions in the SSZ of a body, of which they are the first field.
fn ssz_transactions(body: &[u8]) -> Vec<&[u8]> {
    let offset = |bytes: &[u8], nth: usize| u32::from_le_bytes(bytes[4 * nth..][..4].try_into().unwrap()) as usize;
    let list = &body[offset(body, 0)..offset(body, 1)];
    let count = if list.is_empty() { 0 } else { offset(list, 0) / 4 };
    let end = |nth| if nth + 1 < count { offset(list, nth + 1) } else { list.len() };
    (0..count).map(|nth| &list[offset(list, nth)..end(nth)]).collect()
}

#[test]
fn the_same_seed_gives_the_same_chain() {
    let config = SyntheticConfig::small();
    let [one, two] = [(); 2].map(|()| SyntheticChain::new(config.clone()).unwrap());
    assert_eq!(one.spec(), two.spec());
    for (one, two) in one.blocks().zip(two.blocks()) {
        assert_eq!((one.header, one.proof, one.body, one.receipts), (two.header, two.proof, two.body, two.receipts));
    }
    let other = SyntheticChain::new(SyntheticConfig { seed: config.seed + 1, ..config }).unwrap();
    let (mut same_bodies, mut same_hashes) = (0, 0);
    for (one, other) in one.blocks().zip(other.blocks()) {
        same_bodies += u32::from(one.body == other.body);
        same_hashes += u32::from(one.header.hash() == other.header.hash());
    }
    assert_eq!((same_bodies, same_hashes), (1, 0), "only the genesis block's body, which is empty, is the same");
    assert!(other.verifier().verify(&one.block(9).unwrap().header_with_proof()).is_err());
}

#[test]
fn blocks_have_the_size_that_was_asked_for() {
    for block_size in [1_000, 10_000, 100_000] {
        let config = SyntheticConfig { block_size, ..SyntheticConfig::of_every_fork(3, 200, 0) };
        let chain = SyntheticChain::new(config).unwrap();
        let sizes: Vec<_> = chain.blocks().skip(1).map(|block| block.body.len() + block.receipts.len()).collect();
        let average = sizes.iter().sum::<usize>() / sizes.len();
        assert!(average.abs_diff(block_size) < block_size / 10, "{average} instead of {block_size}");
        assert!(sizes.iter().all(|size| *size < 2 * block_size + 2_000), "{sizes:?}");
    }
}

#[test]
fn the_specification_and_the_lists_survive_a_file() {
    let chain = SyntheticChain::new(SyntheticConfig::small()).unwrap();
    let spec = ChainSpec::from_json(&chain.spec().to_json()).unwrap();
    let mut lists = TrustLists::default();
    for kind in TrustListKind::ALL {
        let root = chain.spec().trust_roots().root(kind).unwrap();
        let bytes = chain.trust_lists().encoded(&root, chain.spec().trust_roots()).unwrap();
        lists.import(kind, &bytes, spec.trust_roots()).unwrap();
    }
    let verifier = HeaderVerifier::new(Arc::new(spec), lists);
    chain.blocks().for_each(|block| verify(&verifier, &block));
}
