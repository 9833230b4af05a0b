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
use overlay::discovery::{MappingState, Nat, PortMapping};
use tokio::sync::watch;

use crate::networks::Network;
use crate::ports::TRACKER_KEY;
use crate::seeding::Archives;

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

/// Tells the tracker at which address others reach it: where the router maps its port to, or where its operator says.
pub(crate) async fn keep_announced(tracker: Arc<Tracker>, nat: Nat, mut mappings: watch::Receiver<Vec<PortMapping>>) {
    loop {
        let addresses = announced(nat, tracker.local_addr(), &mappings.borrow_and_update());
        tracker.set_announced(addresses);
        if mappings.changed().await.is_err() {
            return;
        }
    }
}

/// None where nobody says: then others take the address that they see.
fn announced(nat: Nat, local: SocketAddr, mappings: &[PortMapping]) -> Vec<SocketAddr> {
    let of_tracker = mappings.iter().find(|mapping| mapping.service == TRACKER_KEY);
    match (nat, of_tracker.map(|mapping| &mapping.state)) {
        (Nat::ExternalIp(ip, _), _) if ip.is_ipv4() == local.is_ipv4() => vec![SocketAddr::new(ip, local.port())],
        (_, Some(MappingState::Mapped { external, .. })) => vec![SocketAddr::V4(*external)],
        _ => Vec::new(),
    }
}

/// The node IDs of those who say to hold an era.
pub(crate) async fn providers(tracker: &Tracker, era: u64) -> Vec<NodeId> {
    let found: Vec<_> = tracker.providers(era).collect().await;
    found.iter().filter_map(|provider| cairn_swarm::quic::node_id_of(&provider.public_key).ok()).collect()
}

#[cfg(test)]
mod tests {
    use overlay::discovery::{MappingFailure, MappingProtocol};

    use super::*;

    #[test]
    fn the_tracker_is_announced_where_its_own_port_is_mapped_or_said_to_be() {
        let local = "0.0.0.0:11009".parse().unwrap();
        let mapping = |service, state| PortMapping { service, local: "0.0.0.0:11009".parse().unwrap(), state };
        let mapped = |text: &str| MappingState::Mapped { external: text.parse().unwrap(), by: MappingProtocol::Upnp };
        let quic = mapping("quic", mapped("8.8.8.8:10009"));
        let tracker = mapping(TRACKER_KEY, mapped("8.8.8.8:20001"));
        let failed = mapping(TRACKER_KEY, MappingState::NotMapped(MappingFailure::Taken));
        let at = |text: &str| vec![text.parse::<SocketAddr>().unwrap()];
        assert_eq!(announced(Nat::Auto, local, &[quic.clone(), tracker]), at("8.8.8.8:20001"));
        assert_eq!(announced(Nat::Auto, local, &[quic, failed]), []);
        assert_eq!(announced(Nat::None, local, &[]), []);
        let said = |text: &str| announced(Nat::ExternalIp(text.parse().unwrap(), Some(9010)), local, &[]);
        assert_eq!(said("9.9.9.9"), at("9.9.9.9:11009"));
        assert_eq!(said("2001:db8::1"), [], "it listens on IPv4");
    }
}
