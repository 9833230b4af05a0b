//! Stopping: the network first (`running`), the disk last.

use std::sync::Arc;
use std::time::Duration;

use cairn_store::Store;

use super::Node;

/// How long the store is waited for. Little remains to be done with it when everything else has stopped, and its checkpoint
/// takes time of its own.
const RELEASE_TIME: Duration = Duration::from_millis(500);

impl Node {
    /// Stops answering, ends all tasks, and closes the store so that the next start has nothing to repair. What was
    /// acknowledged is on the disk whether this is called or not.
    pub async fn shutdown(self) {
        // By their names, so that nothing is forgotten that is added to a node: whatever may refer to the store goes before it,
        // or it could not be closed with a checkpoint.
        let Self {
            running,
            networks,
            trust_fetcher,
            trust,
            headers,
            holdings,
            archives,
            fetcher,
            state,
            capsules,
            workers,
            metrics,
            status,
            metrics_server,
            peers,
            store_fetches,
            data_dir: _,
        } = self;
        running.stop().await;
        let (store, users) = holdings.into_store();
        drop((fetcher, state, capsules, archives, headers, status, networks, metrics));
        drop((trust_fetcher, trust, peers, store_fetches, workers, metrics_server));
        users.close();
        // Tasks that have ended may not be gone yet, and a job on a thread of its own ends by itself.
        let _ = tokio::time::timeout(RELEASE_TIME, users.wait()).await;
        close(store).await;
    }
}

/// Closes the store with a checkpoint, if nothing else refers to it any more.
pub(super) async fn close(store: Arc<Store>) {
    let Some(store) = Arc::into_inner(store) else {
        tracing::warn!("the store is still in use; the next start has to read again what came in lately");
        return;
    };
    match tokio::task::spawn_blocking(move || store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the store was closed without a checkpoint"),
        Err(error) => tracing::warn!(%error, "the store was not closed"),
    }
}
