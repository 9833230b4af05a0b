//! Everything that a node is told when it starts. A value: several nodes of several chains live in one process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_proto::limits::TransferLimits;
use cairn_proto::routing::AddressPolicy;
use content_types::room::Retention;
use content_types::{ChainSpec, SubNetwork};
use overlay::Enr;
use overlay::discovery::{ListenAddresses, Nat};
use reqwest::Url;

use crate::rpc::RpcConfig;
use crate::swarm::{Limits, QuicPort};

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
    /// Bytes of the disk that are left free: while there is less, nothing is stored and what is offered is declined.
    pub disk_reserve: u64,
    /// Weights by which sub-networks share `capacity`; one that is not named gets weight 1.
    pub shares: Vec<(SubNetwork, u32)>,
    /// Whether what lies within the radius is fetched from peers that hold it, over QUIC. What they offer is taken in any case.
    pub pull: bool,
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
    /// Socket on this machine over which the JSON-RPC is served too, to the same user alone; `None` for none.
    pub socket: Option<PathBuf>,
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
            disk_reserve: cairn_store::DISK_RESERVE,
            shares: Vec::new(),
            pull: true,
            seeds: Vec::new(),
            offer_seeds: false,
            trust_dir: None,
            fetch_trust: true,
            headers_from: None,
            rpc: None,
            socket: None,
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

    /// The part of the capacity that `network` gets, in bytes. What is not kept by distance has no budget.
    pub(crate) fn budget(&self, network: SubNetwork) -> u64 {
        let weight = |of: SubNetwork| match of.spec().retention {
            Retention::Nearest(_) => {
                let named = self.shares.iter().find(|(named, _)| *named == of).map(|(_, weight)| *weight);
                u128::from(named.unwrap_or(of.spec().default_share))
            }
            Retention::Newest => 0,
        };
        let total: u128 = SubNetwork::ALL.into_iter().map(weight).sum();
        let budget = (u128::from(self.capacity) * weight(network)).checked_div(total).unwrap_or(0);
        budget.try_into().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_follow_the_weights_and_never_pass_the_capacity() {
        let mut config = NodeConfig::new(Arc::new(ChainSpec::mainnet()), "nowhere");
        let budgets = |config: &NodeConfig| SubNetwork::ALL.map(|network| config.budget(network));
        let count = SubNetwork::ALL.map(|network| u64::from(network.spec().default_share)).iter().sum::<u64>();
        config.capacity = 500 * count + 1;
        let equal = |network: SubNetwork| config.budget(network) == 500 * u64::from(network.spec().default_share);
        assert!(SubNetwork::ALL.into_iter().all(equal));
        config.capacity = 250 * (count + 2);
        config.shares = vec![(SubNetwork::History, 3)];
        assert_eq!(config.budget(SubNetwork::History), 750);
        assert_eq!(budgets(&config).iter().sum::<u64>(), config.capacity);
        config.shares = SubNetwork::ALL.map(|network| (network, 0)).to_vec();
        assert!(budgets(&config).iter().all(|budget| *budget == 0));
        config.capacity = u64::MAX;
        config.shares = vec![(SubNetwork::History, u32::MAX)];
        assert!(config.budget(SubNetwork::History) > u64::MAX / 2);
    }
}
