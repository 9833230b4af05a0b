//! Room for bytes that are on their way: a budget for all streams, or offers, of a kind, so that no number of peers fills the
//! node's memory, and the peers of no subnet have it all.

use std::sync::Arc;
use std::time::Duration;

use cairn_proto::limits::Direction;
use cairn_proto::routing::Subnet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::TransferError;
use crate::semaphores::Semaphores;
use crate::transport::Contact;

/// Bytes that all streams of a kind may have received and not handed over as verified; as many may wait to be sent.
pub const MAX_UNVERIFIED: usize = 128 << 20;

/// The same for the peers of one subnet. A value of the largest size has room, with what is read at a time.
const MAX_BYTES_OF_SUBNET: usize = 40 << 20;

/// How long a stream waits for room. Values that are not complete may take all of it between them: then some have to give up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The budget.
pub(crate) struct Budget {
    total: Arc<Semaphore>,
    by_subnet: Semaphores<Subnet>,
}

impl Budget {
    /// A budget of so many bytes, and for the peers of one subnet.
    pub(crate) fn new(total: usize, of_subnet: usize) -> Self {
        Self { total: Arc::new(Semaphore::new(total)), by_subnet: Semaphores::new(of_subnet) }
    }

    /// Takes room for `bytes` that a peer sends or gets, waiting until there is some.
    pub(crate) async fn take(&self, peer: &Contact, bytes: usize) -> Result<Room, TransferError> {
        let permits = u32::try_from(bytes).map_err(|_| TransferError::NoRoom)?;
        let taking = async {
            let of_subnet = match self.share_of(peer) {
                Some(share) => Some(share.acquire_many_owned(permits).await.ok()?),
                None => None,
            };
            Some(Room { total: Some(self.total.clone().acquire_many_owned(permits).await.ok()?), of_subnet })
        };
        tokio::time::timeout(PATIENCE, taking).await.ok().flatten().ok_or(TransferError::NoRoom)
    }

    /// Takes room for `bytes` if there is some now; `None` for the peer: they are not for one alone.
    pub(crate) fn try_take(&self, peer: Option<&Contact>, bytes: usize) -> Option<Room> {
        let permits = u32::try_from(bytes).ok()?;
        let of_subnet = match peer.and_then(|peer| self.share_of(peer)) {
            Some(share) => Some(share.try_acquire_many_owned(permits).ok()?),
            None => None,
        };
        Some(Room { total: Some(self.total.clone().try_acquire_many_owned(permits).ok()?), of_subnet })
    }

    /// What a peer shares with others of its subnet; nothing on a local network, which has no limit.
    fn share_of(&self, peer: &Contact) -> Option<Arc<Semaphore>> {
        Some(self.by_subnet.of(Subnet::of_stranger(peer.address().ip())?))
    }
}

/// The budgets of all streams, by where the bytes go: what was offered never waits for what was asked for.
pub(super) struct Budgets([Budget; 3]);

impl Default for Budgets {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Budget::new(MAX_UNVERIFIED, MAX_BYTES_OF_SUBNET)))
    }
}

impl Budgets {
    pub(super) fn of(&self, direction: Direction) -> &Budget {
        let [inbound, fetched, outbound] = &self.0;
        match direction {
            Direction::Inbound => inbound,
            Direction::Fetch => fetched,
            Direction::Outbound => outbound,
        }
    }
}

/// Room that is taken until this is dropped.
#[derive(Debug, Default)]
pub struct Room {
    total: Option<OwnedSemaphorePermit>,
    of_subnet: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Takes over the room of `other`, which is of the same stream.
    pub fn join(&mut self, other: Room) {
        join(&mut self.total, other.total);
        join(&mut self.of_subnet, other.of_subnet);
    }

    /// Gives away room for `bytes`, or as much as there is.
    pub fn split_off(&mut self, bytes: usize) -> Room {
        Room { total: split_off(&mut self.total, bytes), of_subnet: split_off(&mut self.of_subnet, bytes) }
    }
}

fn join(own: &mut Option<OwnedSemaphorePermit>, other: Option<OwnedSemaphorePermit>) {
    match (own, other) {
        // Of two semaphores they cannot be merged; a stream has one contact, and a share lives as long as any room of it.
        (Some(own), Some(other)) if Arc::ptr_eq(own.semaphore(), other.semaphore()) => own.merge(other),
        (own, other @ Some(_)) => *own = other,
        (_, None) => {}
    }
}

fn split_off(own: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let own = own.as_mut()?;
    own.split(bytes.min(own.num_permits()))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use enr::CombinedKey;
    use futures::poll;

    use super::*;
    use crate::transport::Enr;

    fn contact(ip: [u8; 4]) -> Contact {
        Contact::new(Enr::builder().build(&CombinedKey::generate_secp256k1()).unwrap(), (ip, 9009).into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_received_waits_for_room_but_not_for_ever() {
        let (budget, peer) = (Budget::new(100, 100), contact([8, 8, 8, 1]));
        let mut held = budget.take(&peer, 60).await.unwrap();
        held.join(budget.take(&peer, 40).await.unwrap());
        assert_eq!(budget.take(&peer, 1).await.unwrap_err(), TransferError::NoRoom);

        let value = held.split_off(70);
        drop(held);
        let first = budget.take(&peer, 30).await.unwrap();
        let mut waiting = pin!(budget.take(&peer, 50));
        assert!(poll!(&mut waiting).is_pending());
        drop(value);
        let mut all = waiting.await.unwrap();
        all.join(first);
        let given = all.split_off(1_000);
        assert!([given.total, given.of_subnet].iter().flatten().all(|permit| permit.num_permits() == 80));
    }

    #[test]
    fn who_does_not_wait_gets_what_is_free() {
        let budget = Budget::new(100, 100);
        let held = budget.try_take(None, 100).unwrap();
        assert!(budget.try_take(None, 1).is_none());
        drop(held);
        assert!(budget.try_take(None, 101).is_none(), "more than there ever is");
        assert!(budget.try_take(None, 100).is_some());
    }

    #[test]
    fn the_peers_of_a_subnet_leave_room_for_others() {
        let budget = Budget::new(100, 40);
        let [first, neighbour, other] = [[8, 8, 8, 1], [8, 8, 8, 2], [8, 8, 4, 4]].map(contact);
        let held = budget.try_take(Some(&first), 30).unwrap();
        assert!(budget.try_take(Some(&neighbour), 11).is_none());
        let beside = budget.try_take(Some(&neighbour), 10);
        assert!(beside.is_some() && budget.try_take(Some(&other), 40).is_some());
        drop((held, beside));
        assert!(budget.try_take(Some(&neighbour), 40).is_some());
        let local = contact([192, 168, 0, 1]);
        assert!(budget.try_take(Some(&local), 100).is_some(), "a local network has no subnets");
    }
}
