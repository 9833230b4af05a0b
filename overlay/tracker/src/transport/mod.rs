//! libp2p's QUIC (version 1, ALPN "libp2p", [libp2p's TLS](cairn_tls)) as a transport for its swarm.
//!
//! A transport of our own, because the stock one takes every first datagram for the beginning of a handshake: a few of
//! them a second, from anywhere, kept everybody out. Here an address has to prove itself once a few handshakes are under
//! way, and what it may have of them then is limited (`places`). It also brings nothing that the tracker does
//! without: no second provider of cryptography, no watching of network interfaces, no hole punching.
//!
//! | module | what |
//! |---|---|
//! | `config` | windows, streams, time-outs |
//! | `places` | who may have a handshake under way; no I/O |
//! | `listener` | what comes in at a port |
//! | `connection` | a connection as a muxer of streams, and its handshake |
//! | `stream` | one stream |

mod config;
mod connection;
mod listener;
mod places;
mod stream;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use cairn_tls::GenerateError;
use futures::{StreamExt, future::BoxFuture, stream::SelectAll};
use libp2p_core::{
    Endpoint as Role, Multiaddr, Transport,
    multiaddr::Protocol,
    transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p_identity::{Keypair, PeerId};
use quinn::{Endpoint, EndpointConfig, TokioRuntime};

use crate::addresses::socket_address;
use config::QuinnSettings;
use listener::Listener;

pub use config::QuicConfig;
pub use connection::QuicConnection;
pub use stream::QuicStream;

/// What the TLS library takes for a server's name. It is neither sent nor looked at.
const SERVER_NAME: &str = "peer";

/// Why a connection, or the port for it, failed.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The socket. The system's error is behind this one, for whoever looks for it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The dial could not begin.
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    /// The handshake or the connection.
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    /// The handshake took too long.
    #[error("the handshake took too long")]
    TimedOut,
    /// The peer proved no key.
    #[error(transparent)]
    Peer(#[from] cairn_tls::PeerError),
    /// A certificate or the settings for TLS.
    #[error(transparent)]
    Certificate(#[from] GenerateError),
    /// TLS has no cipher that QUIC begins with.
    #[error(transparent)]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The endpoint has ended.
    #[error("the port was closed")]
    Closed,
}

/// A connection that is to come, and with whom it is.
type Connecting = BoxFuture<'static, Result<(PeerId, QuicConnection), QuicError>>;

/// The transport. It has to be polled on a tokio runtime.
pub struct QuicTransport {
    settings: Arc<QuinnSettings>,
    listeners: SelectAll<Listener>,
    /// For dials of a family of addresses that nothing listens on.
    diallers: [Option<Endpoint>; 2],
    waker: Option<Waker>,
}

impl QuicTransport {
    /// A transport that proves this key.
    ///
    /// # Errors
    ///
    /// [`QuicError::Certificate`] and [`QuicError::Cipher`].
    pub fn new(keypair: &Keypair, config: QuicConfig) -> Result<Self, QuicError> {
        let settings = Arc::new(QuinnSettings::new(keypair, config)?);
        Ok(Self { settings, listeners: SelectAll::new(), diallers: [None, None], waker: None })
    }

    /// The endpoint that a dial goes out from: that which listens, so that others see an address where we can be reached.
    fn endpoint_for(&mut self, to: IpAddr) -> io::Result<Endpoint> {
        let listening = self.listeners.iter().filter(|listener| listener.local().is_ipv4() == to.is_ipv4());
        if let Some(listener) = listening.filter(|listener| listener.reaches(to)).last() {
            return Ok(listener.endpoint().clone());
        }
        let dialler = &mut self.diallers[usize::from(to.is_ipv6())];
        if let Some(endpoint) = dialler {
            return Ok(endpoint.clone());
        }
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        let endpoint = Endpoint::new(endpoint_config(), None, bind((any, 0).into())?, Arc::new(TokioRuntime))?;
        Ok(dialler.insert(endpoint).clone())
    }
}

impl std::fmt::Debug for QuicTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicTransport").field("listeners", &self.listeners.len()).finish_non_exhaustive()
    }
}

impl Transport for QuicTransport {
    type Output = (PeerId, QuicConnection);
    type Error = QuicError;
    type ListenerUpgrade = Connecting;
    type Dial = Connecting;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<QuicError>> {
        let at = socket_address(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        let socket = bind(at).map_err(other)?;
        let server = Some(self.settings.server.clone());
        let endpoint = Endpoint::new(endpoint_config(), server, socket, Arc::new(TokioRuntime)).map_err(other)?;
        self.listeners.push(Listener::new(id, endpoint, &self.settings).map_err(other)?);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listeners.iter_mut().any(|listener| listener.close(id))
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Connecting, TransportError<QuicError>> {
        let is_dialler = matches!(options.role, Role::Dialer);
        let at = socket_address(&address).filter(|at| is_dialler && at.port() != 0 && !at.ip().is_unspecified());
        let Some(at) = at else { return Err(TransportError::MultiaddrNotSupported(address)) };
        let config = self.settings.client(peer_of(&address)).map_err(TransportError::Other)?;
        let endpoint = self.endpoint_for(at.ip()).map_err(other)?;
        let connecting = endpoint.connect_with(config, at, SERVER_NAME).map_err(other)?;
        Ok(Box::pin(connection::finish(connecting, self.settings.handshake_timeout)))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Connecting, QuicError>> {
        match self.listeners.poll_next_unpin(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            Poll::Ready(None) | Poll::Pending => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn other(error: impl Into<QuicError>) -> TransportError<QuicError> {
    TransportError::Other(error.into())
}

/// The peer that an address names.
fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// Version 1 of QUIC is what "quic-v1" says.
fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.supported_versions(vec![1]);
    config
}

fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        // Peers know us by one address; the other family has an endpoint of its own.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
