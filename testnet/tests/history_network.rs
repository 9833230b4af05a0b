//! A network that holds real history: sixteen peers, each with room for a fifth of it, and one that seeds them with two
//! mainnet eras and with full blocks of later forks. A newcomer finds and proves a random sample; then a third of the peers
//! is killed at once, and the seeder with them, and it still finds whatever some living peer holds.

// The standard harness marks tests for clippy; this one is ours.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use cairn_archive::{
    Archive,
    convert::{Target, convert},
};
use cairn_node::{seeding::SeedOptions, trust::TrustStore};
use cairn_vectors::VectorTest;
use content_types::{ChainSpec, ContentKey, HeaderVerifier};
use support::{Block, later_blocks, put, trust_folder};
use tempfile::TempDir;
use testnet::{
    network::{LocalNetwork, PeerOptions},
    sample::{self, Piece, SampleOutcome, SamplePart, median_and_p99},
};

const PARALLEL: usize = 16;
const SEED: u64 = 20_231_123;
/// A block of the first eras in the network, in bytes: its header with proof, body and receipts, each under two keys.
const BLOCK_BYTES: u64 = 2_600;
/// The full blocks of later forks in the network, in bytes.
const LATER_BYTES: u64 = 5_000_000;

/// How much of it.
struct Scale {
    peers: usize,
    /// Blocks of each era.
    era_blocks: u64,
    sample: usize,
}

const WHOLE: Scale = Scale { peers: 16, era_blocks: 8_192, sample: 1_000 };
const SMALL: Scale = Scale { peers: 8, era_blocks: 128, sample: 150 };

fn main() {
    let needs = &["era1", "trust", "portal-spec-tests/tests/mainnet/history"];
    cairn_vectors::run(vec![
        VectorTest::new("a_newcomer_finds_and_proves_a_slice_of_history", needs, |root| run(root, SMALL)),
        VectorTest::new("a_newcomer_finds_and_proves_all_history", needs, |root| run(root, WHOLE)).on_demand(),
    ]);
}

fn run(root: &Path, scale: Scale) {
    support::runtime().block_on(newcomer(root, scale));
}

async fn newcomer(root: &Path, scale: Scale) {
    let trust = trust_folder(root);
    let (_archives, seeds, mut blocks) = archives(root, scale.era_blocks);
    let content = blocks.len() as u64 * BLOCK_BYTES + LATER_BYTES;
    let chain = Arc::new(ChainSpec::mainnet());
    let verifier = TrustStore::open(trust.path(), Arc::clone(&chain)).unwrap().verifier();

    let mut network = LocalNetwork::new(chain, trust.path());
    let seeder = network.join(PeerOptions { rpc: true, ..PeerOptions::seeding(seeds) }).await.unwrap();
    for _ in 0..scale.peers {
        network.join(PeerOptions::storing(content / 5)).await.unwrap();
    }
    network.wait_until_joined(scale.peers).await.unwrap();

    let started = Instant::now();
    let later = seed(&network, seeder, root, blocks.len() as u64).await;
    println!("seeded {} blocks to {} peers in {:.1?}", blocks.len(), scale.peers, started.elapsed());
    blocks.extend(later.iter().map(|block| block.number));

    let newcomer = network.join(PeerOptions::storing(content / 20)).await.unwrap();
    network.wait_until_joined(scale.peers / 2).await.unwrap();
    let mut pieces = sample::random_pieces(&blocks, scale.sample, SEED);
    pieces.extend(later.iter().flat_map(|block| SamplePart::ALL.map(|part| Piece { number: block.number, part })));
    // The seeder's archives hold the early blocks; of the later ones peers keep what their radius still covers.
    let all = pieces.len();
    pieces.retain(|piece| is_provable(&network, newcomer, *piece));
    println!("held before the kill: {} of {all} pieces", pieces.len());
    assert!(pieces.len() >= scale.sample, "the archives are served in place");
    let outcomes = fetch(&network, newcomer, &verifier, &pieces).await;
    assert_all_proved(&outcomes);
    tell("before the kill", &outcomes);

    for index in 0..=scale.peers / 3 {
        network.kill(index).unwrap();
    }
    // Whoever still holds a piece is asked directly: its own store and archives tell.
    let pieces = sample::random_pieces(&blocks, scale.sample, SEED + 1);
    let held: Vec<Piece> = pieces.into_iter().filter(|piece| is_provable(&network, newcomer, *piece)).collect();
    println!("held after the kill, without the seeder: {} of {} pieces", held.len(), scale.sample);
    assert!(held.len() > scale.sample / 2, "the living peers hold only {} of {}", held.len(), scale.sample);
    let outcomes = fetch(&network, newcomer, &verifier, &held).await;
    assert_all_proved(&outcomes);
    tell("after the kill", &outcomes);
    network.shutdown().await;
}

