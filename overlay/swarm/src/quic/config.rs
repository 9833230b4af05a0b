//! What an endpoint is started with, and the sizes of QUIC's windows.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alloy_primitives::B256;
use cairn_limits::{Allowance, Quota};
use cairn_peer_book::PeerBook;
use quinn::{AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::Limits;
use crate::congestion::Congestion;

/// The most that one call hands to UDP over IPv4, in bytes. With segmentation offload this holds for a whole batch of
/// datagrams, not for each of them.
const MAX_BATCH_BYTES: usize = 65_507;

/// Datagrams that quinn hands over in one batch at most.
const MAX_BATCH: usize = 10;

/// Datagrams that are tried at most, in bytes. On a path that carries less this costs a few probes a connection. Jumbo frames
/// would carry 8,900, but the system refuses a batch that is too long, and quinn passes over that, for probes of the path fail
/// in the same way. Each full batch would be lost, sent again as a full batch, and lost again, while all small datagrams
/// arrive: a connection that lives and brings nothing.
const MAX_DATAGRAM: u16 = 6_500;

const _: () = assert!(MAX_DATAGRAM as usize * MAX_BATCH <= MAX_BATCH_BYTES);

/// The other side acknowledges so many packets at once, unless one is missing, and waits for more of them so long at most. QUIC's
/// usual two make every second packet one that goes the other way, which on paths without batches is a third of all work.
const ACK_EVERY: u32 = 10;
const MAX_ACK_DELAY: Duration = Duration::from_millis(5);

/// Bytes that a stream brings before it is read: what a request of the usual size brings.
const STREAM_WINDOW: u32 = 2 << 20;

/// Bytes that a connection keeps until they are acknowledged, and that it brings at most before they are read: a round trip
/// of 100 ms at a gigabit a second.
const MAX_WINDOW: u32 = 12 << 20;

/// Bytes that a connection brings before they are read, on a path without delay. What a kill loses is in there.
const MIN_WINDOW: u32 = 128 << 10;

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
    /// Bytes of answers in memory, for all peers together; one peer may have an eighth.
    pub upload_buffer: usize,
    /// The node's book of peers, which all of its networks share.
    pub book: PeerBook,
}

/// The least share of the buffer for answers that one peer has, in bytes: two steps, so that one is read while the other is
/// sent.
const MIN_UPLOAD_BUFFER_OF_PEER: u64 = 1 << 20;

/// An answer that has not moved for so long makes room for another's, if that waits.
const ANSWER_IDLE: Duration = Duration::from_secs(1);

/// A connection that has moved next to nothing for so long makes room for a new one when there are as many as there may be.
const SESSION_IDLE: Duration = Duration::from_secs(60);

/// Handshakes of peers that dialled us, at once.
pub(super) const MAX_HANDSHAKES: u64 = 64;

/// While more handshakes than these are under way, an address has to show that it is its sender's before it takes a place.
pub(super) const UNPROVED_HANDSHAKES: u64 = 8;

/// A handshake takes a few round trips. One that takes longer makes room for others when all places are taken; who means it
/// dials again.
const HANDSHAKE_IDLE: Duration = Duration::from_millis(500);

/// What the control messages of a peer may cost, in bytes: what it holds is told in some kilobytes, and then changes.
pub(super) const CONTROL_OF_PEER: Allowance = Allowance { rate: 64 << 10, burst: 4 << 20 };

/// What those of all peers of a subnet may cost, so that new node IDs renew nothing.
pub(super) const CONTROL: Allowance = Allowance { rate: 256 << 10, burst: 16 << 20 };

/// Handshakes that a subnet may begin: each takes about a millisecond of the processor.
pub(super) const DIALS: Allowance = Allowance { rate: 4, burst: 128 };

/// What single items may be sent to a subnet of peers that are not served, in bytes: lookups need some, and whoever wants more
/// waits for its turn like all others.
pub(super) const ITEMS_TO_CHOKED: Allowance = Allowance { rate: 512 << 10, burst: 8 << 20 };

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
            book: PeerBook::default(),
        }
    }

    /// Room for answers in memory.
    pub(super) fn room(&self) -> Quota {
        let total = self.upload_buffer as u64;
        let of_peer = (total / 8).max(MIN_UPLOAD_BUFFER_OF_PEER).min(total);
        Quota::new(total).of_peer(of_peer).yields_after(ANSWER_IDLE)
    }

    /// Places for connections: two for one peer, since two ends that dial each other at the same time have two for a moment.
    pub(super) fn sessions(&self, max_peers: usize) -> Quota {
        let of_subnet = self.max_peers_of_subnet as u64;
        Quota::new(max_peers as u64).of_peer(2).of_subnet(of_subnet).yields_after(SESSION_IDLE)
    }

    /// Places for handshakes.
    pub(super) fn handshakes() -> Quota {
        let of_subnet = Quota::new(MAX_HANDSHAKES).of_subnet;
        Quota::new(MAX_HANDSHAKES).of_subnet(of_subnet).yields_after(HANDSHAKE_IDLE)
    }

    /// What all connections of an endpoint share. `seed` tells its controllers of congestion apart from those of others.
    pub(super) fn transport(&self, seed: u64) -> Arc<TransportConfig> {
        let mut transport = TransportConfig::default();
        let mut acks = AckFrequencyConfig::default();
        acks.ack_eliciting_threshold(ACK_EVERY.into()).max_ack_delay(Some(MAX_ACK_DELAY));
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(MAX_DATAGRAM);
        transport
            .max_concurrent_uni_streams(UNI_STREAMS.into())
            .max_concurrent_bidi_streams(VarInt::from(self.max_requests))
            .stream_receive_window(STREAM_WINDOW.into())
            .receive_window(MIN_WINDOW.into())
            .send_window(MAX_WINDOW.into())
            // One answer after the other: of many that come side by side, each would have an item that is not whole when a fetch is
            // killed, and nothing would come in order.
            .send_fairness(false)
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
            .mtu_discovery_config(Some(mtu))
            .ack_frequency_config(Some(acks))
            .congestion_controller_factory(Arc::new(Congestion::new(seed)));
        Arc::new(transport)
    }

    /// The window for a path whose shortest round trip this is: twice what is on its way.
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

