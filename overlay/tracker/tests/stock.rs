//! A stock `libp2p-kad` node with its own memory store as the counterpart: any libp2p implementation can take part. It
//! stands on our transport; `testnet/interop` has the same over libp2p's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{net::SocketAddr, time::Duration};

use cairn_tracker::transport::{QuicConfig, QuicTransport};
use common::{CHAIN, eras, found, keypair, public_key, start, until};
use futures::StreamExt;
use libp2p_core::{Multiaddr, Transport, multiaddr::Protocol, muxing::StreamMuxerBox};
use libp2p_identify as identify;
use libp2p_kad::{self as kad, store::MemoryStore};
use libp2p_swarm::{Config, NetworkBehaviour, StreamProtocol, Swarm, SwarmEvent};

const STOCK: u8 = 100;
const ERA: u64 = 7;

/// Not the tracker's: a stock node has windows and time-outs of its own.
const QUIC: QuicConfig = QuicConfig {
    stream_window: 1 << 20,
    connection_window: 4 << 20,
    max_streams: 256,
    max_silence: Duration::from_secs(10),
    keep_alive: Duration::from_secs(5),
    handshake_timeout: Duration::from_secs(5),
    handshakes: 64,
    handshakes_of_address: 64,
};

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
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
    let transport = QuicTransport::new(&keypair, QUIC).unwrap();
    let transport = transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed();
    let mut swarm = Swarm::new(transport, Stock { kad, identify }, local, Config::with_tokio_executor());
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
async fn run(swarm: &mut Swarm<Stock>, query: kad::QueryId) -> Vec<libp2p_identity::PeerId> {
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
