//! The endpoint of a node: it dials and accepts, and knows its sessions.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cairn_limits::{Holder, Limiter, Meter};
use cairn_peer_book::{Offence, Who};
use content_types::NodeId;
use parking_lot::Mutex;
use quinn::{
    ConnectionError, Endpoint, Incoming, TokioRuntime,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Config, Held, Identity, Library, SwarmIdentityError,
    config::{CONTROL, CONTROL_OF_PEER, DIALS, ITEMS_TO_CHOKED, UNPROVED_HANDSHAKES},
    dialling::{Dialling, replaces},
    identity::proved_node_id,
    inner::SwarmEndpoint,
    session::{Close, DialDirection, Session, SessionError},
    uploads::{Limits, Uploads},
};
use crate::{choker::ChokerConfig, geometry::Component};

/// How long a handshake, with the first messages each way, may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Room in the socket for datagrams that have come and for those that go, in bytes; the system may give less.
const SOCKET_BUFFER: usize = 8 << 20;

/// How long closing connections get to tell the other side.
const CLOSE_TIME: Duration = Duration::from_millis(300);

/// The name in the handshake, which means nothing: the certificate's key is what counts.
const SERVER_NAME: &str = "cairn";

/// Why an endpoint did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The socket.
    #[error("QUIC cannot listen on UDP {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key.
    #[error(transparent)]
    Identity(#[from] SwarmIdentityError),
    /// TLS for QUIC.
    #[error("the handshake's ciphers: {0}")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// Why there is no session with a peer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It is barred.
    #[error("the peer is barred for {} s", .0.as_secs())]
    Barred(Duration),
    /// There are as many sessions as there may be.
    #[error("there are as many connections as there may be")]
    Full,
    /// Dialling this node itself.
    #[error("this is the own node")]
    Own,
    /// The key is none.
    #[error(transparent)]
    Identity(#[from] SwarmIdentityError),
    /// TLS for QUIC.
    #[error("the handshake's ciphers: {0}")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The address cannot be dialled.
    #[error("the address cannot be dialled: {0}")]
    Address(#[from] quinn::ConnectError),
    /// The connection failed; the key at the other end may be another.
    #[error("no connection: {0}")]
    Connection(#[from] ConnectionError),
    /// The other side did not say what it should.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It took too long.
    #[error("the handshake took too long")]
    TimedOut,
}

/// A UDP socket that waits for its endpoint: a node's record has to name the port before the endpoint can start.
#[derive(Debug)]
pub struct BoundSocket {
    socket: std::net::UdpSocket,
    address: SocketAddr,
}

impl BoundSocket {
    /// Takes a UDP address; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`StartError::Bind`].
    pub fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let bound = bind(address).and_then(|socket| Ok(Self { address: socket.local_addr()?, socket }));
        bound.map_err(|source| StartError::Bind { address, source })
    }

    /// Its address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Where a peer is, and who it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    /// Its compressed secp256k1 key.
    pub key: [u8; 33],
    /// Its UDP address for QUIC.
    pub address: SocketAddr,
}

/// An endpoint and its sessions. Cheap to clone.
#[derive(Clone)]
pub struct Swarm {
    pub(super) inner: Arc<SwarmEndpoint>,
}

impl Swarm {
    /// Starts an endpoint on the current tokio runtime. `record` is the node's own record, RLP, as it changes.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn start(
        config: Config,
        identity: Identity,
        library: Arc<dyn Library>,
        record: watch::Receiver<Vec<u8>>,
    ) -> Result<Self, StartError> {
        Self::start_on(BoundSocket::bind(config.listen)?, config, identity, library, record)
    }

    /// Starts an endpoint on a socket; see [`Swarm::start`].
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn start_on(
        socket: BoundSocket,
        config: Config,
        identity: Identity,
        library: Arc<dyn Library>,
        record: watch::Receiver<Vec<u8>>,
    ) -> Result<Self, StartError> {
        let BoundSocket { socket, address } = socket;
        let crypto = QuicServerConfig::try_from(identity.server_config()?)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let transport = config.transport(u64::from(identity.node_id().as_bytes()[31]));
        server.transport_config(Arc::clone(&transport)).max_incoming(MAX_INCOMING);
        let endpoint = Endpoint::new(config.endpoint(), Some(server), socket, Arc::new(TokioRuntime))
            .map_err(|source| StartError::Bind { address, source })?;
        let inner = Arc::new(SwarmEndpoint {
            room: Limiter::new(config.room()),
            control: Mutex::new(Meter::new(CONTROL)),
            control_of_peer: Mutex::new(Meter::new(CONTROL_OF_PEER)),
            dials: Mutex::new(Meter::new(DIALS)),
            items_to_choked: Mutex::new(Meter::new(ITEMS_TO_CHOKED)),
            places: Limiter::new(config.sessions(config.limits.max_peers)),
            handshakes: Limiter::new(Config::handshakes()),
            uploads: Uploads::new(config.limits),
            bars: AtomicU64::new(0),
            fetches: watch::Sender::new(0),
            config,
            transport,
            library,
            record,
            told_peers: watch::Sender::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            identity,
            endpoint,
            sessions: Mutex::default(),
            dialling: Dialling::default(),
            changes: watch::Sender::new(0),
            next_session: AtomicU64::new(0),
        });
        inner.tasks.spawn(accept(Arc::clone(&inner)));
        inner.tasks.spawn(keep_out_the_barred(Arc::clone(&inner)));
        let taking_turns = Arc::clone(&inner);
        inner.tasks.spawn(async move {
            let turns = taking_turns.uploads.take_turns(|| taking_turns.slots());
            let _ = taking_turns.stop.run_until_cancelled(turns).await;
        });
        Ok(Self { inner })
    }

    /// The UDP address.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.inner.endpoint.local_addr()
    }

    /// The own node ID.
    pub fn node_id(&self) -> NodeId {
        self.inner.identity.node_id()
    }

    /// A session with a peer: the one that there is, or a new one.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]. A peer with another key is dropped in the handshake, before anything else is sent.
    pub async fn connect(&self, peer: PeerAddress) -> Result<Arc<Session>, ConnectError> {
        let node_id = super::node_id_of(&peer.key)?;
        if let Some(session) = self.session(&node_id) {
            return Ok(session);
        }
        let dial = tokio::time::timeout(HANDSHAKE_TIME, self.dial(peer, node_id));
        dial.await.map_err(|_| ConnectError::TimedOut)?
    }

    async fn dial(&self, peer: PeerAddress, node_id: NodeId) -> Result<Arc<Session>, ConnectError> {
        let mut changes = self.changes();
        let mut turn = pin!(self.inner.dialling.turn(node_id, Some(peer.address)));
        let _turn = loop {
            tokio::select! {
                turn = &mut turn => break turn,
                // Whoever has the turn has succeeded, or the peer has dialled us. A session that is gone by now is no answer.
                Ok(_) = changes.wait_for(|_| self.session(&node_id).is_some()) => {
                    if let Some(session) = self.session(&node_id) {
                        return Ok(session);
                    }
                }
            }
        };
        if let Some(session) = self.session(&node_id) {
            return Ok(session);
        }
        self.inner.check(&node_id, peer.address.ip())?;
        let crypto = QuicClientConfig::try_from(self.inner.identity.client_config(&peer.key)?)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.inner.transport));
        let connecting = self.inner.endpoint.connect_with(config, peer.address, SERVER_NAME)?;
        let connection = connecting.await?;
        // Another address of the peer may have been faster. Without a hello this connection becomes no session at the other end.
        let _begins = self.inner.dialling.turn(node_id, None).await;
        if let Some(session) = self.session(&node_id) {
            connection.close(Close::Duplicate.code(), b"");
            return Ok(session);
        }
        self.inner.begin(connection, node_id, DialDirection::Out).await
    }

    /// The session with a peer, if there is one.
    pub fn session(&self, peer: &NodeId) -> Option<Arc<Session>> {
        self.inner.sessions.lock().get(peer).filter(|session| !session.is_closed()).cloned()
    }

    /// All sessions.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.inner.sessions.lock().values().cloned().collect()
    }

    /// A number that changes whenever a session begins, ends, or hears of what its peer holds or whether it serves us.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Bytes of answers to others, and from others, since the start.
    pub fn moved(&self) -> (u64, u64) {
        let Uploads { upload, download, .. } = &self.inner.uploads;
        (upload.moved().iter().sum(), download.moved().iter().sum())
    }

    /// What this node itself holds.
    pub fn held(&self) -> Arc<Held> {
        self.inner.library.held().borrow().clone()
    }

    /// The limits as they are.
    pub fn limits(&self) -> Limits {
        self.inner.uploads.limits()
    }

    /// Changes the limits from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.inner.places.set_quota(self.inner.config.sessions(limits.max_peers));
        self.inner.uploads.set_limits(limits);
    }

    /// Waits until so many bytes may be downloaded that come from elsewhere, from a mirror say: the limit is one on all.
    pub async fn wait_to_download(&self, bytes: u64) {
        self.inner.uploads.download.wait_for(bytes).await;
    }

    /// Charges a peer with something; a peer that is barred for it is disconnected.
    pub fn charge(&self, who: &Who, offence: Offence) {
        self.inner.charge(who, offence);
    }

    /// Credits a peer with bytes that were checked.
    pub fn credit(&self, peer: &NodeId, bytes: u64) {
        self.inner.config.book.credit(Instant::now(), peer, bytes);
        if let Some(session) = self.session(peer) {
            self.inner.uploads.update(|choker| choker.handle_given(&session.number(), bytes));
        }
    }

    /// For how long a peer is still barred.
    pub fn barred_for(&self, peer: &NodeId) -> Option<Duration> {
        self.inner.config.book.barred_for(Instant::now(), peer, None)
    }

    /// Closes all connections and stops.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.endpoint.close(Close::Stopping.code(), b"");
        let idle = async {
            self.inner.tasks.wait().await;
            self.inner.endpoint.wait_idle().await;
        };
        // What was not told by then, the other sides find out for themselves.
        let _ = tokio::time::timeout(CLOSE_TIME, idle).await;
    }
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm").field("node_id", &self.node_id()).finish_non_exhaustive()
    }
}

