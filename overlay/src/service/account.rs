//! Tells the observer of a transfer's end, whatever happens.

use std::sync::Arc;

use cairn_proto::limits::Direction;
use tokio::time::Instant;

use super::{Flow, Observer, RequestError, TransferFailure};
use crate::transfer::TransferError;

/// An open transfer. Dropped before it is closed, it counts as cancelled.
pub(super) struct Account {
    observer: Arc<dyn Observer>,
    flow: Flow,
    started: Instant,
    open: bool,
}

impl Account {
    pub(super) fn open(observer: Arc<dyn Observer>, direction: Direction) -> Self {
        let flow = match direction {
            Direction::Inbound | Direction::Fetch => Flow::In,
            Direction::Outbound => Flow::Out,
        };
        Self { observer, flow, started: Instant::now(), open: true }
    }

    pub(super) fn close(&mut self, bytes: u64, failure: Option<TransferFailure>) {
        self.open = false;
        self.observer.transfer_ended(self.flow, bytes, self.started.elapsed(), failure);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.open {
            self.close(0, Some(TransferFailure::Cancelled));
        }
    }
}

impl From<&RequestError> for TransferFailure {
    fn from(error: &RequestError) -> Self {
        match error {
            RequestError::Transfer(error) => TransferError::into(*error),
            _ => Self::Malformed,
        }
    }
}
