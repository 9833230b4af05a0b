//! `libp2p-kad` under rules of our own: which addresses are dialled, who enters the routing table, which announcements
//! are recorded, and under which address.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    task::{Context, Poll},
    time::Instant,
};

use libp2p_connection_limits as connection_limits;
use libp2p_core::{Endpoint, Multiaddr, transport::PortUse};
use libp2p_identify as identify;
use libp2p_identity::PeerId;
use libp2p_kad as kad;
use libp2p_swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
    dial_opts::{DialOpts, PeerCondition},
};

use crate::{
    EraKey,
    addresses::{AddressReach, AddressSubnet, multiaddr, socket_address},
    callbacks::Callbacks,
    connections::Connections,
    identity,
    records::EraRecord,
    store::{DhtStore, era_key},
    table::{self, Failures, Subnets},
};

/// Providers taken from one answer: an honest one has no more.
const MAX_PROVIDERS_OF_ANSWER: usize = 21;

/// All that the swarm does.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) dht: Dht,
}

/// What became of a query.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody named providers.
    Found { query: kad::QueryId, providers: Vec<(PeerId, Vec<SocketAddr>)> },
    /// A lookup is over.
    LookedUp { query: kad::QueryId },
    /// An announcement is over; `is_taken` if peers were there to take it.
    Announced { query: kad::QueryId, is_taken: bool },
    /// A peer entered the table.
    Entered,
}

/// The DHT of one chain's tracker.
pub(crate) struct Dht {
    kad: kad::Behaviour<DhtStore>,
    protocol: String,
    reach: AddressReach,
    connections: Connections,
    /// Connections that are to be closed to make room.
    leaving: VecDeque<(PeerId, ConnectionId)>,
    callbacks: Callbacks,
    failures: Failures,
}

impl Dht {
    pub(crate) fn new(
        kad: kad::Behaviour<DhtStore>,
        protocol: String,
        reach: AddressReach,
        max_inbound: usize,
    ) -> Self {
        Self {
            kad,
            protocol,
            reach,
            connections: Connections::new(max_inbound),
            leaving: VecDeque::new(),
            callbacks: Callbacks::default(),
            failures: Failures::default(),
        }
    }

    pub(crate) fn set_reachable(&mut self, is_reachable: bool) {
        self.kad.set_mode(Some(if is_reachable { kad::Mode::Server } else { kad::Mode::Client }));
    }

    /// Announces this node to the peers nearest to the key.
    pub(crate) fn announce(&mut self, key: EraKey) -> Option<kad::QueryId> {
        self.kad.start_providing(key.to_vec().into()).ok()
    }

    /// Asks the peers nearest to the key for providers.
    pub(crate) fn look_up(&mut self, key: EraKey) -> kad::QueryId {
        self.kad.get_providers(key.to_vec().into())
    }

    /// Ends a query before its time.
    pub(crate) fn finish(&mut self, query: kad::QueryId) {
        if let Some(mut query) = self.kad.query_mut(&query) {
            query.finish();
        }
    }

    /// Looks for peers in all parts of the table.
    pub(crate) fn refresh(&mut self) {
        // It fails only when nobody is known.
        let _ = self.kad.bootstrap();
    }

    /// Peers in the routing table.
    pub(crate) fn peers(&mut self) -> usize {
        self.kad.kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    /// Whether a peer is in the routing table.
    pub(crate) fn contains(&mut self, peer: PeerId) -> bool {
        self.table_addresses(peer).is_some()
    }

    pub(crate) fn store(&mut self) -> &mut DhtStore {
        self.kad.store_mut()
    }

    /// A peer says which protocols it speaks. One that answers our requests enters the table: at the address where we
    /// reached it, or else at one that it claims and that is of the host it connected from. So nobody can have others
    /// dial a stranger.
    pub(crate) fn identified<'a>(
        &mut self,
        peer: PeerId,
        protocols: impl IntoIterator<Item = &'a str>,
        claimed: &[Multiaddr],
    ) {
        if !protocols.into_iter().any(|protocol| protocol == self.protocol) {
            self.kad.remove_peer(&peer);
            return;
        }
        let Some(connection) = self.connections.best(&peer) else { return };
        let Some(remote) = connection.remote else { return };
        let addresses = if connection.is_dialled { vec![remote] } else { self.at_host(remote, claimed) };
        if addresses.is_empty() || !self.has_room(peer, &addresses) {
            return;
        }
        for address in addresses {
            self.kad.add_address(&peer, multiaddr(address));
        }
    }

