//! uTP streams over TALKREQ.

mod error;

use std::sync::Arc;

use crate::transport::{AlreadyRegistered, Transport};

pub use error::TransferError;

/// The uTP streams of a node, shared by all its sub-networks. Cheap to clone.
#[derive(Clone)]
pub struct Transfers {
    _transport: Arc<dyn Transport>,
}

impl Transfers {
    /// Starts the driver on the current tokio runtime.
    ///
    /// # Errors
    /// When the `utp` protocol is taken on this transport.
    pub fn start(transport: Arc<dyn Transport>) -> Result<Self, AlreadyRegistered> {
        Ok(Self { _transport: transport })
    }

    /// Resets all streams and returns when the driver has ended.
    pub async fn shutdown(&self) {}
}
