//! Room for what peers offered and whose header is being searched for. Received bytes have a budget of their own in the
//! overlay until they are admitted; values that wait take up only a part of it, so that they hold up nothing that could
//! be checked right away.
//!
//! A value under an unknown hash waits until the search for its header is given up, so each peer and each subnet has a share.

use cairn_limits::{Limiter, Permit, Quota};
use overlay::transfer::MAX_UNVERIFIED;

use super::Refusal;
use crate::headers::Asker;

/// Bytes of all values that wait: half of what the overlay holds of offered bytes, as it holds these until they are
/// admitted. The other half has room for the largest value.
const MAX_BYTES: u64 = MAX_UNVERIFIED as u64 / 2;
/// Bytes of one peer's values that wait, and of one subnet's: the largest value, or there would be content that no peer could
/// bring.
const MAX_BYTES_OF_PEER: u64 = MAX_BYTES / 2;

/// Counts the bytes that wait.
pub(super) struct WaitingRoom(Limiter);

impl Default for WaitingRoom {
    fn default() -> Self {
        Self(Limiter::new(Quota::new(MAX_BYTES).of_peer(MAX_BYTES_OF_PEER)))
    }
}

impl WaitingRoom {
    /// Takes room for a value of `bytes`. Users need none.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there is no room, or none for this peer.
    pub(super) fn enter(&self, asker: Asker, bytes: usize) -> Result<Option<Permit>, Refusal> {
        if asker == Asker::User {
            return Ok(None);
        }
        self.0.try_take(asker.holder(), bytes as u64).map(Some).map_err(|_| Refusal::Busy)
    }

    /// Takes all room, as the values of several peers do.
    #[cfg(test)]
    pub(super) fn fill(&self) -> Vec<Permit> {
        let half = |number| {
            let peer = Asker::Peer { id: [number; 32].into(), subnet: None };
            self.enter(peer, MAX_BYTES_OF_PEER as usize).unwrap().unwrap()
        };
        vec![half(0xfe), half(0xff)]
    }
}

#[cfg(test)]
mod tests {
    use cairn_limits::Subnet;
    use content_types::{ContentKey, Form, history, legacy_history};

    use super::*;

    fn peer(number: u8) -> Asker {
        Asker::Peer { id: [number; 32].into(), subnet: None }
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
        let mut full = room.fill();
        let Err(refusal) = room.enter(peer(9), 1) else { panic!("there is no room") };
        assert!(matches!(refusal, Refusal::Busy) && !refusal.is_invalid());
        assert!(room.enter(Asker::User, MAX_BYTES as usize).unwrap().is_none());
        full.pop();
        assert!(room.enter(peer(9), 10).is_ok());
        assert!(room.enter(peer(9), usize::MAX).is_err());
    }

    #[test]
    fn one_peers_values_and_one_subnets_leave_room_for_others() {
        let room = WaitingRoom::default();
        let in_subnet = |id: u8| Asker::Peer { id: [id; 32].into(), subnet: Some(Subnet::V4([8, 8, 8])) };
        let _first = room.enter(in_subnet(1), largest() - 1).unwrap();
        let _last = room.enter(in_subnet(1), 1).unwrap();
        assert!(room.enter(in_subnet(1), 1).is_err(), "beyond its share");
        assert!(room.enter(in_subnet(2), 1).is_err(), "beyond its subnet's share");
        assert!(room.enter(peer(3), largest()).is_ok(), "another peer's is as good");
    }

    #[test]
    fn what_waits_leaves_the_overlay_room_for_the_largest_value() {
        let room = WaitingRoom::default();
        let _full = room.fill();
        assert!(largest() as u64 <= MAX_UNVERIFIED as u64 - room.0.total());
    }
}
