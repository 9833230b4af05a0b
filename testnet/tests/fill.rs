//! Storage peers that fill themselves: nobody offers anything, and each holds in the end what lies within its radius, so that the
//! seeder may go. With figures for whoever runs the large one:
//!
//! ```text
//! cargo test --release -p cairn-testnet --test fill -- --ignored --nocapture
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout)] // clippy's exception for tests covers only functions marked as such

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{hex, keccak256};
use bytes::Bytes;
use cairn_archive::{
    Archive, Format,
    convert::{Target, convert},
};
use cairn_limits::Holder;
use cairn_node::{Node, trust};
use cairn_swarm::{
    geometry::{Component, Part},
    quic::{Config, Held, Identity, Items, Library, NotServed, PeerAddress, Swarm},
    wire::Encodings,
};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use content_types::{
    ContentKey, NodeId, SubNetwork,
    history::{BLOCKS_PER_RUN, ContentKey as HistoryKey, ContentType},
    trust::TrustListKind,
};
use enr::{CombinedKey, EnrKey};
use futures::{FutureExt, future::BoxFuture};
use tempfile::TempDir;
use testnet::network::{LocalNetwork, PeerOptions};
use tokio::sync::watch;

/// Longest wait for what has to happen sooner or later; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often it is looked whether it has.
const POLL: Duration = Duration::from_millis(200);
/// What a value takes in the store beside its own bytes, about.
const RECORD_BYTES: u64 = 70;

/// A chain, its archives and its trust lists.
struct World {
    chain: SyntheticChain,
    folder: TempDir,
}

impl World {
    fn new(blocks: u64, block_size: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = SyntheticChain::new(SyntheticConfig::of_every_fork(22, blocks, block_size)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("trust")).unwrap();
        let roots = chain.spec().trust_roots();
        for kind in TrustListKind::ALL {
            let list = chain.trust_lists().encoded(&roots.root(kind).unwrap(), roots).unwrap();
            fs::write(folder.path().join("trust").join(trust::file_name(kind)), list).unwrap();
        }
        Self { chain, folder }
    }

    fn blocks(&self) -> u64 {
        self.chain.config().blocks()
    }

    /// The whole chain as an archive in a folder of its own.
    fn archive(&self) -> PathBuf {
        let dir = self.folder.path().join("whole");
        fs::create_dir_all(&dir).unwrap();
        self.chain.write_archive(0, Format::Ere, dir).unwrap()
    }

    fn network(&self) -> LocalNetwork {
        LocalNetwork::new(Arc::clone(self.chain.spec()), self.folder.path().join("trust"))
    }

    /// A key whose node ID begins with this byte, as a file. The lowest bit may be either.
    fn key_near(&self, first: u8) -> PathBuf {
        let secrets = (0_u32..).map(|number| keccak256(number.to_be_bytes()));
        let is_near = |secret: &alloy_primitives::B256| {
            let mut bytes = secret.0;
            let key = CombinedKey::secp256k1_from_bytes(&mut bytes).unwrap();
            enr::NodeId::from(key.public()).raw()[0] >> 1 == first >> 1
        };
        let path = self.folder.path().join(format!("key-{first}"));
        fs::write(&path, hex::encode(secrets.into_iter().find(is_near).unwrap())).unwrap();
        path
    }

    /// What bodies and receipts take in a store, about.
    fn content_bytes(&self) -> u64 {
        let of_block =
            |block: cairn_synthetic::Block| (block.body.len() + block.receipts.len()) as u64 + 2 * RECORD_BYTES;
        self.chain.blocks().map(of_block).sum()
    }

    /// The keys of all bodies and receipts of some blocks.
    fn keys(&self, blocks: std::ops::Range<u64>) -> Vec<ContentKey> {
        let of_block = |number| ContentType::ALL.map(|of| ContentKey::from(HistoryKey::new(of, number)));
        blocks.flat_map(of_block).collect()
    }
}

/// Says that it serves all headers, and has no time when it is asked for some.
struct Busy(watch::Sender<Arc<Held>>);

