//! Several trackers on loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_tracker::{Config, TrackedChain, Tracker, TrackerLimits};
use common::{CHAIN, config, eras, found, public_key, start, until};
use futures::StreamExt;

const HUB: u8 = 1;

#[tokio::test]
async fn whoever_provides_is_found() {
    let holder = start(HUB, &[]).await;
    let seeker = start(2, &[(HUB, holder.local_addr())]).await;
    holder.provide(eras([7]));
    until(&holder, "announced", |status| status.announced == 1).await;

    let providers = found(seeker.providers(7)).await;
    assert_eq!(providers.len(), 1, "{providers:?}");
    assert_eq!(providers[0].public_key, public_key(HUB));
    assert_eq!(providers[0].addresses, [holder.local_addr()]);
    assert!(found(seeker.providers(8)).await.is_empty());
}

#[tokio::test]
async fn providers_are_found_through_a_third_that_both_know() {
    let hub = start(HUB, &[]).await;
    let known = [(HUB, hub.local_addr())];
    let (holder, seeker) = (start(2, &known).await, start(3, &known).await);
    let others = [start(4, &known).await, start(5, &known).await];
    holder.provide(eras([1, 2, 3]));
    others[0].provide(eras([2]));
    until(&holder, "announced", |status| status.announced == 3).await;
    until(&others[0], "announced", |status| status.announced == 1).await;

    let mut providers = found(seeker.providers(2)).await;
    providers.sort_by_key(|provider| provider.public_key != public_key(2));
    let expected = [(public_key(2), holder.local_addr()), (public_key(4), others[0].local_addr())];
    let providers: Vec<_> = providers.iter().map(|provider| (provider.public_key, provider.addresses[0])).collect();
    assert_eq!(providers, expected);
    // Who provides does not find itself.
    let providers = found(holder.providers(2)).await;
    assert_eq!(providers.iter().map(|provider| provider.public_key).collect::<Vec<_>>(), [public_key(4)]);
}

#[tokio::test]
async fn a_network_grows_from_peers_that_know_one_other_each() {
    const PEERS: u8 = 12;
    let mut peers = vec![start(1, &[]).await];
    for secret in 2..=PEERS {
        let last = (secret - 1, peers[peers.len() - 1].local_addr());
        peers.push(start(secret, &[last]).await);
    }
    for (peer, secret) in peers.iter().zip(1..=PEERS) {
        peer.provide(eras([u64::from(secret), 100]));
    }
    for peer in &peers {
        until(peer, "announced", |status| status.announced == 2).await;
        until(peer, "known", |status| status.peers == usize::from(PEERS) - 1).await;
    }
    for (seeker, secret) in peers.iter().rev().zip(1..=PEERS) {
        let keys: Vec<_> =
            found(seeker.providers(u64::from(secret))).await.iter().map(|found| found.public_key).collect();
        assert_eq!(keys, [public_key(secret)]);
        let keys: BTreeSet<_> = found(seeker.providers(100)).await.iter().map(|found| found.public_key).collect();
        let others = (1..=PEERS).filter(|other| *other != PEERS + 1 - secret);
        assert_eq!(keys, others.map(public_key).collect());
    }
}

#[tokio::test]
async fn what_is_no_longer_provided_is_no_longer_answered() {
    let holder = start(HUB, &[]).await;
    // It keeps no records itself.
    let seeker = Config { reachable: false, ..config(2, &[(HUB, holder.local_addr())]) };
    let seeker = Tracker::start(seeker).await.unwrap();
    holder.provide(eras([7, 8]));
    until(&holder, "provided", |status| status.provided == 2).await;
    assert_eq!(found(seeker.providers(7)).await.len(), 1);
    holder.provide(eras([8]));
    until(&holder, "replaced", |status| status.provided == 1).await;
    assert_eq!(found(seeker.providers(8)).await.len(), 1);
    assert!(found(seeker.providers(7)).await.is_empty());
}

#[tokio::test]
async fn a_peer_that_is_mentioned_is_asked() {
    let holder = start(HUB, &[]).await;
    let seeker = start(2, &[]).await;
    seeker.add_peer(public_key(HUB), holder.local_addr());
    until(&seeker, "known", |status| status.peers == 1).await;
    holder.provide(eras([7]));
    until(&holder, "announced", |status| status.announced == 1).await;
    assert_eq!(found(seeker.providers(7)).await.len(), 1);
}

#[tokio::test]
async fn a_peer_with_another_key_than_expected_is_nobody() {
    let hub = start(HUB, &[]).await;
    let seeker = start(2, &[(3, hub.local_addr())]).await;
    // The peer is known once the dial with the right key succeeds; the one with the wrong key came first.
    seeker.add_peer(public_key(HUB), hub.local_addr());
    until(&seeker, "known", |status| status.peers > 0).await;
    assert_eq!(seeker.status().await.unwrap().peers, 1);
}

