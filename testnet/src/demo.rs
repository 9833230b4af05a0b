//! The main job on a small network: peers with little disk, history seeded from archives, a newcomer that finds and proves
//! a random sample of it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_archive::{Archive, ArchiveError};
use cairn_node::{
    seeding::{SeedOptions, SeedProgress},
    trust,
};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use content_types::{ChainSpec, HeaderVerifier, SubNetwork, TrustLists, trust::TrustListKind};
use tokio::sync::watch;

use crate::{
    network::{LocalNetwork, NetworkError, PeerOptions},
    sample::{self, SampleOutcome},
};

/// Each storage peer's room, as a part of all content: most pieces find a place on several peers. The few that lie farther
/// from all of them than the radius that this leaves are served by whoever has the archives.
const PEER_SHARE: f64 = 0.35;
/// The newcomer's room, as a part of all content.
const NEWCOMER_SHARE: f64 = 0.05;
/// The newcomer's fetches under way at once.
const PARALLEL_FETCHES: usize = 8;

/// What the demonstration is to show.
#[derive(Debug, Clone)]
pub struct DemoConfig {
    /// Peers in the network, the one that seeds among them.
    pub peers: usize,
    /// What is seeded.
    pub source: SampleSource,
    /// Pieces that the newcomer fetches.
    pub sample: usize,
    /// Seed of the synthetic chain and of the sample.
    pub random_seed: u64,
}

/// Where the demonstration's history comes from.
#[derive(Debug, Clone)]
pub enum SampleSource {
    /// A synthetic chain.
    Synthetic {
        /// Its length.
        blocks: u64,
        /// Bytes of a body and its receipts, together, in the average block.
        block_size: usize,
    },
    /// Archives of a real chain, and the folder of its trust lists.
    Archives {
        /// The chain.
        chain: Arc<ChainSpec>,
        /// The folder of its trust lists.
        trust_dir: PathBuf,
        /// The archives.
        files: Vec<PathBuf>,
    },
}

