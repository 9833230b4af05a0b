//! One connection for each peer: a peer is dialled by one task at a time, and of two connections with it both ends keep the
//! same one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use content_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::{Mutex as TurnLock, OwnedMutexGuard};

use super::session::DialDirection;

/// Two ends that have dialled each other without knowing of it hear of it within this, if the path is not too bad. Later a
/// peer with which there is a connection has no reason to dial, unless it has lost it.
const RACE_TIME: Duration = Duration::from_secs(2);

/// Whom tasks of this node are dialling.
#[derive(Debug, Default)]
pub(super) struct Dialling {
    turns: Mutex<HashMap<NodeId, Arc<TurnLock<()>>>>,
}

/// The right to dial a peer, until it is dropped.
#[derive(Debug)]
pub(super) struct DialTurn<'a> {
    dialling: &'a Dialling,
    peer: NodeId,
    held: Option<OwnedMutexGuard<()>>,
}

impl Dialling {
    /// Waits until nobody else here dials this peer. Of two dials by one node the ends would not know which is the later one:
    /// the handshakes can be done in another order at the other end. Each would keep the one that the other closes.
    pub(super) async fn turn(&self, peer: NodeId) -> DialTurn<'_> {
        let turn = Arc::clone(self.turns.lock().entry(peer).or_default());
        // Made before the wait, so that who stops waiting is forgotten too.
        let mut own = DialTurn { dialling: self, peer, held: None };
        own.held = Some(turn.lock_owned().await);
        own
    }
}

impl Drop for DialTurn<'_> {
    fn drop(&mut self) {
        let mut turns = self.dialling.turns.lock();
        self.held = None;
        // Whoever else waits has it too. Nobody can come to have it while the lock is held.
        if turns.get(&self.peer).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.peer);
        }
    }
}

/// Whether a new connection takes the place of the one that there is with the same peer, and has been for so long.
///
/// Of two that were dialled at the same time from both ends, both keep the one that the smaller node ID dialled. Otherwise the
/// new one is there because its dialler had lost the old one: a program that was killed and started again has its node ID still,
/// and the end that it left learns of that by the new connection.
pub(super) fn replaces(own: &NodeId, peer: &NodeId, new: DialDirection, old: DialDirection, age: Duration) -> bool {
    let dialled_by_smaller = (own < peer) == (new == DialDirection::Out);
    new == old || dialled_by_smaller || age >= RACE_TIME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> NodeId {
        NodeId::from([byte; 32])
    }

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left_behind() {
        let dialling = Dialling::default();
        let first = dialling.turn(id(1)).await;
        let other = dialling.turn(id(2)).await;
        {
            let mut stopped = std::pin::pin!(dialling.turn(id(1)));
            assert!(futures::poll!(&mut stopped).is_pending());
        }
        let mut second = std::pin::pin!(dialling.turn(id(1)));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        drop(other);
        assert!(dialling.turns.lock().is_empty());
    }

    /// Both ends of two connections, which began in whichever order at each, keep the same one.
    #[test]
    fn both_ends_keep_the_one_that_the_smaller_dialled() {
        use DialDirection::{In, Out};
        let (small, large) = (id(1), id(2));
        // What the smaller dialled goes out there and comes in here.
        assert!(
            replaces(&small, &large, Out, In, Duration::ZERO) && !replaces(&small, &large, In, Out, Duration::ZERO)
        );
        assert!(
            replaces(&large, &small, In, Out, Duration::ZERO) && !replaces(&large, &small, Out, In, Duration::ZERO)
        );
    }

    #[test]
    fn who_dials_again_has_lost_what_there_was() {
        use DialDirection::{In, Out};
        for (own, peer) in [(id(1), id(2)), (id(2), id(1))] {
            assert!(replaces(&own, &peer, In, In, Duration::ZERO));
            assert!(replaces(&own, &peer, In, Out, RACE_TIME));
        }
    }
}
