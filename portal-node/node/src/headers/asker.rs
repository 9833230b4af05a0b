//! For whom a header is looked for, and the places for searches that each of the two has.

use tokio::sync::{Semaphore, SemaphorePermit};

/// For whom a header is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// Somebody on this machine.
    User,
    /// A peer that offered content, which is to be checked.
    Peer,
}

/// Places for searches. Peers have their own: whatever they offer, users wait for none of it.
pub(super) struct Places {
    users: Semaphore,
    peers: Semaphore,
}

impl Places {
    pub(super) fn new(users: usize, peers: usize) -> Self {
        Self { users: Semaphore::new(users), peers: Semaphore::new(peers) }
    }

    /// Waits for a place; `None` when the node stops.
    pub(super) async fn take(&self, asker: Asker) -> Option<SemaphorePermit<'_>> {
        match asker {
            Asker::User => self.users.acquire().await.ok(),
            Asker::Peer => self.peers.acquire().await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn peers_take_no_place_of_a_user() {
        let places = Places::new(2, 1);
        let offered = places.take(Asker::Peer).now_or_never().flatten();
        assert!(offered.is_some());
        assert!(places.take(Asker::Peer).now_or_never().is_none(), "peers have no more");
        let asked = [places.take(Asker::User).now_or_never(), places.take(Asker::User).now_or_never()];
        assert!(asked.iter().all(|place| matches!(place, Some(Some(_)))));
        drop(offered);
        assert!(places.take(Asker::User).now_or_never().is_none(), "nor do users take theirs");
        assert!(places.take(Asker::Peer).now_or_never().is_some());
    }
}
