//! Room for what peers offered and whose header is being searched for. Received bytes have a budget of their own in the
//! overlay until they are admitted; values that wait take up only a part of it, so that they hold up nothing that could
//! be checked right away.
//!
//! A value under an unknown hash waits until the search for its header is given up, so each peer has a share: it takes
//! several to fill the room. What peers of one subnet have is bounded by the overlay's budget.

use std::collections::HashMap;

use content_types::NodeId;
use overlay::transfer::MAX_UNVERIFIED;
use parking_lot::Mutex;

use super::Refusal;
use crate::headers::Asker;

/// Bytes of all values that wait: half of what the overlay holds of offered bytes, as it holds these until they are
/// admitted. The other half has room for the largest value.
const MAX_BYTES: usize = MAX_UNVERIFIED / 2;
/// Bytes of one peer's values that wait, unless it is only one: that may be of any size, or there would be content that no
/// peer could bring. The largest is half of [`MAX_BYTES`].
const MAX_BYTES_OF_PEER: usize = MAX_BYTES / 4;

/// Counts the bytes that wait.
#[derive(Default)]
pub(super) struct WaitingRoom(Mutex<Bytes>);

#[derive(Default)]
struct Bytes {
    total: usize,
    /// Of peers of which anything waits.
    by_peer: HashMap<NodeId, usize>,
}

/// Room that is taken until this is dropped.
pub(super) struct Seat<'a> {
    room: &'a WaitingRoom,
    peer: NodeId,
    bytes: usize,
}

impl WaitingRoom {
    /// Takes room for a value of `bytes`. Users need none.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there is no room, or none for this peer.
    pub(super) fn enter(&self, asker: Asker, bytes: usize) -> Result<Option<Seat<'_>>, Refusal> {
        let Asker::Peer(peer) = asker else { return Ok(None) };
        let mut waiting = self.0.lock();
        let total = waiting.total.saturating_add(bytes);
        let of_peer = waiting.by_peer.get(&peer);
        let has_share = of_peer.is_none_or(|of_peer| of_peer.saturating_add(bytes) <= MAX_BYTES_OF_PEER);
        if total > MAX_BYTES || !has_share {
            return Err(Refusal::Busy);
        }
        waiting.total = total;
        *waiting.by_peer.entry(peer).or_default() += bytes;
        Ok(Some(Seat { room: self, peer, bytes }))
    }

    /// Takes all room, as the values of several peers do.
    #[cfg(test)]
    pub(super) fn fill(&self) -> Vec<Seat<'_>> {
        let half = |number| self.enter(Asker::Peer([number; 32].into()), MAX_BYTES / 2).unwrap().unwrap();
        vec![half(0xfe), half(0xff)]
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut waiting = self.room.0.lock();
        waiting.total -= self.bytes;
        if let Some(of_peer) = waiting.by_peer.get_mut(&self.peer) {
            *of_peer -= self.bytes;
            if *of_peer == 0 {
                waiting.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use content_types::{ContentKey, Form, history, legacy_history};

    use super::*;

    fn peer(number: u8) -> Asker {
        Asker::Peer([number; 32].into())
    }

    fn largest() -> usize {
        let hash = alloy_primitives::B256::ZERO;
        let keys: [ContentKey; 4] = [
            legacy_history::ContentKey::Body(hash).into(),
            legacy_history::ContentKey::Receipts(hash).into(),
            history::ContentKey::BlockBody { number: 0 }.into(),
            history::ContentKey::BlockReceipts { number: 0 }.into(),
        ];
        keys.iter().map(|key| key.max_value_len(Form::Offered)).max().unwrap()
    }

    #[test]
    fn offered_values_wait_as_long_as_there_is_room_and_users_are_not_counted() {
        let room = WaitingRoom::default();
        let mut seats: Vec<_> = (0..4).map(|number| room.enter(peer(number), MAX_BYTES_OF_PEER).unwrap()).collect();
        assert!(seats.iter().all(Option::is_some));
        let Err(refusal) = room.enter(peer(9), 1) else { panic!("there is no room") };
        assert!(matches!(refusal, Refusal::Busy) && !refusal.is_invalid());
        assert!(room.enter(Asker::User, MAX_BYTES).unwrap().is_none());
        seats.pop();
        assert!(room.enter(peer(9), 10).is_ok());
        assert!(room.enter(peer(9), usize::MAX).is_err());
        drop(seats);
        assert!(room.0.lock().by_peer.is_empty() && room.0.lock().total == 0);
    }

    #[test]
    fn one_peers_values_leave_room_for_others() {
        let room = WaitingRoom::default();
        let small = room.enter(peer(1), MAX_BYTES_OF_PEER - 1).unwrap();
        let last = room.enter(peer(1), 1).unwrap();
        assert!(room.enter(peer(1), 1).is_err(), "beyond its share");
        drop(last);
        assert!(room.enter(peer(1), largest()).is_err(), "not beside another");
        drop(small);
        let _large = room.enter(peer(1), largest()).unwrap();
        assert!(room.enter(peer(1), 1).is_err(), "nothing beside it");
        assert!(room.enter(peer(2), largest()).is_ok(), "another peer's is as good");
    }

    #[test]
    fn what_waits_leaves_the_overlay_room_for_the_largest_value() {
        let room = WaitingRoom::default();
        let _full = room.fill();
        assert!(largest() <= MAX_UNVERIFIED - room.0.lock().total);
    }
}