/// Why the demonstration could not be held.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Too few peers to speak of a network.
    #[error("a network has two peers at least")]
    TooFewPeers,
    /// An archive or the synthetic chain's file.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The synthetic chain.
    #[error("synthetic chain: {0}")]
    Synthetic(#[from] cairn_synthetic::SyntheticError),
    /// The trust lists.
    #[error(transparent)]
    Trust(#[from] trust::TrustStoreError),
    /// A peer.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The disk.
    #[error("temporary folder: {0}")]
    Disk(#[from] std::io::Error),
}

/// A step of the demonstration, for whoever watches.
#[derive(Debug)]
pub enum Stage {
    /// The chain is made, or the archives are read.
    Preparing,
    /// The peers start, and find each other when all have; the receiver tells how many have started.
    Starting(watch::Receiver<Counted>),
    /// The archives are offered to the peers; the receiver tells how far that is.
    Seeding(watch::Receiver<SeedProgress>),
    /// The newcomer starts and finds the others.
    Joining,
    /// The newcomer fetches; the receiver tells how many pieces it has asked for and got an answer to.
    Fetching(watch::Receiver<Counted>),
}

/// How far a stage is whose end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// What is done.
    pub done: usize,
    /// What there is to do.
    pub total: usize,
}

/// How it went.
#[derive(Debug)]
pub struct DemoReport {
    /// Blocks in the archives.
    pub blocks: u64,
    /// Bytes of all content, roughly.
    pub content_bytes: u64,
    /// How the seeding went.
    pub seeding: SeedProgress,
    /// How long it took.
    pub seeding_took: Duration,
    /// The storage peers.
    pub peers: Vec<PeerReport>,
    /// Each fetch of the newcomer.
    pub outcomes: Vec<SampleOutcome>,
    /// How long all fetches took together.
    pub fetching_took: Duration,
}

impl DemoReport {
    /// Whether everything was found and proved.
    pub fn is_success(&self) -> bool {
        !self.outcomes.is_empty()
            && self.outcomes.iter().all(|outcome| outcome.result.as_ref().is_ok_and(|found| found.proved))
    }
}

/// A storage peer after the demonstration.
#[derive(Debug)]
pub struct PeerReport {
    /// Pieces it holds.
    pub items: u64,
    /// Bytes it holds.
    pub bytes: u64,
    /// Its radius in the History network as a part of the key space.
    pub radius: f64,
    /// Pieces that the newcomer got from it.
    pub served: usize,
}

/// What the demonstration stands on.
struct Ground {
    chain: Arc<ChainSpec>,
    trust_dir: PathBuf,
    files: Vec<PathBuf>,
}

/// Holds the demonstration; `watch` is told of each stage.
///
/// # Errors
/// [`DemoError`] when it cannot be held at all. What was not found is in the report.
pub async fn hold(config: DemoConfig, mut watch: impl FnMut(Stage)) -> Result<DemoReport, DemoError> {
    if config.peers < 2 {
        return Err(DemoError::TooFewPeers);
    }
    watch(Stage::Preparing);
    let folder = tempfile::tempdir()?;
    let stand = prepare(config.source, config.random_seed, folder.path())?;
    let (blocks, content_bytes) = measure(&stand.files)?;
    let verifier = trust::TrustStore::open(&stand.trust_dir, Arc::clone(&stand.chain))?.verifier();
    let share = |part: f64| (content_bytes as f64 * part) as u64;

    let (started, starting) = watch::channel(Counted { done: 0, total: config.peers });
    watch(Stage::Starting(starting));
    let mut network = LocalNetwork::new(stand.chain, &stand.trust_dir);
    let seeder = network.join(PeerOptions::seeding(stand.files)).await?;
    started.send_modify(|now| now.done = 1);
    for before in 1..config.peers {
        network.join(PeerOptions::storing(share(PEER_SHARE))).await?;
        started.send_modify(|now| now.done = before + 1);
    }
    network.wait_until_joined(config.peers - 1).await?;

    let started = Instant::now();
    let Some(handle) = network.peer(seeder).map(|peer| peer.node().offer_archives(SeedOptions::default())) else {
        return Err(DemoError::TooFewPeers);
    };
    watch(Stage::Seeding(handle.progress()));
    let seeding = handle.wait().await;
    let seeding_took = started.elapsed();

    watch(Stage::Joining);
    let newcomer = network.join(PeerOptions::storing(share(NEWCOMER_SHARE))).await?;
    network.wait_until_joined(1).await?;
    let pieces = sample::random_pieces(&blocks, config.sample, config.random_seed);
    let (fetched, fetching) = watch::channel(Counted { done: 0, total: pieces.len() });
    watch(Stage::Fetching(fetching));
    let started = Instant::now();
    let outcomes = fetch(&network, newcomer, &verifier, &pieces, &fetched).await;
    let fetching_took = started.elapsed();
    let peers = (0..config.peers).filter_map(|index| peer_report(&network, index, &outcomes)).collect();
    network.shutdown().await;
    Ok(DemoReport { blocks: blocks.len() as u64, content_bytes, seeding, seeding_took, peers, outcomes, fetching_took })
}

async fn fetch(
    network: &LocalNetwork,
    newcomer: usize,
    verifier: &HeaderVerifier,
    pieces: &[sample::Piece],
    fetched: &watch::Sender<Counted>,
) -> Vec<SampleOutcome> {
    let Some(peer) = network.peer(newcomer) else { return Vec::new() };
    let tell = |done| fetched.send_modify(|now| now.done = done);
    sample::fetch_telling(peer.node(), verifier, pieces, PARALLEL_FETCHES, tell).await
}

fn prepare(source: SampleSource, seed: u64, folder: &Path) -> Result<Ground, DemoError> {
    match source {
        SampleSource::Archives { chain, trust_dir, files } => Ok(Ground { chain, trust_dir, files }),
        SampleSource::Synthetic { blocks, block_size } => {
            let chain = SyntheticChain::new(SyntheticConfig::of_every_fork(seed, blocks, block_size))?;
            let files = chain.write_archives(folder)?;
            let trust_dir = folder.join("trust");
            write_trust_lists(chain.trust_lists(), chain.spec(), &trust_dir)?;
            Ok(Ground { chain: Arc::clone(chain.spec()), trust_dir, files })
        }
    }
}

/// Writes trust lists as files, the way a peer keeps them.
///
/// # Errors
/// When the disk does not let it.
pub fn write_trust_lists(lists: &TrustLists, chain: &ChainSpec, folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let roots = chain.trust_roots();
    for kind in TrustListKind::ALL {
        if let Some(list) = roots.root(kind).and_then(|root| lists.encoded(&root, roots)) {
            fs::write(folder.join(trust::file_name(kind)), list)?;
        }
    }
    Ok(())
}

/// The numbers of all blocks, and roughly the bytes that the sub-networks make of them: each part stands in the network
/// under two keys.
fn measure(files: &[PathBuf]) -> Result<(Vec<u64>, u64), DemoError> {
    const KEYS_A_PART: usize = 2;
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    for file in files {
        let archive = Archive::open(file)?;
        for number in archive.blocks() {
            blocks.push(number);
            bytes += archive.header_with_proof(number)?.encode().len();
            bytes += archive.body(number)?.len();
            bytes += archive.receipts(number)?.map_or(0, |receipts| receipts.bytes.len());
        }
    }
    blocks.sort_unstable();
    blocks.dedup();
    Ok((blocks, (bytes * KEYS_A_PART) as u64))
}

fn peer_report(network: &LocalNetwork, index: usize, outcomes: &[SampleOutcome]) -> Option<PeerReport> {
    let node = network.peer(index)?.node();
    let usage = SubNetwork::ALL.map(|of| node.store().usage(of));
    let status = node.status();
    let id = node.node_id();
    Some(PeerReport {
        items: usage.iter().map(|usage| usage.items).sum(),
        bytes: usage.iter().map(|usage| usage.bytes).sum(),
        radius: status.networks.first().map_or(0.0, |network| network.radius_fraction),
        served: outcomes.iter().filter(|outcome| outcome.result.as_ref().is_ok_and(|found| found.from == id)).count(),
    })
}
