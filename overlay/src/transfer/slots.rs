//! Transfer slots: how many streams may be open, in each direction, with one peer and in all.

use std::sync::Arc;
use std::time::Duration;

use cairn_limits::{Full, Holder, Limiter, Permit};
use cairn_proto::limits::{Direction, TransferLimits};

use crate::transport::Contact;

/// The slots of a node. Cheap to clone.
#[derive(Clone)]
pub(super) struct TransferSlots {
    inbound: Limiter,
    fetches: Limiter,
    outbound: Limiter,
}

/// A slot that is taken until this is dropped, or lost because the transfer moved nothing while somebody else waited: then
/// its stream is reset.
#[derive(Debug)]
pub struct Slot {
    permit: Arc<Permit>,
    direction: Direction,
}

impl Slot {
    /// What the stream reports its progress to.
    pub(super) fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }

    /// Which way the bytes go that count as progress.
    pub(super) fn direction(&self) -> Direction {
        self.direction
    }
}

impl TransferSlots {
    pub(super) fn new(limits: TransferLimits) -> Self {
        let limiter = |direction| Limiter::new(limits.quota(direction));
        Self {
            inbound: limiter(Direction::Inbound),
            fetches: limiter(Direction::Fetch),
            outbound: limiter(Direction::Outbound),
        }
    }

    /// Takes a slot, waiting until one is free.
    pub(super) async fn take(&self, direction: Direction, peer: &Contact) -> Result<Slot, Full> {
        let permit = self.of(direction).take(peer.holder(), 1).await?;
        Ok(Slot { permit: Arc::new(permit), direction })
    }

    /// Takes a slot if one is free within `patience`.
    pub(super) async fn take_within(
        &self,
        direction: Direction,
        peer: &Contact,
        patience: Duration,
    ) -> Result<Slot, Full> {
        let permit = self.of(direction).take_within(peer.holder(), 1, patience).await?;
        Ok(Slot { permit: Arc::new(permit), direction })
    }

    /// Takes a slot if one is free.
    pub(super) fn try_take(&self, direction: Direction, holder: Holder) -> Result<Slot, Full> {
        let permit = self.of(direction).try_take(holder, 1)?;
        Ok(Slot { permit: Arc::new(permit), direction })
    }

    /// The limiter of a direction.
    pub(super) fn of(&self, direction: Direction) -> &Limiter {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Fetch => &self.fetches,
            Direction::Outbound => &self.outbound,
        }
    }
}
