//! Nodes for the tests of this crate, on loopback or on a simulated network, with content that checks itself.
#![allow(dead_code, clippy::unwrap_used)] // Each test program uses a part; one that fails to set up has failed.

mod memory;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_peer_book::PeerBook;
use cairn_proto::limits::TransferLimits;
use cairn_proto::record;
use cairn_proto::routing::AddressPolicy;
use content_types::{Distance, NodeId};
use enr::CombinedKey;
#[allow(unused_imports)]
pub(crate) use memory::{DOUBTFUL, Memory, key, value};
use overlay::discovery::{Discovery, DiscoveryConfig, ListenAddresses, Nat};
use overlay::service::Unobserved;
use overlay::transport::Contact;
use overlay::transport::{ProtocolId, SimulatedNetwork};
use overlay::{Enr, Overlay, SubNetworkConfig, Transfers, Transport};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Chain ID of all test networks.
pub(crate) const CHAIN_ID: u64 = 1337;

/// A node's configuration on a loopback port that the system chooses; the key is made of `seed`, which must not be 0.
pub(crate) fn config(seed: u64) -> DiscoveryConfig {
    let mut key = [0; 32];
    key[24..].copy_from_slice(&seed.to_be_bytes());
    let mut config = DiscoveryConfig::new(key);
    config.listen = ListenAddresses { v4: Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)), v6: None };
    config.nat = Nat::None;
    config.chain_id = CHAIN_ID;
    config.addresses = AddressPolicy::Local;
    config
}

/// Starts the base protocol of a node.
pub(crate) async fn discovery(seed: u64) -> Discovery {
    Discovery::start(config(seed)).await.unwrap()
}

/// The contact of one node for another.
pub(crate) fn contact(of: &Discovery, by: &Discovery) -> Contact {
    by.contact(&of.local_enr()).unwrap()
}

/// Bytes that look random, the same from the same seed.
pub(crate) fn data(len: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// How long a test waits for something that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that should happen soon.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// The sub-network of the tests.
pub(crate) fn protocol() -> ProtocolId {
    ProtocolId::from([0x50, 0x77])
}

/// One peer of the sub-network, whatever lies below.
pub(crate) struct Peer {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) transfers: Transfers,
    pub(crate) memory: Arc<Memory>,
    pub(crate) overlay: Overlay,
}

/// What is not the same for all peers of a test.
pub(crate) struct Setup {
    pub(crate) bootnodes: Vec<Enr>,
    pub(crate) radius: Distance,
    pub(crate) limits: TransferLimits,
    pub(crate) ping_interval: Duration,
    pub(crate) book: PeerBook,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            bootnodes: Vec::new(),
            radius: Distance::MAX,
            limits: TransferLimits::default(),
            ping_interval: Duration::from_secs(60),
            book: PeerBook::default(),
        }
    }
}

impl Peer {
    pub(crate) fn start(transport: Arc<dyn Transport>, setup: Setup) -> Self {
        let memory = Memory::new(record::node_id(&transport.local_enr()), setup.radius);
        let transfers = Transfers::with_limits(transport.clone(), setup.limits).unwrap();
        let mut config = SubNetworkConfig::new("test", protocol(), CHAIN_ID);
        config.addresses = AddressPolicy::Local;
        config.bootnodes = setup.bootnodes;
        config.ping_interval = setup.ping_interval;
        config.book = setup.book;
        let overlay =
            Overlay::start(config, transport.clone(), transfers.clone(), memory.clone(), Arc::new(Unobserved)).unwrap();
        Self { transport, transfers, memory, overlay }
    }

    /// A peer over discv5 on loopback.
    pub(crate) async fn on_loopback(seed: u64, setup: Setup) -> (Self, Discovery) {
        let discovery = discovery(seed).await;
        (Self::start(Arc::new(discovery.clone()), setup), discovery)
    }

    /// A peer on a simulated network, with the address 10.0.x.y of its seed.
    pub(crate) fn simulated(network: &Arc<SimulatedNetwork>, seed: u64, setup: Setup) -> Self {
        Self::start(Arc::new(network.join(enr(seed, 1, CHAIN_ID)).unwrap()), setup)
    }

    pub(crate) fn enr(&self) -> Enr {
        self.transport.local_enr()
    }

    pub(crate) fn id(&self) -> NodeId {
        record::node_id(&self.enr())
    }
}

/// A Portal node's record with the address 10.0.x.y of its seed.
pub(crate) fn enr(seed: u64, seq: u64, chain_id: u64) -> Enr {
    let mut key = [0; 32];
    key[24..].copy_from_slice(&seed.to_be_bytes());
    let key = CombinedKey::secp256k1_from_bytes(&mut key).unwrap();
    let mut builder = Enr::builder();
    builder.seq(seq).ip4([10, 0, (seed >> 8) as u8, seed as u8].into()).udp4(9009);
    for (name, value) in record::portal_entries(chain_id, "test") {
        builder.add_value_rlp(name, value);
    }
    builder.build(&key).unwrap()
}
