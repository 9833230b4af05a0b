//! The tracker in a node: it announces the eras of the node's archives, learns of trackers from node records, and finds who
//! holds an era.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::routing::AddressPolicy;
use cairn_tracker::{Config, Error, PublicKey, TrackedChain, Tracker};
use content_types::{ChainSpec, NodeId};
use futures::StreamExt;
use overlay::Enr;

use crate::networks::Network;
use crate::seeding::Archives;

/// The UDP port of the tracker in a node record, at the address of discv5.
pub(crate) const TRACKER_KEY: &str = "kad";

/// How often the node's archives and the peers that it knows are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Trackers that were hinted at and are remembered, so that each is hinted at once in a while only.
const MAX_HINTED: usize = 4096;
/// Looks after which all are hinted at again.
const HINT_AGAIN: u32 = 300;

/// What a tracker is started with.
pub(crate) struct TrackerConfig<'a> {
    pub(crate) key: [u8; 32],
    pub(crate) chain: &'a ChainSpec,
    pub(crate) listen: SocketAddr,
    /// Whether this node stays, so that others can rely on it.
    pub(crate) serves: bool,
    pub(crate) bootnodes: &'a [Enr],
    pub(crate) addresses: AddressPolicy,
    pub(crate) state_file: Option<PathBuf>,
}

/// Starts it.
///
/// # Errors
/// [`Error`].
pub(crate) async fn start(config: TrackerConfig<'_>) -> Result<Arc<Tracker>, Error> {
    let chain = TrackedChain { id: config.chain.chain_id(), genesis_hash: config.chain.genesis_hash().0 };
    let own = Config {
        is_local: config.addresses == AddressPolicy::Local,
        reachable: config.serves,
        bootstrap: config.bootnodes.iter().filter_map(|enr| tracker_of(enr, config.addresses)).collect(),
        state_file: config.state_file,
        ..Config::new(config.key, chain, config.listen)
    };
    Tracker::start(own).await.map(Arc::new)
}

/// The tracker of a node record, if its address is one that is believed.
fn tracker_of(enr: &Enr, addresses: AddressPolicy) -> Option<(PublicKey, SocketAddr)> {
    let port = enr.get_decodable::<u16>(TRACKER_KEY)?.ok().filter(|port| *port > 0)?;
    let v4 = || enr.ip4().map(|ip| SocketAddr::from((ip, port)));
    let v6 = || enr.ip6().map(|ip| SocketAddr::from((ip, port)));
    let address = v4().or_else(v6).filter(|address| addresses.believes(address.ip()))?;
    Some((crate::quic_address::public_key(enr)?, address))
}

/// Keeps the tracker up to date with what the node holds and whom it knows.
pub(crate) async fn keep_tracker(
    tracker: Arc<Tracker>,
    archives: Arc<Archives>,
    networks: Vec<Arc<Network>>,
    addresses: AddressPolicy,
) {
    archives.wait_until_scanned().await;
    let mut hinted = HashSet::new();
    for look in 0_u32.. {
        if look.is_multiple_of(HINT_AGAIN) {
            hinted.clear();
        }
        tracker.provide(archives.list().iter().map(cairn_archive::Archive::era).collect::<BTreeSet<_>>());
        let tables = networks.iter().map(|network| network.overlay().routing_table());
        for entry in tables.flat_map(|table| table.buckets).flatten() {
            if let Some((key, address)) = tracker_of(&entry.enr, addresses)
                && hinted.len() < MAX_HINTED
                && hinted.insert(key)
            {
                tracker.add_peer(key, address);
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The node IDs of those who say to hold an era.
pub(crate) async fn providers(tracker: &Tracker, era: u64) -> Vec<NodeId> {
    let found: Vec<_> = tracker.providers(era).collect().await;
    found.iter().filter_map(|provider| cairn_swarm::quic::node_id_of(&provider.public_key).ok()).collect()
}