#[cfg(test)]
mod tests {
    use std::{
        io::{self, IoSliceMut},
        net::Ipv4Addr,
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll},
    };

    use quinn::{
        AsyncUdpSocket, Endpoint, Runtime, TokioRuntime, UdpPoller,
        crypto::rustls::{QuicClientConfig, QuicServerConfig},
        udp::{RecvMeta, Transmit},
    };

    use super::*;
    use crate::quic::Identity;

    /// A socket that keeps the length of the longest batch it was given.
    #[derive(Debug)]
    struct Measured {
        socket: Arc<dyn AsyncUdpSocket>,
        longest: AtomicUsize,
    }

    impl AsyncUdpSocket for Measured {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Arc::clone(&self.socket).create_io_poller()
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            self.longest.fetch_max(transmit.contents.len(), Ordering::Relaxed);
            self.socket.try_send(transmit)
        }

        fn poll_recv(
            &self,
            cx: &mut Context<'_>,
            bufs: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            self.socket.poll_recv(cx, bufs, meta)
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.socket.local_addr()
        }

        /// As where the system segments, whether this one does or not.
        fn max_transmit_segments(&self) -> usize {
            self.socket.max_transmit_segments()
        }

        fn max_receive_segments(&self) -> usize {
            self.socket.max_receive_segments()
        }

        fn may_fragment(&self) -> bool {
            self.socket.may_fragment()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_system_takes_the_longest_batch() {
        const BYTES: usize = 16 << 20;
        let config = Config::new((Ipv4Addr::LOCALHOST, 0).into(), 1, B256::ZERO);
        let identity = |number| Identity::new([number; 32]).unwrap();
        let crypto = QuicServerConfig::try_from(identity(1).server_config().unwrap()).unwrap();
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(config.transport(0));
        let socket = std::net::UdpSocket::bind(config.listen).unwrap();
        let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
        let can_segment = socket.max_transmit_segments() > 1;
        let measured = Arc::new(Measured { socket, longest: AtomicUsize::new(0) });
        let runtime = Arc::new(TokioRuntime);
        let server =
            Endpoint::new_with_abstract_socket(config.endpoint(), Some(server), measured.clone(), runtime).unwrap();
        let address = server.local_addr().unwrap();
        let sending = tokio::spawn(async move {
            let connection = server.accept().await.unwrap().await.unwrap();
            let mut send = connection.open_uni().await.unwrap();
            send.write_all(&vec![7; BYTES]).await.unwrap();
            send.finish().unwrap();
            connection.closed().await;
            connection.stats().path.current_mtu
        });

        let secret = libp2p_identity::secp256k1::SecretKey::try_from_bytes([1; 32]).unwrap();
        let key = libp2p_identity::secp256k1::Keypair::from(secret).public().to_bytes();
        let crypto = QuicClientConfig::try_from(identity(2).client_config(&key).unwrap()).unwrap();
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        client.transport_config(config.transport(0));
        // It takes datagrams as long as a peer's endpoint does.
        let socket = std::net::UdpSocket::bind(config.listen).unwrap();
        let endpoint = Endpoint::new(config.endpoint(), None, socket, Arc::new(TokioRuntime)).unwrap();
        let connection = endpoint.connect_with(client, address, "peer").unwrap().await.unwrap();
        connection.set_receive_window(MAX_WINDOW.into());
        let mut receive = connection.accept_uni().await.unwrap();
        assert_eq!(receive.read_to_end(BYTES).await.unwrap().len(), BYTES);
        connection.close(0_u32.into(), b"");
        let mtu = sending.await.unwrap();

        let longest = measured.longest.load(Ordering::Relaxed);
        assert!(longest <= MAX_BATCH_BYTES, "a batch of {longest} bytes is refused by the system");
        // Otherwise this shows nothing.
        if can_segment {
            assert!(longest > usize::from(mtu), "no batch was sent");
        }
    }
}
