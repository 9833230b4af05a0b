//! Counts what one sub-network's service tells of itself.

use std::sync::Arc;
use std::time::Duration;

use content_types::NodeId;
use overlay::service::{Flow, LookupOutcome, Observer, RequestKind, TransferFailure};

use super::{CodeLabels, DirectionLabels, LookupLabels, Metrics, NetworkLabels, RequestLabels, TransferLabels};

/// The [`Observer`] of one sub-network.
pub(crate) struct NetworkObserver {
    network: &'static str,
    metrics: Arc<Metrics>,
}

impl NetworkObserver {
    pub(crate) fn new(network: &'static str, metrics: Arc<Metrics>) -> Self {
        Self { network, metrics }
    }

    fn lookup(&self, target: &'static str, outcome: &LookupOutcome) {
        let network = self.network;
        let found = if outcome.found { "found" } else { "not_found" };
        self.metrics.lookups.get_or_create(&LookupLabels { network, target, outcome: found }).inc();
        let labels = NetworkLabels { network };
        if target == "content" {
            if outcome.found {
                self.metrics.lookup_hops.get_or_create(&labels).observe(f64::from(outcome.hops));
            }
            self.metrics.lookup_seconds.get_or_create(&labels).observe(outcome.took.as_secs_f64());
        }
    }
}

fn direction_label(direction: Flow) -> &'static str {
    match direction {
        Flow::In => "in",
        Flow::Out => "out",
    }
}

fn failure_label(failure: TransferFailure) -> &'static str {
    match failure {
        TransferFailure::NotConnected => "not_connected",
        TransferFailure::Stalled => "stalled",
        TransferFailure::Reset => "reset",
        TransferFailure::Malformed => "malformed",
        TransferFailure::Busy => "busy",
        TransferFailure::Cancelled => "cancelled",
    }
}

fn request_label(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Ping => "ping",
        RequestKind::FindNodes => "find_nodes",
        RequestKind::FindContent => "find_content",
        RequestKind::Offer => "offer",
        RequestKind::Own => "own",
        RequestKind::Malformed => "malformed",
    }
}

impl Observer for NetworkObserver {
    fn content_lookup(&self, outcome: &LookupOutcome) {
        self.lookup("content", outcome);
    }

    fn node_lookup(&self, outcome: &LookupOutcome) {
        self.lookup("nodes", outcome);
    }

    fn transfer_ended(&self, direction: Flow, bytes: u64, _took: Duration, failure: Option<TransferFailure>) {
        let (network, direction) = (self.network, direction_label(direction));
        let outcome = failure.map_or("complete", failure_label);
        self.metrics.transfers.get_or_create(&TransferLabels { network, direction, outcome }).inc();
        self.metrics.transfer_bytes.get_or_create(&DirectionLabels { network, direction }).inc_by(bytes);
    }

    fn request_received(&self, kind: RequestKind) {
        let labels = RequestLabels { network: self.network, request: request_label(kind) };
        self.metrics.requests.get_or_create(&labels).inc();
    }

    fn offer_answered(&self, code: u8) {
        let labels = CodeLabels { network: self.network, code };
        self.metrics.offered_keys.get_or_create(&labels).inc();
    }

    fn peer_lied(&self, _peer: NodeId) {
        self.metrics.lies.get_or_create(&NetworkLabels { network: self.network }).inc();
    }
}
