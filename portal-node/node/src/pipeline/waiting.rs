//! Room for what peers offered and whose header is being searched for. Received bytes have a budget of their own in the
//! overlay until they are admitted; values that wait take up only a part of it, so that they hold up nothing that could
//! be checked right away.
//!
//! A value under an unknown hash waits until the search for its header is given up, so each peer and each subnet has a share.

use cairn_limits::{Holder, Limiter, Permit, Quota};
use overlay::transfer::MAX_UNVERIFIED;

use super::Refusal;
use crate::headers::Asker;

/// Bytes of all values that wait: half of what the overlay holds of offered bytes, as it holds these until they are
/// admitted. The other half has room for the largest value.
const MAX_BYTES: u64 = MAX_UNVERIFIED as u64 / 2;
/// Bytes of one peer's values that wait, and of one subnet's, where they are several. One value alone may be longer, or there would be
/// content that no peer could bring.
const SHARE: u64 = MAX_BYTES / 4;

/// Counts the bytes that wait.
pub(super) struct WaitingRoom(Limiter);

/// Room that a value takes while it waits.
pub(super) struct Waiting {
    _share: Permit,
    /// What is beyond the share of who brought it counts for all alone.
    _beyond: Option<Permit>,
}

impl Default for WaitingRoom {
    fn default() -> Self {
        Self(Limiter::new(Quota::new(MAX_BYTES).of_peer(SHARE)))
    }
}

impl WaitingRoom {
    /// Takes room for a value of `bytes`. Users need none.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there is no room, or none for this peer.
    pub(super) fn enter(&self, asker: Asker, bytes: usize) -> Result<Option<Waiting>, Refusal> {
        if asker == Asker::User {
            return Ok(None);
        }
        let take = |holder, bytes| self.0.try_take(holder, bytes).map_err(|_| Refusal::Busy);
        let bytes = bytes as u64;
        // A value longer than a share takes up all of it: nothing else of the same peer waits beside it.
        let share = take(asker.holder(), bytes.min(SHARE))?;
        let beyond = bytes.checked_sub(SHARE).map(|beyond| take(Holder::nobody(), beyond)).transpose()?;
        Ok(Some(Waiting { _share: share, _beyond: beyond }))
    }

    /// Takes all room, as the values of several peers do.
    #[cfg(test)]
    pub(super) fn fill(&self) -> Vec<Waiting> {
        let share = |number| {
            let peer = Asker::Peer { id: [number; 32].into(), subnet: None };
            self.enter(peer, SHARE as usize).unwrap().unwrap()
        };
        (0..(MAX_BYTES / SHARE) as u8).map(|number| share(0xff - number)).collect()
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
        let _first = room.enter(in_subnet(1), SHARE as usize - 1).unwrap();
        let _last = room.enter(in_subnet(1), 1).unwrap();
        assert!(room.enter(in_subnet(1), 1).is_err(), "beyond its share");
        assert!(room.enter(in_subnet(2), 1).is_err(), "beyond its subnet's share");
        assert!(room.enter(peer(3), largest()).is_ok(), "another peer's is as good");
    }

    #[test]
    fn two_peers_do_not_fill_the_room_with_many_values_and_one_may_be_of_any_size() {
        let room = WaitingRoom::default();
        let mut many = Vec::new();
        for number in [1, 2] {
            while let Ok(value) = room.enter(peer(number), SHARE as usize / 8) {
                many.push(value);
            }
        }
        let large = room.enter(peer(3), largest()).unwrap();
        assert!(room.enter(peer(3), 1).is_err(), "it waits alone");
        drop(large);
        assert!(largest() as u64 > SHARE);
        let _small = room.enter(peer(3), 1).unwrap();
        assert!(room.enter(peer(3), largest()).is_err(), "and only alone");
    }

    #[test]
    fn what_waits_leaves_the_overlay_room_for_the_largest_value() {
        let room = WaitingRoom::default();
        let _full = room.fill();
        assert!(largest() as u64 <= MAX_UNVERIFIED as u64 - room.0.total());
    }
}
