//! What a sub-network's service asks of the node that hosts it: content IDs, stored content, and the verdict on offers and
//! arrivals.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use cairn_limits::{Holder, Subnet};
pub use cairn_proto::gossip::OfferVerdict;
use content_types::{ContentId, Distance, Form, NodeId};
use futures::future::BoxFuture;
use thiserror::Error;

use crate::transport::Enr;

/// The side of a sub-network that knows what the content means. Everything that is not `async` here is called on the
/// network's tasks and must neither block nor take long.
pub trait ContentHandler: Send + Sync + 'static {
    /// The content ID of an encoded content key; `None` when the key is malformed or of a type that this node does not
    /// know.
    fn content_id(&self, key: &[u8]) -> Option<ContentId>;

    /// The most bytes that a value of this (well-formed) key may have in this form. What announces more is not read.
    fn max_value_len(&self, key: &[u8], form: Form) -> usize;

    /// How far from this node's ID it stores content now.
    fn radius(&self) -> Distance;

    /// Ephemeral headers held, for ping extension type 2.
    fn ephemeral_header_count(&self) -> u16 {
        0
    }

    /// The value of a key as it is stored; `None` if it is not here.
    ///
    /// # Errors
    /// [`Busy`] when a peer would have to wait for it.
    fn get(&self, key: Bytes, reader: Reader) -> BoxFuture<'_, Result<Option<Bytes>, Busy>>;

    /// The value of a key from a peer by a way of its own that is faster than this protocol's, if there is one now. `None`
    /// without one; the future's `None` if it did not bring the value. What it brings is checked like any other.
    fn express(&self, _from: &Enr, _key: &[u8]) -> Option<BoxFuture<'static, Option<Bytes>>> {
        None
    }

    /// The answer to a request that is none of the Portal wire protocol's, where a sub-network has such beside them. Whatever else a
    /// peer sends is answered empty, as it is if this is `None`.
    fn own_request(&self, _from: Holder, _request: &[u8]) -> Option<BoxFuture<'static, Bytes>> {
        None
    }

    /// Whether offered items are wanted: one verdict for each key. A malformed key is not verifiable.
    fn offer(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Vec<OfferVerdict>>;

    /// The one way in: validates a value, and stores it when it lies within the radius. What is stored is durable when the
    /// future resolves.
    ///
    /// # Errors
    /// [`Rejection`] says whether the value is wrong or could only not be judged.
    fn admit(&self, key: Bytes, value: Bytes, from: ContentSource) -> BoxFuture<'_, Result<Admitted, Rejection>>;
}

/// For whom a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A peer, which others may serve as well: it may be refused when reading is expensive.
    Peer(Holder),
    /// A lookup of this node.
    Own,
}

/// So much is read for peers that this one would have to wait: it is told so and may ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too much is being read for peers")]
pub struct Busy;

/// How a value came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentSource {
    /// A peer offered it, in that form.
    Offer {
        /// Which one.
        peer: NodeId,
        /// The subnet that it counts for; `None`: one without limits.
        subnet: Option<Subnet>,
    },
    /// A peer answered a lookup or a direct request with it, as it is stored there.
    Lookup(NodeId),
    /// It was handed in on this machine (JSON-RPC, an archive), as if it were offered.
    Local,
}

impl ContentSource {
    /// The form of the value.
    pub const fn form(self) -> Form {
        match self {
            Self::Offer { .. } | Self::Local => Form::Offered,
            Self::Lookup(_) => Form::Stored,
        }
    }
}

/// A value that was found valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Whether it is stored here now and was not before.
    pub stored: bool,
}

/// A value that was not let in.
#[derive(Debug, Clone, Error)]
pub enum Rejection {
    /// The value is not what the key stands for: who sent it is wrong or lies.
    #[error("invalid content: {0}")]
    Invalid(#[source] Cause),
    /// What is needed to judge any value of this key, such as its header, is not at hand. Nobody is to blame, and a lookup
    /// ends: so say this only of what the value itself has no part in, or one peer could end the lookups of others.
    #[error("content that cannot be verified now: {0}")]
    Unverifiable(#[source] Cause),
    /// This value cannot be judged by what it says of itself; another peer's may be.
    #[error("content that cannot be told from invalid: {0}")]
    Doubtful(#[source] Cause),
    /// It is valid, yet this node failed to keep it.
    #[error("content not stored: {0}")]
    Storage(#[source] Cause),
}

/// The handler's own error behind a [`Rejection`]. It is shared, since a rejection goes to several; whoever
/// follows [`source`](std::error::Error::source) comes to the error itself.
#[derive(Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(Arc::new(error))
    }
}

impl Deref for Cause {
    type Target = dyn std::error::Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
