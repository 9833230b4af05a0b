//! How much work is under way for one peer, for one subnet and in all: whoever asks much gets short answers, and leaves the
//! others theirs.

use std::sync::Arc;

use cairn_proto::limits::SUBNET_SHARE;
use parking_lot::Mutex;

use crate::shares::Shares;
use crate::transport::Endpoint;

/// Counts pieces of work of one kind. Cheap to clone.
#[derive(Clone)]
pub(super) struct Busy {
    total: usize,
    per_peer: usize,
    shares: Arc<Mutex<Shares>>,
}

/// A piece of work that is under way until this is dropped.
pub(super) struct Working {
    shares: Arc<Mutex<Shares>>,
    peer: Endpoint,
}

impl Busy {
    /// At most `total` at a time, `per_peer` for one peer, and a [`SUBNET_SHARE`]th of all for the peers of one subnet.
    pub(super) fn new(total: usize, per_peer: usize) -> Self {
        Self { total, per_peer, shares: Arc::default() }
    }

    /// Begins a piece of work for a peer, unless there is too much.
    pub(super) fn begin(&self, peer: Endpoint) -> Option<Working> {
        let mut shares = self.shares.lock();
        let has_room = shares.total() < self.total
            && shares.of_peer(&peer) < self.per_peer
            && shares.of_subnet(&peer) < self.total / SUBNET_SHARE;
        has_room.then(|| {
            shares.add(peer);
            Working { shares: self.shares.clone(), peer }
        })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.shares.lock().remove(&self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_peer_nor_a_subnet_ever_has_it_all() {
        let busy = Busy::new(64, 5);
        let fill = |peer: u8, ip: [u8; 4]| -> Vec<_> {
            let peer = Endpoint { node_id: [peer; 32].into(), address: (ip, 9009).into() };
            std::iter::from_fn(|| busy.begin(peer)).collect()
        };
        let mut working = fill(0, [8, 8, 8, 1]);
        assert_eq!(working.len(), 5);
        for peer in 1..9 {
            working.extend(fill(peer, [8, 8, 8, peer]));
        }
        assert_eq!(working.len(), 16, "a quarter for the subnet");
        for peer in 10..30 {
            working.extend(fill(peer, [8, 8, peer, 1]));
        }
        assert_eq!(working.len(), 64);
        drop(working);
        assert_eq!(fill(0, [8, 8, 8, 1]).len(), 5);
    }
}
