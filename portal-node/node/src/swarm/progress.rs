//! How a fetch and its peers do, in a form that goes over JSON-RPC too.

use std::net::SocketAddr;

use cairn_swarm::quic::{FetchProgress, FetchedFrom};
use serde::{Deserialize, Serialize};

/// How one peer of a fetch does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerState {
    /// Its node ID.
    pub node_id: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Bytes a second now.
    pub rate: u64,
    /// Bytes received.
    pub received: u64,
    /// Requests under way.
    pub requests: usize,
    /// Whether it serves us now.
    pub serves_us: bool,
    /// How often it was charged with something.
    pub offences: u32,
    /// With what the last time: `lie`, `not held`, `silent`, `slow`, `broken off`.
    pub last_offence: Option<String>,
}

impl From<&FetchedFrom> for PeerState {
    fn from(of: &FetchedFrom) -> Self {
        Self {
            node_id: of.peer.to_string(),
            address: of.address,
            rate: of.rate,
            received: of.received,
            requests: of.requests,
            serves_us: !of.is_choked,
            offences: of.blame.offences,
            last_offence: of.blame.last.map(|offence| offence.name().to_owned()),
        }
    }
}

/// How far it is that a storage peer fetches what lies within its radius.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullStatus {
    /// Runs of bodies and receipts within the radius that this peer or one that it is connected with holds.
    pub wanted: u64,
    /// Of those, here as far as they lie within the radius.
    pub held: u64,
    /// Bytes a second now.
    pub rate: u64,
    /// Connected peers that hold some of what is missing.
    pub peers: usize,
}

/// The peers of a fetch, in the order of their node IDs.
pub fn peers_of(progress: &FetchProgress) -> Vec<PeerState> {
    let mut peers: Vec<PeerState> = progress.peers.iter().map(PeerState::from).collect();
    peers.sort_by(|a, b| a.node_id.cmp(&b.node_id));
    peers
}
