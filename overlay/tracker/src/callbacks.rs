//! Whom to call back: who announced an era of which there are many providers, so that it is known which of them can be
//! reached where they say. No I/O.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
};

use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

/// Peers that wait to be called back. Who comes when there are more takes the place of the one that has waited longest:
/// a flood passes, and honest peers announce again.
const MAX_WAITING: usize = 64;

/// Calls under way.
const MAX_RUNNING: usize = 8;

/// The calls that are to be made, and those under way.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    waiting: VecDeque<(PeerId, Vec<SocketAddr>)>,
    running: HashSet<ConnectionId>,
}

impl Callbacks {
    /// A peer is to be called back at one of these addresses.
    pub(crate) fn push(&mut self, peer: PeerId, addresses: Vec<SocketAddr>) {
        if self.waiting.iter().any(|(other, _)| *other == peer) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((peer, addresses));
    }

    /// The next peer to call, if there may be one call more.
    pub(crate) fn next(&mut self) -> Option<(PeerId, Vec<SocketAddr>)> {
        if self.running.len() >= MAX_RUNNING { None } else { self.waiting.pop_front() }
    }

    /// A call is under way.
    pub(crate) fn began(&mut self, id: ConnectionId) {
        self.running.insert(id);
    }

    /// A call is over; true if it was one.
    pub(crate) fn ended(&mut self, id: ConnectionId) -> bool {
        self.running.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_few_and_each_peer_waits_once() {
        let mut callbacks = Callbacks::default();
        let peers: Vec<_> = (0..MAX_WAITING + 2).map(|_| PeerId::random()).collect();
        for peer in peers.iter().chain(&peers[2..]) {
            callbacks.push(*peer, Vec::new());
        }
        for (index, peer) in peers[2..2 + MAX_RUNNING].iter().enumerate() {
            assert_eq!(callbacks.next().map(|(peer, _)| peer), Some(*peer), "the oldest two made room");
            callbacks.began(ConnectionId::new_unchecked(index));
        }
        assert_eq!(callbacks.next(), None);
        assert!(callbacks.ended(ConnectionId::new_unchecked(0)) && !callbacks.ended(ConnectionId::new_unchecked(0)));
        assert_eq!(callbacks.next().map(|(peer, _)| peer), Some(peers[2 + MAX_RUNNING]));
        assert_eq!(callbacks.waiting.len(), MAX_WAITING - MAX_RUNNING - 1);
    }
}
