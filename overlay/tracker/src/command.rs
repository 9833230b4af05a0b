//! What the handle says to its task, and what it hears of it.

use std::{collections::BTreeSet, net::SocketAddr};

use tokio::sync::oneshot;

use crate::{PublicKey, lookups::LookupRequest};

/// What is wanted until further notice.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub eras: BTreeSet<u64>,
    pub is_reachable: bool,
    pub announced: Vec<SocketAddr>,
    pub is_stopped: bool,
}

/// What is wanted once.
#[derive(Debug)]
pub(crate) enum TrackerCommand {
    LookUp(LookupRequest),
    AddPeer(PublicKey, SocketAddr),
    Status(oneshot::Sender<TrackerStatus>),
}

/// How a tracker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerStatus {
    /// Peers in the routing table: those that answered and can be reached.
    pub peers: usize,
    /// Peers with an open connection.
    pub connections: usize,
    /// Records kept for others.
    pub records: usize,
    /// Eras that this node is to announce.
    pub provided: usize,
    /// Those of them that some peer has taken.
    pub announced: usize,
    /// Whether this node answers others.
    pub reachable: bool,
}
