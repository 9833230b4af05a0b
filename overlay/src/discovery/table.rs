//! discv5's own messages and table: what the `discv5_*` methods of the JSON-RPC specification ask for.

use std::net::IpAddr;
use std::time::Duration;

use content_types::NodeId;
use discv5::{Discv5, QueryError, RequestError};

use super::Discovery;
use crate::transport::{Enr, TalkError, Transport as _, node_id};

/// Log distances of the base protocol: bucket `i` holds peers at distance 2^i to 2^(i+1).
const BUCKETS: usize = 256;

/// Entries of the base protocol's routing table.
#[derive(Debug, Clone)]
pub struct DiscoveryTable {
    /// The node whose table it is.
    pub local: NodeId,
    /// The peers of each bucket, nearest bucket first.
    pub buckets: Vec<Vec<NodeId>>,
}

/// Answer to a base protocol PING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasePong {
    /// Sequence number of the answering peer's record.
    pub enr_seq: u64,
    /// The IP address that the peer sees this node at.
    pub recipient_ip: IpAddr,
    /// The UDP port that the peer sees this node at.
    pub recipient_port: u16,
}

impl Discovery {
    /// The base protocol's routing table.
    pub fn routing_table(&self) -> DiscoveryTable {
        let local = self.node_id();
        let mut buckets = vec![Vec::new(); BUCKETS];
        for peer in self.inner.with_discv5(Discv5::table_entries_id).unwrap_or_default() {
            let peer = NodeId::from(peer.raw());
            if let Some(bucket) = local.distance_to_node(&peer).log2().and_then(|log| buckets.get_mut(usize::from(log)))
            {
                bucket.push(peer);
            }
        }
        DiscoveryTable { local, buckets }
    }

    /// Peers in the base protocol's table that are connected.
    pub fn connected_peers(&self) -> usize {
        self.inner.with_discv5(Discv5::connected_peers).unwrap_or(0)
    }

    /// Puts a record into the base protocol's table.
    ///
    /// # Errors
    /// The reason why discv5 did not take it.
    pub fn add_enr(&self, enr: Enr) -> Result<(), TalkError> {
        self.inner.book.lock().learn(&enr);
        self.inner
            .with_discv5(|discv5| discv5.add_enr(enr))
            .ok_or(TalkError::Stopped)?
            .map_err(|reason| TalkError::Base(reason.to_owned()))
    }

    /// The newest record known locally.
    pub fn get_enr(&self, node_id: &NodeId) -> Option<Enr> {
        if *node_id == self.node_id() {
            return Some(self.local_enr());
        }
        self.inner.known(node_id).map(|contact| Enr::clone(contact.enr()))
    }

    /// Forgets what [`get_enr`](Self::get_enr) finds of a peer: its entry in the base protocol's table, and where it was seen.
    /// Returns whether anything was known.
    pub fn delete_enr(&self, node_id: &NodeId) -> bool {
        let was_seen = self.inner.book.lock().forget(node_id);
        let remove = |discv5: &Discv5| discv5.remove_node(&enr::NodeId::new(node_id.as_bytes()));
        self.inner.with_discv5(remove).unwrap_or(false) || was_seen
    }

    /// The newest record of a node: from the node itself if it is known and answers, else from a lookup.
    pub async fn lookup_enr(&self, target: NodeId) -> Option<Enr> {
        let known = self.get_enr(&target);
        if target == self.node_id() {
            return known;
        }
        if let Some(known) = &known
            && let Ok(answer) = self.find_node(known.clone(), vec![0]).await
            && let Some(newest) = answer.into_iter().find(|enr| node_id(enr) == target)
        {
            self.inner.book.lock().learn(&newest);
            return Some(newest);
        }
        let found = self.recursive_find_nodes(target).await.unwrap_or_default();
        found.into_iter().filter(|enr| node_id(enr) == target).chain(known).max_by_key(Enr::seq)
    }

    /// Sends a base protocol PING.
    ///
    /// # Errors
    /// When the peer cannot be reached or does not answer.
    pub async fn ping(&self, enr: Enr) -> Result<BasePong, TalkError> {
        self.reachable(&enr)?;
        let pong = self.ask(node_id(&enr), |discv5| discv5.send_ping(enr.clone())).await.map_err(request_error)?;
        Ok(BasePong { enr_seq: pong.enr_seq, recipient_ip: pong.ip, recipient_port: pong.port })
    }

    /// Sends a base protocol FINDNODE for the given log distances; 0 asks for the peer's own record.
    ///
    /// # Errors
    /// When the peer cannot be reached or does not answer.
    pub async fn find_node(&self, enr: Enr, distances: Vec<u64>) -> Result<Vec<Enr>, TalkError> {
        self.reachable(&enr)?;
        let request = |discv5: &Discv5| discv5.find_node_designated_peer(enr.clone(), distances.clone());
        self.ask(node_id(&enr), request).await.map_err(request_error)
    }

    /// Looks up the nodes closest to `target`, closest first, 16 at most.
    ///
    /// # Errors
    /// When the base protocol was shut down.
    pub async fn recursive_find_nodes(&self, target: NodeId) -> Result<Vec<Enr>, TalkError> {
        let query = self
            .inner
            .with_discv5(|discv5| discv5.find_node(enr::NodeId::new(target.as_bytes())))
            .ok_or(TalkError::Stopped)?;
        let mut found = query.await.map_err(|error| match error {
            QueryError::ServiceNotStarted | QueryError::ChannelFailed(_) => TalkError::Stopped,
            error => TalkError::Base(error.to_string()),
        })?;
        found.sort_by_key(|enr| node_id(enr).distance_to_node(&target));
        Ok(found)
    }

    fn reachable(&self, enr: &Enr) -> Result<(), TalkError> {
        self.inner.ip_mode.get_contactable_addr(enr).map(drop).ok_or(TalkError::Unreachable)
    }
}

pub(super) fn request_error(error: RequestError) -> TalkError {
    match error {
        RequestError::Timeout => TalkError::Timeout,
        // What every request gets when either side finds that the other has other keys, usually after a restart.
        RequestError::InvalidRemotePacket => TalkError::SessionLost,
        RequestError::ServiceNotStarted | RequestError::ChannelFailed(_) => TalkError::Stopped,
        error => TalkError::Base(error.to_string()),
    }
}

/// Looks up this node's own ID once and random ones from then on: discv5 asks for nothing by itself.
pub(super) async fn keep_fresh(discovery: Discovery, interval: Duration) {
    let stopping = discovery.inner.stopping.clone();
    let refresh = async {
        let mut target = discovery.node_id();
        loop {
            // An empty answer means that nobody is known yet; the next round may find somebody.
            if let Err(error) = discovery.recursive_find_nodes(target).await {
                tracing::debug!(%error, "base protocol lookup");
            }
            tokio::time::sleep(interval).await;
            target = NodeId::from(rand::random::<[u8; 32]>());
        }
    };
    stopping.run_until_cancelled(refresh).await;
}
