//! The parts of a node that run by themselves. A start adds each as soon as it runs, so that one that fails halfway stops
//! them as a whole node is stopped: first whoever asks for work, then those who do it, the sockets last.

use std::future::Future;
use std::time::Duration;

use futures::future::{OptionFuture, join, join_all};
use overlay::{Discovery, Overlay, Transfers};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::rpc::RpcServer;

/// Longest time in which a node stops, the store's checkpoint included.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Of it, for requests under way, and for background tasks, some of which may be in the middle of reading an archive.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(1);
/// For sub-networks and transfers, which give up what they do.
const SERVICES_TIMEOUT: Duration = Duration::from_millis(500);
/// Left for the store's checkpoint.
const CHECKPOINT_TIME: Duration = Duration::from_secs(1);
/// For discovery: what is left, more than the two seconds that it waits for a router to take the port mapping back.
const DISCOVERY_TIMEOUT: Duration =
    STOP_TIMEOUT.saturating_sub(REQUESTS_TIMEOUT).saturating_sub(SERVICES_TIMEOUT).saturating_sub(CHECKPOINT_TIME);

/// What runs, as far as it was started. Cheap to clone.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) discovery: Discovery,
    pub(super) transfers: Option<Transfers>,
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
            overlays: Vec::new(),
            rpc: None,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Stops everything, each part within its limit: one that hangs takes no time from those after it.
    pub(super) async fn stop(self) {
        let Self { discovery, transfers, overlays, rpc, tasks, stop } = self;
        stop.cancel();
        tasks.close();
        let requests = OptionFuture::from(rpc.map(RpcServer::stop));
        within(REQUESTS_TIMEOUT, "requests or background tasks", join(requests, tasks.wait())).await;
        let overlays = join_all(overlays.iter().map(Overlay::shutdown));
        let transfers = OptionFuture::from(transfers.as_ref().map(Transfers::shutdown));
        within(SERVICES_TIMEOUT, "sub-networks or transfers", join(overlays, transfers)).await;
        within(DISCOVERY_TIMEOUT, "discovery", discovery.shutdown()).await;
    }
}

async fn within<T>(limit: Duration, what: &str, end: impl Future<Output = T>) {
    if tokio::time::timeout(limit, end).await.is_err() {
        tracing::warn!(?limit, "{what} did not end in time");
    }
}