    /// Those of the addresses `claimed` that are of the host behind `remote`; if there are none, `remote` itself: QUIC
    /// listens and dials on one port.
    fn at_host(&self, remote: SocketAddr, claimed: &[Multiaddr]) -> Vec<SocketAddr> {
        let is_of_host = |address: &&Multiaddr| socket_address(address).is_some_and(|at| at.ip() == remote.ip());
        let addresses = self.reach.filter(claimed.iter().filter(is_of_host), table::MAX_ADDRESSES);
        if addresses.is_empty() && self.reach.covers(remote) { vec![remote] } else { addresses }
    }

    /// Whether the table's rule lets a peer with these addresses in, or stay.
    fn has_room(&mut self, peer: PeerId, addresses: &[SocketAddr]) -> bool {
        let of: Subnets = addresses.iter().filter_map(|address| AddressSubnet::of(address.ip())).collect();
        if of.is_empty() {
            return true;
        }
        let subnets = |bucket: kad::KBucketRef<'_, kad::KBucketKey<PeerId>, kad::Addresses>| -> Vec<Subnets> {
            let others = bucket.iter().filter(|entry| *entry.node.key.preimage() != peer);
            others.map(|entry| entry.node.value.iter().filter_map(subnet).collect()).collect()
        };
        let in_bucket = self.kad.kbucket(peer).map(subnets).unwrap_or_default();
        let in_table: Vec<_> = self.kad.kbuckets().flat_map(subnets).collect();
        table::has_room(&of, &in_bucket, &in_table)
    }

    /// The addresses of a peer in the table.
    fn table_addresses(&mut self, peer: PeerId) -> Option<Vec<Multiaddr>> {
        let bucket = self.kad.kbucket(peer)?;
        let entry = bucket.iter().find(|entry| *entry.node.key.preimage() == peer)?;
        Some(entry.node.value.iter().cloned().collect())
    }

    /// A peer entered the table or has one address more: the rules hold for these too.
    fn check(&mut self, peer: PeerId) {
        let Some(addresses) = self.table_addresses(peer) else { return };
        // The newest are the ones that worked last.
        let newest = self.reach.filter(addresses.iter().rev(), table::MAX_ADDRESSES);
        if newest.is_empty() || !self.has_room(peer, &newest) {
            self.kad.remove_peer(&peer);
            return;
        }
        for address in &addresses {
            if socket_address(address).is_none_or(|address| !newest.contains(&address)) {
                self.kad.remove_address(&peer, address);
            }
        }
    }

    /// An announcement came in.
    fn record(&mut self, announcement: &kad::ProviderRecord) {
        let peer = announcement.provider;
        let Some(key) = era_key(&announcement.key).filter(|key| self.store().is_known(key)) else { return };
        let Some(provider) = identity::public_key(&peer) else { return };
        let Some(connection) = self.connections.best(&peer).copied() else { return };
        let Some(remote) = connection.remote else { return };
        let addresses = self.at_host(remote, &announcement.addresses);
        if addresses.is_empty() {
            return;
        }
        let store = self.kad.store_mut();
        let now = store.now();
        let record = EraRecord { provider, addresses: addresses.clone(), renewed: now };
        if let Err(refused) = store.records.insert(key, record, now) {
            tracing::debug!(%peer, %refused, "not recorded");
            return;
        }
        if connection.is_dialled {
            store.records.reached(&provider, remote, now);
        }
        // Where we reached it need not be where it says that it can be reached.
        if store.records.wants_proof(&key, &provider, now) {
            self.callbacks.push(peer, addresses);
        }
    }

    /// The addresses of a provider that an answer of this query named.
    fn addresses(&mut self, key: &kad::RecordKey, peer: PeerId) -> Vec<SocketAddr> {
        let store = self.kad.store_mut();
        let recorded = era_key(key).zip(identity::public_key(&peer));
        let recorded = recorded.and_then(|(key, provider)| store.records.of_provider(&key, &provider, store.now()));
        let mut known: Vec<Multiaddr> =
            recorded.into_iter().flat_map(|record| &record.addresses).map(|address| multiaddr(*address)).collect();
        // The events of a query carry no addresses. This asks for what the query would dial.
        let id = ConnectionId::new_unchecked(0);
        let dialled = self.kad.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer);
        known.extend(dialled.unwrap_or_default());
        let addresses = self.reach.filter(&known, table::MAX_ADDRESSES);
        if !addresses.is_empty() {
            return addresses;
        }
        let connection = self.connections.best(&peer).and_then(|connection| connection.remote);
        connection.filter(|address| self.reach.covers(*address)).into_iter().collect()
    }

    fn on_kad(&mut self, event: kad::Event) -> Option<Event> {
        match event {
            kad::Event::InboundRequest { request: kad::InboundRequest::AddProvider { record: Some(announcement) } } => {
                self.record(&announcement);
                None
            }
            kad::Event::RoutingUpdated { peer, is_new_peer, .. } => {
                self.check(peer);
                is_new_peer.then_some(Event::Entered)
            }
            kad::Event::OutboundQueryProgressed { id: query, result, stats, .. } => match result {
                kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { key, providers })) => {
                    let providers = providers.into_iter().take(MAX_PROVIDERS_OF_ANSWER);
                    let providers = providers.map(|peer| (peer, self.addresses(&key, peer))).collect();
                    Some(Event::Found { query, providers })
                }
                kad::QueryResult::GetProviders(_) => Some(Event::LookedUp { query }),
                kad::QueryResult::StartProviding(result) => {
                    Some(Event::Announced { query, is_taken: result.is_ok() && stats.num_successes() > 0 })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn connected(&mut self, peer: PeerId, id: ConnectionId, remote: &Multiaddr, is_dialled: bool) {
        let remote = socket_address(remote);
        self.connections.add(peer, id, remote, is_dialled, Instant::now());
        if is_dialled {
            self.failures.forget(&peer);
            self.callbacks.ended(id);
            if let Some((provider, remote)) = identity::public_key(&peer).zip(remote) {
                let store = self.kad.store_mut();
                let now = store.now();
                store.records.reached(&provider, remote, now);
            }
        }
    }

    /// A dial failed. Of our own limits the peer knows nothing.
    fn not_reached(&mut self, peer: Option<PeerId>, id: ConnectionId, error: &DialError) {
        self.callbacks.ended(id);
        let is_its_fault = matches!(error, DialError::Transport(_) | DialError::WrongPeerId { .. });
        let Some(peer) = peer.filter(|_| is_its_fault) else { return };
        if let Some(provider) = identity::public_key(&peer) {
            self.kad.store_mut().records.not_reached(&provider);
        }
        if self.contains(peer) && self.failures.count(peer) {
            self.kad.remove_peer(&peer);
        }
    }

    fn check_crowd(&self, remote: &Multiaddr) -> Result<(), ConnectionDenied> {
        let is_crowded = self.connections.is_crowded(socket_address(remote));
        if is_crowded { Err(ConnectionDenied::new(Denial::Crowded)) } else { Ok(()) }
    }

    /// A connection that is to be closed, or a peer that is to be called back.
    fn errand(&mut self) -> Option<ToSwarm<Event, THandlerInEvent<Self>>> {
        if let Some((peer_id, id)) = self.leaving.pop_front() {
            return Some(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) });
        }
        let (peer, addresses) = self.callbacks.next()?;
        let addresses = addresses.into_iter().map(multiaddr).collect();
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::NotDialing).addresses(addresses).build();
        self.callbacks.began(opts.connection_id());
        Some(ToSwarm::Dial { opts })
    }
}

