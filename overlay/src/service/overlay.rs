//! The handle of one sub-network.

use std::sync::Arc;

use bytes::Bytes;
use cairn_proto::wire::{AcceptCode, PingPayload};
use content_types::NodeId;

use super::{
    ContentHandler, FindContentAnswer, FoundContent, LookupError, Observer, Pong, PutReport, RequestError,
    SubNetworkConfig, TableSnapshot,
};
use crate::transfer::Transfers;
use crate::transport::{AlreadyRegistered, Enr, TalkError, Transport};

/// One sub-network, running. Cheap to clone; [`shutdown`](Self::shutdown) ends it for all clones.
#[derive(Clone)]
pub struct Overlay {
    inner: Arc<Inner>,
}

struct Inner {
    config: SubNetworkConfig,
    transport: Arc<dyn Transport>,
    transfers: Transfers,
    handler: Arc<dyn ContentHandler>,
    observer: Arc<dyn Observer>,
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
        Ok(Self { inner: Arc::new(Inner { config, transport, transfers, handler, observer }) })
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &SubNetworkConfig {
        &self.inner.config
    }

    /// Sends PING. Without a payload, the best extension that both sides list.
    ///
    /// # Errors
    /// When the peer cannot be spoken to, does not answer, or answers with an error.
    pub async fn ping(&self, to: Enr, payload: Option<PingPayload>) -> Result<Pong, RequestError> {
        let _ = (to, payload, &self.inner.transport, &self.inner.transfers, &self.inner.handler, &self.inner.observer);
        Err(TalkError::Stopped.into())
    }

    /// Sends FINDNODES for these log distances (0 for the peer's own record) and returns the records that are valid and
    /// at one of them.
    ///
    /// # Errors
    /// When the peer cannot be spoken to or does not answer.
    pub async fn find_nodes(&self, to: Enr, distances: Vec<u16>) -> Result<Vec<Enr>, RequestError> {
        let _ = (to, distances);
        Err(TalkError::Stopped.into())
    }

    /// Sends FINDCONTENT and receives the stream if there is one. What comes is not verified.
    ///
    /// # Errors
    /// When the peer cannot be spoken to, does not answer, or its stream fails.
    pub async fn find_content(&self, to: Enr, key: Bytes) -> Result<FindContentAnswer, RequestError> {
        let _ = (to, key);
        Err(TalkError::Stopped.into())
    }

    /// Offers up to 64 items (key and value) to one peer and sends what it accepts. One code for each item, in order;
    /// resolves when the accepted ones have been received.
    ///
    /// # Errors
    /// When the peer cannot be spoken to, does not answer, or the stream fails.
    pub async fn offer(&self, to: Enr, items: Vec<(Bytes, Bytes)>) -> Result<Vec<AcceptCode>, RequestError> {
        let _ = (to, items);
        Err(TalkError::Stopped.into())
    }

    /// Looks up the nodes closest to `target`, closest first, 16 at most.
    pub async fn lookup_nodes(&self, target: NodeId) -> Vec<Enr> {
        let _ = target;
        Vec::new()
    }

    /// Looks up content: here first, then on the network. What is returned was admitted by the handler.
    ///
    /// # Errors
    /// When the key is malformed or nobody who was asked had it.
    pub async fn lookup_content(&self, key: Bytes) -> Result<FoundContent, LookupError> {
        let _ = key;
        Err(LookupError::Key)
    }

    /// Offers a value to the peers that should hold it, and waits for their answers (not for the transfers). The value is
    /// not checked and not stored here: see [`ContentHandler::admit`].
    ///
    /// # Errors
    /// When the key is malformed.
    pub async fn put_content(&self, key: Bytes, value: Bytes) -> Result<PutReport, RequestError> {
        let _ = (key, value);
        Err(RequestError::Key)
    }

    /// The routing table as it is now.
    pub fn routing_table(&self) -> TableSnapshot {
        TableSnapshot { local: NodeId::from(self.inner.transport.local_enr().node_id().raw()), buckets: Vec::new() }
    }

    /// Live peers in the routing table.
    pub fn peer_count(&self) -> usize {
        0
    }

    /// Puts a record into the routing table and pings it. Returns whether there was room.
    pub fn add_enr(&self, enr: Enr) -> bool {
        let _ = enr;
        false
    }

    /// The newest record known locally.
    pub fn get_enr(&self, node_id: &NodeId) -> Option<Enr> {
        self.inner.transport.known(node_id).map(|contact| Enr::clone(contact.enr()))
    }

    /// Takes a peer out of the routing table. Returns whether it was there.
    pub fn delete_enr(&self, node_id: &NodeId) -> bool {
        let _ = node_id;
        false
    }

    /// The newest record of a node: from the node itself if it is known and answers, else from a lookup.
    pub async fn lookup_enr(&self, node_id: NodeId) -> Option<Enr> {
        self.get_enr(&node_id)
    }

    /// Stops answering, gives up lookups and transfers of this sub-network, and returns when its tasks have ended.
    pub async fn shutdown(&self) {}
}
