//! Everything that a node is told when it starts. A value: several nodes of several chains live in one process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use cairn_proto::limits::TransferLimits;
use cairn_proto::routing::AddressPolicy;
use content_types::{ChainSpec, SubNetwork};
use overlay::Enr;
use overlay::discovery::{ListenAddresses, Nat};
use reqwest::Url;

use crate::rpc::{AllowedHost, AllowedOrigin};
use crate::swarm::{Limits, QuicPort};

/// TCP port of the JSON-RPC.
pub const DEFAULT_RPC_PORT: u16 = 8645;
/// Room for content unless told otherwise, in bytes.
pub const DEFAULT_CAPACITY: u64 = 10_000_000_000;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The chain and its trust roots.
    pub chain: Arc<ChainSpec>,
    /// Folder of key, node record, store and, unless `trust_dir` says otherwise, trust lists.
    pub data_dir: PathBuf,
    /// File with the secp256k1 key in hex; `None` for `node.key` in `data_dir`. Made if it is missing.
    pub key_file: Option<PathBuf>,
    /// UDP addresses: one of IPv4, one of IPv6, or both. Port 0 takes a free one.
    pub listen: ListenAddresses,
    /// UDP port for QUIC, over which ranges are served and fetched.
    pub quic: QuicPort,
    /// What is moved over QUIC, at most; can be changed while the node runs.
    pub limits: Limits,
    /// How other nodes reach this one.
    pub nat: Nat,
    /// Which addresses peers may have, and whether routing tables take only a few of one subnet. Peers on loopback
    /// share one.
    pub addresses: AddressPolicy,
    /// Peers to start from.
    pub bootnodes: Vec<Enr>,
    /// Room for content in bytes, for all sub-networks together. Archives in `seeds` do not count.
    pub capacity: u64,
    /// Weights by which sub-networks share `capacity`; one that is not named gets weight 1.
    pub shares: Vec<(SubNetwork, u32)>,
    /// Archives (`.era1`, `.ere`), or folders of them, that are served in place.
    pub seeds: Vec<PathBuf>,
    /// Whether the content of `seeds` is offered to the peers whose radius covers it.
    pub offer_seeds: bool,
    /// Folder of the trust lists; `None` for `trust` in `data_dir`.
    pub trust_dir: Option<PathBuf>,
    /// Whether trust lists that are missing are asked for from peers after the start.
    pub fetch_trust: bool,
    /// JSON-RPC of an execution client that headers may come from. Each is proved all the same.
    pub headers_from: Option<Url>,
    /// JSON-RPC server; `None` for none.
    pub rpc: Option<RpcConfig>,
    /// Where metrics are served over HTTP; `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// uTP transfers at once, in and out.
    pub transfers: TransferLimits,
}

impl NodeConfig {
    /// A node of `chain` with everything else at its default, its files in `data_dir`.
    pub fn new(chain: Arc<ChainSpec>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            chain,
            data_dir: data_dir.into(),
            key_file: None,
            listen: ListenAddresses::default(),
            quic: QuicPort::default(),
            limits: Limits::default(),
            nat: Nat::default(),
            addresses: AddressPolicy::Internet,
            bootnodes: Vec::new(),
            capacity: DEFAULT_CAPACITY,
            shares: Vec::new(),
            seeds: Vec::new(),
            offer_seeds: false,
            trust_dir: None,
            fetch_trust: true,
            headers_from: None,
            rpc: None,
            metrics: None,
            transfers: TransferLimits::default(),
        }
    }

    /// Whether the node is there for others, rather than for one fetch.
    pub(crate) fn serves(&self) -> bool {
        self.capacity > 0 || !self.seeds.is_empty()
    }

    /// The folder of the trust lists.
    pub fn trust_dir(&self) -> PathBuf {
        self.trust_dir.clone().unwrap_or_else(|| self.data_dir.join("trust"))
    }

    /// The part of the capacity that `network` gets out of the `networks` that this node serves, in bytes.
    pub(crate) fn budget(&self, network: SubNetwork, networks: &[SubNetwork]) -> u64 {
        let weight = |of: SubNetwork| {
            self.shares.iter().find(|(named, _)| *named == of).map_or(1, |(_, weight)| u128::from(*weight))
        };
        let total: u128 = networks.iter().map(|network| weight(*network)).sum();
        let budget = (u128::from(self.capacity) * weight(network)).checked_div(total).unwrap_or(0);
        budget.try_into().unwrap_or(u64::MAX)
    }
}

/// Where and within which limits the JSON-RPC is served, over HTTP and WebSocket on one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcConfig {
    /// TCP address. Everybody who reaches it can command the node, so loopback unless there is a reason.
    pub listen: SocketAddr,
    /// Web pages that may call; without one, no request with an `Origin` is answered.
    pub origins: Vec<AllowedOrigin>,
    /// Names of this machine that requests may be for, beside `localhost` and every IP address.
    pub hosts: Vec<AllowedHost>,
    /// Connections at once.
    pub max_connections: u32,
    /// Bytes of a request.
    pub max_request_bytes: u32,
    /// Bytes of an answer.
    pub max_response_bytes: u32,
    /// Requests in a batch.
    pub max_batch: u32,
}

impl RpcConfig {
    /// The default limits at another address.
    pub fn at(listen: SocketAddr) -> Self {
        Self { listen, ..Self::default() }
    }
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_RPC_PORT),
            origins: Vec::new(),
            hosts: Vec::new(),
            max_connections: 64,
            // A body or a receipt list of 16 MiB as hex, and something around it.
            max_request_bytes: 33 << 20,
            // The longest receipt list that content-types lets in, as hex, and a trace.
            max_response_bytes: 66 << 20,
            max_batch: 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_follow_the_weights_and_never_pass_the_capacity() {
        let mut config = NodeConfig::new(Arc::new(ChainSpec::mainnet()), "nowhere");
        let networks = [SubNetwork::History, SubNetwork::LegacyHistory];
        config.capacity = 1001;
        assert_eq!(networks.map(|network| config.budget(network, &networks)), [500, 500]);
        config.shares = vec![(SubNetwork::History, 3)];
        assert_eq!(networks.map(|network| config.budget(network, &networks)), [750, 250]);
        config.shares = vec![(SubNetwork::History, 0), (SubNetwork::LegacyHistory, 0)];
        assert_eq!(networks.map(|network| config.budget(network, &networks)), [0, 0]);
        config.capacity = u64::MAX;
        config.shares = vec![(SubNetwork::History, u32::MAX)];
        assert!(config.budget(SubNetwork::History, &networks) > u64::MAX / 2);
    }
}