impl SwarmEndpoint {
    fn check(&self, peer: &NodeId, ip: IpAddr) -> Result<(), ConnectError> {
        if *peer == self.identity.node_id() {
            return Err(ConnectError::Own);
        }
        match self.config.book.barred_for(Instant::now(), peer, Some(ip)) {
            Some(left) => Err(ConnectError::Barred(left)),
            None => Ok(()),
        }
    }

    /// Says hello on a new connection, and keeps its session.
    async fn begin(
        self: &Arc<Self>,
        connection: quinn::Connection,
        node_id: NodeId,
        direction: DialDirection,
    ) -> Result<Arc<Session>, ConnectError> {
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        let closing = connection.clone();
        let holder = Holder::peer(node_id, connection.remote_address().ip());
        let Ok(place) = self.places.try_take(holder, 1) else {
            closing.close(Close::Full.code(), b"");
            return Err(ConnectError::Full);
        };
        let begun = Session::begin(self, connection, node_id, number, direction).await;
        let (session, control) = begun.inspect_err(|error| closing.close(error.close().code(), b""))?;
        let own = self.identity.node_id();
        let replaced = {
            let mut sessions = self.sessions.lock();
            match sessions.get(&node_id).filter(|other| !other.is_closed()) {
                Some(other) if !replaces(&own, &node_id, direction, other.direction(), other.age()) => {
                    session.close(Close::Duplicate);
                    return Ok(Arc::clone(other));
                }
                _ => sessions.insert(node_id, Arc::clone(&session)),
            }
        };
        if let Some(replaced) = replaced {
            replaced.close(Close::Duplicate);
        }
        self.uploads.update(|choker| choker.handle_connected(number, holder.payer()));
        self.changed();
        let (inner, running) = (Arc::clone(self), Arc::clone(&session));
        self.tasks.spawn(async move {
            running.run(&inner, control, &place).await;
            inner.uploads.update(|choker| choker.handle_disconnected(Instant::now(), &number));
            let mut sessions = inner.sessions.lock();
            if sessions.get(&node_id).is_some_and(|of| Arc::ptr_eq(of, &running)) {
                sessions.remove(&node_id);
            }
            drop(sessions);
            inner.changed();
        });
        Ok(session)
    }

