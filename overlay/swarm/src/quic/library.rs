//! What a peer serves. Who asks is told with each question, so that whoever reads can give each its share.

use bytes::Bytes;
use cairn_limits::Holder;
use content_types::{ContentKey, state::Way};
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::watch;

use crate::{
    geometry::{Component, Part, RunSet},
    wire::{Encoding, Encodings},
};

/// The runs that a peer holds, by [`Component::index`].
pub type Held = [RunSet; Component::COUNT];

/// Why something is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotServed {
    /// It is not here.
    NotHeld,
    /// There is too much to do.
    Busy,
}

/// Consecutive items.
#[derive(Debug, Clone)]
pub struct Items {
    /// How they are written.
    pub encoding: Encoding,
    /// The items, from the first that was asked for on, without a gap.
    pub items: Vec<Bytes>,
}

/// What a peer serves.
pub trait Library: Send + Sync + 'static {
    /// What is held, as it changes.
    fn held(&self) -> watch::Receiver<std::sync::Arc<Held>>;

    /// Items of a part from its first one on, for `peer`: as many as come to `max_bytes`, and one at least.
    ///
    /// # Errors
    ///
    /// [`NotServed`] if the first one cannot be had, or not now.
    fn read(
        &self,
        peer: Holder,
        part: Part,
        encodings: Encodings,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Items, NotServed>>;

    /// An item by its key for `peer`, in the encoding of its sub-network.
    ///
    /// # Errors
    ///
    /// [`NotServed`] if it cannot be had, or not now.
    fn item(&self, peer: Holder, key: ContentKey) -> BoxFuture<'_, Result<Bytes, NotServed>>;

    /// Nodes on the way down a trie for `peer`, bare, from the first one on without a gap: [`MAX_TRIE_PROOF_NODES`] at most. Who holds
    /// no state need not know of them.
    ///
    /// [`MAX_TRIE_PROOF_NODES`]: content_types::limits::MAX_TRIE_PROOF_NODES
    ///
    /// # Errors
    ///
    /// [`NotServed`] if the first one cannot be had, or not now.
    fn way(&self, _peer: Holder, _way: Way) -> BoxFuture<'_, Result<Vec<Bytes>, NotServed>> {
        std::future::ready(Err(NotServed::NotHeld)).boxed()
    }
}
