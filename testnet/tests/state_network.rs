//! A network that holds the state of some blocks: peers that share it by content ID, and a newcomer that reads accounts, slots and code
//! from it, equal to what they are. With figures for whoever runs the large one:
//!
//! ```text
//! cargo test --release -p cairn-testnet --test state_network -- --ignored --nocapture
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout)] // clippy's exception for tests covers only functions marked as such

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use bytes::Bytes;
use cairn_node::state::{StateOrigin, StateReader};
use cairn_synthetic::{State, SyntheticChain, SyntheticConfig};
use content_types::state::{Answer, Part};
use content_types::{ContentKey, SubNetwork, legacy_history};
use futures::{StreamExt, stream};
use testnet::demo::write_trust_lists;
use testnet::network::{LocalNetwork, PeerOptions};
use testnet::sample::median_and_p99;

/// Items that are offered at once.
const PARALLEL: usize = 16;
/// How often what nobody holds is offered.
const ROUNDS: usize = 20;
/// How long transfers are waited for before what is missing is offered again.
const ARRIVAL: Duration = Duration::from_secs(3);

/// How long the reader looks for peers, at most.
const JOINING: Duration = Duration::from_secs(60);

struct Scale {
    peers: usize,
    accounts: usize,
    /// The blocks whose states are in the network.
    blocks: &'static [u64],
    reads: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_reads_the_state_from_peers_that_share_it() {
    newcomer(Scale { peers: 6, accounts: 60, blocks: &[40, 90], reads: 150 }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; for figures"]
async fn a_newcomer_reads_the_state_of_sixteen_peers() {
    newcomer(Scale { peers: 16, accounts: 1_000, blocks: &[20, 40, 60, 90], reads: 1_000 }).await;
}

async fn newcomer(scale: Scale) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = SyntheticChain::new(SyntheticConfig { accounts: scale.accounts, ..SyntheticConfig::small() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (archives, trust) = (folder.path().join("archives"), folder.path().join("trust"));
    std::fs::create_dir(&archives).unwrap();
    chain.write_archives(&archives).unwrap();
    write_trust_lists(chain.trust_lists(), chain.spec(), &trust).unwrap();
    let states: BTreeMap<u64, State> = scale.blocks.iter().map(|number| (*number, chain.state(*number))).collect();

    // Nodes that several blocks have in common are offered once.
    let mut items: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    for (number, state) in &states {
        for (key, proved) in state.contents(chain.block_hash(*number).unwrap()) {
            items.entry(key.encode()).or_insert_with(|| proved.encode());
        }
    }
    let bytes: usize = items.values().map(Bytes::len).sum();

    let mut network = LocalNetwork::new(chain.spec().clone(), &trust);
    let seeder = network.join(PeerOptions::seeding(vec![archives])).await.unwrap();
    for _ in 0..scale.peers {
        // Room for a good part of it each; bare, a node is a fraction of what is offered.
        let shares = vec![(SubNetwork::State, 1), (SubNetwork::History, 0), (SubNetwork::LegacyHistory, 0)];
        network.join(PeerOptions { shares, ..PeerOptions::storing(bytes as u64 / 4) }).await.unwrap();
    }
    network.wait_until_joined(scale.peers).await.unwrap();
    // What is offered names its block by the hash: by that headers are found when the archives have been read.
    let last = chain.block_hash(chain.config().blocks() - 1).unwrap();
    let last = ContentKey::from(legacy_history::ContentKey::HeaderByHash(last));
    while !network.peer(seeder).unwrap().node().store().contains(&last).unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let started = Instant::now();
    offer(&network, seeder, &items).await;
    println!(
        "{} items, {bytes} bytes with proofs, offered to {} peers in {:.1?}",
        items.len(),
        scale.peers,
        started.elapsed()
    );
    let held: Vec<u64> = (1..=scale.peers)
        .map(|peer| network.peer(peer).unwrap().node().store().usage(SubNetwork::State).items)
        .collect();
    println!("held: {held:?}");

    let reader = network.join(PeerOptions::default()).await.unwrap();
    // The others have just been given more than they have processors for: some of them know few peers now.
    let reader = network.peer(reader).unwrap().node();
    let overlay = reader.overlay(SubNetwork::State).unwrap();
    let joined = async {
        while overlay.peer_count() < scale.peers / 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(JOINING, joined).await.expect("the reader finds the others");
    let reader = reader.state();
    read_all("without a cache", &reader.without_cache(), &states, scale.reads).await;
    read_all("with a cache", reader, &states, scale.reads).await;
    network.shutdown().await;
}

/// Offers everything until each item is held by somebody. Who has accepted one may still not get it, being busy; it is offered again.
async fn offer(network: &LocalNetwork, seeder: usize, items: &BTreeMap<Bytes, Bytes>) {
    let overlay = network.peer(seeder).unwrap().node().overlay(SubNetwork::State).unwrap();
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
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if open.is_empty() {
            return;
        }
    }
    panic!("{} of {} items did not arrive", open.len(), items.len());
}

/// Reads so many parts of the states, spread over all of them, and holds each against what it is.
async fn read_all(how: &str, reader: &StateReader, states: &BTreeMap<u64, State>, reads: usize) {
    let (mut times, mut lookups) = (Vec::new(), 0);
    for nth in 0..reads {
        let number = *states.keys().nth(nth % states.len()).unwrap();
        let state = &states[&number];
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
        let started = Instant::now();
        let read = reader.read(number.into(), address, part).await.unwrap_or_else(|error| panic!("{nth}: {error}"));
        times.push(started.elapsed());
        assert_eq!(read.answer, expected, "block {number}, {address}, {part:?}");
        lookups += read.steps.iter().filter(|step| matches!(step.origin, StateOrigin::Peer(_))).count();
    }
    let (median, p99) = median_and_p99(times);
    println!(
        "{how}: {reads} reads, all right, median {median:.1?}, p99 {p99:.1?}, {:.2} lookups a read",
        lookups as f64 / reads as f64
    );
}