    /// How many peers are served at a time: all of them while this node holds a run that no peer holds whom it knows, since
    /// nobody else could serve it.
    fn slots(&self) -> usize {
        let own = self.library.held().borrow().clone();
        let views: Vec<_> = self.sessions.lock().values().map(|session| session.view().held).collect();
        let is_sole = Component::ALL.into_iter().any(|component| {
            let left = views
                .iter()
                .fold(own[component.index()].clone(), |left, held| left.difference(&held[component.index()]));
            !left.is_empty()
        });
        if is_sole { self.uploads.max_peers() } else { ChokerConfig::default().slots }
    }
}

/// First datagrams that wait to be looked at. They take no place for a handshake.
const MAX_INCOMING: usize = 1024;

/// Ends connections with peers that any of the node's networks has barred.
async fn keep_out_the_barred(inner: Arc<SwarmEndpoint>) {
    let mut bars = inner.config.book.bars();
    while let Some(Ok(())) = inner.stop.run_until_cancelled(bars.changed()).await {
        bars.mark_unchanged();
        let sessions: Vec<_> = inner.sessions.lock().values().cloned().collect();
        let now = Instant::now();
        let is_barred = |session: &Session| {
            inner.config.book.barred_for(now, &session.node_id(), Some(session.address().ip())).is_some()
        };
        sessions.iter().filter(|session| is_barred(session)).for_each(|session| session.close(Close::Barred));
    }
}