impl Busy {
    fn start(chain: &SyntheticChain) -> Swarm {
        let mut held = Held::default();
        assert!(held[Component::Headers.index()].insert(0..chain.config().blocks().div_ceil(BLOCKS_PER_RUN)));
        let (spec, identity) = (chain.spec(), Identity::new([7; 32]).unwrap());
        let config = Config::new((Ipv4Addr::LOCALHOST, 0).into(), spec.chain_id(), spec.genesis_hash());
        let record = watch::Sender::new(Vec::new()).subscribe();
        Swarm::start(config, identity, Arc::new(Self(watch::Sender::new(Arc::new(held)))), record).unwrap()
    }
}

impl Library for Busy {
    fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.0.subscribe()
    }

    fn read(&self, _: Holder, _: Part, _: Encodings, _: usize) -> BoxFuture<'_, Result<Items, NotServed>> {
        std::future::ready(Err(NotServed::Busy)).boxed()
    }

    fn item(&self, _: Holder, _: ContentKey) -> BoxFuture<'_, Result<Bytes, NotServed>> {
        std::future::ready(Err(NotServed::Busy)).boxed()
    }
}

/// Where a node speaks QUIC.
fn quic_address(node: &Node) -> PeerAddress {
    let enr = node.enr();
    let enr::CombinedPublicKey::Secp256k1(key) = enr.public_key() else { panic!("a key of another kind") };
    let port: u16 = enr.get_decodable("quic").unwrap().unwrap();
    PeerAddress { key: key.to_sec1_bytes().as_ref().try_into().unwrap(), address: (enr.ip4().unwrap(), port).into() }
}

fn holds(node: &Node, key: &ContentKey) -> bool {
    node.store().contains(key).unwrap()
}

/// Whether a node's radius covers a key.
fn covers(node: &Node, key: &ContentKey) -> bool {
    NodeId::distance(&node.node_id(), &key.content_id()) <= node.store().radius(SubNetwork::History)
}

/// Whether a node holds of some keys what lies within its radius.
fn is_full(node: &Node, keys: &[ContentKey]) -> bool {
    keys.iter().filter(|key| covers(node, key)).all(|key| holds(node, key))
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}: not so after {PATIENCE:?}");
}

