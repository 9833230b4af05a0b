//! How much there is of something, and what of it one holder may have.

use std::time::Duration;

/// Of what all peers share, the peers of one subnet may have the whole divided by this.
pub const SUBNET_SHARE: u64 = 4;

/// The least that a hold must have moved, in bytes, to count as having made progress. Over [`Quota::yields_after`] this is
/// the rate below which a place is lost to somebody who waits.
pub const MIN_PROGRESS: u64 = 16 << 10;

/// How much there is of something: places, requests, bytes. Amounts are in the unit of whoever counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// In all.
    pub total: u64,
    /// For one peer.
    pub of_peer: u64,
    /// For one peer that has not finished anything yet.
    pub of_newcomer: u64,
    /// For all peers of one subnet.
    pub of_subnet: u64,
    /// A hold that has made no progress for so long is lost to somebody who wants a place when all are taken. `None`: what
    /// is held stays until it is given back, as memory has to.
    pub yields_after: Option<Duration>,
}

impl Quota {
    /// So much in all, of which the peers of one subnet may have a [`SUBNET_SHARE`]th.
    pub const fn new(total: u64) -> Self {
        let of_subnet = total.div_ceil(SUBNET_SHARE);
        Self { total, of_peer: total, of_newcomer: total, of_subnet, yields_after: None }
    }

    /// At most so much for one peer, and as much for its subnet at least.
    #[must_use]
    pub const fn of_peer(mut self, amount: u64) -> Self {
        self.of_peer = amount;
        self.of_newcomer = amount;
        if self.of_subnet < amount {
            self.of_subnet = amount;
        }
        self
    }

    /// At most so much for one peer that has finished nothing yet. To be called after [`of_peer`](Self::of_peer).
    #[must_use]
    pub const fn of_newcomer(mut self, amount: u64) -> Self {
        self.of_newcomer = amount;
        self
    }

    /// At most so much for the peers of one subnet.
    #[must_use]
    pub const fn of_subnet(mut self, amount: u64) -> Self {
        self.of_subnet = amount;
        self
    }

    /// Whoever makes no progress for so long loses its hold when all is taken and somebody wants some.
    #[must_use]
    pub const fn yields_after(mut self, idle: Duration) -> Self {
        self.yields_after = Some(idle);
        self
    }
}

/// Why there is nothing more for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All of it is taken.
    #[error("all {0} are taken")]
    Total(u64),
    /// The peer has what one peer may have.
    #[error("this peer has all {0} that one peer may have")]
    Peer(u64),
    /// The peer has what a peer may have that has not finished anything yet.
    #[error("this peer has all {0} that a newcomer may have")]
    Newcomer(u64),
    /// The peers of the subnet have what one subnet may have.
    #[error("the peers of this subnet have all {0} that one subnet may have")]
    Subnet(u64),
}
