//! What keeps a sub-network's content. Most is kept by distance from the node's ID, in the store; what all peers want the newest of
//! knows no distance, and is kept some other way. The rest of a sub-network's service does not notice which.

use bytes::Bytes;
use cairn_limits::Holder;
use cairn_store::Placement;
use content_types::state::page::{PageFiller, WayPage};
use content_types::{ContentKey, Distance, SubNetwork};
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::service::Reader;

use crate::holdings::{Holdings, HoldingsError};
use crate::verified::VerifiedContent;

/// Whether content that can be had is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// It is here.
    Held,
    /// It would not be kept.
    None,
    /// It would be kept.
    Wanted,
    /// It would be kept if anything could be stored now.
    Later,
}

/// Where a sub-network's content is kept and read.
pub(crate) trait Keeper: Send + Sync {
    /// The value under a key as it is stored, `None` if it is not here.
    ///
    /// # Errors
    /// [`HoldingsError::Busy`] when a peer would have to wait.
    fn get<'a>(&'a self, key: &'a ContentKey, reader: Reader) -> BoxFuture<'a, Result<Option<Bytes>, HoldingsError>>;

    /// The page of a way down a trie for a peer; empty if what is here does not come so far.
    ///
    /// # Errors
    /// [`HoldingsError::Busy`] when it would have to wait.
    fn way_page(&self, _peer: Holder, _wanted: WayPage) -> BoxFuture<'_, Result<Bytes, HoldingsError>> {
        async { Ok(Bytes::new()) }.boxed()
    }

    /// Which of these keys' contents are wanted. `None` among the keys is nothing that could be.
    fn interests(&self, keys: Vec<Option<ContentKey>>) -> BoxFuture<'_, Vec<Interest>>;

    /// Keeps content, if it is of interest; whether it was kept and was not here before. Durable when the future resolves.
    ///
    /// # Errors
    /// [`HoldingsError`] when the disk fails.
    fn put(&self, content: VerifiedContent) -> BoxFuture<'_, Result<bool, HoldingsError>>;

    /// What PING and PONG say of how far from this node's ID content is kept.
    fn radius(&self, network: SubNetwork) -> Distance;
}

impl Keeper for Holdings {
    fn get<'a>(&'a self, key: &'a ContentKey, reader: Reader) -> BoxFuture<'a, Result<Option<Bytes>, HoldingsError>> {
        async move {
            match reader {
                Reader::Own => self.get(key).await,
                Reader::Peer(peer) => self.get_for_peer(peer, key).await,
            }
        }
        .boxed()
    }

    fn way_page(&self, peer: Holder, WayPage { way, page }: WayPage) -> BoxFuture<'_, Result<Bytes, HoldingsError>> {
        async move {
            let filler = PageFiller::new(page);
            let filler = self.way_for_peer(peer, way, filler, |filler, node| filler.push(&node)).await?;
            Ok(filler.map(PageFiller::finish).unwrap_or_default())
        }
        .boxed()
    }

    fn interests(&self, keys: Vec<Option<ContentKey>>) -> BoxFuture<'_, Vec<Interest>> {
        async move {
            let held = self.which_are_held(keys.clone()).await.unwrap_or_default();
            let is_held = held.into_iter().chain(std::iter::repeat(false));
            let wanted = if self.store().refusal().is_some() { Interest::Later } else { Interest::Wanted };
            let interest = |(key, is_held): (Option<ContentKey>, bool)| match key {
                _ if is_held => Interest::Held,
                Some(key) if self.is_within_radius(key.sub_network(), &key.content_id()) => wanted,
                _ => Interest::None,
            };
            keys.into_iter().zip(is_held).map(interest).collect()
        }
        .boxed()
    }

    fn put(&self, content: VerifiedContent) -> BoxFuture<'_, Result<bool, HoldingsError>> {
        async move { Ok(self.put(content).await? == Placement::Stored) }.boxed()
    }

    fn radius(&self, network: SubNetwork) -> Distance {
        self.radius(network)
    }
}
