//! One connection for each peer: an address of it is dialled by one task at a time, of its addresses the first that answers is taken,
//! and of two connections with it both ends keep the same one.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use content_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::{Mutex as TurnLock, OwnedMutexGuard};

use super::session::DialDirection;

/// Two ends that have dialled each other without knowing of it hear of it within this, if the path is not too bad. Later a
/// peer with which there is a connection has no reason to dial, unless it has lost it. Where the path is so bad that each end hears
/// of it at another side of this time, each may close what the other keeps: then there is none, and one of them dials again.
const RACE_TIME: Duration = Duration::from_secs(2);

/// The peers, and their addresses, that are dialled, with what whoever dials holds.
type Turns = HashMap<(NodeId, Option<SocketAddr>), Arc<TurnLock<()>>>;

/// Whom tasks of this node are dialling.
#[derive(Debug, Default)]
pub(super) struct Dialling {
    turns: Mutex<Turns>,
}

/// The right to dial a peer, until it is dropped.
#[derive(Debug)]
pub(super) struct DialTurn<'a> {
    dialling: &'a Dialling,
    at: (NodeId, Option<SocketAddr>),
    held: Option<OwnedMutexGuard<()>>,
}

impl Dialling {
    /// Waits until nobody else here dials this address of the peer, or, without one, begins a session with it. Of two dials by one
    /// node the ends would not know which is the later one: the handshakes can be done in another order at the other end. Each
    /// would keep the one that the other closes. Dials of two addresses do not wait for each other, as the first may be one that
    /// the peer had once; only one of them begins a session.
    pub(super) async fn turn(&self, peer: NodeId, address: Option<SocketAddr>) -> DialTurn<'_> {
        let at = (peer, address);
        let turn = Arc::clone(self.turns.lock().entry(at).or_default());
        // Made before the wait, so that who stops waiting is forgotten too.
        let mut own = DialTurn { dialling: self, at, held: None };
        own.held = Some(turn.lock_owned().await);
        own
    }
}

impl Drop for DialTurn<'_> {
    fn drop(&mut self) {
        let mut turns = self.dialling.turns.lock();
        self.held = None;
        // Whoever else waits has it too. Nobody can come to have it while the lock is held.
        if turns.get(&self.at).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.at);
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
        let (dialling, address) = (Dialling::default(), |port: u16| Some(([127, 0, 0, 1], port).into()));
        let first = dialling.turn(id(1), address(1)).await;
        let others = [(id(2), address(1)), (id(1), address(2)), (id(1), None)];
        let others = futures::future::join_all(others.map(|(peer, address)| dialling.turn(peer, address))).await;
        let mut second = std::pin::pin!(dialling.turn(id(1), address(1)));
        assert!(futures::poll!(&mut second).is_pending());
        drop((first, others));
        {
            let mut third = std::pin::pin!(dialling.turn(id(1), address(1)));
            let second = second.await;
            assert!(futures::poll!(&mut third).is_pending());
            drop(second);
            // Its turn has come, and it stops before it looks.
        }
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
