//! The sub-networks of this node, each from one entry in [`REGISTRY`]: protocol identifier, ping extensions and names
//! in JSON-RPC and metrics. Another sub-network is another entry.

mod handler;
mod header_lookups;
pub(crate) mod names;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use cairn_peer_book::PeerBook;
use cairn_proto::routing::AddressPolicy;
use cairn_proto::wire::{Extensions, payload_type};
use cairn_store::Budgets;
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
use names::{MethodNames, method_names};
pub(crate) use trust::{PROTOCOL_ID as TRUST_PROTOCOL_ID, key as trust_key};

/// Trust lists change once a day at most, and peers are asked directly: its routing table needs no care.
const TRUST_TABLE_INTERVAL: Duration = Duration::from_secs(3600);

/// What tells one sub-network from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Which one it is.
    pub(crate) network: SubNetwork,
    /// Its methods in the JSON-RPC.
    pub(crate) methods: MethodNames,
    /// Ping extensions beside type 0 that its specification lists.
    ping_extensions: &'static [u16],
}

impl Entry {
    /// Whether headers with their proofs can be found there.
    pub(crate) fn serves_headers(&self) -> bool {
        self.network == SubNetwork::LegacyHistory
    }
}

/// Every sub-network that this node speaks.
pub(crate) const REGISTRY: [Entry; 2] = [
    Entry {
        network: SubNetwork::History,
        methods: method_names!("portal_history"),
        ping_extensions: &[payload_type::BASIC_RADIUS],
    },
    Entry {
        network: SubNetwork::LegacyHistory,
        methods: method_names!("portal_legacyHistory"),
        ping_extensions: &[payload_type::HISTORY_RADIUS],
    },
];

/// The sub-networks of [`REGISTRY`].
pub(crate) fn sub_networks() -> [SubNetwork; REGISTRY.len()] {
    REGISTRY.map(|entry| entry.network)
}

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
    pub(crate) express: Option<Express>,
}

/// A protocol identifier is taken.
pub(crate) type StartError = overlay::transport::AlreadyRegistered;

/// One running sub-network.
pub(crate) struct Network {
    entry: Entry,
    overlay: Overlay,
    holdings: Holdings,
    pipeline: Pipeline,
    discovery: Discovery,
    capacity: u64,
}

impl Network {
    pub(crate) fn start(entry: Entry, shared: &Shared) -> Result<Self, StartError> {
        let handler = handler::ContentNetworkHandler::new(
            entry.network,
            shared.holdings.clone(),
            shared.pipeline.clone(),
            shared.express.clone(),
        );
        let config = SubNetworkConfig {
            client_info: shared.client_info.clone(),
            ping_extensions: Extensions::from_capabilities(entry.ping_extensions),
            bootnodes: shared.bootnodes.clone(),
            addresses: shared.addresses,
            book: shared.book.clone(),
            ..SubNetworkConfig::new(entry.network.label(), entry.network.protocol_id().into(), shared.chain_id)
        };
        let overlay = Overlay::start(
            config,
            Arc::new(shared.discovery.clone()),
            shared.transfers.clone(),
            Arc::new(handler),
            Arc::new(NetworkObserver::new(entry.network.label(), Arc::clone(&shared.metrics))),
        )?;
        Ok(Self {
            entry,
            overlay,
            holdings: shared.holdings.clone(),
            pipeline: shared.pipeline.clone(),
            discovery: shared.discovery.clone(),
            capacity: shared.budgets.get(entry.network),
        })
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
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

    /// Room for content, in bytes.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn radius(&self) -> Distance {
        self.holdings.radius(self.entry.network)
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
