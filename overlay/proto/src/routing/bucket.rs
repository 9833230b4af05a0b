//! One k-bucket and its replacement cache.

use std::{collections::VecDeque, time::Instant};

use content_types::NodeId;

use super::{Peer, Subnet, rules::Standing};

/// Peers in a bucket: the specification's replication parameter `k`.
pub const K: usize = 16;

/// Peers in a bucket's replacement cache.
pub const MAX_REPLACEMENTS: usize = 8;

/// Peers of one distance, and those that wait for a place among them.
#[derive(Debug, Default)]
pub(super) struct KBucket {
    /// In no order; at most [`K`].
    peers: Vec<Peer>,
    /// Disjoint from `peers`, the most promising at the back; at most [`MAX_REPLACEMENTS`].
    replacements: VecDeque<Peer>,
    /// When a node was last looked up in this bucket's range.
    pub(super) refreshed: Option<Instant>,
}

/// What became of a peer put into a bucket.
#[derive(Debug)]
pub(super) enum Placing {
    /// It stands in the bucket; the peer that had to make room.
    InBucket(Option<Peer>),
    /// It waits in the replacement cache; the peer that had to make room.
    Waiting(Option<Peer>),
    /// There was no room for it; here it is again.
    NoRoom(Peer),
}

impl KBucket {
    pub(super) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    pub(super) fn peers_mut(&mut self) -> &mut [Peer] {
        &mut self.peers
    }

    pub(super) fn replacements(&self) -> impl ExactSizeIterator<Item = &Peer> {
        self.replacements.iter()
    }

    /// A peer in the bucket or its replacement cache.
    pub(super) fn find_mut(&mut self, id: &NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().chain(&mut self.replacements).find(|peer| peer.node_id() == *id)
    }

    pub(super) fn subnet_count(&self, subnet: (Subnet, Standing)) -> usize {
        self.peers.iter().chain(&self.replacements).filter(|peer| peer.counted() == Some(subnet)).count()
    }

    /// Puts a new peer where it belongs. Live peers keep their place. Of the others, the dead make room for
    /// everybody, and those that have never answered for those that have.
    pub(super) fn place(&mut self, peer: Peer) -> Placing {
        if self.peers.len() < K {
            self.peers.push(peer);
            return Placing::InBucket(None);
        }
        let confirmed = peer.is_confirmed();
        let yields = |old: &Peer| old.is_dead() || (confirmed && !old.is_confirmed());
        if let Some(old) = self.peers.iter_mut().find(|old| yields(old)) {
            return Placing::InBucket(Some(std::mem::replace(old, peer)));
        }
        if self.replacements.len() < MAX_REPLACEMENTS {
            self.wait(peer);
            Placing::Waiting(None)
        } else if confirmed {
            let oldest = self.replacements.pop_front();
            self.wait(peer);
            Placing::Waiting(oldest)
        } else {
            Placing::NoRoom(peer)
        }
    }

    /// Those that have answered wait at the back, the last seen last.
    fn wait(&mut self, peer: Peer) {
        let at = self.replacements.partition_point(|other| other.last_seen() <= peer.last_seen());
        self.replacements.insert(at, peer);
    }

    /// Moves a peer that has just answered to its place among the replacements, or into the bucket if it can have the
    /// place of one that is dead or has never answered. Returns the peer that had to make room.
    pub(super) fn advance(&mut self, id: &NodeId) -> Option<Peer> {
        let at = self.replacements.iter().position(|peer| peer.node_id() == *id)?;
        let peer = self.replacements.remove(at)?;
        match self.place(peer) {
            Placing::InBucket(displaced) | Placing::Waiting(displaced) => displaced,
            Placing::NoRoom(peer) => Some(peer),
        }
    }

    /// Takes a peer out of the bucket or its replacement cache; the best replacement gets the free place.
    pub(super) fn remove(&mut self, id: &NodeId) -> Option<Peer> {
        if let Some(at) = self.peers.iter().position(|peer| peer.node_id() == *id) {
            let removed = self.peers.swap_remove(at);
            self.peers.extend(self.replacements.pop_back());
            return Some(removed);
        }
        let at = self.replacements.iter().position(|peer| peer.node_id() == *id)?;
        self.replacements.remove(at)
    }

    pub(super) fn has_replacement(&self) -> bool {
        !self.replacements.is_empty()
    }
}
