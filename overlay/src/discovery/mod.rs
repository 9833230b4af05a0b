//! discv5 as the base of all sub-networks: one socket, one node ID, one record.
//!
//! [`Discovery`] owns the [`discv5::Discv5`] service. It keeps the local record and the addresses of peers fresh, hands each
//! TALKREQ to the protocol it is for, and offers what the `discv5_*` methods of the JSON-RPC specification need.
//!
//! What matters about discv5 0.12 here:
//! - its event stream holds 100 events and drops what does not fit, so one task does nothing but empty it (`events`);
//! - it counts the first transmission as a retry: `request_retries(2)` repeats once;
//! - a request that times out, or a session that is lost, takes all other requests to the same peer with it: they are made
//!   again;
//! - a request that waits for the end of a handshake is forgotten when that handshake renews a session: then it is sent once
//!   more (`Discovery::ask`).

mod announced;
mod book;
mod config;
mod events;
mod nat;
mod record;
mod socket;
mod table;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::routing::AddressPolicy;
use cairn_proto::wire::MAX_FIRST_REQUEST_BYTES;
use content_types::NodeId;
use discv5::{ConfigBuilder, Discv5, IpMode, RateLimiterBuilder, RequestError};
use enr::CombinedKey;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{DEFAULT_UDP_PORT, DiscoveryConfig, ListenAddresses, Nat, PacketLimits, ParseNatError};
pub use nat::{MappingFailure, MappingProtocol, MappingState, PortMapping};
pub use table::{BasePong, DiscoveryTable};

use crate::transport::{
    AlreadyRegistered, Contact, Dispatcher, Endpoint, Enr, PeerEvent, ProtocolId, TalkError, TalkRequest, Transport,
};
use book::AddressBook;

/// How long discv5 waits for an answer before it repeats a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Transmissions of each request, the first one included.
const TRANSMISSIONS: u8 = 2;

/// A request without an answer or an error after this long gets neither: the longest that one takes is a handshake in the
/// last moment, and another time-out.
const REQUEST_DEADLINE: Duration = Duration::from_millis(3_500);

/// How often a request is made again whose session is lost: both sides may make new ones at the same time, and each undoes
/// the other's.
const MAX_SESSIONS_LOST: usize = 2;

/// How often a request that discv5 has forgotten is made again.
const MAX_FORGOTTEN: usize = 1;

/// Sessions that discv5 keeps. Each takes under 1 kB.
const SESSIONS: usize = 4096;

/// How long an address is not listened to that sends too many packets. discv5 looks every five minutes whether it is over.
const BAN: Duration = Duration::from_secs(60);

/// Peer events kept for a receiver that lags.
const PEER_EVENTS: usize = 256;

/// How long shutting down waits for discv5's tasks to let go of the sockets.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a node's base protocol did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The 32 bytes are no secp256k1 secret key.
    #[error("the node key is no secp256k1 secret key")]
    Key,
    /// Neither an IPv4 nor an IPv6 address was given.
    #[error("no address to listen on")]
    NoAddress,
    /// discv5 needs at least two votes to change the record.
    #[error("at least 2 peers must agree on this node's address, not {0}")]
    TooFewVotes(usize),
    /// The record could not be built or signed.
    #[error("the node record: {0}")]
    Record(enr::Error),
    /// A socket could not be bound.
    #[error("listening on UDP: {0}")]
    Bind(#[from] io::Error),
    /// discv5 refused its configuration or did not start.
    #[error("discv5: {0}")]
    Base(String),
}

/// The running base protocol of a node. Cheap to clone; [`shutdown`](Self::shutdown) ends it for all clones.
#[derive(Clone)]
pub struct Discovery {
    inner: Arc<RunningDiscovery>,
}

