//! Peers without a node, that ask a seeder as many at once do, or for one item after another. Nothing that comes is checked or
//! kept. For `scripts/bench-swarm`.
//!
//! ```text
//! crowd ranges KEY_FILE ADDRESS CHAIN_ID GENESIS PEERS RUNS    each peer fetches one of the first runs
//! crowd items KEY_FILE ADDRESS CHAIN_ID GENESIS FIRST COUNT    bodies; prints the time of each in microseconds
//! ```
//!
//! The key is the seeder's own, as in its data folder.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends by panicking, and prints")]

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use alloy_primitives::{B256, hex};
use bytes::Bytes;
use cairn_limits::Holder;
use cairn_swarm::{
    geometry::{Component, MAX_BLOCK, Part, RUN_BLOCKS},
    quic::{
        Config, Fetch, FetchOptions, Held, Identity, Items, Library, NotServed, PeerAddress, PutError, Received, Sink,
        Swarm,
    },
    wire::Encodings,
};
use content_types::{ContentKey, history};
use futures::future::BoxFuture;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Holds nothing.
struct Nothing(watch::Sender<Arc<Held>>);

impl Library for Nothing {
    fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.0.subscribe()
    }

    fn read(&self, _: Holder, _: Part, _: Encodings, _: usize) -> BoxFuture<'_, Result<Items, NotServed>> {
        Box::pin(async { Err(NotServed::NotHeld) })
    }

    fn item(&self, _: Holder, _: ContentKey) -> BoxFuture<'_, Result<Bytes, NotServed>> {
        Box::pin(async { Err(NotServed::NotHeld) })
    }
}

/// Counts what comes.
#[derive(Default)]
struct Counter(AtomicU64);

impl Sink for Counter {
    fn put(&self, _: Component, _: u64, received: &Received) -> Result<(), PutError> {
        self.0.fetch_add(received.item.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// The seeder, and the chain.
#[derive(Clone, Copy)]
struct Seeder {
    peer: PeerAddress,
    chain_id: u64,
    genesis: B256,
}

impl Seeder {
    fn new(key_file: &str, address: &str, chain_id: &str, genesis: &str) -> Self {
        let mut secret: [u8; 32] =
            hex::decode(fs::read_to_string(key_file).unwrap().trim()).unwrap().try_into().unwrap();
        let secret = libp2p_identity::secp256k1::SecretKey::try_from_bytes(&mut secret).unwrap();
        let key = libp2p_identity::secp256k1::Keypair::from(secret).public().to_bytes();
        let peer = PeerAddress { key, address: address.parse().unwrap() };
        Self { peer, chain_id: chain_id.parse().unwrap(), genesis: genesis.parse().unwrap() }
    }

    /// A peer of its own that is connected with the seeder.
    async fn connect(self, number: u64) -> Swarm {
        let any = if self.peer.address.ip().is_loopback() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let config = Config::new(SocketAddr::from((any, 0)), self.chain_id, self.genesis);
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&(number + 1).to_le_bytes());
        let library = Arc::new(Nothing(watch::Sender::default()));
        let record = watch::Sender::new(Vec::new()).subscribe();
        let swarm = Swarm::start(config, Identity::new(secret).unwrap(), library, record).unwrap();
        swarm.connect(self.peer).await.unwrap();
        swarm
    }
}

async fn ranges(seeder: Seeder, peers: u64, runs: u64) {
    let mut swarms = Vec::new();
    for number in 0..peers {
        swarms.push(seeder.connect(number).await);
    }
    let counter = Arc::new(Counter::default());
    let begun = Instant::now();
    let mut fetches = JoinSet::new();
    for (number, swarm) in (0..).zip(swarms.iter().cloned()) {
        let sink: Arc<dyn Sink> = counter.clone();
        fetches.spawn(async move {
            let first = number % runs * RUN_BLOCKS;
            let wanted = Component::ALL.map(|component| (component, first..first + RUN_BLOCKS));
            let options = FetchOptions { threads: 1, seed: number, ..FetchOptions::default() };
            Fetch::new(swarm, &options, wanted, [], &sink).run(&CancellationToken::new()).await.unwrap();
        });
    }
    fetches.join_all().await;
    let connected = swarms.iter().filter(|swarm| !swarm.sessions().is_empty()).count();
    let (bytes, seconds) = (counter.0.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
    println!("{connected} connected at the end, {bytes} bytes in {seconds:.1} s");
}

async fn items(seeder: Seeder, first: u64, count: u64) {
    let swarm = seeder.connect(0).await;
    let sessions = swarm.sessions();
    let session = sessions.first().unwrap();
    // Whoever is not served has single items within an allowance. So it asks for a range too, which nobody has.
    let sink: Arc<dyn Sink> = Arc::<Counter>::default();
    let nobodys = [(Component::Headers, MAX_BLOCK - RUN_BLOCKS..MAX_BLOCK)];
    let fetch = Fetch::new(swarm.clone(), &FetchOptions::default(), nobodys, [], &sink);
    let stop = CancellationToken::new();
    let fetching = tokio::spawn({
        let stop = stop.clone();
        async move { fetch.run(&stop).await }
    });
    let mut changes = swarm.changes();
    while !session.view().serves_us {
        changes.changed().await.unwrap();
    }
    for number in first..first + count {
        let begun = Instant::now();
        let item = session.item(&history::ContentKey::BlockBody { number }.into()).await.unwrap();
        println!("{} {}", begun.elapsed().as_micros(), item.len());
    }
    stop.cancel();
    fetching.await.unwrap().unwrap_err();
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [what, key_file, address, chain_id, genesis, a, b] => {
            let seeder = Seeder::new(key_file, address, chain_id, genesis);
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            match what {
                "ranges" => ranges(seeder, a, b).await,
                _ => items(seeder, a, b).await,
            }
        }
        _ => panic!("crowd ranges|items KEY_FILE ADDRESS CHAIN_ID GENESIS PEERS|FIRST RUNS|COUNT"),
    }
}
