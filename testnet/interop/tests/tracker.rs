//! A stock libp2p node as the counterpart, over libp2p's own QUIC and with its own certificates: any libp2p implementation
//! can take part. Each of the two dials the other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../overlay/tracker/tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;

use common::{CHAIN, eras, found, keypair, public_key, start, until};
use futures::StreamExt;
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder, identify,
    kad::{self, store::MemoryStore},
    multiaddr::Protocol,
    swarm::{NetworkBehaviour, SwarmEvent},
};

const STOCK: u8 = 100;
const ERA: u64 = 7;

#[derive(NetworkBehaviour)]
struct Stock {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

/// A stock node that listens on loopback.
async fn stock() -> (Swarm<Stock>, SocketAddr) {
    let keypair = keypair(STOCK);
    let local = keypair.public().to_peer_id();
    let config = kad::Config::new(StreamProtocol::try_from_owned(CHAIN.protocol_name()).unwrap());
    let mut kad = kad::Behaviour::with_config(local, MemoryStore::new(local), config);
    kad.set_mode(Some(kad::Mode::Server));
    let identify = identify::Behaviour::new(identify::Config::new("/test/1".into(), keypair.public()));
    let builder = SwarmBuilder::with_existing_identity(keypair).with_tokio().with_quic();
    let mut swarm = builder.with_behaviour(|_| Stock { kad, identify }).unwrap().build();
    swarm.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            let Some(Protocol::Udp(port)) = address.iter().nth(1) else { panic!("{address}") };
            return (swarm, SocketAddr::from(([127, 0, 0, 1], port)));
        }
    }
}

fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

fn key() -> kad::RecordKey {
    CHAIN.era_key(ERA).to_vec().into()
}

/// Does what every libp2p program does: takes the addresses that peers identify themselves with.
fn identify(swarm: &mut Swarm<Stock>, event: &SwarmEvent<StockEvent>) {
    if let SwarmEvent::Behaviour(StockEvent::Identify(identify::Event::Received { peer_id, info, .. })) = event {
        for address in &info.listen_addrs {
            swarm.behaviour_mut().kad.add_address(peer_id, address.clone());
        }
    }
}

/// Lets the node run until a query is over; the peers that it found.
async fn run(swarm: &mut Swarm<Stock>, query: kad::QueryId) -> Vec<libp2p::PeerId> {
    let mut providers = Vec::new();
    loop {
        let event = swarm.select_next_some().await;
        identify(swarm, &event);
        if let SwarmEvent::Behaviour(StockEvent::Kad(kad::Event::OutboundQueryProgressed { id, result, step, .. })) =
            event
            && id == query
        {
            if let kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers: some, .. })) =
                result
            {
                providers.extend(some);
            }
            if step.last {
                return providers;
            }
        }
    }
}

#[tokio::test]
async fn a_stock_node_finds_a_tracker() {
    let holder = start(1, &[]).await;
    holder.provide(eras([ERA]));
    until(&holder, "to be announced", |status| status.provided == 1).await;
    let (mut swarm, _) = stock().await;
    swarm.behaviour_mut().kad.add_address(&keypair(1).public().to_peer_id(), multiaddr(holder.local_addr()));
    let query = swarm.behaviour_mut().kad.get_providers(key());
    assert_eq!(run(&mut swarm, query).await, [keypair(1).public().to_peer_id()]);
}

#[tokio::test]
async fn a_tracker_finds_a_stock_node() {
    let hub = start(1, &[]).await;
    let (mut swarm, address) = stock().await;
    swarm.behaviour_mut().kad.add_address(&keypair(1).public().to_peer_id(), multiaddr(hub.local_addr()));
    let query = swarm.behaviour_mut().kad.start_providing(key()).unwrap();
    run(&mut swarm, query).await;
    let node = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    until(&hub, "recorded", |status| status.records == 1).await;
    let seeker = start(2, &[(1, hub.local_addr())]).await;
    let providers = found(seeker.providers(ERA)).await;
    assert_eq!(providers.len(), 1);
    assert_eq!((providers[0].public_key, &providers[0].addresses[..]), (public_key(STOCK), &[address][..]));
    node.abort();
}

#[tokio::test]
async fn trackers_find_each_other_through_a_stock_node() {
    let (mut swarm, address) = stock().await;
    let node = tokio::spawn(async move {
        loop {
            let event = swarm.select_next_some().await;
            identify(&mut swarm, &event);
        }
    });
    let holder = start(1, &[(STOCK, address)]).await;
    // A stock node names no provider without addresses, unless it is in its table.
    holder.set_announced(vec![holder.local_addr()]);
    holder.provide(eras([ERA]));
    until(&holder, "announced", |status| status.announced == 1).await;
    let seeker = start(2, &[(STOCK, address)]).await;
    let mut providers = Vec::new();
    // An announcement counts as made when it is sent.
    while providers.is_empty() {
        providers = found(seeker.providers(ERA)).await;
    }
    assert_eq!(providers.len(), 1);
    assert_eq!((providers[0].public_key, &providers[0].addresses[..]), (public_key(1), &[holder.local_addr()][..]));
    node.abort();
}
