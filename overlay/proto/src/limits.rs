//! How many transfers may run at a time.
//!
//! A transfer is a uTP stream. Content that fits into its answer needs none: it is served whether or not a slot is free.

use std::time::Duration;

pub use cairn_limits::SUBNET_SHARE;
use cairn_limits::{Quota, ledger::USUAL_PATIENCE};

/// Which way the content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To this node, offered by a peer.
    Inbound,
    /// To this node, asked for by it. Apart from what is offered, so that offers never keep a lookup waiting.
    Fetch,
    /// From this node.
    Outbound,
}

/// Most transfers at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// Offered to this node, from all peers.
    pub inbound: usize,
    /// Offered to this node, from one peer.
    pub inbound_per_peer: usize,
    /// Asked for by this node, from all peers.
    pub fetches: usize,
    /// Asked for by this node, from one peer.
    pub fetches_per_peer: usize,
    /// From this node, to all peers.
    pub outbound: usize,
    /// From this node, to one peer.
    pub outbound_per_peer: usize,
}

impl Default for TransferLimits {
    /// A stream holds at most 256 kB in the buffer of its direction, so buffers come to 200 MB if every slot is in use and every
    /// one is full. Values that are not complete or not sent yet have budgets of their own.
    ///
    /// A peer may have twice as many from this node as this node has from a peer: slots are free there a moment before they
    /// are here.
    fn default() -> Self {
        Self {
            inbound: 256,
            inbound_per_peer: 16,
            fetches: 256,
            fetches_per_peer: 32,
            outbound: 256,
            outbound_per_peer: 64,
        }
    }
}

/// Of a peer's slots, one that has finished no transfer yet may have the whole divided by this. Node IDs cost nothing: whoever
/// comes with many and takes nothing leaves room for others so.
const NEWCOMERS_SHARE: u64 = 4;

/// How long a transfer that is asked for may bring nothing before it loses its slot to somebody who waits. It begins with a
/// request, which has two seconds to be answered.
const FETCH_PATIENCE: Duration = Duration::from_secs(3);

impl TransferLimits {
    /// What there is of slots in a direction, and what of them one peer may have. Who moves nothing is the first to lose its
    /// slot when somebody else wants one and all are taken.
    pub fn quota(&self, direction: Direction) -> Quota {
        let of = |total: usize, per_peer: usize| Quota::new(total as u64).of_peer(per_peer as u64);
        let of_newcomer = |per_peer: usize| (per_peer as u64).div_ceil(NEWCOMERS_SHARE);
        match direction {
            Direction::Inbound => of(self.inbound, self.inbound_per_peer)
                .of_newcomer(of_newcomer(self.inbound_per_peer))
                .yields_after(USUAL_PATIENCE),
            // Whom to ask is this node's own choice.
            Direction::Fetch => of(self.fetches, self.fetches_per_peer).yields_after(FETCH_PATIENCE),
            Direction::Outbound => of(self.outbound, self.outbound_per_peer)
                .of_newcomer(of_newcomer(self.outbound_per_peer))
                .yields_after(USUAL_PATIENCE),
        }
    }
}