async fn accept(inner: Arc<SwarmEndpoint>) {
    loop {
        let incoming = tokio::select! {
            incoming = inner.endpoint.accept() => incoming,
            () = inner.stop.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        let address = incoming.remote_address();
        let holder = Holder::address(address.ip());
        // An address that may be false costs its owner a round trip as soon as others wait, and nobody a place.
        if !incoming.remote_address_validated() && inner.handshakes.total() >= UNPROVED_HANDSHAKES {
            if let Err(error) = incoming.retry() {
                tracing::trace!(%address, %error, "a first datagram was passed over");
            }
            continue;
        }
        // An address that is not proved counts for nobody: else whoever forges it could use up another's share.
        let is_proved = incoming.remote_address_validated();
        let is_stranger = cairn_limits::Subnet::of_stranger(address.ip()).is_some();
        if is_proved && is_stranger && !inner.dials.lock().charge(Instant::now(), &holder, 1) {
            incoming.ignore();
            continue;
        }
        let holder = if is_proved { holder } else { Holder::nobody() };
        let Ok(place) = inner.handshakes.try_take(holder, 1) else {
            incoming.ignore();
            continue;
        };
        let accepting = Arc::clone(&inner);
        inner.tasks.spawn(async move {
            let accepted = tokio::time::timeout(HANDSHAKE_TIME, accept_one(&accepting, incoming));
            let outcome = tokio::select! {
                outcome = accepted => outcome.unwrap_or(Err(ConnectError::TimedOut)),
                () = place.revoked() => Err(ConnectError::TimedOut),
                () = accepting.stop.cancelled() => return,
            };
            if let Err(error) = outcome {
                tracing::debug!(%address, %error, "a connection was not accepted");
            }
        });
    }
}

async fn accept_one(inner: &Arc<SwarmEndpoint>, incoming: Incoming) -> Result<(), ConnectError> {
    let address = incoming.remote_address();
    let connection = incoming.await?;
    let Some(node_id) = proved_node_id(connection.peer_identity()) else {
        connection.close(Close::Identity.code(), b"");
        return Err(SwarmIdentityError::Public.into());
    };
    if let Err(error) = inner.check(&node_id, address.ip()) {
        connection.close(Close::Barred.code(), b"");
        return Err(error);
    }
    inner.begin(connection, node_id, DialDirection::In).await.map(drop)
}

fn bind(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As much as the system gives.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
