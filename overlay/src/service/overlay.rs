//! The handle of one sub-network.

use std::sync::Arc;

use bytes::Bytes;
use cairn_limits::Limiter;
use cairn_proto::record;
use cairn_proto::routing::{Acquaintance, K, PeerRules, RoutingTable, TableConfig};
use cairn_proto::wire::{AcceptCode, MAX_LOG_DISTANCE, PingPayload};
use content_types::{ContentId, NodeId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::ValueOrCloser;
use super::gossip::{GOSSIP_TASKS, GOSSIPED_BYTES, GOSSIPED_BYTES_TO_SUBNET, GossipItem};
use super::inner::RunningOverlay;
use super::receive::FALL_BACKS;
use super::serve::{self, REQUEST_QUEUE, REQUESTS};
use super::upkeep;
use super::{
    ContentHandler, FindContentAnswer, FoundContent, LookupError, Observer, PingAnswer, PutReport, RequestError,
    SubNetworkConfig, TableEntry, TableSnapshot,
};
use crate::transfer::Transfers;
use crate::transport::{AlreadyRegistered, Enr, TalkError, Transport};

/// One sub-network, running. Cheap to clone; [`shutdown`](Self::shutdown) ends it for all clones.
#[derive(Clone)]
pub struct Overlay {
    inner: Arc<RunningOverlay>,
}

impl Overlay {
    /// Starts to answer peers and to fill the routing table, on the current tokio runtime.
    ///
    /// # Errors
    /// When the protocol identifier is taken on this transport.
    pub fn start(
        config: SubNetworkConfig,
        transport: Arc<dyn Transport>,
        transfers: Transfers,
        handler: Arc<dyn ContentHandler>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, AlreadyRegistered> {
        let requests = transport.register(config.protocol.clone(), REQUEST_QUEUE)?;
        let local_id = record::node_id(&transport.local_enr());
        let rules = PeerRules { chain_id: config.chain_id, addresses: config.addresses };
        let table =
            TableConfig { rules, ping_interval: config.ping_interval, refresh_interval: config.refresh_interval };
        let inner = Arc::new(RunningOverlay {
            transport,
            transfers,
            handler,
            observer,
            local_id,
            table: Mutex::new(RoutingTable::new(local_id, table)),
            table_changed: Notify::new(),
            in_flight: Mutex::default(),
            credit: Mutex::default(),
            busy: Limiter::new(REQUESTS),
            refetches: Mutex::default(),
            declined: Mutex::default(),
            gossip_room: Limiter::new(GOSSIPED_BYTES),
            gossip_shares: Limiter::new(GOSSIPED_BYTES_TO_SUBNET),
            falling_back: Limiter::new(FALL_BACKS),
            gossiping: Limiter::new(GOSSIP_TASKS),
            explored: Mutex::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        for bootnode in &inner.config.bootnodes {
            inner.mention(&Arc::new(bootnode.clone()));
        }
        inner.spawn(serve::serve(inner.clone(), requests));
        inner.spawn(upkeep::listen(inner.clone()));
        inner.spawn(upkeep::drop_the_barred(inner.clone()));
        inner.spawn(upkeep::maintain(inner.clone()));
        Ok(Self { inner })
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &SubNetworkConfig {
        &self.inner.config
    }

    /// Sends PING. Without a payload, the best extension that both sides list.
    ///
    /// # Errors
    /// When the peer cannot be spoken to, does not answer, or answers with an error.
    pub async fn ping(&self, to: Enr, payload: Option<PingPayload>) -> Result<PingAnswer, RequestError> {
        self.inner.ping(&Arc::new(to), payload).await
    }

    /// What this node says of itself in a PING or PONG of this type; the client information (type 0) for any that it does
    /// not know.
    pub fn ping_payload(&self, payload_type: u16) -> PingPayload {
        self.inner.ping_payload(payload_type)
    }

    /// Sends FINDNODES for these log distances (0 for the peer's own record) and returns the records that are valid and
    /// at one of them.
    ///
    /// # Errors
    /// When the peer cannot be spoken to or does not answer.
    pub async fn find_nodes(&self, to: Enr, distances: Vec<u16>) -> Result<Vec<Enr>, RequestError> {
        let found = self.inner.find_nodes(&Arc::new(to), distances).await?;
        Ok(found.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    /// Sends FINDCONTENT and receives the stream if there is one. What comes is not verified.
    ///
    /// # Errors
    /// When the peer cannot be spoken to, does not answer, or its stream fails.
    pub async fn find_content(&self, to: Enr, key: Bytes) -> Result<FindContentAnswer, RequestError> {
        match self.inner.find_content(&Arc::new(to), key).await? {
            ValueOrCloser::Found { value, utp, .. } => Ok(FindContentAnswer::Content { value, utp }),
            ValueOrCloser::Closer(enrs) => {
                Ok(FindContentAnswer::Enrs(enrs.into_iter().map(Arc::unwrap_or_clone).collect()))
            }
        }
    }

    /// Sends FINDCONTENT to a peer that has spoken to this node and receives the stream if there is one; `None` if it has not got
    /// the content itself. Barred peers are not asked.
    ///
    /// # Errors
    /// When the peer cannot be spoken to, does not answer, or its stream fails.
    pub async fn content_of(&self, peer: &NodeId, key: Bytes) -> Result<Option<Bytes>, RequestError> {
        let contact = self.inner.transport.known(peer).filter(|_| !self.inner.is_barred(peer));
        let contact = contact.ok_or(TalkError::Unreachable)?;
        match self.inner.find_content(contact.enr(), key).await? {
            ValueOrCloser::Found { value, .. } => Ok(Some(value)),
            ValueOrCloser::Closer(_) => Ok(None),
        }
    }

    /// Offers up to 64 items (key and value) to one peer and sends what it accepts. One code for each item, in order;
    /// resolves when the accepted ones have been received.
    ///
    /// # Errors
    /// When the peer cannot be spoken to, does not answer, or the stream fails.
    pub async fn offer(&self, to: Enr, items: Vec<(Bytes, Bytes)>) -> Result<Vec<AcceptCode>, RequestError> {
        let item = |(key, value): (Bytes, Bytes)| {
            let id = self.inner.handler.content_id(&key).ok_or(RequestError::Key)?;
            Ok(GossipItem::new(key, id, value))
        };
        let items = items.into_iter().map(item).collect::<Result<_, RequestError>>()?;
        self.inner.offer(&Arc::new(to), items).await
    }

    /// Looks up the nodes closest to `target`, closest first, 16 at most.
    pub async fn lookup_nodes(&self, target: NodeId) -> Vec<Enr> {
        let mut found = self.inner.lookup_nodes(target).await;
        found.truncate(K);
        found.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    /// Looks up the peers nearest to some content, 16 at most, and asks those for their radius of which it is not known. Gives those that
    /// say it, whether or not the routing table has room for them.
    pub async fn explore(&self, content: &ContentId) -> Vec<TableEntry> {
        self.inner.explore(content).await
    }

    /// Looks up content: here first, then on the network. What is returned was admitted by the handler.
    ///
    /// # Errors
    /// When the key is malformed, nobody who was asked had it, or this node cannot verify it.
    pub async fn lookup_content(&self, key: Bytes) -> Result<FoundContent, LookupError> {
        self.inner.lookup_content(key).await
    }

    /// Looks up content on the network only, whether or not it is here: for who has looked here already, or may not. What
    /// is returned was admitted by the handler.
    ///
    /// # Errors
    /// As [`lookup_content`](Self::lookup_content).
    pub async fn search_content(&self, key: Bytes) -> Result<FoundContent, LookupError> {
        self.inner.search_content(key).await
    }

    /// Offers a value to the peers that should hold it, and waits for their answers (not for the transfers). The value is
    /// not checked and not stored here: see [`ContentHandler::admit`].
    ///
    /// # Errors
    /// When the key is malformed.
    pub async fn put_content(&self, key: Bytes, value: Bytes) -> Result<PutReport, RequestError> {
        self.inner.put(key, value).await
    }

    /// Offers what a lookup found to those on its way who lack it although they want it
    /// ([`FoundContent::lacking`](super::FoundContent::lacking)), in the form that it is offered in. Returns at once. A sub-network that
    /// [pokes](super::SubNetworkConfig::pokes) does so by itself.
    pub fn poke(&self, key: Bytes, value: Bytes, lacking: &[Arc<Enr>]) {
        if let Some(id) = self.inner.handler.content_id(&key) {
            self.inner.poke(id, key, value, lacking);
        }
    }

    /// The routing table as it is now.
    pub fn routing_table(&self) -> TableSnapshot {
        let table = self.inner.table.lock();
        let mut buckets = vec![Vec::new(); usize::from(MAX_LOG_DISTANCE)];
        for (distance, peers) in table.buckets() {
            let entries = peers.iter().map(|peer| TableEntry {
                enr: peer.enr().clone(),
                radius: peer.radius(),
                live: peer.is_live(),
                subnet: peer.subnet(),
            });
            if let Some(bucket) = usize::from(distance).checked_sub(1).and_then(|index| buckets.get_mut(index)) {
                bucket.extend(entries);
            }
        }
        TableSnapshot { local: self.inner.local_id, buckets }
    }

    /// Live peers in the routing table.
    pub fn peer_count(&self) -> usize {
        self.inner.table.lock().stats().live
    }

    /// Puts a record into the routing table and pings it. Returns whether there was room.
    pub fn add_enr(&self, enr: Enr) -> bool {
        let inserted =
            self.inner.table.lock().insert(Arc::new(enr), Acquaintance::Mentioned, Instant::now().into_std());
        self.inner.table_changed.notify_one();
        inserted.is_ok()
    }

    /// The newest record known locally.
    pub fn get_enr(&self, node_id: &NodeId) -> Option<Enr> {
        if *node_id == self.inner.local_id {
            return Some(self.inner.transport.local_enr());
        }
        let in_table = self.inner.table.lock().get(node_id).map(|peer| Enr::clone(peer.enr()));
        let known = self.inner.transport.known(node_id).map(|contact| Enr::clone(contact.enr()));
        in_table.into_iter().chain(known).max_by_key(Enr::seq)
    }

    /// Takes a peer out of the routing table. Returns whether it was there.
    pub fn delete_enr(&self, node_id: &NodeId) -> bool {
        self.inner.table.lock().remove(node_id).is_some()
    }

    /// The newest record of a node: from the node itself if it is known and answers, else from a lookup.
    pub async fn lookup_enr(&self, node_id: NodeId) -> Option<Enr> {
        let known = self.get_enr(&node_id);
        if node_id == self.inner.local_id {
            return known;
        }
        if let Some(known) = &known
            && let Ok(answer) = self.find_nodes(known.clone(), vec![0]).await
            && let Some(newest) = answer.into_iter().find(|enr| record::node_id(enr) == node_id)
        {
            return Some(newest);
        }
        let found = self.lookup_nodes(node_id).await;
        found.into_iter().filter(|enr| record::node_id(enr) == node_id).chain(known).max_by_key(Enr::seq)
    }

    /// Stops answering, gives up lookups and transfers of this sub-network, and returns when its tasks have ended.
    pub async fn shutdown(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}
