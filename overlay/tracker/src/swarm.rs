//! The libp2p swarm with its limits: QUIC only, small windows, few of everything.

use std::{collections::BTreeSet, time::Duration};

use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, connection_limits, identify,
    identity::Keypair,
    kad::{self, BucketInserts, Caching, StoreInserts},
    quic,
};

use crate::{
    Config, EraKey, Error,
    addresses::Reach,
    behaviour::{Behaviour, Dht},
    records::Records,
    store::Store,
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
    reach: Reach,
    known: BTreeSet<EraKey>,
) -> Result<Swarm<Behaviour>, Error> {
    let limits = config.limits;
    let behaviour = behaviour(config, &keypair, reach, known)?;
    let transport = |mut quic: quic::Config| {
        quic.max_stream_data = STREAM_WINDOW;
        quic.max_connection_data = CONNECTION_WINDOW;
        quic.max_concurrent_stream_limit = MAX_STREAMS;
        quic.handshake_timeout = HANDSHAKE_TIMEOUT;
        quic.max_idle_timeout = MAX_SILENCE.as_millis() as u32;
        quic.keep_alive_interval = KEEP_ALIVE;
        quic
    };
    let builder = SwarmBuilder::with_existing_identity(keypair).with_tokio().with_quic_config(transport);
    let builder = builder.with_behaviour(|_| behaviour).map_err(|error| Error::Transport(error.to_string()))?;
    let swarm = builder.with_swarm_config(|swarm| {
        swarm
            .with_idle_connection_timeout(limits.query_timeout * IDLE_QUERIES)
            .with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
    });
    Ok(swarm.build())
}

fn behaviour(config: &Config, keypair: &Keypair, reach: Reach, known: BTreeSet<EraKey>) -> Result<Behaviour, Error> {
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
    let records = Records::new(&local.to_bytes(), limits.records);
    let store = Store::new(local, records, known, config.clock.clone());
    let mut dht = Dht::new(kad::Behaviour::with_config(local, store, kad), name, reach);
    dht.set_reachable(config.reachable);

    let identify = identify::Config::new("cairn/tracker/1".to_owned(), keypair.public())
        .with_agent_version(concat!("cairn/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_interval(IDENTIFY_INTERVAL)
        // Others see where we come from; what else we listen on is nobody's business.
        .with_hide_listen_addrs(true)
        // Its addresses are not filtered, so they are not to be dialled.
        .with_cache_size(0);
    let connections = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.handshakes))
        .with_max_pending_outgoing(Some(limits.handshakes))
        .with_max_established_incoming(Some(limits.inbound_connections))
        .with_max_established_outgoing(Some(limits.outbound_connections))
        .with_max_established_per_peer(Some(limits.connections_of_peer));
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(connections),
        identify: identify::Behaviour::new(identify),
        dht,
    })
}
