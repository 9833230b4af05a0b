//! How many requests are being worked on, for one peer and in all: whoever asks much gets short answers, and leaves the others
//! theirs.

use std::collections::HashMap;
use std::sync::Arc;

use content_types::NodeId;
use parking_lot::Mutex;

/// Requests of all peers that are being worked on.
const MAX_REQUESTS: usize = 512;

/// The same for one peer: the streams that it may have, and as many more that need none.
const MAX_REQUESTS_PER_PEER: usize = 128;

/// Counts the requests. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    total: usize,
    by_peer: HashMap<NodeId, usize>,
}

/// A request that is worked on until this is dropped.
pub(super) struct Working {
    busy: Busy,
    peer: NodeId,
}

impl Busy {
    /// Begins a request, unless there are too many.
    pub(super) fn begin(&self, peer: NodeId) -> Option<Working> {
        let mut counts = self.0.lock();
        if counts.total >= MAX_REQUESTS
            || counts.by_peer.get(&peer).is_some_and(|count| *count >= MAX_REQUESTS_PER_PEER)
        {
            return None;
        }
        counts.total += 1;
        *counts.by_peer.entry(peer).or_default() += 1;
        Some(Working { busy: self.clone(), peer })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut counts = self.busy.0.lock();
        counts.total -= 1;
        if let Some(count) = counts.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_never_has_it_all() {
        let busy = Busy::default();
        let mut working: Vec<_> = (0..MAX_REQUESTS).map_while(|_| busy.begin([0; 32].into())).collect();
        assert_eq!(working.len(), MAX_REQUESTS_PER_PEER);
        for peer in 1..=255 {
            working.extend((0..MAX_REQUESTS).map_while(|_| busy.begin([peer; 32].into())));
        }
        assert_eq!(working.len(), MAX_REQUESTS);
        drop(working);
        let counts = busy.0.lock();
        assert!(counts.total == 0 && counts.by_peer.is_empty());
    }
}
