//! What this node holds: the store, and the archives served in place. Reading and writing block, so they run on the
//! disk's workers; only verified content can be put in.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_limits::Holder;
use cairn_store::{Item, Placement, ReadCost, Store, StoreError};
use cairn_swarm::geometry::Component;
use content_types::limits::MAX_TRIE_PROOF_NODES;
use content_types::state::{Bare, Way};
use content_types::{ContentId, ContentKey, Distance, NodeId, SubNetwork};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::parts::{key_of, record_of};
use crate::verified::VerifiedContent;
use crate::workers::{PeerRead, Stopping, Workers};

/// Why the disk did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HoldingsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A peer asks, and so much is being read for peers, or for this one, that it would have to wait.
    #[error("too much is being read for peers")]
    Busy,
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Consecutive pieces of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// Whether each is in snappy's framing format, as an archive has it; otherwise as its sub-network has it.
    pub(crate) is_compressed: bool,
    /// From the first that was asked for on, without a gap.
    pub(crate) items: Vec<Bytes>,
}

/// A stretch of blocks that a peer asks for.
#[derive(Clone, Debug)]
pub(crate) struct WantedPart {
    pub(crate) component: Component,
    pub(crate) blocks: Range<u64>,
    /// Whether compressed pieces will do.
    pub(crate) takes_compressed: bool,
    /// Bytes at which the answer ends.
    pub(crate) max_bytes: usize,
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

    /// The same for a peer, within what peers share: this, [`part_for_peer`](Self::part_for_peer) and
    /// [`way_for_peer`](Self::way_for_peer) are the only ways on which they read, whatever protocol they speak.
    ///
    /// # Errors
    /// [`HoldingsError::Busy`] when it would have to wait.
    pub(crate) async fn get_for_peer(&self, peer: Holder, key: &ContentKey) -> Result<Option<Bytes>, HoldingsError> {
        let key = *key;
        Ok(self.priced(peer, key, move |store, _| store.get(&key)).await?.flatten())
    }

    /// Pieces of a stretch of blocks for a peer, from the first on: as many as come to the bytes that it asks for, and one at
    /// least; none if the first is not here.
    ///
    /// # Errors
    /// [`HoldingsError::Busy`] when it would have to wait.
    pub(crate) async fn part_for_peer(&self, peer: Holder, part: WantedPart) -> Result<Pieces, HoldingsError> {
        let none = Pieces { is_compressed: false, items: Vec::new() };
        let first = key_of(part.component, part.blocks.start);
        let read = move |store: &Store, cost: ReadCost| {
            let WantedPart { component, blocks, takes_compressed, max_bytes } = &part;
            let record = record_of(*component);
            if cost != ReadCost::Stored {
                if *takes_compressed {
                    let items = store.compressed(record, blocks.clone(), *max_bytes);
                    if !items.is_empty() {
                        return Ok(Pieces { is_compressed: true, items });
                    }
                }
                let items = store.from_archive(record, blocks.clone(), *max_bytes);
                return Ok(Pieces { is_compressed: false, items });
            }
            let (mut items, mut bytes) = (Vec::new(), 0);
            for key in blocks.clone().map(|number| key_of(*component, number)) {
                let Some(item) = store.get_by_id(key.sub_network(), &key.content_id())? else { break };
                bytes += item.len();
                items.push(item);
                if bytes >= *max_bytes {
                    break;
                }
            }
            Ok(Pieces { is_compressed: false, items })
        };
        Ok(self.priced(peer, first, read).await?.unwrap_or(none))
    }

