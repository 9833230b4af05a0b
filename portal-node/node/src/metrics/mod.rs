//! Prometheus metrics of one node. The registry is a value: two nodes in one process count apart.
//!
//! Counters and histograms are told by what happens ([`Metrics`] is the overlay's [`Observer`](overlay::Observer) and
//! the pipeline's); what is a state, such as peers or bytes held, is asked for when somebody looks (`snapshot`).

mod observer;
mod ports;
mod server;
mod snapshot;
mod swarm;

use std::fmt;

use cairn_store::Event;
use cairn_swarm::quic::StatsSource;
use overlay::discovery::PortMapping;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

pub(crate) use observer::NetworkObserver;
pub(crate) use server::{Health, MetricsServer};
pub(crate) use snapshot::{NetworkState, Snapshot};

/// Prefix of every metric's name.
const PREFIX: &str = "cairn";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NetworkLabels {
    network: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    network: &'static str,
    target: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    network: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    network: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransferLabels {
    network: &'static str,
    direction: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    network: &'static str,
    request: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    network: &'static str,
    code: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValidationLabels {
    kind: &'static str,
    outcome: &'static str,
}

type Histograms = Family<NetworkLabels, Histogram, fn() -> Histogram>;

/// The metrics of one node.
pub struct Metrics {
    registry: Mutex<Registry>,
    lookups: Family<LookupLabels, Counter>,
    lookup_hops: Histograms,
    lookup_seconds: Histograms,
    transfers: Family<TransferLabels, Counter>,
    transfer_bytes: Family<DirectionLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    offered_keys: Family<CodeLabels, Counter>,
    lies: Family<NetworkLabels, Counter>,
    evictions: Family<NetworkLabels, Counter>,
    handed_over: Family<OutcomeLabels, Counter>,
    corruptions: Counter,
    validations: Family<ValidationLabels, Counter>,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub(crate) fn new() -> Self {
        let hops: fn() -> Histogram = || Histogram::new((0..=8).map(f64::from));
        // 1 ms to 32 s.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix(PREFIX)),
            lookups: Family::default(),
            lookup_hops: Family::new_with_constructor(hops),
            lookup_seconds: Family::new_with_constructor(seconds),
            transfers: Family::default(),
            transfer_bytes: Family::default(),
            requests: Family::default(),
            offered_keys: Family::default(),
            lies: Family::default(),
            evictions: Family::default(),
            handed_over: Family::default(),
            corruptions: Counter::default(),
            validations: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.lock();
        registry.register("lookups", "Lookups of content and nodes by outcome", self.lookups.clone());
        registry.register("lookup_hops", "Hops from the first peers to the content", self.lookup_hops.clone());
        registry.register_with_unit(
            "lookup_duration",
            "Time of content lookups",
            Unit::Seconds,
            self.lookup_seconds.clone(),
        );
        registry.register("transfers", "uTP transfers by direction and outcome", self.transfers.clone());
        registry.register_with_unit(
            "transferred",
            "Content moved over uTP by direction",
            Unit::Bytes,
            self.transfer_bytes.clone(),
        );
        registry.register("requests", "Requests of peers by kind", self.requests.clone());
        registry.register("offered_keys", "Keys offered by peers, by accept code", self.offered_keys.clone());
        registry.register("lies", "Values that peers sent under keys that they do not belong to", self.lies.clone());
        registry.register("store_evictions", "Content that gave way to closer content", self.evictions.clone());
        registry.register(
            "handed_over",
            "Content that will give way soon, offered to peers that cover it, by outcome",
            self.handed_over.clone(),
        );
        registry.register(
            "store_corruptions",
            "Damage found in the store or an archive, dropped and never served",
            self.corruptions.clone(),
        );
        registry.register("validations", "Checked content by kind and outcome", self.validations.clone());
    }

    /// Counts one content that went through the pipeline.
    pub(crate) fn validated(&self, kind: &'static str, outcome: &'static str) {
        self.validations.get_or_create(&ValidationLabels { kind, outcome }).inc();
    }

    /// Counts content that was offered before it gives way: what some peer has now, and what none takes.
    pub(crate) fn handed_over(&self, network: &'static str, placed: u64, unclaimed: u64) {
        for (outcome, items) in [("placed", placed), ("unclaimed", unclaimed)] {
            self.handed_over.get_or_create(&OutcomeLabels { network, outcome }).inc_by(items);
        }
    }

    /// Counts what the store reports.
    pub(crate) fn store_event(&self, event: &Event) {
        match event {
            Event::Evicted { network, items, .. } => {
                let network = network.label();
                self.evictions.get_or_create(&NetworkLabels { network }).inc_by(*items);
            }
            Event::Corrupt { .. } | Event::VolumeDamaged { .. } | Event::ArchiveCorrupt { .. } => {
                self.corruptions.inc();
            }
            _ => {}
        }
    }

    /// Has `snapshot` asked at every scrape.
    pub(crate) fn watch(&self, snapshot: Snapshot) {
        self.registry.lock().register_collector(Box::new(snapshot));
    }

    /// Has the endpoint of the swarm asked at every scrape.
    pub(crate) fn watch_swarm(&self, swarm: StatsSource) {
        self.registry.lock().register_collector(Box::new(swarm::SwarmSnapshot(swarm)));
    }

    /// Has what the router does for the node's ports asked at every scrape.
    pub(crate) fn watch_ports(&self, mappings: watch::Receiver<Vec<PortMapping>>) {
        self.registry.lock().register_collector(Box::new(ports::PortsSnapshot(mappings)));
    }

    /// The metrics as OpenMetrics text.
    ///
    /// # Errors
    /// When a value cannot be formatted, which no metric here does.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