/// The part of an archive with these blocks.
fn part(archive: &Path, blocks: std::ops::RangeInclusive<u64>, chain: &SyntheticChain, dir: &Path) -> PathBuf {
    let target = Target::Ere { proofs: true, receipts: true };
    convert(&Archive::open(archive).unwrap(), blocks, chain.spec().name(), target, dir, |_| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_joins_late_fills_itself_and_goes_on_with_new_archives_and_others_fill_themselves_from_it() {
    let world = World::new(8 * BLOCKS_PER_RUN, 600);
    let (whole, half) = (world.archive(), world.blocks() / 2);
    let seeded = world.folder.path().join("seeded");
    fs::create_dir(&seeded).unwrap();
    part(&whole, 0..=half - 1, &world.chain, &seeded);

    let mut network = world.network();
    let seeder = network.join(PeerOptions::seeding(vec![seeded.clone()])).await.unwrap();
    let pulling = || PeerOptions { pull: true, ..PeerOptions::storing(64 << 20) };
    let late = network.join(pulling()).await.unwrap();
    let node = network.peer(late).unwrap().node();
    let (first, all) = (world.keys(0..half), world.keys(0..world.blocks()));
    until("the first half is here", || first.iter().all(|key| holds(node, key))).await;
    assert!(!all[first.len()..].iter().any(|key| holds(node, key)));
    until("and it says so", || {
        let pull = node.status().pull.unwrap();
        (pull.wanted, pull.held, pull.peers) == (first.len() as u64 / BLOCKS_PER_RUN, pull.wanted, 0)
    })
    .await;

    part(&whole, half..=world.blocks() - 1, &world.chain, &seeded);
    until("what is new came, too", || all.iter().all(|key| holds(node, key))).await;
    for number in [0, half, world.blocks() - 1] {
        let (block, store) = (world.chain.block(number).unwrap(), node.store());
        assert_eq!(store.get(&HistoryKey::BlockBody { number }.into()).unwrap(), Some(block.body));
        assert_eq!(store.get(&HistoryKey::BlockReceipts { number }.into()).unwrap(), Some(block.receipts));
    }

    // Nobody serves runs of headers any more, and one peer only says so: they are looked up.
    network.kill(seeder).unwrap();
    let later = network.join(pulling()).await.unwrap();
    let node = network.peer(later).unwrap().node();
    let busy = Busy::start(&world.chain);
    busy.connect(quic_address(node)).await.unwrap();
    until("another one is full without the seeder", || all.iter().all(|key| holds(node, key))).await;
    network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_fill_themselves_to_their_radius_and_lose_nothing_when_the_seeder_leaves() {
    let ids = (0..8).map(|peer| 2 * peer).collect();
    fill(Scale { blocks: 16 * BLOCKS_PER_RUN, block_size: 600, ids }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; for figures"]
async fn twelve_peers_fill_themselves_to_a_third_and_lose_nothing_when_the_seeder_leaves() {
    let ids = (0..8).map(|peer| 4 * peer).chain([2, 10, 18, 26]).collect();
    fill(Scale { blocks: 32 * BLOCKS_PER_RUN, block_size: 20_000, ids }).await;
}

struct Scale {
    blocks: u64,
    block_size: usize,
    /// The highest bytes of the peers' node IDs. A chain of so few blocks fills but a part of the key space, by which the peers are
    /// spread, so that each of its intervals lies within the radius of two of them at least.
    ids: Vec<u8>,
}

/// Peers with room for a third each join one after another beside one seeder; when they are full, it leaves.
async fn fill(scale: Scale) {
    let world = World::new(scale.blocks, scale.block_size);
    let keys = world.keys(0..scale.blocks);
    let third = world.content_bytes() / 3;
    let mut network = world.network();
    let seeder = network.join(PeerOptions::seeding(vec![world.archive()])).await.unwrap();
    let mut joined = Vec::new();
    for id in &scale.ids {
        let options = PeerOptions {
            pull: true,
            shares: vec![(SubNetwork::LegacyHistory, 0)],
            key_file: Some(world.key_near(*id)),
            ..PeerOptions::storing(third)
        };
        joined.push((network.join(options).await.unwrap(), Instant::now(), None));
    }
    until("all are full", || {
        for (peer, since, took) in &mut joined {
            let node = network.peer(*peer).unwrap().node();
            let fills_its_room = node.store().usage(SubNetwork::History).bytes > third / 2;
            // Its radius has to be known to the others for what it is, so a peer that holds little and promises all is not full.
            if fills_its_room
                && node.store().radius(SubNetwork::History) < content_types::Distance::MAX
                && is_full(node, &keys)
            {
                took.get_or_insert(since.elapsed());
            } else {
                *took = None;
            }
        }
        joined.iter().all(|(_, _, took)| took.is_some())
    })
    .await;

    network.kill(seeder).unwrap();
    let nodes: Vec<&Node> = network.living().map(|(_, peer)| peer.node()).collect();
    let few: Vec<_> = keys.iter().filter(|key| nodes.iter().filter(|node| holds(node, key)).count() < 2).collect();
    assert!(few.is_empty(), "{} of {} pieces have less than two holders, such as {:?}", few.len(), keys.len(), few[0]);

    let mut times: Vec<_> = joined.iter().filter_map(|(_, _, took)| *took).collect();
    times.sort_unstable();
    let moved: u64 = nodes.iter().map(|node| node.store().stats().written).sum();
    println!(
        "{} peers with room for {:.1} MB each: full after {:.1?}, the last after {:.1?}; {:.1} MB stored for {:.1} MB held",
        times.len(),
        third as f64 / 1e6,
        times[times.len() / 2],
        times[times.len() - 1],
        moved as f64 / 1e6,
        nodes.iter().map(|node| node.store().usage(SubNetwork::History).bytes).sum::<u64>() as f64 / 1e6
    );
    network.shutdown().await;
}
