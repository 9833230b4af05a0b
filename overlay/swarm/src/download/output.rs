//! What a download gives out: what its driver is to do, and how far it is.

use std::time::Instant;

use cairn_peer_book::Offence;

use super::{PeerKey, RequestId};
use crate::geometry::Part;

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Ask a peer for a part.
    Request {
        /// The request's number, which is in what is told of it.
        id: RequestId,
        /// The peer that is asked.
        peer: PeerKey,
        /// What it is asked for.
        part: Part,
    },
    /// Stop a request: nothing is to be told of it any more.
    Cancel {
        /// The request that is stopped.
        id: RequestId,
    },
    /// Charge a peer with something. Who is barred for it is to be disconnected.
    Offence {
        /// The peer that is charged.
        peer: PeerKey,
        /// What it is charged with.
        offence: Offence,
    },
    /// There is nothing to do before something happens, or this instant.
    Timeout(Instant),
    /// Everything that was wanted is here.
    Finished,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Items wanted: a header, a body and a receipt list count one each.
    pub wanted: u64,
    /// Of those, missing.
    pub missing: u64,
    /// Of the missing, those that no connected peer holds of which anything is to be hoped: whoever claims and does not deliver
    /// does not count.
    pub unreachable: u64,
    /// About how many bytes the missing ones have.
    pub missing_bytes: u64,
    /// Bytes that were asked for and have not come.
    pub in_flight: u64,
}

/// How one peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProgress {
    /// The peer.
    pub peer: PeerKey,
    /// Bytes a second.
    pub rate: u64,
    /// Bytes received.
    pub received: u64,
    /// Requests under way.
    pub requests: usize,
    /// Whether it refuses to serve.
    pub is_choked: bool,
}