#[tokio::test]
async fn records_survive_a_restart_for_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicU64::new(1_800_000_000));
    let hub_config = || {
        let time = Arc::clone(&time);
        Config {
            state_file: Some(folder.path().join("tracker")),
            clock: Arc::new(move || time.load(Ordering::SeqCst)),
            ..config(HUB, &[])
        }
    };
    let hub = Tracker::start(hub_config()).await.unwrap();
    let holder = start(2, &[(HUB, hub.local_addr())]).await;
    holder.provide(eras(0..20));
    until(&hub, "recorded", |status| status.records == 20).await;
    let address = holder.local_addr();
    holder.shutdown().await;
    hub.shutdown().await;
    assert_eq!(hub.status().await, None);

    time.fetch_add(23 * 3600, Ordering::SeqCst);
    let hub = Tracker::start(hub_config()).await.unwrap();
    assert_eq!(hub.status().await.unwrap().records, 20);
    let seeker = start(3, &[(HUB, hub.local_addr())]).await;
    // The lookup goes on for a while, since the holder does not answer.
    let provider = seeker.providers(7).next().await.unwrap();
    assert_eq!((provider.public_key, &provider.addresses[..]), (public_key(2), &[address][..]));
    hub.shutdown().await;

    time.fetch_add(3600, Ordering::SeqCst);
    let hub = Tracker::start(hub_config()).await.unwrap();
    assert_eq!(hub.status().await.unwrap().records, 0);
}

#[tokio::test]
async fn a_damaged_state_file_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tracker");
    std::fs::write(&file, b"CAIRNTRK and then nonsense").unwrap();
    let hub = Tracker::start(Config { state_file: Some(file.clone()), ..config(HUB, &[]) }).await.unwrap();
    assert_eq!(hub.status().await.unwrap().records, 0);
    assert!(!file.exists() && folder.path().join("tracker.damaged").exists());
}

#[tokio::test]
async fn who_cannot_be_reached_asks_and_announces_but_is_in_no_table() {
    let hub = start(HUB, &[]).await;
    let known = [(HUB, hub.local_addr())];
    let client = Tracker::start(Config { reachable: false, ..config(2, &known) }).await.unwrap();
    hub.provide(eras([7]));
    client.provide(eras([8]));
    until(&hub, "recorded", |status| status.records == 1).await;
    assert_eq!(found(client.providers(7)).await.len(), 1);
    let other = start(3, &known).await;
    until(&other, "known", |status| status.peers == 1).await;
    until(&hub, "known", |status| status.peers == 1).await;
    assert_eq!(found(other.providers(8)).await.len(), 1);
    assert!(hub.status().await.unwrap().connections >= 2);
    assert_eq!(other.status().await.unwrap().peers, 1, "the hub only");

    // That the hub would have known by now shows when the client becomes a server.
    client.set_reachable(true);
    until(&hub, "both known", |status| status.peers == 2).await;
    client.set_reachable(false);
    until(&hub, "one gone", |status| status.peers == 1).await;
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let limits = TrackerLimits { inbound_connections: 3, ..TrackerLimits::default() };
    let hub = Tracker::start(Config { limits, ..config(HUB, &[]) }).await.unwrap();
    hub.provide(eras([7]));
    let known = [(HUB, hub.local_addr())];
    let mut idle = Vec::new();
    for secret in 2..9 {
        let peer = Tracker::start(Config { reachable: false, ..config(secret, &known) }).await.unwrap();
        until(&peer, "connected", |status| status.connections == 1).await;
        assert_eq!(found(peer.providers(7)).await.len(), 1, "peer {secret}");
        idle.push(peer);
        // One may be on its way out.
        let connections = hub.status().await.unwrap().connections;
        assert!(connections <= 4, "{connections}");
    }
}

#[tokio::test]
async fn peers_of_another_chain_are_not_known() {
    let hub = start(HUB, &[]).await;
    let known = [(HUB, hub.local_addr())];
    let chain = TrackedChain { genesis_hash: [1; 32], ..CHAIN };
    let stranger = Tracker::start(Config { chain, ..config(2, &known) }).await.unwrap();
    let other = start(3, &known).await;
    until(&hub, "connected", |status| status.connections == 2 && status.peers > 0).await;
    until(&other, "known", |status| status.peers > 0).await;
    assert_eq!(hub.status().await.unwrap().peers, 1);
    assert_eq!(stranger.status().await.unwrap().peers, 0);
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let first = start(HUB, &[]).await;
    let second = Config { listen: first.local_addr(), ..config(2, &[]) };
    let error = Tracker::start(second).await.unwrap_err();
    assert!(matches!(error, cairn_tracker::Error::Listen { address, .. } if address == first.local_addr()), "{error}");
}

#[tokio::test]
async fn a_tracker_that_is_dropped_gives_up_its_port() {
    let first = start(HUB, &[]).await;
    let address: SocketAddr = first.local_addr();
    first.shutdown().await;
    drop(first);
    // The endpoint closes its socket a moment after its last user is gone.
    let again = async {
        while Tracker::start(Config { listen: address, ..config(2, &[]) }).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), again).await.unwrap();
}
