//! What a sub-network tells about itself, for metrics. Every method does nothing unless implemented.

use std::time::Duration;

use cairn_utp::CloseReason;
use content_types::NodeId;

use crate::transfer::TransferError;

/// Hooks that are called on the network's tasks: they must not block.
pub trait Observer: Send + Sync + 'static {
    /// A content lookup ended.
    fn content_lookup(&self, _outcome: &LookupOutcome) {}

    /// A node lookup ended.
    fn node_lookup(&self, _outcome: &LookupOutcome) {}

    /// A uTP transfer ended, after this many bytes of payload.
    fn transfer_ended(&self, _flow: Flow, _bytes: u64, _took: Duration, _failure: Option<TransferFailure>) {}

    /// The number of live peers in the routing table changed.
    fn peers(&self, _count: usize) {}

    /// A request was received.
    fn request_received(&self, _kind: RequestKind) {}

    /// A key was offered here and answered with this ACCEPT code.
    fn offer_answered(&self, _code: u8) {}

    /// A peer sent content that is not what its key stands for.
    fn peer_lied(&self, _peer: NodeId) {}
}

/// An observer that looks away.
pub struct Unobserved;

impl Observer for Unobserved {}

/// How a lookup went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupOutcome {
    /// Whether it found what it looked for; for a node lookup, whether anybody answered.
    pub found: bool,
    /// Steps away from this node's own table that the answering peer was learned at: 1 for a peer from the table.
    pub hops: u32,
    /// Peers that were asked.
    pub asked: usize,
    /// From start to result.
    pub took: Duration,
}

/// Which way a transfer's payload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// To this node.
    In,
    /// From this node.
    Out,
}

/// Why a transfer did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferFailure {
    /// The peer did not open the stream, or did not answer.
    NotConnected,
    /// No progress for too long.
    Stalled,
    /// The peer reset the stream.
    Reset,
    /// The stream ended early, or announced more than is allowed.
    Malformed,
    /// This node had no slot or no room for it.
    Busy,
    /// The transfer was given up here.
    Cancelled,
}

impl From<TransferError> for TransferFailure {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Closed(CloseReason::ConnectTimeout) | TransferError::IdInUse(_) => Self::NotConnected,
            TransferError::Closed(CloseReason::PeerReset) => Self::Reset,
            TransferError::Closed(CloseReason::IdleTimeout) | TransferError::Stalled | TransferError::SlotLost => {
                Self::Stalled
            }
            TransferError::Closed(CloseReason::Finished) | TransferError::TooLong { .. } => Self::Malformed,
            TransferError::NoSlot | TransferError::NoRoom | TransferError::TooManyUnopened => Self::Busy,
            TransferError::Closed(CloseReason::LocalReset) | TransferError::Stopped => Self::Cancelled,
        }
    }
}

/// The requests of the Portal wire protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// PING.
    Ping,
    /// FINDNODES.
    FindNodes,
    /// FINDCONTENT.
    FindContent,
    /// OFFER.
    Offer,
    /// One that is not of the Portal wire protocol and that the sub-network knows.
    Own,
    /// Undecodable, answered empty.
    Malformed,
}
