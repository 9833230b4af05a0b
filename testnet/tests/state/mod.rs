//! A synthetic chain's state in a network of peers that share it by content ID, and reads of it that are held against what it is.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use bytes::Bytes;
use cairn_node::state::{StateOrigin, StateReader};
use cairn_node::swarm::QuicPort;
use cairn_synthetic::{State, SyntheticChain, SyntheticConfig};
use content_types::state::{Answer, Part};
use content_types::{ContentKey, SubNetwork, legacy_history};
use futures::{StreamExt, stream};
use overlay::Enr;
use tempfile::TempDir;
use testnet::demo::write_trust_lists;
use testnet::network::{LocalNetwork, PeerOptions};
use testnet::sample::median_and_p99;

/// Items that are offered at once.
const PARALLEL: usize = 16;
/// How often what nobody holds is offered.
const ROUNDS: usize = 20;
/// How long transfers are waited for before what is missing is offered again.
const ARRIVAL: Duration = Duration::from_secs(1);
/// How long the reader looks for peers, at most.
const JOINING: Duration = Duration::from_secs(60);
/// How often it is looked whether something has come.
const POLL: Duration = Duration::from_millis(20);

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) peers: usize,
    pub(crate) accounts: usize,
    /// The blocks whose states are in the network.
    pub(crate) blocks: &'static [u64],
    pub(crate) reads: usize,
}

/// What takes minutes, for figures.
pub(crate) const LARGE: Scale = Scale { peers: 16, accounts: 1_000, blocks: &[20, 40, 60, 90], reads: 1_000 };

/// A chain, the states of some of its blocks, and a folder with its archives and trust lists.
pub(crate) struct ChainState {
    scale: Scale,
    chain: SyntheticChain,
    states: BTreeMap<u64, State>,
    folder: TempDir,
}

