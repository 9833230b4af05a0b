//! Stopping: first whoever asks for work, then those who do it, the disk last.

use std::time::Duration;

use cairn_store::Store;

use super::Node;

/// Longest wait for the network side to end. With the store's checkpoint a node is down within five seconds.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest wait for background tasks, some of which may be in the middle of reading an archive.
const TASKS_TIMEOUT: Duration = Duration::from_secs(1);

impl Node {
    /// Stops answering, ends all tasks, and closes the store so that the next start has nothing to repair. What was
    /// acknowledged is on the disk whether this is called or not.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        let network = async {
            if let Some(rpc) = self.rpc {
                rpc.stop().await;
            }
            if tokio::time::timeout(TASKS_TIMEOUT, self.tasks.wait()).await.is_err() {
                tracing::debug!("background tasks were still under way");
            }
            let overlays =
                self.networks.iter().map(|network| network.overlay()).chain([&self.trust_fetcher.network().overlay]);
            futures::future::join_all(overlays.map(|overlay| overlay.shutdown())).await;
            self.transfers.shutdown().await;
            self.discovery.shutdown().await;
        };
        if tokio::time::timeout(NETWORK_TIMEOUT, network).await.is_err() {
            tracing::warn!("some network tasks did not end in time");
        }
        self.headers.detach();
        // What still refers to the store goes first, or it could not be closed with a checkpoint.
        let store = std::sync::Arc::clone(self.holdings.store());
        drop((self.fetcher, self.archives, self.headers, self.status, self.networks, self.metrics));
        drop((self.trust_fetcher, self.holdings));
        match std::sync::Arc::into_inner(store) {
            Some(store) => close(store).await,
            None => tracing::debug!("the store is still in use; it will replay what its checkpoint lacks"),
        }
    }
}

async fn close(store: Store) {
    match tokio::task::spawn_blocking(move || store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the store was closed without a checkpoint"),
        Err(error) => tracing::warn!(%error, "the store was not closed"),
    }
}
