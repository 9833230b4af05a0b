//! What this node holds: the store, and the archives served in place. Reading and writing block, so they run on the disk's
//! workers; only verified content can be put in.

use std::sync::Arc;

use bytes::Bytes;
use cairn_store::{Item, Placement, Store, StoreError};
use content_types::{ContentId, ContentKey, Distance, NodeId, SubNetwork};

use crate::pipeline::VerifiedContent;
use crate::workers::{Stopping, Workers};

/// Why the disk did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HoldingsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Store and archives. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Holdings {
    store: Arc<Store>,
    workers: Workers,
    node_id: NodeId,
}

impl Holdings {
    pub(crate) fn new(store: Arc<Store>, workers: Workers, node_id: NodeId) -> Self {
        Self { store, workers, node_id }
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The value under a key from store or archives, `None` if neither has it.
    pub(crate) async fn get(&self, key: &ContentKey) -> Result<Option<Bytes>, HoldingsError> {
        let (store, key) = (Arc::clone(&self.store), *key);
        Ok(self.workers.disk(move || store.get(&key)).await??)
    }

    /// Stores content if it lies within the radius and is not there yet. Durable on return; says whether it was stored
    /// now.
    pub(crate) async fn put(&self, content: VerifiedContent) -> Result<bool, HoldingsError> {
        let key = *content.key();
        let outside = !self.is_within_radius(key.sub_network(), &key.content_id());
        if outside || self.contains(&key) {
            return Ok(false);
        }
        let store = Arc::clone(&self.store);
        let placements = self
            .workers
            .disk(move || {
                let item = Item::new(&key, content.value().clone());
                store.put_batch(vec![item])
            })
            .await??;
        Ok(placements.contains(&Placement::Stored))
    }

    /// Whether a key's content is here, by the index alone. An index that fails has nothing.
    pub(crate) fn contains(&self, key: &ContentKey) -> bool {
        self.store.contains(key).unwrap_or_else(|error| {
            tracing::warn!(%error, "the store's index cannot be asked");
            false
        })
    }

    /// Which of these keys' contents are here. `None` among the keys is nothing that could be.
    pub(crate) async fn which_are_held(&self, keys: Vec<Option<ContentKey>>) -> Result<Vec<bool>, Stopping> {
        let holdings = self.clone();
        let is_held = move |key: &Option<ContentKey>| key.is_some_and(|key| holdings.contains(&key));
        self.workers.disk(move || keys.iter().map(is_held).collect()).await
    }

    /// Whether content with this ID would be stored.
    pub(crate) fn is_within_radius(&self, network: SubNetwork, id: &ContentId) -> bool {
        self.node_id.distance(id) <= self.radius(network)
    }

    pub(crate) fn radius(&self, network: SubNetwork) -> Distance {
        self.store.radius(network)
    }
}
