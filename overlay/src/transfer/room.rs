//! Room for bytes that are on their way: a budget for all streams, or offers, of a kind, so that no number of peers fills the
//! node's memory, and the peers of no subnet have it all.

use std::time::Duration;

use cairn_limits::ledger::USUAL_PATIENCE;
use cairn_limits::{Holder, Limiter, Permit, Quota};
use cairn_proto::limits::Direction;

use super::TransferError;
use crate::transport::Contact;

/// Bytes that all streams of a kind may have received and not handed over as verified; as many may wait to be sent.
pub const MAX_UNVERIFIED: usize = 128 << 20;

/// Bytes that the peers of one subnet may have of that. A value of the largest size has room, with what is read at a time.
const MAX_BYTES_OF_SUBNET: u64 = 40 << 20;

/// How long a stream waits for room. Values that are not complete may take all of it between them: then some have to give up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The budgets of all streams, by where the bytes go: what was offered never waits for what was asked for.
pub(super) struct StreamBudgets {
    inbound: Limiter,
    fetched: Limiter,
    outbound: Limiter,
}

impl Default for StreamBudgets {
    fn default() -> Self {
        // The bytes are let go with their stream.
        let quota = Quota::new(MAX_UNVERIFIED as u64).of_subnet(MAX_BYTES_OF_SUBNET).yields_after(USUAL_PATIENCE);
        Self { inbound: Limiter::new(quota), fetched: Limiter::new(quota), outbound: Limiter::new(quota) }
    }
}

impl StreamBudgets {
    /// Takes room for `bytes` that a peer sends or gets, waiting until there is some.
    pub(super) async fn take(&self, direction: Direction, peer: &Contact, bytes: usize) -> Result<Room, TransferError> {
        let taken = self.of(direction).take_within(peer.holder(), bytes as u64, PATIENCE).await;
        taken.map(|permit| Room(Some(permit))).map_err(|_| TransferError::NoRoom)
    }

    /// Takes room for `bytes` if there is some now.
    pub(super) fn try_take(&self, direction: Direction, peer: &Contact, bytes: usize) -> Option<Room> {
        try_take(self.of(direction), peer.holder(), bytes)
    }

    fn of(&self, direction: Direction) -> &Limiter {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Fetch => &self.fetched,
            Direction::Outbound => &self.outbound,
        }
    }
}

/// Room that is taken until this is dropped.
#[derive(Debug, Default)]
pub struct Room(Option<Permit>);

impl Room {
    /// Takes over the room of `other`, which is of the same stream.
    pub fn join(&mut self, other: Room) {
        match (&mut self.0, other.0) {
            (Some(own), Some(other)) => drop(own.join(other)),
            (own, other @ Some(_)) => *own = other,
            (_, None) => {}
        }
    }

    /// Whether it is lost to somebody else.
    pub(super) fn is_lost(&self) -> bool {
        self.0.as_ref().is_some_and(Permit::is_revoked)
    }

    /// It is this node that is to do something about it now, not the peer: it is not lost for want of progress.
    pub(crate) fn kept(self) -> Self {
        self.set_yielding(false);
        self
    }

    /// Whether it may be lost for want of progress: not while it is this node that is slow.
    pub(crate) fn set_yielding(&self, yields: bool) {
        if let Some(permit) = &self.0 {
            permit.set_yielding(yields);
        }
    }

    pub(super) fn progress(&self, bytes: usize) {
        if let Some(permit) = &self.0 {
            permit.progress(bytes as u64);
        }
    }

    /// Waits until it is lost to somebody else.
    pub(super) async fn revoked(&self) {
        match &self.0 {
            Some(permit) => permit.revoked().await,
            None => std::future::pending().await,
        }
    }

    /// What the stream that it is for reports its progress to.
    pub(super) fn into_permit(self) -> Option<Permit> {
        self.0
    }

    /// Gives away room for `bytes`, or as much as there is.
    pub fn split_off(&mut self, bytes: usize) -> Room {
        Room(self.0.as_mut().and_then(|own| own.split_off(bytes as u64)))
    }
}

/// Room in a budget that nobody waits for: what has none is dropped.
pub(crate) fn try_take(budget: &Limiter, holder: Holder, bytes: usize) -> Option<Room> {
    budget.try_take(holder, bytes as u64).ok().map(|permit| Room(Some(permit)))
}

#[cfg(test)]
mod tests {
    use enr::CombinedKey;

    use super::*;
    use crate::transport::Enr;

    const HALF: usize = MAX_UNVERIFIED / 2;

    fn contact(ip: [u8; 4]) -> Contact {
        Contact::new(Enr::builder().build(&CombinedKey::generate_secp256k1()).unwrap(), (ip, 9009).into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_received_waits_for_room_but_not_for_ever() {
        let (budgets, peer) = (StreamBudgets::default(), contact([192, 168, 0, 1]));
        let mut held = budgets.take(Direction::Inbound, &peer, HALF).await.unwrap().kept();
        held.join(budgets.take(Direction::Inbound, &peer, HALF).await.unwrap().kept());
        assert_eq!(budgets.take(Direction::Inbound, &peer, 1).await.unwrap_err(), TransferError::NoRoom);
        assert!(budgets.take(Direction::Fetch, &peer, 1).await.is_ok(), "what is asked for has its own");
        let value = held.split_off(HALF + 1).kept();
        drop(held);
        assert!(budgets.take(Direction::Inbound, &peer, HALF).await.is_err());
        drop(value);
        assert!(budgets.take(Direction::Inbound, &peer, HALF).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_peers_of_a_subnet_leave_room_for_others() {
        let budgets = StreamBudgets::default();
        let [first, neighbour, other] = [[8, 8, 8, 1], [8, 8, 8, 2], [8, 8, 4, 4]].map(contact);
        let share = MAX_BYTES_OF_SUBNET as usize;
        let _held = budgets.take(Direction::Outbound, &first, share).await.unwrap().kept();
        assert!(budgets.take(Direction::Outbound, &neighbour, 1).await.is_err());
        assert!(budgets.take(Direction::Outbound, &other, share).await.is_ok());
    }
}
