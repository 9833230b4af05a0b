//! Why a transfer ended early.

use cairn_utp::CloseReason;
use thiserror::Error;

use crate::service::TransferFailure;

/// A uTP transfer that did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TransferError {
    /// No slot is free under the limits on transfers.
    #[error("no slot is free for another transfer")]
    NoSlot,
    /// The peer closed the stream early, or never opened it.
    #[error("the stream ended: {0}")]
    Closed(CloseReason),
    /// No byte moved for too long.
    #[error("the stream made no progress")]
    Stalled,
    /// The peer's stream ended before the announced bytes had come.
    #[error("the stream ended before its announced length")]
    EndedEarly,
    /// The transfers were shut down.
    #[error("transfers are shut down")]
    Stopped,
}

impl From<TransferError> for TransferFailure {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Closed(CloseReason::ConnectTimeout) => Self::NotConnected,
            TransferError::Closed(CloseReason::PeerReset) => Self::Reset,
            TransferError::Closed(CloseReason::IdleTimeout) | TransferError::Stalled => Self::Stalled,
            TransferError::Closed(CloseReason::Finished) | TransferError::EndedEarly => Self::Malformed,
            TransferError::Closed(CloseReason::LocalReset) | TransferError::NoSlot | TransferError::Stopped => {
                Self::Cancelled
            }
        }
    }
}
