//! N peers in this process, joined over loopback or over addresses of their own.
//!
//! Each peer has a runtime of its own, so that one can be killed like a process: its tasks stop where they are, nobody
//! is told.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use cairn_node::{Node, NodeConfig, RpcConfig, StartError, swarm::QuicPort};
use cairn_proto::routing::AddressPolicy;
use content_types::{ChainSpec, NodeId, SubNetwork};
use overlay::{
    Enr,
    discovery::{ListenAddresses, Nat},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long peers get to find each other. On loopback they need a second or two.
const JOIN_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
const JOIN_POLL: Duration = Duration::from_millis(50);
/// Threads of a peer's runtime: a network of many shares few cores.
const PEER_THREADS: usize = 2;

/// Why a network did not come up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A peer did not start.
    #[error("peer {peer}: {source}")]
    Start {
        /// Which one, counted from 0.
        peer: usize,
        /// What it said.
        source: StartError,
    },
    /// No folder or no threads for a peer.
    #[error("no room for a peer: {0}")]
    Machine(#[from] std::io::Error),
    /// A peer broke off while it started.
    #[error("peer {0} broke off while it started")]
    BrokeOff(usize),
    /// Peers did not find each other in time.
    #[error("peer {peer} found {found} of {wanted} peers in {}", .network)]
    Lonely {
        /// Which one, counted from 0.
        peer: usize,
        /// The sub-network.
        network: SubNetwork,
        /// Live peers in its routing table.
        found: usize,
        /// Live peers it should have.
        wanted: usize,
    },
}

/// How a peer of the network is set up.
#[derive(Debug, Clone, Default)]
pub struct PeerOptions {
    /// Room for content in bytes.
    pub capacity: u64,
    /// How the sub-networks share it; what is not named has its default share.
    pub shares: Vec<(SubNetwork, u32)>,
    /// Whether it fetches what lies within its radius, rather than wait for what others offer.
    pub pull: bool,
    /// Archives that it serves in place.
    pub seeds: Vec<PathBuf>,
    /// File with its key; `None` for a new one.
    pub key_file: Option<PathBuf>,
    /// Whether it serves JSON-RPC on a free port.
    pub rpc: bool,
    /// The address that it listens on, one of this machine or of a private network; `None` for loopback.
    pub listen: Option<Ipv4Addr>,
    /// Whether and where it speaks QUIC. Without, everything goes over discv5 and uTP.
    pub quic: QuicPort,
    /// Whom it starts from, beside the peer of the network with the lowest index.
    pub bootnodes: Vec<Enr>,
}

impl PeerOptions {
    /// A storage peer with room for `capacity` bytes.
    pub fn storing(capacity: u64) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// A peer that serves `seeds` and stores nothing.
    pub fn seeding(seeds: Vec<PathBuf>) -> Self {
        Self { seeds, ..Self::default() }
    }
}

/// A peer of a [`LocalNetwork`], with its runtime and its data folder.
pub struct NetworkPeer {
    node: Arc<Node>,
    runtime: Runtime,
    folder: TempDir,
}

impl NetworkPeer {
    /// The running peer.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its data folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

/// Peers that know each other. Index 0 is where the others start from.
pub struct LocalNetwork {
    chain: Arc<ChainSpec>,
    trust_dir: PathBuf,
    peers: Vec<Option<NetworkPeer>>,
}

impl LocalNetwork {
    /// A network of nobody for this chain, whose trust lists lie in `trust_dir`.
    pub fn new(chain: Arc<ChainSpec>, trust_dir: impl Into<PathBuf>) -> Self {
        Self { chain, trust_dir: trust_dir.into(), peers: Vec::new() }
    }

    /// Starts a peer and returns its index. It starts from the living peer with the lowest index.
    ///
    /// # Errors
    /// [`NetworkError`] when it does not start.
    pub async fn join(&mut self, options: PeerOptions) -> Result<usize, NetworkError> {
        let peer = self.peers.len();
        let folder = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(PEER_THREADS)
            .thread_name(format!("peer-{peer}"))
            .enable_all()
            .build()?;
        let config = self.config(&folder, options);
        let started = runtime.spawn(Node::start(config)).await;
        let node = match started {
            Ok(Ok(node)) => Arc::new(node),
            Ok(Err(source)) => {
                runtime.shutdown_background();
                return Err(NetworkError::Start { peer, source });
            }
            Err(_) => {
                runtime.shutdown_background();
                return Err(NetworkError::BrokeOff(peer));
            }
        };
        self.peers.push(Some(NetworkPeer { node, runtime, folder }));
        Ok(peer)
    }

    fn config(&self, folder: &TempDir, options: PeerOptions) -> NodeConfig {
        let listen = options.listen.unwrap_or(Ipv4Addr::LOCALHOST);
        let first = self.living().next().map(|(_, peer)| peer.node.enr());
        NodeConfig {
            trust_dir: Some(self.trust_dir.clone()),
            listen: ListenAddresses { v4: Some(SocketAddrV4::new(listen, 0)), v6: None },
            nat: Nat::None,
            addresses: AddressPolicy::Local,
            bootnodes: first.into_iter().chain(options.bootnodes).collect(),
            quic: options.quic,
            capacity: options.capacity,
            shares: options.shares,
            pull: options.pull,
            key_file: options.key_file,
            seeds: options.seeds,
            rpc: options.rpc.then(|| RpcConfig::at(SocketAddr::from((listen, 0)))),
            ..NodeConfig::new(Arc::clone(&self.chain), folder.path())
        }
    }

    /// The peer with this index, if it lives.
    pub fn peer(&self, index: usize) -> Option<&NetworkPeer> {
        self.peers.get(index).and_then(Option::as_ref)
    }

    /// The living peers and their indices.
    pub fn living(&self) -> impl Iterator<Item = (usize, &NetworkPeer)> {
        self.peers.iter().enumerate().filter_map(|(index, peer)| Some((index, peer.as_ref()?)))
    }

    /// Waits until each living peer has `wanted` live peers in the routing table of each sub-network, or knows all others.
    ///
    /// # Errors
    /// [`NetworkError::Lonely`] when one has not after a minute.
    pub async fn wait_until_joined(&self, wanted: usize) -> Result<(), NetworkError> {
        let deadline = tokio::time::Instant::now() + JOIN_DEADLINE;
        let others = self.living().count().saturating_sub(1);
        let wanted = wanted.min(others);
        for (index, peer) in self.living() {
            for network in SubNetwork::ALL {
                loop {
                    let found = peer.node.overlay(network).map_or(0, |overlay| overlay.peer_count());
                    if found >= wanted {
                        break;
                    }
                    if tokio::time::Instant::now() > deadline {
                        return Err(NetworkError::Lonely { peer: index, network, found, wanted });
                    }
                    tokio::time::sleep(JOIN_POLL).await;
                }
            }
        }
        Ok(())
    }

    /// Ends a peer as `kill -9` would: nothing is flushed, nobody is told. Returns its ID, if it lived.
    pub fn kill(&mut self, index: usize) -> Option<NodeId> {
        let NetworkPeer { node, runtime, folder } = self.peers.get_mut(index)?.take()?;
        let id = node.node_id();
        runtime.shutdown_background();
        drop((node, folder));
        Some(id)
    }

    /// Stops all peers in order.
    pub async fn shutdown(mut self) {
        let stopping = self.peers.drain(..).flatten().filter_map(|NetworkPeer { node, runtime, folder }| {
            let node = Arc::into_inner(node)?;
            Some(async move {
                let _ = runtime.spawn(node.shutdown()).await;
                runtime.shutdown_background();
                drop(folder);
            })
        });
        futures::future::join_all(stopping).await;
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        // A runtime that is dropped waits for its tasks, which is not allowed inside another one.
        for index in 0..self.peers.len() {
            self.kill(index);
        }
    }
}
