//! The libp2p swarm with its limits: QUIC only, small windows, few of everything.

use std::{collections::BTreeSet, time::Duration};

use libp2p_connection_limits as connection_limits;
use libp2p_core::{Transport, muxing::StreamMuxerBox};
use libp2p_identify as identify;
use libp2p_identity::Keypair;
use libp2p_kad::{self as kad, BucketInserts, Caching, StoreInserts};
use libp2p_swarm::{Config as SwarmConfig, StreamProtocol, Swarm};

use crate::{
    Config, EraKey, Error,
    addresses::AddressReach,
    behaviour::{Behaviour, Dht},
    records::EraRecords,
    store::DhtStore,
    transport::{QuicConfig, QuicTransport},
};

/// What a peer may have sent to one stream before we read it: twice the longest message.
const STREAM_WINDOW: u32 = 2 * MAX_MESSAGE as u32;

/// What a peer may have sent to all streams of a connection.
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;

/// Streams that a peer may have open. `libp2p-kad` answers so many at once, and drops further ones with a warning that
/// a stranger could so cause at will.
const MAX_STREAMS: u32 = 32;

/// Streams whose protocol is being negotiated, on one connection.
const MAX_NEGOTIATING: usize = 32;

/// The longest message of the DHT, in bytes: 20 providers and 20 peers with three addresses each.
const MAX_MESSAGE: usize = 16 * 1024;

/// A silent connection is dead after this time.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Keeps translations in routers alive: those for UDP last 30 seconds and more.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer is a few packets.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections stay for so many times as long as a query may take: an announcement counts as done when it is
/// handed to connections that the query opened, so these must not be closed before it is sent.
const IDLE_QUERIES: u32 = 2;

/// How often a peer is asked again which protocols it speaks.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// The swarm of this configuration, with records for the `known` eras; it does not listen yet.
pub(crate) fn build(
    config: &Config,
    keypair: Keypair,
    reach: AddressReach,
    known: BTreeSet<EraKey>,
) -> Result<Swarm<Behaviour>, Error> {
    let limits = config.limits;
    let behaviour = behaviour(config, &keypair, reach, known)?;
    let local = keypair.public().to_peer_id();
    let quic = QuicConfig {
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        max_streams: MAX_STREAMS,
        max_silence: MAX_SILENCE,
        keep_alive: KEEP_ALIVE,
        handshake_timeout: HANDSHAKE_TIMEOUT,
        handshakes: limits.handshakes,
        handshakes_of_address: limits.handshakes_of_address,
    };
    let transport = QuicTransport::new(&keypair, quic).map_err(|error| Error::Transport(error.to_string()))?;
    let transport = transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed();
    let config = SwarmConfig::with_tokio_executor()
        .with_idle_connection_timeout(limits.query_timeout * IDLE_QUERIES)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING);
    Ok(Swarm::new(transport, behaviour, local, config))
}

fn behaviour(
    config: &Config,
    keypair: &Keypair,
    reach: AddressReach,
    known: BTreeSet<EraKey>,
) -> Result<Behaviour, Error> {
    let limits = config.limits;
    let local = keypair.public().to_peer_id();
    let name = config.chain.protocol_name();
    let protocol = StreamProtocol::try_from_owned(name.clone()).map_err(|error| Error::Transport(error.to_string()))?;

    let mut kad = kad::Config::new(protocol);
    kad.set_query_timeout(limits.query_timeout)
        .set_substreams_timeout(ANSWER_TIMEOUT)
        .set_max_packet_size(MAX_MESSAGE)
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_caching(Caching::Disabled)
        // Values are not kept, announcements are renewed by the queue, and the table is refreshed by the task.
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_provider_record_ttl(None)
        .set_periodic_bootstrap_interval(None);
    let records = EraRecords::new(&local.to_bytes(), limits.records);
    let store = DhtStore::new(local, records, known, config.clock.clone());
    let mut dht =
        Dht::new(kad::Behaviour::with_config(local, store, kad), name, reach, limits.inbound_connections as usize);
    dht.set_reachable(config.reachable);

    let identify = identify::Config::new("cairn/tracker/1".to_owned(), keypair.public())
        .with_agent_version(concat!("cairn/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_interval(IDENTIFY_INTERVAL)
        // Others see where we come from; what else we listen on is nobody's business.
        .with_hide_listen_addrs(true)
        // Its addresses are not filtered, so they are not to be dialled.
        .with_cache_size(0);
    let connections = connection_limits::ConnectionLimits::default()
        // Handshakes that others begin are counted by the transport, and their connections by `connections`: one more closes
        // another, which is there a moment longer.
        .with_max_established_incoming(Some(limits.inbound_connections.saturating_add(limits.handshakes)))
        .with_max_pending_outgoing(Some(limits.handshakes))
        .with_max_established_outgoing(Some(limits.outbound_connections))
        .with_max_established_per_peer(Some(limits.connections_of_peer));
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(connections),
        identify: identify::Behaviour::new(identify),
        dht,
    })
}
