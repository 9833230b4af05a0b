//! Room for what peers offered and whose header is being searched for. Received bytes have a budget of their own in the
//! overlay until they are admitted; values that wait take up only a part of it, so that they hold up nothing that could
//! be checked right away.

use overlay::transfer::MAX_UNVERIFIED;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Refusal;
use crate::headers::Asker;

/// Bytes of all values that wait: half of what the overlay holds of offered bytes, as it holds these until they are
/// admitted. The other half has room for the largest value.
const MAX_BYTES: usize = MAX_UNVERIFIED / 2;

/// Counts the bytes that wait.
pub(super) struct WaitingRoom(Semaphore);

impl WaitingRoom {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(MAX_BYTES))
    }

    /// Takes room for a value of `bytes` until the permit is dropped. Users need none.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there is no room.
    pub(super) fn enter(&self, asker: Asker, bytes: usize) -> Result<Option<SemaphorePermit<'_>>, Refusal> {
        if asker == Asker::User {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::Busy)?;
        self.0.try_acquire_many(bytes).map(Some).map_err(|_| Refusal::Busy)
    }

    /// Takes all room, as many values do.
    #[cfg(test)]
    pub(super) fn fill(&self) -> SemaphorePermit<'_> {
        self.0.try_acquire_many(u32::try_from(MAX_BYTES).unwrap()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use content_types::{ContentKey, history, legacy_history};

    use super::*;

    #[test]
    fn offered_values_wait_as_long_as_there_is_room_and_users_are_not_counted() {
        let peer = Asker::Peer([1; 32].into());
        let room = WaitingRoom::new();
        let first = room.enter(peer, MAX_BYTES - 10).unwrap();
        let second = room.enter(peer, 10).unwrap();
        assert!(first.is_some() && second.is_some());
        let refusal = room.enter(peer, 1).unwrap_err();
        assert!(matches!(refusal, Refusal::Busy) && !refusal.is_invalid());
        assert!(room.enter(Asker::User, MAX_BYTES).unwrap().is_none());
        drop(second);
        assert!(room.enter(peer, 10).is_ok());
        assert!(room.enter(peer, usize::MAX).is_err());
    }

    #[test]
    fn what_waits_leaves_the_overlay_room_for_the_largest_value() {
        let hash = alloy_primitives::B256::ZERO;
        let largest: [ContentKey; 2] = [
            legacy_history::ContentKey::Receipts(hash).into(),
            history::ContentKey::BlockReceipts { number: 0 }.into(),
        ];
        let room = WaitingRoom::new();
        let _full = room.enter(Asker::Peer([1; 32].into()), MAX_BYTES).unwrap();
        for key in largest {
            assert!(key.max_value_len() <= MAX_UNVERIFIED - (MAX_BYTES - room.0.available_permits()));
        }
    }
}
