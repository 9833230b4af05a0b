//! A network that holds real history: sixteen peers, each with room for a fifth of it, seeded with two mainnet eras and
//! with full blocks of later forks. A newcomer finds and proves a random sample; then a third of the peers is killed at
//! once, and it still finds whatever some living peer holds.

mod support;

use std::{path::Path, sync::Arc};

use cairn_node::{seeding::SeedOptions, trust::TrustStore};
use cairn_vectors::VectorTest;
use content_types::{ChainSpec, HeaderVerifier};
use support::{Block, later_blocks, put, trust_folder};
use testnet::{
    network::{Network, PeerOptions},
    sample::{self, Outcome, Part, Piece},
};

const PEERS: usize = 16;
const KILLED: usize = 5;
const SAMPLE: usize = 1_000;
const PARALLEL: usize = 16;
const SEED: u64 = 20_231_123;
/// Headers with proofs by hash and by number, bodies and receipts of two eras, roughly. A fifth of it is a peer's room.
const CONTENT_BYTES: u64 = 45_000_000;

fn main() {
    let needs = &["era1", "trust", "portal-spec-tests/tests/mainnet/history"];
    cairn_vectors::run(vec![VectorTest::new("a_newcomer_finds_and_proves_all_history", needs, |root| {
        support::runtime().block_on(newcomer(root));
    })]);
}

async fn newcomer(root: &Path) {
    let trust = trust_folder(root);
    let chain = Arc::new(ChainSpec::mainnet());
    let verifier = TrustStore::open(trust.path(), Arc::clone(&chain)).unwrap().verifier();

    let mut network = Network::new(chain, trust.path());
    let seeds = vec![root.join("era1")];
    let seeder = network.join(PeerOptions { rpc: true, ..PeerOptions::seeding(seeds) }).await.unwrap();
    for _ in 1..PEERS {
        network.join(PeerOptions::storing(CONTENT_BYTES / 5)).await.unwrap();
    }
    network.wait_until_joined(PEERS - 1).await.unwrap();

    let later = seed(&network, seeder, root).await;
    let mut blocks: Vec<u64> = (0..16_384).collect();
    blocks.extend(later.iter().map(|block| block.number));

    let newcomer = network.join(PeerOptions::storing(CONTENT_BYTES / 20)).await.unwrap();
    network.wait_until_joined(PEERS / 2).await.unwrap();
    let mut pieces = sample::random_pieces(&blocks, SAMPLE, SEED);
    pieces.extend(later.iter().flat_map(|block| Part::ALL.map(|part| Piece { number: block.number, part })));
    let outcomes = fetch(&network, newcomer, &verifier, &pieces).await;
    assert_all_proved(&outcomes);

    for index in 1..=KILLED {
        network.kill(index).unwrap();
    }
    // Whoever still holds a piece is asked directly: its own store and archives tell.
    let pieces = sample::random_pieces(&blocks, SAMPLE, SEED + 1);
    let held: Vec<Piece> = pieces.into_iter().filter(|piece| is_held(&network, newcomer, *piece)).collect();
    assert!(held.len() > SAMPLE / 2, "the living peers hold only {} of {SAMPLE} pieces", held.len());
    assert_all_proved(&fetch(&network, newcomer, &verifier, &held).await);
    network.shutdown().await;
}

/// Seeds the archives by the seeding job and the later blocks over JSON-RPC.
async fn seed(network: &Network, seeder: usize, root: &Path) -> Vec<Block> {
    let node = network.peer(seeder).unwrap().node();
    let progress = node.offer_archives(SeedOptions::default()).wait().await;
    assert!(progress.finished);
    assert_eq!((progress.blocks_done, progress.blocks_refused), (16_384, 0));
    let url = format!("http://{}", node.rpc_address().unwrap());
    let blocks = later_blocks(&root.join("portal-spec-tests/tests/mainnet/history"));
    assert!(!blocks.is_empty());
    for block in &blocks {
        for (key, value) in block.contents() {
            let taken = put(&url, key, value).await;
            assert!(taken > 0, "nobody was offered {key:?}");
        }
    }
    blocks
}

async fn fetch(network: &Network, newcomer: usize, verifier: &HeaderVerifier, pieces: &[Piece]) -> Vec<Outcome> {
    sample::fetch(network.peer(newcomer).unwrap().node(), verifier, pieces, PARALLEL).await
}

fn is_held(network: &Network, newcomer: usize, piece: Piece) -> bool {
    let key = piece.key();
    network
        .living()
        .filter(|(index, _)| *index != newcomer)
        .any(|(_, peer)| matches!(peer.node().store().get(&key), Ok(Some(_))))
}

fn assert_all_proved(outcomes: &[Outcome]) {
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.result.as_ref().is_ok_and(|found| found.proved))
        .map(|outcome| format!("{:?}: {:?}", outcome.piece, outcome.result))
        .collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), outcomes.len(), failed.join("\n"));
}
