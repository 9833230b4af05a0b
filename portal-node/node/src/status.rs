//! What a node is doing, for the command line, `cairn_status`, and metrics.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use overlay::{Discovery, Transport};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bootnodes::Bootnodes;
use crate::headers::HeaderSource;
use crate::metrics::{Health, NetworkState, Snapshot};
use crate::networks::Network;
use crate::ports::PortStatus;
use crate::seeding::Archives;
use crate::swarm::PullStatus;
use crate::trust::TrustStore;

/// A node's state at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Program and version.
    pub client_version: String,
    /// Name of the chain.
    pub chain: String,
    /// Node ID, 0x and 64 digits.
    pub node_id: String,
    /// The node record as text.
    pub enr: String,
    /// UDP addresses listened on.
    pub listen: Vec<SocketAddr>,
    /// What the router does for each service, if it is asked to map ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortStatus>,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Peers in the base protocol's table that are connected.
    pub discovery_peers: usize,
    /// Why no bootnode is of any use, while none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_bootnode: Option<String>,
    /// Each sub-network.
    pub networks: Vec<NetworkStatus>,
    /// Why nothing can be stored, when nothing can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_storing: Option<String>,
    /// Archives served in place.
    pub archives: usize,
    /// How far it is that they are offered to peers, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<OfferedStatus>,
    /// How far it is that what lies within the radius is fetched from others, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullStatus>,
    /// Proved headers in memory.
    pub cached_headers: usize,
    /// Each trust list that the chain has a root for.
    pub trust: Vec<TrustStatus>,
}

/// How far archives are offered to the peers that should hold what is in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferedStatus {
    /// Blocks in all archives.
    pub blocks: u64,
    /// Blocks of which every piece has come to an end: placed, declined, or covered by nobody.
    pub done: u64,
    /// Blocks that cannot be offered yet: a trust list or a proof is missing, or a file cannot be read.
    pub waiting: u64,
    /// Blocks that are damaged or don't prove true.
    pub refused: u64,
    /// Pieces that were offered and are open: a peer that should hold them was busy, or has not said that it has them. They
    /// are offered again.
    pub open_pieces: u64,
}

/// One sub-network's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// Its name.
    pub network: String,
    /// Live peers in the routing table.
    pub peers: usize,
    /// Radius as 0x and 64 digits.
    pub radius: String,
    /// The radius as a part of the key space, 0 to 1.
    pub radius_fraction: f64,
    /// Pieces of content in the store, archives not counted.
    pub items: u64,
    /// Bytes in the store.
    pub bytes: u64,
    /// Bytes that there is room for.
    pub capacity: u64,
}

/// One trust list's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustStatus {
    /// Its name.
    pub list: String,
    /// The trusted root.
    pub root: String,
    /// Entries, if the list is there.
    pub entries: Option<usize>,
}

/// Tells the state of a running node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StatusSource(Arc<StatusParts>);

/// Whom it asks.
pub(crate) struct StatusParts {
    pub(crate) client_version: String,
    pub(crate) discovery: Discovery,
    pub(crate) networks: Vec<Arc<Network>>,
    pub(crate) trust: Arc<TrustStore>,
    pub(crate) headers: Arc<HeaderSource>,
    pub(crate) archives: Arc<Archives>,
    pub(crate) bootnodes: Bootnodes,
    /// If the node pulls.
    pub(crate) pull: Option<watch::Receiver<PullStatus>>,
    pub(crate) started: Instant,
}

impl StatusSource {
    pub(crate) fn new(parts: StatusParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn status(&self) -> Status {
        let StatusParts { client_version, discovery, networks, trust, headers, archives, bootnodes, pull, started } =
            &*self.0;
        Status {
            client_version: client_version.clone(),
            chain: trust.chain().name().to_owned(),
            node_id: discovery.node_id().to_string(),
            enr: discovery.local_enr().to_base64(),
            listen: discovery.listen_addresses().to_vec(),
            ports: discovery.port_mappings().borrow().iter().map(PortStatus::from).collect(),
            uptime_seconds: started.elapsed().as_secs(),
            discovery_peers: discovery.connected_peers(),
            no_bootnode: bootnodes.trouble(),
            networks: networks.iter().map(|network| network_status(network)).collect(),
            not_storing: self.not_storing(),
            archives: archives.count(),
            offered: archives.offered().map(|offered| OfferedStatus {
                blocks: offered.blocks_total,
                done: offered.blocks_done,
                waiting: offered.blocks_waiting,
                refused: offered.blocks_refused,
                open_pieces: offered.pieces_open,
            }),
            pull: pull.as_ref().map(|pull| *pull.borrow()),
            cached_headers: headers.cached_count(),
            trust: trust_status(trust),
        }
    }

    /// Why nothing can be stored, when nothing can. All networks share a store.
    pub(crate) fn not_storing(&self) -> Option<String> {
        self.0.networks.iter().find_map(|network| network.holdings().store().refusal()).map(|why| why.to_string())
    }

    /// Tells whether the node does all that it is there for: what it does not is the error, in words.
    pub(crate) fn health(&self) -> Health {
        let parts = Arc::downgrade(&self.0);
        Health::new(move || match parts.upgrade() {
            Some(parts) => Self(parts).not_storing().map_or(Ok(()), Err),
            None => Err("the node stops".to_owned()),
        })
    }

    /// The same for a metrics scrape.
    pub(crate) fn snapshot(&self) -> Snapshot {
        // The networks refer to the metrics that ask here.
        let parts = Arc::downgrade(&self.0);
        Snapshot::new(move || {
            let parts = parts.upgrade();
            parts.iter().flat_map(|parts| &parts.networks).map(|network| network_state(network)).collect()
        })
    }
}

impl fmt::Debug for StatusSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusSource")
    }
}

fn network_state(network: &Network) -> NetworkState {
    let held = network.holdings().store().usage(network.sub_network());
    NetworkState {
        network: network.sub_network().label(),
        peers: network.overlay().peer_count(),
        bytes: held.bytes,
        items: held.items,
        capacity: network.capacity(),
        radius: network.radius(),
    }
}

fn network_status(network: &Network) -> NetworkStatus {
    let state = network_state(network);
    NetworkStatus {
        network: network.sub_network().to_string(),
        peers: state.peers,
        radius: state.radius.to_string(),
        radius_fraction: state.radius_fraction(),
        items: state.items,
        bytes: state.bytes,
        capacity: state.capacity,
    }
}

fn trust_status(trust: &TrustStore) -> Vec<TrustStatus> {
    let known = trust.status().into_iter().filter_map(|list| {
        Some(TrustStatus { list: list.kind.to_string(), root: list.root?.to_string(), entries: list.entries })
    });
    known.collect()
}
