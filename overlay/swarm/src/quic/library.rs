//! What a peer serves: asked on threads of their own, for reading files blocks.

use bytes::Bytes;
use content_types::ContentKey;
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

    /// Items of a part from its first one on: as many as come to `max_bytes`, and one at least. Blocks.
    ///
    /// # Errors
    ///
    /// [`NotServed`] if the first one cannot be had.
    fn read(&self, part: Part, encodings: Encodings, max_bytes: usize) -> Result<Items, NotServed>;

    /// An item by its key, in the encoding of its sub-network. Blocks.
    ///
    /// # Errors
    ///
    /// [`NotServed`] if it cannot be had.
    fn item(&self, key: &ContentKey) -> Result<Bytes, NotServed>;
}
