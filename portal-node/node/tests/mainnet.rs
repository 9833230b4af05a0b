//! Real history. Two nodes: one serves the first 16,384 blocks of mainnet from its archives, the other has little room and no trust
//! lists, and finds, proves and reads blocks of it. And capsules of what mainnet's clients answered to `eth_getProof`.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

#[path = "node/waiting.rs"]
mod waiting;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use alloy_rpc_types_eth::EIP1186AccountProofResponse;
use cairn_archive::Archive;
use cairn_node::capsules::{self, GivenProofs};
use cairn_node::{BlockId, Node, NodeConfig, trust};
use cairn_proto::routing::AddressPolicy;
use cairn_vectors::VectorTest;
use content_types::block::{ReceiptsEncoding, transcode};
use content_types::capsule::Capsule;
use content_types::header::DecodedHeader;
use content_types::trust::TrustListKind;
use content_types::{ChainSpec, SubNetwork};
use overlay::discovery::Nat;
use serde_json::{Value, json};
use waiting::until;

const ARCHIVES: [&str; 2] = ["era1/mainnet-00000-5ec1ffb8.era1", "era1/mainnet-00001-a5364e9a.era1"];
/// The frozen pre-merge accumulator.
const LIST: &str = "trust/historical_hashes_accumulator.ssz";
/// Spread over both archives, at their edges, and at blocks with ommers.
const SAMPLE: [u64; 12] = [0, 1, 3, 97, 4095, 4096, 8191, 8192, 8193, 12_345, 16_000, 16_383];

fn config(dir: &Path, bootnodes: Vec<overlay::Enr>) -> NodeConfig {
    let mut config = NodeConfig::new(Arc::new(ChainSpec::mainnet()), dir);
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0)).into();
    config.nat = Nat::None;
    config.addresses = AddressPolicy::Local;
    config.capacity = 1 << 20;
    config.bootnodes = bootnodes;
    config
}

async fn fetched_and_proved(vectors: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let lists = dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    std::fs::copy(vectors.join(LIST), lists.join(trust::file_name(TrustListKind::PreMergeAccumulator))).unwrap();

    let mut seeding = config(&dir.path().join("seeder"), Vec::new());
    seeding.seeds = vec![vectors.join("era1")];
    seeding.trust_dir = Some(lists);
    let seeder = Node::start(seeding).await.unwrap();
    seeder.archives().wait_until_scanned().await;
    assert_eq!(seeder.archives().count(), ARCHIVES.len());

    let reader = Node::start(config(&dir.path().join("reader"), vec![seeder.enr()])).await.unwrap();
    let has_peers = |network| reader.overlay(network).unwrap().peer_count() > 0;
    let lacks_list = || reader.trust().missing().iter().any(|(kind, _)| *kind == TrustListKind::PreMergeAccumulator);
    until("a peer and the trust list found", || {
        has_peers(SubNetwork::History) && has_peers(SubNetwork::LegacyHistory) && !lacks_list()
    })
    .await;

    let archives = ARCHIVES.map(|path| Archive::open(vectors.join(path)).unwrap());
    for number in SAMPLE {
        let archive = archives.iter().find(|archive| archive.blocks().contains(&number)).unwrap();
        let block = reader.fetch().block(BlockId::Number(number)).await.unwrap();
        assert_eq!(*block.header.rlp(), archive.header(number).unwrap());
        assert_eq!(block.body, archive.body(number).unwrap());
        let receipts = archive.receipts(number).unwrap().unwrap();
        let slim = transcode::receipts(receipts.encoding, ReceiptsEncoding::Slim, &receipts.bytes).unwrap();
        assert_eq!(block.receipts, slim);
    }
    let error = reader.fetch().block(BlockId::Number(16_384)).await.unwrap_err();
    assert!(error.to_string().contains("no proved header of block 16384"), "{error}");
    reader.shutdown().await;
    seeder.shutdown().await;
}

fn real_history_is_fetched_and_proved(vectors: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(fetched_and_proved(vectors));
}

/// Answers to `eth_getBlockByNumber` and `eth_getProof`.
const PROOFS: [(&str, &str); 2] = [
    ("proofs/proof_block.json", "proofs/storage_proof.json"),
    (
        "beacon/mainnet/eth_getBlockByNumber_0x14d0303_false.json",
        "beacon/mainnet/eth_getProof_0x95222290DD7278Aa3Ddd389Cc1E1d165CC4BAfe5____0x14d0303.json",
    ),
];

fn capsules_of_what_clients_proved(vectors: &Path) {
    // As a client answers, with the envelope of JSON-RPC or without.
    let json = |file: &str| -> Value {
        let answer: Value = serde_json::from_slice(&std::fs::read(vectors.join(file)).unwrap()).unwrap();
        answer.get("result").unwrap_or(&answer).clone()
    };
    for (block, proof) in PROOFS {
        let block = json(block);
        let header: alloy_consensus::Header = serde_json::from_value(block.clone()).unwrap();
        let header = DecodedHeader::decode(alloy_rlp::encode(header).into()).unwrap();
        assert_eq!(json!(header.hash()), block["hash"]);
        let told = json(proof);
        let proof: EIP1186AccountProofResponse = serde_json::from_value(told.clone()).unwrap();
        let given = GivenProofs::read(told.to_string().as_bytes()).unwrap();
        let written = given.capsule(&header, None).unwrap().encode();
        let capsule = Capsule::decode(&written).unwrap();
        let opened = capsule.open().unwrap();
        assert_eq!(opened.header.hash(), header.hash());
        assert_eq!(capsules::proofs(&opened), [proof], "taken apart it is what the client said");
        let as_json = serde_json::to_string(&told).unwrap().len();
        assert!(written.len() < as_json * 3 / 5, "{} bytes, {as_json} as the client's JSON", written.len());

        // In a thousand places, which a fixed stride spreads over all of it.
        for at in (0..1000).map(|nth| nth * 7919 % written.len()) {
            let mut changed = written.to_vec();
            changed[at] ^= 1 << (at % 8);
            let opened = Capsule::decode(&changed.into()).and_then(|capsule| capsule.open());
            assert!(opened.is_err(), "byte {at}");
        }
    }
}

fn main() {
    cairn_vectors::run(vec![
        VectorTest::new(
            "real_history_is_fetched_and_proved",
            &[ARCHIVES[0], ARCHIVES[1], LIST],
            real_history_is_fetched_and_proved,
        ),
        VectorTest::new(
            "capsules_of_what_clients_proved",
            &[PROOFS[0].0, PROOFS[0].1, PROOFS[1].0, PROOFS[1].1],
            capsules_of_what_clients_proved,
        ),
    ]);
}