/// What all clones of a [`Discovery`] share.
struct RunningDiscovery {
    // Taken out on shutdown: dropping it is what closes the sockets.
    discv5: RwLock<Option<Discv5>>,
    node_id: NodeId,
    ip_mode: IpMode,
    listen: Vec<SocketAddr>,
    book: Mutex<AddressBook>,
    dispatcher: Dispatcher,
    /// Peers that are being greeted for uTP: not more than there are packets under way.
    greeted: Mutex<HashSet<Endpoint>>,
    peer_events: broadcast::Sender<PeerEvent>,
    local_enr: watch::Sender<Enr>,
    port_mappings: watch::Sender<Vec<PortMapping>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Discovery {
    /// Binds the sockets and starts discv5 with its tasks on the current tokio runtime.
    ///
    /// # Errors
    /// When the configuration is unusable or a socket cannot be bound.
    pub async fn start(config: DiscoveryConfig) -> Result<Self, StartError> {
        Self::start_with(config, |_| {}).await
    }

    /// Starts with discv5's configuration adjusted.
    async fn start_with(config: DiscoveryConfig, adjust: impl FnOnce(&mut discv5::Config)) -> Result<Self, StartError> {
        let key = key_of(&config)?;
        if config.min_ip_votes < 2 {
            return Err(StartError::TooFewVotes(config.min_ip_votes));
        }
        let sockets = socket::Sockets::bind(&config.listen)?;
        if sockets.addresses.is_empty() {
            return Err(StartError::NoAddress);
        }
        let listen = sockets.addresses.clone();
        let enr = record::local_enr(&config, &key, &listen)?;
        let node_id = crate::transport::node_id(&enr);

        let mut base = discv5_config(&config, sockets);
        adjust(&mut base);
        let mut discv5 = Discv5::new(enr.clone(), key, base).map_err(|error| StartError::Base(error.to_owned()))?;
        discv5.start().await.map_err(|error| StartError::Base(error.to_string()))?;
        let events = discv5.event_stream().await.map_err(|error| StartError::Base(error.to_string()))?;
        let ip_mode = discv5.ip_mode();
        for bootnode in config.bootnodes.iter().filter(|bootnode| bootnode.node_id() != enr.node_id()) {
            if let Err(reason) = discv5.add_enr(bootnode.clone()) {
                tracing::warn!(bootnode = %bootnode.node_id(), reason, "bootnode not used");
            }
        }

        let ports = nat::ports_to_map(config.nat, &listen, &config.service_ports);
        let inner = Arc::new(RunningDiscovery {
            discv5: RwLock::new(Some(discv5)),
            node_id,
            ip_mode,
            listen,
            book: Mutex::new(AddressBook::new(ip_mode, config.addresses)),
            dispatcher: Dispatcher::default(),
            greeted: Mutex::default(),
            peer_events: broadcast::channel(PEER_EVENTS).0,
            local_enr: watch::channel(enr).0,
            port_mappings: watch::channel(ports).0,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        inner.tasks.spawn(events::pump(inner.clone(), events));
        inner.tasks.spawn(table::keep_fresh(Self { inner: inner.clone() }, config.refresh_interval));
        let discovery = Self { inner };
        discovery.keep_mapped(config.nat, config.key, key_of(&config)?);
        Ok(discovery)
    }

    /// Has the router map ports, if the mode asks for that, and the record name what others reach.
    fn keep_mapped(&self, nat: Nat, secret: [u8; 32], key: CombinedKey) {
        let ports = self.inner.port_mappings.borrow().clone();
        if ports.is_empty() {
            return;
        }
        let inner = self.inner.clone();
        let tell = {
            let ports = ports.clone();
            move |told| inner.ports_told(&ports, told, &key)
        };
        self.inner.tasks.spawn(nat::keep_mapped(self.inner.stopping.clone(), nat, secret, ports, tell));
    }

    /// This node's ID.
    pub fn node_id(&self) -> NodeId {
        self.inner.node_id
    }

    /// The local addresses of the sockets, ports filled in.
    pub fn listen_addresses(&self) -> &[SocketAddr] {
        &self.inner.listen
    }

    /// The local record now and whenever it changes, for the caller to persist: pass the last one as
    /// [`DiscoveryConfig::previous_enr`] on the next start.
    pub fn local_enr_updates(&self) -> watch::Receiver<Enr> {
        self.inner.local_enr.subscribe()
    }

    /// What has become of each port that a router is asked to map, now and whenever it changes: that of discv5, and those of
    /// [`DiscoveryConfig::service_ports`]. Empty if none is asked for.
    pub fn port_mappings(&self) -> watch::Receiver<Vec<PortMapping>> {
        self.inner.port_mappings.subscribe()
    }

    /// Announces a UDP address in the local record. Returns whether the record changed.
    pub fn announce_udp(&self, address: SocketAddr) -> bool {
        self.inner.announce(address, false)
    }

    /// Announces a TCP address in the local record. Returns whether the record changed.
    pub fn announce_tcp(&self, address: SocketAddr) -> bool {
        self.inner.announce(address, true)
    }

    /// Stops answering, gives a mapped port back to the router and closes the sockets.
    pub async fn shutdown(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.dispatcher.close();
        let Some(mut discv5) = self.inner.discv5.write().take() else { return };
        discv5.shutdown();
        drop(discv5);
        // discv5 does not tell when its tasks have ended; the port is free once it can be bound again.
        let free = async {
            while self.inner.listen.iter().any(|address| std::net::UdpSocket::bind(address).is_err()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, free).await.is_err() {
            tracing::warn!("the UDP sockets are still open");
        }
    }

    async fn talk_discv5(self, to: Contact, protocol: ProtocolId, body: Bytes) -> Result<Bytes, TalkError> {
        if body.len() > protocol.max_body() {
            return Err(TalkError::TooLong(body.len()));
        }
        let large = body.len() > MAX_FIRST_REQUEST_BYTES;
        if large && !self.inner.book.lock().has_session(&to.endpoint()) {
            self.greet(&to).await?;
        }
        let mut answer = self.transmit(&to, &protocol, &body).await;
        for _ in 0..MAX_SESSIONS_LOST {
            match answer {
                // The peer has no session any more, and a large request cannot carry the handshake for a new one.
                Err(TalkError::Timeout | TalkError::SessionLost) if large => self.renew_session(&to).await?,
                Err(TalkError::SessionLost) => {}
                answer => return answer,
            }
            answer = self.transmit(&to, &protocol, &body).await;
        }
        answer
    }

    async fn transmit(&self, to: &Contact, protocol: &ProtocolId, body: &Bytes) -> Result<Bytes, TalkError> {
        let request = |discv5: &Discv5| discv5.talk_req(to.to_discv5(), protocol.as_bytes().to_vec(), body.to_vec());
        let answer = self.ask(to.node_id(), request).await.map(Bytes::from).map_err(table::request_error);
        if answer == Err(TalkError::Timeout) {
            self.inner.book.lock().session_lost(&to.endpoint());
        }
        answer
    }

    /// Makes a session anew with a peer that may have lost the old one. It answers no greeting as long as it waits for the
    /// handshake of the request before, which was too large for one.
    async fn renew_session(&self, to: &Contact) -> Result<(), TalkError> {
        match self.greet(to).await {
            Err(TalkError::SessionLost | TalkError::Timeout) => self.greet(to).await,
            greeted => greeted,
        }
    }

    /// Makes a session with a small request: a large one does not fit beside the handshake.
    async fn greet(&self, to: &Contact) -> Result<(), TalkError> {
        if self.inner.ip_mode.get_contactable_addr(to.enr()) == Some(to.address()) {
            return self.ping(Enr::clone(to.enr())).await.map(drop);
        }
        // discv5 sends a PING to the announced address only. An empty request is undecodable to any protocol, and answered.
        let greeting =
            |discv5: &Discv5| discv5.talk_req(to.to_discv5(), ProtocolId::UTP.as_bytes().to_vec(), Vec::new());
        self.ask(to.node_id(), greeting).await.map(drop).map_err(table::request_error)
    }

    /// Makes a session with a peer that large packets are sent to which repeat themselves. Those at hand are lost: as long as
    /// they came, the peer would wait for a handshake that they have no room for, and answer no greeting.
    async fn greet_instead(self, to: Contact) {
        let endpoint = to.endpoint();
        if !self.inner.greeted.lock().insert(endpoint) {
            return;
        }
        match self.renew_session(&to).await {
            // discv5 tells nothing if there was one all the time.
            Ok(()) => drop(self.inner.book.lock().session(Enr::clone(to.enr()), endpoint)),
            Err(error) => tracing::debug!(peer = ?to, %error, "no session for uTP"),
        }
        self.inner.greeted.lock().remove(&endpoint);
    }

    /// Makes a request until it got its own full time-out: discv5 fails all requests to a peer when one of them times out, and
    /// forgets some.
    async fn ask<T, R>(&self, peer: NodeId, request: impl Fn(&Discv5) -> R) -> Result<T, RequestError>
    where
        R: Future<Output = Result<T, RequestError>>,
    {
        let own_timeout = REQUEST_TIMEOUT * u32::from(TRANSMISSIONS);
        let started = Instant::now();
        let mut times_forgotten = 0;
        loop {
            let sent = Instant::now();
            let events = self.inner.peer_events.subscribe();
            let outcome = self.inner.with_discv5(&request).ok_or(RequestError::ServiceNotStarted)?;
            let outcome = tokio::select! {
                outcome = outcome => Some(outcome),
                () = forgotten(peer, events) => None,
            };
            match outcome {
                Some(Err(RequestError::Timeout))
                    if sent.elapsed() < own_timeout && started.elapsed() < own_timeout + REQUEST_DEADLINE => {}
                Some(outcome) => return outcome,
                None if times_forgotten == MAX_FORGOTTEN => return Err(RequestError::Timeout),
                None => times_forgotten += 1,
            }
        }
    }
}

fn key_of(config: &DiscoveryConfig) -> Result<CombinedKey, StartError> {
    CombinedKey::secp256k1_from_bytes(&mut config.key.clone()).map_err(|_| StartError::Key)
}

/// Returns when a request to `peer` that has no outcome yet will have none. Its own handshake would have brought the answer
/// along, and what is under way when another one makes a session is sent again at once.
async fn forgotten(peer: NodeId, mut events: broadcast::Receiver<PeerEvent>) {
    let session = async {
        loop {
            match events.recv().await {
                Ok(PeerEvent::Session(contact)) if contact.node_id() == peer => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    let after_session = async {
        session.await;
        tokio::time::sleep(REQUEST_TIMEOUT).await;
    };
    let _ = tokio::time::timeout(REQUEST_DEADLINE, after_session).await;
}

impl RunningDiscovery {
    fn with_discv5<T>(&self, f: impl FnOnce(&Discv5) -> T) -> Option<T> {
        self.discv5.read().as_ref().map(f)
    }

    fn known(&self, node_id: &NodeId) -> Option<Contact> {
        self.book.lock().known(node_id).or_else(|| {
            let enr = self.with_discv5(|discv5| discv5.find_enr(&enr::NodeId::new(node_id.as_bytes())))??;
            let address = self.ip_mode.get_contactable_addr(&enr)?;
            Some(Contact::new(enr, address))
        })
    }
}

impl Transport for Discovery {
    fn local_enr(&self) -> Enr {
        self.inner.with_discv5(Discv5::local_enr).unwrap_or_else(|| self.inner.local_enr.borrow().clone())
    }

    fn contact(&self, enr: &Enr) -> Option<Contact> {
        self.inner.book.lock().contact(enr)
    }

    fn known(&self, node_id: &NodeId) -> Option<Contact> {
        self.inner.known(node_id)
    }

    fn register(
        &self,
        protocol: ProtocolId,
        capacity: usize,
    ) -> Result<mpsc::Receiver<TalkRequest>, AlreadyRegistered> {
        self.inner.dispatcher.register(protocol, capacity)
    }

    fn talk(&self, to: &Contact, protocol: &ProtocolId, body: Bytes) -> BoxFuture<'static, Result<Bytes, TalkError>> {
        self.clone().talk_discv5(to.clone(), protocol.clone(), body).boxed()
    }

    fn send(&self, to: &Contact, protocol: &ProtocolId, body: Bytes) -> BoxFuture<'static, ()> {
        let endpoint = to.endpoint();
        if body.len() > MAX_FIRST_REQUEST_BYTES && !self.inner.book.lock().has_session(&endpoint) {
            return self.clone().greet_instead(to.clone()).boxed();
        }
        let sent = Instant::now().into_std();
        let request =
            self.inner.with_discv5(|discv5| discv5.talk_req(to.to_discv5(), protocol.as_bytes().to_vec(), body.into()));
        let Some(request) = request else { return futures::future::ready(()).boxed() };
        let inner = self.inner.clone();
        let answered = tokio::time::timeout(REQUEST_DEADLINE, request).map(move |answer| {
            let mut book = inner.book.lock();
            match answer {
                Ok(Ok(_)) => book.answered(&endpoint, Instant::now().into_std()),
                Ok(Err(_)) | Err(_) => book.unanswered(&endpoint, sent),
            }
        });
        answered.boxed()
    }

    fn peer_events(&self) -> broadcast::Receiver<PeerEvent> {
        self.inner.peer_events.subscribe()
    }
}

/// Has discv5 drop packets that are too many. See [`PacketLimits`] for what it does not limit, and why.
fn filter_packets(base: &mut discv5::Config, limits: PacketLimits) {
    let limiter = RateLimiterBuilder::new()
        .ip_n_every(limits.of_address, Duration::from_secs(1))
        .total_n_every(limits.total, Duration::from_secs(1))
        .build();
    match limiter {
        Ok(limiter) => {
            base.enable_packet_filter = true;
            base.filter_rate_limiter = Some(limiter);
            base.filter_max_nodes_per_ip = None;
            base.filter_max_bans_per_ip = None;
            base.ban_duration = Some(BAN);
        }
        Err(error) => tracing::error!(error, "packets are not filtered"),
    }
}

fn discv5_config(config: &DiscoveryConfig, sockets: socket::Sockets) -> discv5::Config {
    let mut builder = ConfigBuilder::new(sockets.listen_config());
    builder
        .request_timeout(REQUEST_TIMEOUT)
        .request_retries(TRANSMISSIONS)
        .session_cache_capacity(SESSIONS)
        .enr_peer_update_min(config.min_ip_votes)
        .table_filter(record::speaks_portal);
    if config.addresses == AddressPolicy::Internet {
        builder.ip_limit().table_filter(record::speaks_portal_on_the_internet);
    }
    // With `auto`, peers vote on the address, and without an incoming session within five minutes after a vote it is
    // withdrawn again.
    if config.nat != Nat::Auto {
        builder.disable_enr_update().auto_nat_listen_duration(None);
    }
    let mut base = builder.build();
    if config.addresses == AddressPolicy::Internet {
        filter_packets(&mut base, config.packets);
    }
    base
}

#[cfg(test)]
mod tests;
