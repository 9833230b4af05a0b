//! Why a transfer ended early.

use cairn_utp::CloseReason;
use thiserror::Error;

/// A uTP transfer that did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TransferError {
    /// The peer drew a connection ID that another of its streams has.
    #[error("connection ID {0} is in use")]
    IdInUse(u16),
    /// The peer closed the stream early, or never opened it.
    #[error("the stream ended: {0}")]
    Closed(CloseReason),
    /// No byte moved for too long.
    #[error("the stream made no progress")]
    Stalled,
    /// More came than was allowed for.
    #[error("the stream holds more than {limit} bytes")]
    TooLong {
        /// The most that was allowed, in bytes.
        limit: usize,
    },
    /// All transfer slots stayed in use.
    #[error("no transfer slot became free")]
    NoSlot,
    /// Too little moved while somebody else waited for a slot, or for room.
    #[error("the slot was lost to somebody who waited: too little moved")]
    SlotLost,
    /// All room for what is not verified yet stayed in use.
    #[error("no room for received bytes became free")]
    NoRoom,
    /// Too many streams were announced, to this peer or in all, and not opened.
    #[error("too many streams wait to be opened")]
    TooManyUnopened,
    /// The transfers were shut down.
    #[error("transfers are shut down")]
    Stopped,
}