    /// Nodes on the way down a trie for a peer, bare, from the first one on without a gap, each handed to `take` until that wants no
    /// more; `None` if not even the first one is here.
    ///
    /// # Errors
    /// [`HoldingsError::Busy`] when it would have to wait.
    pub(crate) async fn way_for_peer<T: Send + 'static>(
        &self,
        peer: Holder,
        way: Way,
        mut taken: T,
        take: impl Fn(&mut T, Bytes) -> bool + Send + 'static,
    ) -> Result<Option<T>, HoldingsError> {
        let read = move |store: &Store, _| {
            let mut way = way;
            for _ in 0..MAX_TRIE_PROOF_NODES {
                let key = way.next();
                let Some(value) = store.get(&key.into())? else { break };
                // What is in the store was checked, unless somebody has meddled with its files.
                let Ok(Bare(node)) = Bare::decode(&key, &value) else { break };
                let Ok(goes_on) = way.handle_node(&node) else { break };
                if !take(&mut taken, node) || !goes_on {
                    break;
                }
            }
            Ok(taken)
        };
        self.priced(peer, way.next().into(), read).await
    }

    /// A read for a peer, in the places of what it costs to read `key`; `None` if that is not here.
    async fn priced<T: Send + 'static>(
        &self,
        peer: Holder,
        key: ContentKey,
        read: impl FnOnce(&Store, ReadCost) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Option<T>, HoldingsError> {
        let cost = || self.for_peer(peer, PeerRead::Store, move |store| store.cost(&key));
        let mut now = cost().await?;
        if now == Some(ReadCost::EpochTree) {
            let place = self.workers.tree_place(peer).await.ok_or(HoldingsError::Busy)?;
            // Whoever had the place before may have built this very tree: many ask for blocks of one epoch at a time.
            now = cost().await?;
            if now == Some(ReadCost::EpochTree) {
                let holdings = self.clone();
                let job = move || read(&holdings.store, ReadCost::EpochTree);
                let built = self.workers.build_for_peer(peer, place, job).await?;
                return Ok(Some(built.ok_or(HoldingsError::Busy)??));
            }
        }
        let (places, cost) = match now {
            None => return Ok(None),
            Some(cost @ ReadCost::Stored) => (PeerRead::Store, cost),
            // A tree that was built just now is there.
            Some(cost @ (ReadCost::Archive | ReadCost::EpochTree)) => (PeerRead::Archive, cost),
        };
        self.for_peer(peer, places, move |store| read(store, cost)).await.map(Some)
    }

    async fn for_peer<T: Send + 'static>(
        &self,
        peer: Holder,
        what: PeerRead,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, HoldingsError> {
        let holdings = self.clone();
        let read = self.workers.read_for_peer(peer, what, move || read(&holdings.store)).await?;
        Ok(read.ok_or(HoldingsError::Busy)??)
    }

    /// Stores content if it lies within the radius and neither store nor archives have it. Durable on return.
    pub(crate) async fn put(&self, content: VerifiedContent) -> Result<Placement, HoldingsError> {
        let holdings = self.clone();
        Ok(self.workers.write(move || holdings.put_blocking(&content)).await??)
    }

    /// The same, on a thread that may block.
    pub(crate) fn put_blocking(&self, content: &VerifiedContent) -> Result<Placement, StoreError> {
        let [placement] = self.put_together(std::array::from_ref(content))?;
        Ok(placement)
    }

    /// The same of several pieces, which share one sync.
    pub(crate) fn put_together<const N: usize>(
        &self,
        contents: &[VerifiedContent; N],
    ) -> Result<[Placement; N], StoreError> {
        let mut placements = [Placement::OutsideRadius; N];
        let (mut places, mut items) = (Vec::with_capacity(N), Vec::with_capacity(N));
        for (place, content) in contents.iter().enumerate() {
            let key = content.key();
            if self.contains_blocking(key) {
                placements[place] = Placement::AlreadyStored;
            } else if self.is_within_radius(key.sub_network(), &key.content_id()) {
                places.push(place);
                items.push(Item::new(key, content.value().clone()));
            }
        }
        if !items.is_empty() {
            // An answer for each item, in their order.
            let stored = self.store.put_batch(items)?;
            places.into_iter().zip(stored).for_each(|(place, placement)| placements[place] = placement);
        }
        Ok(placements)
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

    use cairn_archive::{Archive, Format};
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

        let peer = Holder::peer([7; 32], [127, 0, 0, 1].into());
        let part =
            |blocks| WantedPart { component: Component::Bodies, blocks, takes_compressed: false, max_bytes: 1 << 20 };
        assert_eq!(holdings.get_for_peer(peer, &archived).await.unwrap(), header);
        let bodies: Vec<_> = (5..8).map(|number| chain.block(number).unwrap().body).collect();
        assert_eq!(holdings.part_for_peer(peer, part(5..8)).await.unwrap().items, bodies);
        let compressed = WantedPart { takes_compressed: true, ..part(5..8) };
        assert!(holdings.part_for_peer(peer, compressed).await.unwrap().is_compressed);
        let busy = holdings.workers.all_reads_for_peers(PeerRead::Archive).await;
        assert!(matches!(holdings.get_for_peer(peer, &archived).await, Err(HoldingsError::Busy)));
        assert!(matches!(holdings.part_for_peer(peer, part(5..8)).await, Err(HoldingsError::Busy)));
        assert_eq!(holdings.part_for_peer(peer, part(1 << 40..(1 << 40) + 2)).await.unwrap().items, [&b"body"[..]]);
        assert_eq!(holdings.get(&archived).await.unwrap(), header);
        assert_eq!(holdings.get_for_peer(peer, &stored).await.unwrap().as_deref(), Some(&b"body"[..]));
        assert_eq!(holdings.get_for_peer(peer, &nowhere).await.unwrap(), None);
        drop(busy);
        assert_eq!(holdings.get_for_peer(peer, &archived).await.unwrap(), header);
    }

    /// As many as a peer's lookups ask at once after its start; one tree is enough for them all.
    #[tokio::test]
    async fn who_waits_for_a_tree_that_another_has_built_needs_none_of_its_own() {
        let Fixture { chain, dir, holdings, .. } = Fixture::before_the_merge();
        let archive = chain.write_archive(0, Format::Era1, dir.path()).unwrap();
        let prover = Arc::new(chain.verifier());
        holdings.store().add_archive(Archive::open(archive).unwrap(), prover).unwrap();
        let peer = Holder::peer([7; 32], [8, 8, 8, 8].into());
        let header = |number| legacy_history::ContentKey::HeaderByNumber(number).into();
        assert_eq!(holdings.store().cost(&header(0)).unwrap(), Some(ReadCost::EpochTree));
        let wanted = (0..24).map(|number| {
            let (holdings, key) = (holdings.clone(), header(number));
            async move { holdings.get_for_peer(peer, &key).await }
        });
        for (number, found) in (0..24).zip(futures::future::join_all(wanted).await) {
            assert_eq!(found.unwrap(), Some(chain.block(number).unwrap().header_with_proof()), "{number}");
        }
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
