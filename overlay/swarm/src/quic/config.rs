//! What an endpoint is started with, and the sizes of QUIC's windows.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::Limits;
use alloy_primitives::B256;
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt, congestion::BbrConfig};

/// Datagrams that are tried at most, in bytes: as much as jumbo frames carry. On a path that carries less this costs a few
/// probes a connection.
const MAX_DATAGRAM: u16 = 8_900;

/// Bytes that a stream brings before it is read: what a request of the usual size brings.
const STREAM_WINDOW: u32 = 2 << 20;

/// Bytes that a connection keeps until they are acknowledged, and that it brings at most before they are read: a round trip
/// of 100 ms at a gigabit a second.
const MAX_WINDOW: u32 = 12 << 20;

/// Bytes that a connection brings before they are read, on a path without delay. What a kill loses is in there.
const MIN_WINDOW: u32 = 256 << 10;

/// The rate that windows allow on long paths, in bytes a second.
const WINDOW_RATE: u64 = 125_000_000;

/// A connection ends after so long without a sign of the other side.
const IDLE: Duration = Duration::from_secs(30);

/// How often a quiet connection shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// The own control stream and nothing else goes without an answer.
const UNI_STREAMS: u8 = 1;

/// What an endpoint is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// UDP address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// EIP-155.
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis: B256,
    /// The program and its version, for people.
    pub client: String,
    /// Limits to begin with.
    pub limits: Limits,
    /// Connections of one subnet at once, /24 or /48; loopback has no such limit.
    pub max_peers_of_subnet: usize,
    /// Requests of one peer that are answered at once.
    pub max_requests: u16,
    /// Bytes of answers in memory, for all peers together.
    pub upload_buffer: usize,
}

impl Config {
    /// The defaults at an address, for a chain.
    pub fn new(listen: SocketAddr, chain_id: u64, genesis: B256) -> Self {
        Self {
            listen,
            chain_id,
            genesis,
            client: concat!("cairn/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
            max_peers_of_subnet: 16,
            max_requests: 64,
            upload_buffer: 32 << 20,
        }
    }

    pub(super) fn transport(&self) -> Arc<TransportConfig> {
        let mut transport = TransportConfig::default();
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(MAX_DATAGRAM);
        transport
            .max_concurrent_uni_streams(UNI_STREAMS.into())
            .max_concurrent_bidi_streams(VarInt::from(self.max_requests))
            .stream_receive_window(STREAM_WINDOW.into())
            .receive_window(MIN_WINDOW.into())
            .send_window(MAX_WINDOW.into())
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
            .mtu_discovery_config(Some(mtu))
            // Loss is no sign of a full path for it: on long paths that lose packets the others starve.
            .congestion_controller_factory(Arc::new(BbrConfig::default()));
        Arc::new(transport)
    }

    /// The window for a path with this round trip: twice what is on its way.
    pub(super) fn receive_window(rtt: Duration) -> VarInt {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        let bytes = micros.saturating_mul(2 * WINDOW_RATE) / 1_000_000;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        bytes.clamp(MIN_WINDOW, MAX_WINDOW).into()
    }

    pub(super) fn endpoint(&self) -> EndpointConfig {
        let mut endpoint = EndpointConfig::default();
        if let Err(error) = endpoint.max_udp_payload_size(MAX_DATAGRAM) {
            tracing::debug!(%error, "datagrams of the usual size only");
        }
        endpoint
    }
}
