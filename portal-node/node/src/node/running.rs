//! The parts of a node that run by themselves. A start adds each as soon as it runs, so that one that fails halfway stops
//! them as a whole node is stopped: first whoever asks for work, then those who do it, the sockets last.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cairn_swarm::quic::Swarm;
use cairn_tracker::Tracker;
use futures::future::{OptionFuture, join, join_all, join4};
use overlay::{Discovery, Overlay, Transfers};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::rpc::RpcServer;

/// Longest time in which a node stops, the store's checkpoint included.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// When, since the stop began, requests under way and background tasks are given up. A task may be in the middle of
/// reading an archive.
const REQUESTS_END: Duration = Duration::from_secs(1);
/// When sub-networks and transfers are given up, which themselves give up what they do.
const SERVICES_END: Duration = Duration::from_millis(1500);
/// Left for the store's checkpoint.
const CHECKPOINT_TIME: Duration = Duration::from_secs(1);
/// When discovery is given up: it has at least 2.5 s, more than the two that it waits for a router to take the port
/// mapping back.
const DISCOVERY_END: Duration = STOP_TIMEOUT.saturating_sub(CHECKPOINT_TIME);

/// What runs, as far as it was started. Cheap to clone.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) discovery: Discovery,
    pub(super) transfers: Option<Transfers>,
    pub(super) swarm: Option<Swarm>,
    pub(super) tracker: Option<Arc<Tracker>>,
    pub(super) overlays: Vec<Overlay>,
    pub(super) rpc: Option<RpcServer>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Running {
    pub(super) fn new(discovery: Discovery) -> Self {
        Self {
            discovery,
            transfers: None,
            swarm: None,
            tracker: None,
            overlays: Vec::new(),
            rpc: None,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Stops everything. Each part has a time of its own by which it is given up, so that one that hangs takes none from
    /// those after it.
    pub(super) async fn stop(self) {
        let Self { discovery, transfers, swarm, tracker, overlays, rpc, tasks, stop } = self;
        let begun = Instant::now();
        stop.cancel();
        tasks.close();
        let requests = OptionFuture::from(rpc.map(RpcServer::stop));
        end_by(begun + REQUESTS_END, "requests or background tasks", join(requests, tasks.wait())).await;
        let overlays = join_all(overlays.iter().map(Overlay::shutdown));
        let transfers = OptionFuture::from(transfers.as_ref().map(Transfers::shutdown));
        let swarm = OptionFuture::from(swarm.as_ref().map(Swarm::shutdown));
        let tracker = OptionFuture::from(tracker.as_deref().map(Tracker::shutdown));
        let services = join4(overlays, transfers, swarm, tracker);
        end_by(begun + SERVICES_END, "sub-networks, transfers or the tracker", services).await;
        end_by(begun + DISCOVERY_END, "discovery", discovery.shutdown()).await;
    }
}

async fn end_by<T>(deadline: Instant, what: &str, end: impl Future<Output = T>) {
    if tokio::time::timeout_at(deadline, end).await.is_err() {
        tracing::warn!("{what} did not end in time");
    }
}
