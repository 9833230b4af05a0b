//! Room for bytes that are on their way: a budget for all streams, or offers, of a kind, so that no number of peers fills the
//! node's memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::TransferError;

/// Bytes that all streams of a kind may have received and not handed over as verified. Some 650 values of usual size, and two
/// of the largest.
pub const MAX_UNVERIFIED: usize = 64 << 20;

/// How long a stream waits for room. Values that are not complete may take all of it between them: then some have to give up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The budget. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// Takes room for `bytes` if there is some now.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Room> {
        let permits = u32::try_from(bytes).ok()?;
        self.0.clone().try_acquire_many_owned(permits).ok().map(|permit| Room(Some(permit)))
    }

    /// Takes room for `bytes`, waiting until there is some.
    pub(crate) async fn take(&self, bytes: usize) -> Result<Room, TransferError> {
        let permits = u32::try_from(bytes).map_err(|_| TransferError::NoRoom)?;
        match tokio::time::timeout(PATIENCE, self.0.clone().acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(Room(Some(permit))),
            Ok(Err(_)) | Err(_) => Err(TransferError::NoRoom),
        }
    }
}

/// Room that is taken until this is dropped.
#[derive(Debug, Default)]
pub struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Takes over the room of `other`.
    pub fn join(&mut self, other: Room) {
        match (&mut self.0, other.0) {
            (Some(own), Some(other)) => own.merge(other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    /// Gives away room for `bytes`, or as much as there is.
    pub fn split_off(&mut self, bytes: usize) -> Room {
        let Some(own) = &mut self.0 else { return Room(None) };
        Room(own.split(bytes.min(own.num_permits())))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_received_waits_for_room_but_not_for_ever() {
        let budget = Budget::new(100);
        let mut held = budget.take(60).await.unwrap();
        held.join(budget.take(40).await.unwrap());
        assert_eq!(budget.take(1).await.unwrap_err(), TransferError::NoRoom);

        let value = held.split_off(70);
        drop(held);
        let first = budget.take(30).await.unwrap();
        let mut waiting = pin!(budget.take(50));
        assert!(poll!(&mut waiting).is_pending());
        drop(value);
        let mut all = waiting.await.unwrap();
        all.join(first);
        assert!(all.split_off(1_000).0.is_some_and(|permit| permit.num_permits() == 80));
    }

    #[test]
    fn who_does_not_wait_gets_what_is_free() {
        let budget = Budget::new(100);
        let held = budget.try_take(100).unwrap();
        assert!(budget.try_take(1).is_none());
        drop(held);
        assert!(budget.try_take(101).is_none(), "more than there ever is");
        assert!(budget.try_take(100).is_some());
    }
}