/// Both eras, or an archive with the first blocks of each, and the blocks' numbers.
fn archives(root: &Path, era_blocks: u64) -> (TempDir, Vec<PathBuf>, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, mut numbers) = (Vec::new(), Vec::new());
    for name in ["mainnet-00000-5ec1ffb8.era1", "mainnet-00001-a5364e9a.era1"] {
        let path = root.join("era1").join(name);
        let archive = Archive::open(&path).unwrap();
        let first = *archive.blocks().start();
        let blocks = first..=first + era_blocks - 1;
        numbers.extend(blocks.clone());
        if blocks == archive.blocks() {
            files.push(path);
            continue;
        }
        let target = Target::Ere { proofs: true, receipts: true };
        files.push(convert(&archive, blocks, "mainnet", target, folder.path(), |_| {}).unwrap());
    }
    (folder, files, numbers)
}

/// Says how fast it was, for whoever runs this for figures.
fn tell(when: &str, outcomes: &[SampleOutcome]) {
    let (median, p99) = median_and_p99(outcomes.iter().map(|outcome| outcome.took).collect());
    println!("{when}: {} pieces found and proved, median {median:.1?}, p99 {p99:.1?}", outcomes.len());
}

/// Seeds the archives by the seeding job and the later blocks over JSON-RPC.
async fn seed(network: &LocalNetwork, seeder: usize, root: &Path, expected: u64) -> Vec<Block> {
    let node = network.peer(seeder).unwrap().node();
    let progress = node.offer_archives(SeedOptions::default()).wait().await;
    assert!(progress.finished);
    assert_eq!((progress.blocks_done, progress.blocks_refused), (expected, 0));
    let url = format!("http://{}", node.rpc_address().unwrap());
    let blocks = later_blocks(&root.join("portal-spec-tests/tests/mainnet/history"));
    assert!(!blocks.is_empty());
    for block in &blocks {
        for (key, value) in block.contents() {
            let taken = put(&url, key, value).await;
            assert!(taken > 0 || !is_covered(network, seeder, &key), "nobody was offered {key:?}");
        }
    }
    blocks
}

/// Whether some peer's radius covers a piece. With room for a fifth in each of sixteen, a few pieces are near none of them.
fn is_covered(network: &LocalNetwork, seeder: usize, key: &ContentKey) -> bool {
    network.living().filter(|(index, _)| *index != seeder).any(|(_, peer)| {
        let node = peer.node();
        node.node_id().distance(&key.content_id()) <= node.store().radius(key.sub_network())
    })
}

async fn fetch(
    network: &LocalNetwork,
    newcomer: usize,
    verifier: &HeaderVerifier,
    pieces: &[Piece],
) -> Vec<SampleOutcome> {
    sample::fetch(network.peer(newcomer).unwrap().node(), verifier, pieces, PARALLEL).await
}

/// Whether some living peer holds a piece, and some the header without which it cannot be proved.
fn is_provable(network: &LocalNetwork, newcomer: usize, piece: Piece) -> bool {
    is_held(network, newcomer, piece) && is_held(network, newcomer, Piece { part: SamplePart::Header, ..piece })
}

fn is_held(network: &LocalNetwork, newcomer: usize, piece: Piece) -> bool {
    let key = piece.key();
    network
        .living()
        .filter(|(index, _)| *index != newcomer)
        .any(|(_, peer)| matches!(peer.node().store().get(&key), Ok(Some(_))))
}

fn assert_all_proved(outcomes: &[SampleOutcome]) {
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.result.as_ref().is_ok_and(|found| found.proved))
        .map(|outcome| format!("{:?}: {:?}", outcome.piece, outcome.result))
        .collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), outcomes.len(), failed.join("\n"));
}
