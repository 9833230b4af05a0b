//! What a connection may take: windows, streams, time-outs; and the settings made of it once for all connections.

use std::{sync::Arc, time::Duration};

use cairn_tls::Certificate;
use libp2p_identity::{Keypair, PeerId};
use quinn::{
    ClientConfig, IdleTimeout, ServerConfig, TokenMemoryCache, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

use super::{QuicError, places::HandshakePlaces};

/// libp2p's one protocol over TLS; what is spoken then is negotiated for each stream.
const ALPN: &[u8] = b"libp2p";

/// First datagrams that wait for us to look at them. That takes no time, so more only come when nothing gets on.
const MAX_UNSEEN: usize = 256;

/// What may come behind a first datagram before that was looked at, in bytes, for one and for all.
const UNSEEN_BYTES: u64 = 4 << 10;
const UNSEEN_BYTES_OF_ALL: u64 = 256 << 10;

/// Peers whose tokens are kept, so that the next dial needs no proof of our address, and tokens of each.
const TOKEN_PEERS: u32 = 256;
const TOKENS_OF_PEER: usize = 2;

/// What a connection may take, and how many handshakes may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuicConfig {
    /// Bytes that a peer may have sent to one stream before they are read.
    pub stream_window: u32,
    /// Bytes that a peer may have sent to all streams of a connection.
    pub connection_window: u32,
    /// Streams that a peer may have open.
    pub max_streams: u32,
    /// A silent connection is dead after this time.
    pub max_silence: Duration,
    /// Keeps translations in routers alive.
    pub keep_alive: Duration,
    /// The longest that a handshake may take.
    pub handshake_timeout: Duration,
    /// Handshakes under way that others began.
    pub handshakes: u32,
    /// Those of them with one address.
    pub handshakes_of_address: u32,
}

/// A [`QuicConfig`] in quinn's terms.
pub(super) struct QuinnSettings {
    pub(super) server: ServerConfig,
    pub(super) handshake_timeout: Duration,
    pub(super) places: HandshakePlaces,
    certificate: Certificate,
    transport: Arc<TransportConfig>,
    tokens: Arc<TokenMemoryCache>,
}

impl QuinnSettings {
    pub(super) fn new(keypair: &Keypair, config: QuicConfig) -> Result<Self, QuicError> {
        let certificate = Certificate::generate(keypair)?;
        let transport = transport(&config);
        let crypto = QuicServerConfig::try_from(certificate.server_config(ALPN)?)?;
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        server
            .transport_config(Arc::clone(&transport))
            // A connection counts for the address that it began at.
            .migration(false)
            .max_incoming(MAX_UNSEEN)
            .incoming_buffer_size(UNSEEN_BYTES)
            .incoming_buffer_size_total(UNSEEN_BYTES_OF_ALL);
        let places = HandshakePlaces::new(config.handshakes as usize, config.handshakes_of_address as usize);
        Ok(Self {
            server,
            handshake_timeout: config.handshake_timeout,
            places,
            certificate,
            transport,
            tokens: Arc::new(TokenMemoryCache::new(TOKEN_PEERS, TOKENS_OF_PEER)),
        })
    }

    /// For a dial to this peer, or to whoever is there.
    pub(super) fn client(&self, peer: Option<PeerId>) -> Result<ClientConfig, QuicError> {
        let crypto = QuicClientConfig::try_from(self.certificate.client_config(peer, ALPN)?)?;
        let mut client = ClientConfig::new(Arc::new(crypto));
        client.transport_config(Arc::clone(&self.transport)).token_store(self.tokens.clone());
        Ok(client)
    }
}

fn transport(config: &QuicConfig) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_concurrent_bidi_streams(config.max_streams.into())
        .stream_receive_window(config.stream_window.into())
        .receive_window(config.connection_window.into())
        .send_window(config.connection_window.into())
        .datagram_receive_buffer_size(None)
        .allow_spin(false)
        .keep_alive_interval(Some(config.keep_alive))
        .max_idle_timeout(IdleTimeout::try_from(config.max_silence).ok());
    Arc::new(transport)
}
