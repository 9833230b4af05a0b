//! Room for what peers offered and whose header is being searched for. Received bytes have a budget of their own in the
//! overlay until they are admitted; values that wait take up only a part of it, so that they hold up nothing that could
//! be checked right away.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Refusal;
use crate::headers::Asker;

/// Bytes of all values that wait: half of what the overlay holds unverified.
const MAX_BYTES: usize = 64 << 20;

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
}

#[cfg(test)]
mod tests {
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
}
