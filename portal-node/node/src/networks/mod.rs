//! The sub-networks of this node: those of the registry ([`SubNetwork::ALL`]), each with what its entry says of it, and the one for
//! trust lists.

mod handler;
mod header_lookups;
mod keeper;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use cairn_peer_book::PeerBook;
use cairn_proto::gossip::GossipWidth;
use cairn_proto::routing::AddressPolicy;
use cairn_proto::wire::Extensions;
use cairn_store::Budgets;
use content_types::room::{Spec, Spread};
use content_types::{Distance, NodeId, SubNetwork};
use overlay::service::ContentHandler;
use overlay::{Discovery, Enr, Overlay, SubNetworkConfig, Transfers, Transport};

use crate::express::Express;
use crate::holdings::Holdings;
use crate::metrics::{Metrics, NetworkObserver};
use crate::pipeline::Pipeline;
use crate::trust::TrustStore;
use crate::workers::Workers;

pub(crate) use header_lookups::answer_header_queries;
pub(crate) use trust::{PROTOCOL_ID as TRUST_PROTOCOL_ID, key as trust_key};

/// Trust lists change once a day at most, and peers are asked directly: its routing table needs no care.
const TRUST_TABLE_INTERVAL: Duration = Duration::from_secs(3600);

/// What all sub-networks of a node share.
pub(crate) struct Shared {
    pub(crate) discovery: Discovery,
    pub(crate) transfers: Transfers,
    pub(crate) holdings: Holdings,
    pub(crate) pipeline: Pipeline,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) chain_id: u64,
    pub(crate) client_info: String,
    pub(crate) bootnodes: Vec<Enr>,
    pub(crate) addresses: AddressPolicy,
    pub(crate) book: PeerBook,
    pub(crate) budgets: Budgets,
    pub(crate) express: Express,
}

/// A protocol identifier is taken.
pub(crate) type StartError = overlay::transport::AlreadyRegistered;

/// One running sub-network.
pub(crate) struct Network {
    network: SubNetwork,
    overlay: Overlay,
    holdings: Holdings,
    pipeline: Pipeline,
    discovery: Discovery,
    capacity: u64,
}

impl Network {
    pub(crate) fn start(network: SubNetwork, shared: &Shared) -> Result<Self, StartError> {
        let spec = network.spec();
        // One that keeps the newest gets a keeper of its own here.
        let keeper = Arc::new(shared.holdings.clone());
        let (pipeline, express) = (shared.pipeline.clone(), shared.express.clone());
        let handler = handler::ContentNetworkHandler::new(network, keeper, pipeline, Some(express));
        let config = SubNetworkConfig {
            client_info: shared.client_info.clone(),
            ping_extensions: Extensions::from_capabilities(spec.ping_extensions),
            bootnodes: shared.bootnodes.clone(),
            addresses: shared.addresses,
            book: shared.book.clone(),
            gossip: gossip_width(spec.spread),
            pokes: spec.pokes,
            ..SubNetworkConfig::new(spec.label, spec.protocol_id.into(), shared.chain_id)
        };
        let overlay = Overlay::start(
            config,
            Arc::new(shared.discovery.clone()),
            shared.transfers.clone(),
            Arc::new(handler),
            Arc::new(NetworkObserver::new(spec.label, Arc::clone(&shared.metrics))),
        )?;
        Ok(Self {
            network,
            overlay,
            holdings: shared.holdings.clone(),
            pipeline: shared.pipeline.clone(),
            discovery: shared.discovery.clone(),
            capacity: shared.budgets.get(network),
        })
    }

    pub(crate) fn sub_network(&self) -> SubNetwork {
        self.network
    }

    /// The registry's entry.
    pub(crate) fn spec(&self) -> &'static Spec {
        self.network.spec()
    }

    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    pub(crate) fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// This node's ID.
    pub(crate) fn local_id(&self) -> NodeId {
        self.discovery.node_id()
    }

    /// Room for content, in bytes.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn radius(&self) -> Distance {
        self.holdings.radius(self.network)
    }

    /// The newest record known here, this node's own included.
    pub(crate) fn get_enr(&self, node_id: &NodeId) -> Option<Enr> {
        if *node_id == self.discovery.node_id() {
            return Some(self.discovery.local_enr());
        }
        self.overlay.get_enr(node_id)
    }

    /// The newest record that can be found, this node's own included.
    pub(crate) async fn lookup_enr(&self, node_id: NodeId) -> Option<Enr> {
        if node_id == self.discovery.node_id() {
            return Some(self.discovery.local_enr());
        }
        self.overlay.lookup_enr(node_id).await
    }
}

/// The one where headers with their proofs are found.
pub(crate) fn of_headers(networks: &[Arc<Network>]) -> Option<&Arc<Network>> {
    networks.iter().find(|network| network.spec().has_headers)
}

fn gossip_width(spread: Spread) -> GossipWidth {
    let near = GossipWidth::default();
    match spread {
        Spread::Neighbourhood => near,
        Spread::Anywhere => GossipWidth { nearest: 0, random: near.nearest + near.random },
    }
}

/// The running trust sub-network, and its handler, which checks what direct requests bring. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TrustNetwork {
    pub(crate) overlay: Overlay,
    pub(crate) handler: Arc<dyn ContentHandler>,
}

impl TrustNetwork {
    pub(crate) fn start(trust: Arc<TrustStore>, workers: Workers, shared: &Shared) -> Result<Self, StartError> {
        let handler: Arc<dyn ContentHandler> = Arc::new(trust::TrustNetworkHandler::new(trust, workers));
        let config = SubNetworkConfig {
            client_info: shared.client_info.clone(),
            addresses: shared.addresses,
            book: shared.book.clone(),
            ping_interval: TRUST_TABLE_INTERVAL,
            ..SubNetworkConfig::new("trust", TRUST_PROTOCOL_ID.into(), shared.chain_id)
        };
        let overlay = Overlay::start(
            config,
            Arc::new(shared.discovery.clone()),
            shared.transfers.clone(),
            Arc::clone(&handler),
            Arc::new(NetworkObserver::new("trust", Arc::clone(&shared.metrics))),
        )?;
        Ok(Self { overlay, handler })
    }
}

#[cfg(test)]
mod tests {
    use content_types::room::Retention;

    use super::*;

    #[test]
    fn what_the_holdings_keep_is_kept_by_distance() {
        let is_by_distance = |network: &SubNetwork| matches!(network.spec().retention, Retention::Nearest(_));
        assert!(SubNetwork::ALL.iter().all(is_by_distance), "Network::start has no keeper for the other kind");
    }

    #[test]
    fn what_everybody_wants_goes_to_anybody() {
        let (near, anywhere) = (gossip_width(Spread::Neighbourhood), gossip_width(Spread::Anywhere));
        assert_eq!((anywhere.nearest, anywhere.random), (0, near.nearest + near.random));
    }
}
