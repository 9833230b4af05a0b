//! Where a fetch puts what comes: a sink checks each item and keeps it, or says whose fault it is that it did not.

use bytes::Bytes;
use content_types::verify::{Fault, Unverified};

use crate::geometry::Component;

/// Why an item was not kept.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It is not what the chain says: the sender's fault.
    #[error(transparent)]
    Invalid(ErrorSource),
    /// It cannot be judged with the trust lists that are here. The sender may lie about where the chain ends, or the lists
    /// may end before: it is asked of others.
    #[error(transparent)]
    Doubtful(ErrorSource),
    /// It cannot be kept: the disk's fault, or this node's. The download stops.
    #[error(transparent)]
    Failed(ErrorSource),
}

impl From<Unverified> for PutError {
    fn from(unverified: Unverified) -> Self {
        match unverified.fault() {
            Fault::Sender => Self::Invalid(unverified.into()),
            Fault::Lists => Self::Doubtful(unverified.into()),
            Fault::Own => Self::Failed(unverified.into()),
        }
    }
}

/// What lies behind an error.
pub type ErrorSource = Box<dyn std::error::Error + Send + Sync>;

/// An item as a sink gets it.
#[derive(Debug, Clone)]
pub struct Received {
    /// The item.
    pub item: Bytes,
    /// The stream in snappy's framing format that it came in, if it came so. It was read, and the item is what is in it.
    pub stream: Option<Bytes>,
}

impl From<Bytes> for Received {
    /// One that came as it is.
    fn from(item: Bytes) -> Self {
        Self { item, stream: None }
    }
}

/// Checks items and keeps them.
pub trait Sink: Send + Sync + 'static {
    /// Checks an item and keeps it. Bodies and receipts come after the header of their block was kept. Blocks, and is called
    /// from several threads at once.
    ///
    /// # Errors
    ///
    /// [`PutError`] says whether the item was wrong or could not be kept.
    fn put(&self, component: Component, number: u64, received: &Received) -> Result<(), PutError>;
}