impl ChainState {
    /// The same for the same scale, in whichever process.
    pub(crate) fn new(scale: Scale) -> Self {
        let config = SyntheticConfig { accounts: scale.accounts, ..SyntheticConfig::small() };
        let chain = SyntheticChain::new(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let states = scale.blocks.iter().map(|number| (*number, chain.state(*number))).collect();
        let made = Self { scale, chain, states, folder };
        std::fs::create_dir(made.archives()).unwrap();
        made.chain.write_archives(made.archives()).unwrap();
        write_trust_lists(made.chain.trust_lists(), made.chain.spec(), &made.trust()).unwrap();
        made
    }

    fn archives(&self) -> PathBuf {
        self.folder.path().join("archives")
    }

    fn trust(&self) -> PathBuf {
        self.folder.path().join("trust")
    }

    /// A network of nobody for this chain.
    pub(crate) fn network(&self) -> LocalNetwork {
        LocalNetwork::new(self.chain.spec().clone(), self.trust())
    }

    /// A seeder of the chain, and peers that hold the states between them, each at an address of its own if there are some.
    pub(crate) async fn share(&self, quic: QuicPort, addresses: &[Ipv4Addr]) -> LocalNetwork {
        // Nodes that several blocks have in common are offered once.
        let mut items: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        for (number, state) in &self.states {
            for (key, proved) in state.contents(self.chain.block_hash(*number).unwrap()) {
                items.entry(key.encode()).or_insert_with(|| proved.encode());
            }
        }
        let bytes: usize = items.values().map(Bytes::len).sum();

        let mut network = self.network();
        let listening = |peer: usize, options| PeerOptions { quic, listen: addresses.get(peer).copied(), ..options };
        network.join(listening(0, PeerOptions::seeding(vec![self.archives()]))).await.unwrap();
        for peer in 1..=self.scale.peers {
            // Room for a good part of it each; bare, a node is a fraction of what is offered.
            let shares = vec![(SubNetwork::State, 1), (SubNetwork::History, 0), (SubNetwork::LegacyHistory, 0)];
            let options = PeerOptions { shares, ..PeerOptions::storing(bytes as u64 / 4) };
            network.join(listening(peer, options)).await.unwrap();
        }
        network.wait_until_joined(self.scale.peers).await.unwrap();
        // What is offered names its block by the hash: by that headers are found when the archives have been read.
        let last = self.chain.block_hash(self.chain.config().blocks() - 1).unwrap();
        let last = ContentKey::from(legacy_history::ContentKey::HeaderByHash(last));
        while !network.peer(0).unwrap().node().store().contains(&last).unwrap() {
            tokio::time::sleep(POLL).await;
        }
        let started = Instant::now();
        offer(&network, &items).await;
        let (peers, took) = (self.scale.peers, started.elapsed());
        println!("{} items, {bytes} bytes with proofs, offered to {peers} peers in {took:.1?}", items.len());
        let held: Vec<u64> =
            (1..=peers).map(|peer| network.peer(peer).unwrap().node().store().usage(SubNetwork::State).items).collect();
        println!("held: {held:?}");
        network
    }

    /// Joins a network as a newcomer that keeps nothing, and reads: without a cache, and with one. With a round trip to the peers it
    /// tells how many of them a read takes.
    pub(crate) async fn read(&self, mut network: LocalNetwork, newcomer: PeerOptions, round_trip: Option<Duration>) {
        let newcomer = network.join(newcomer).await.unwrap();
        // The others have just been given more than they have processors for: some of them know few peers now.
        let newcomer = network.peer(newcomer).unwrap().node();
        let overlay = newcomer.overlay(SubNetwork::State).unwrap();
        let joined = async {
            while overlay.peer_count() < self.scale.peers / 2 {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(JOINING, joined).await.expect("the reader finds the others");
        let reader = newcomer.state();
        let (lookups, steps) = self.read_all("without a cache", &reader.without_cache(), round_trip).await;
        // A peer gives what it has of the way, over QUIC and over discv5.
        assert!(lookups < steps, "{lookups} lookups of {steps} nodes");
        self.read_all("with a cache", reader, round_trip).await;
        network.shutdown().await;
    }

    /// Reads parts of the states, spread over all of them, and holds each against what it is. Returns how many lookups that took, and
    /// through how many nodes it led.
    async fn read_all(&self, how: &str, reader: &StateReader, round_trip: Option<Duration>) -> (usize, usize) {
        let mut figures: BTreeMap<&str, Figures> = BTreeMap::new();
        for nth in 0..self.scale.reads {
            let number = *self.states.keys().nth(nth % self.states.len()).unwrap();
            let (address, part, expected) = question(&self.states[&number], nth);
            let started = Instant::now();
            let read = reader.read(number.into(), address, part).await.unwrap_or_else(|error| panic!("{nth}: {error}"));
            let took = started.elapsed();
            assert_eq!(read.answer, expected, "block {number}, {address}, {part:?}");
            let lookups = read.steps.iter().filter(|step| matches!(step.origin, StateOrigin::Peer(_))).count();
            let what = match part {
                Part::Account => "accounts",
                Part::Slot(_) => "slots",
                Part::Code => "code",
            };
            for what in [what, "all"] {
                figures.entry(what).or_default().add(took, lookups, read.steps.len());
            }
        }
        let counted = figures.get("all").map_or((0, 0), |all| (all.lookups, all.steps));
        for (what, figures) in figures {
            println!("{how}, {what}: {}", figures.told(round_trip));
        }
        counted
    }
}

/// What is read: of which account which part, and what it is.
fn question(state: &State, nth: usize) -> (Address, Part, Answer) {
    // One in ten has no account.
    let account = state.accounts().get(nth * 7919 % (state.accounts().len() * 10 / 9));
    let address = account.map_or_else(|| Address::left_padding_from(&nth.to_be_bytes()), |account| account.address);
    let slot = account.and_then(|account| account.storage.get(nth % account.storage.len().max(1)));
    let (part, expected) = match nth % 3 {
        0 => (Part::Account, Answer::Account(account.map(|account| account.account))),
        1 => (
            Part::Slot(slot.map_or(U256::MAX, |(slot, _)| *slot)),
            Answer::Slot(slot.map_or(U256::ZERO, |(_, value)| *value)),
        ),
        _ => (Part::Code, Answer::Code(account.map(|account| account.code.clone()).unwrap_or_default().into())),
    };
    (address, part, expected)
}

#[derive(Default)]
struct Figures {
    times: Vec<Duration>,
    lookups: usize,
    steps: usize,
}

impl Figures {
    fn add(&mut self, time: Duration, lookups: usize, steps: usize) {
        self.times.push(time);
        self.lookups += lookups;
        self.steps += steps;
    }

    /// In a line; times also as round trips, if that has a meaning.
    fn told(self, round_trip: Option<Duration>) -> String {
        let reads = self.times.len() as f64;
        let mean = self.times.iter().sum::<Duration>().div_f64(reads);
        let (median, p99) = median_and_p99(self.times);
        let (lookups, steps) = (self.lookups as f64 / reads, self.steps as f64 / reads);
        let mut told = format!(
            "{reads} reads, all right, median {median:.2?}, mean {mean:.2?}, p99 {p99:.2?}, {lookups:.2} lookups and {steps:.2} nodes a read"
        );
        if let Some(round_trip) = round_trip {
            let [median, mean, p99] = [median, mean, p99].map(|time| time.div_duration_f64(round_trip));
            told += &format!("; round trips: median {median:.2}, mean {mean:.2}, p99 {p99:.2}");
        }
        told
    }
}

/// A newcomer that keeps nothing.
pub(crate) fn newcomer(quic: QuicPort, listen: Option<Ipv4Addr>, bootnodes: Vec<Enr>) -> PeerOptions {
    PeerOptions { quic, listen, bootnodes, ..PeerOptions::default() }
}

/// The seeder offers everything until each item is held by somebody. Who has accepted one may still not get it, being busy; it is
/// offered again.
async fn offer(network: &LocalNetwork, items: &BTreeMap<Bytes, Bytes>) {
    let overlay = network.peer(0).unwrap().node().overlay(SubNetwork::State).unwrap();
    let is_held = |key: &Bytes| {
        let key = ContentKey::decode(SubNetwork::State, key).unwrap();
        network.living().any(|(_, peer)| peer.node().store().contains(&key).unwrap())
    };
    let mut open: Vec<&Bytes> = items.keys().collect();
    for _ in 0..ROUNDS {
        let put = |key: &Bytes| {
            let (key, value) = (key.clone(), items[key].clone());
            async move { overlay.put_content(key, value).await.unwrap() }
        };
        stream::iter(open.iter().copied()).map(put).buffer_unordered(PARALLEL).for_each(async |_| ()).await;
        // The answers to an offer are waited for, and not the transfers.
        let patience = Instant::now() + ARRIVAL;
        while !open.is_empty() && Instant::now() < patience {
            open.retain(|key| !is_held(key));
            tokio::time::sleep(POLL).await;
        }
        if open.is_empty() {
            return;
        }
    }
    panic!("{} of {} items did not arrive", open.len(), items.len());
}