fn subnet(address: &Multiaddr) -> Option<AddressSubnet> {
    socket_address(address).and_then(|address| AddressSubnet::of(address.ip()))
}

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
enum Denial {
    #[error("too many connections from this subnet")]
    Crowded,
}

impl NetworkBehaviour for Dht {
    type ConnectionHandler = <kad::Behaviour<DhtStore> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.check_crowd(remote)?;
        self.kad.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Others of its subnet may have come in the meantime.
        self.check_crowd(remote)?;
        self.leaving.extend(self.connections.make_room());
        self.kad.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let known = self.kad.handle_pending_outbound_connection(id, peer, addresses, role)?;
        let dialled = self.reach.filter(&known, table::MAX_ADDRESSES);
        Ok(dialled.into_iter().map(multiaddr).collect())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_outbound_connection(id, peer, remote, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            // Asked for itself, `libp2p-kad` would name every address that it hears of here, private ones too. Others
            // are to learn what is announced, and what they see.
            FromSwarm::NewListenAddr(_) => return,
            FromSwarm::ConnectionEstablished(established) => {
                let endpoint = established.endpoint;
                let (id, remote) = (established.connection_id, endpoint.get_remote_address());
                self.connected(established.peer_id, id, remote, endpoint.is_dialer());
            }
            FromSwarm::ConnectionClosed(closed) => self.connections.remove(&closed.peer_id, closed.connection_id),
            FromSwarm::DialFailure(failure) => {
                self.not_reached(failure.peer_id, failure.connection_id, failure.error);
            }
            _ => {}
        }
        self.kad.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.connections.used(&peer, id, Instant::now());
        self.kad.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(errand) = self.errand() {
                return Poll::Ready(errand);
            }
            // What it reports may lead to an errand, so those are looked at again.
            match std::task::ready!(self.kad.poll(cx)) {
                ToSwarm::GenerateEvent(event) => {
                    if let Some(event) = self.on_kad(event) {
                        return Poll::Ready(ToSwarm::GenerateEvent(event));
                    }
                }
                // Only the variant above has an event.
                other => return Poll::Ready(other.map_out(|_| Event::Entered)),
            }
        }
    }
}

impl From<Infallible> for Event {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests;
