//! What this node holds: the store, and the archives served in place. Reading and writing block, so they run on the
//! disk's workers; only verified content can be put in.

use std::sync::Arc;

use bytes::Bytes;
use cairn_store::{Item, Placement, Store, StoreError};
use content_types::{ContentId, ContentKey, Distance, NodeId, SubNetwork};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::pipeline::VerifiedContent;
use crate::workers::{Stopping, Workers};

/// Why the disk did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HoldingsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A peer asks for what lies in an archive, and so many archives are being read for peers that it would have to
    /// wait.
    #[error("too many archives are being read for peers")]
    Busy,
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Where the content of a key is found.
enum Found {
    InStore(Bytes),
    InArchive,
    Nowhere,
}

/// Store and archives. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Holdings {
    // Dropped before the token that stands for it.
    store: Arc<Store>,
    workers: Workers,
    node_id: NodeId,
    in_use: TaskTrackerToken,
}

impl Holdings {
    pub(crate) fn new(store: Arc<Store>, workers: Workers, node_id: NodeId) -> Self {
        Self { store, workers, node_id, in_use: TaskTracker::new().token() }
    }

    /// The store, and what tells when nothing holds it any more but this.
    pub(crate) fn into_store(self) -> (Arc<Store>, TaskTracker) {
        (Arc::clone(&self.store), self.in_use.task_tracker().clone())
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The value under a key from store or archives, `None` if neither has it.
    pub(crate) async fn get(&self, key: &ContentKey) -> Result<Option<Bytes>, HoldingsError> {
        let (holdings, key) = (self.clone(), *key);
        Ok(self.workers.read(move || holdings.store.get(&key)).await??)
    }

    /// The same for a peer, which may be [`HoldingsError::Busy`].
    pub(crate) async fn get_for_peer(&self, key: &ContentKey) -> Result<Option<Bytes>, HoldingsError> {
        let (holdings, key) = (self.clone(), *key);
        let find = move || -> Result<Found, StoreError> {
            let store = &holdings.store;
            Ok(match store.get_by_id(key.sub_network(), &key.content_id())? {
                Some(value) => Found::InStore(value),
                None if store.contains(&key)? => Found::InArchive,
                None => Found::Nowhere,
            })
        };
        match self.workers.read(find).await?? {
            Found::InStore(value) => Ok(Some(value)),
            Found::Nowhere => Ok(None),
            Found::InArchive => {
                let holdings = self.clone();
                let read = self.workers.read_archive_for_peer(move || holdings.store.get(&key)).await?;
                Ok(read.ok_or(HoldingsError::Busy)??)
            }
        }
    }

    /// Stores content if it lies within the radius and neither store nor archives have it. Durable on return.
    pub(crate) async fn put(&self, content: VerifiedContent) -> Result<Placement, HoldingsError> {
        let holdings = self.clone();
        Ok(self.workers.write(move || holdings.put_blocking(&content)).await??)
    }

    /// The same, on a thread that may block.
    pub(crate) fn put_blocking(&self, content: &VerifiedContent) -> Result<Placement, StoreError> {
        let key = content.key();
        if self.contains_blocking(key) {
            return Ok(Placement::AlreadyStored);
        }
        if !self.is_within_radius(key.sub_network(), &key.content_id()) {
            return Ok(Placement::OutsideRadius);
        }
        let placements = self.store.put_batch(vec![Item::new(key, content.value().clone())])?;
        // One item, one placement.
        Ok(placements.first().copied().unwrap_or(Placement::OutsideRadius))
    }

    /// Whether a key's content is here, by the index alone. An index that fails has nothing.
    fn contains_blocking(&self, key: &ContentKey) -> bool {
        self.store.contains(key).unwrap_or_else(|error| {
            tracing::warn!(%error, "the store's index cannot be asked");
            false
        })
    }

    /// Which of these keys' contents are here. `None` among the keys is nothing that could be.
    pub(crate) async fn which_are_held(&self, keys: Vec<Option<ContentKey>>) -> Result<Vec<bool>, Stopping> {
        let holdings = self.clone();
        let is_held = move |key: &Option<ContentKey>| key.is_some_and(|key| holdings.contains_blocking(&key));
        self.workers.read(move || keys.iter().map(is_held).collect()).await
    }

    /// Whether content with this ID would be stored.
    pub(crate) fn is_within_radius(&self, network: SubNetwork, id: &ContentId) -> bool {
        self.node_id.distance(id) <= self.radius(network)
    }

    pub(crate) const fn node_id(&self) -> NodeId {
        self.node_id
    }

    pub(crate) fn radius(&self, network: SubNetwork) -> Distance {
        self.store.radius(network)
    }
}

/// Whether what was put is here now.
pub(crate) fn is_held(placement: Placement) -> bool {
    match placement {
        Placement::Stored | Placement::AlreadyStored => true,
        Placement::OutsideRadius | Placement::OverBudget => false,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use content_types::{history, legacy_history};

    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn reading_archives_for_peers_holds_up_neither_users_nor_what_is_stored() {
        let Fixture { chain, dir: _dir, holdings, .. } = Fixture::with_archives();
        let stored = ContentKey::from(history::ContentKey::BlockBody { number: 1 << 40 });
        holdings.store().put_batch(vec![Item::new(&stored, Bytes::from_static(b"body"))]).unwrap();
        let archived = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(5));
        let header = Some(chain.block(5).unwrap().header_with_proof());
        let nowhere = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(1 << 40));

        assert_eq!(holdings.get_for_peer(&archived).await.unwrap(), header);
        let busy = holdings.workers.all_archive_reads_for_peers().await;
        assert!(matches!(holdings.get_for_peer(&archived).await, Err(HoldingsError::Busy)));
        assert_eq!(holdings.get(&archived).await.unwrap(), header);
        assert_eq!(holdings.get_for_peer(&stored).await.unwrap().as_deref(), Some(&b"body"[..]));
        assert_eq!(holdings.get_for_peer(&nowhere).await.unwrap(), None);
        drop(busy);
        assert_eq!(holdings.get_for_peer(&archived).await.unwrap(), header);
    }

    #[tokio::test]
    async fn the_store_can_be_closed_when_the_last_who_held_it_is_gone() {
        let Fixture { dir: _dir, holdings, .. } = Fixture::new();
        let other = holdings.clone();
        let (store, users) = holdings.into_store();
        users.close();
        let mut released = pin!(users.wait());
        assert!(futures::poll!(&mut released).is_pending());
        drop(other);
        released.await;
        assert!(Arc::into_inner(store).is_some());
    }
}
