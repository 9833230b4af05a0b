//! How often the newer record that a peer mentions is asked for. No I/O: the time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use content_types::NodeId;

/// Least time between two refetches of one peer's record.
const INTERVAL: Duration = Duration::from_secs(60);

/// Most records, of all peers, that are refetched in that time.
const MAX_REFETCHES: usize = 256;

/// The refetches of the last minute.
#[derive(Default)]
pub(super) struct Refetches(HashMap<NodeId, Instant>);

impl Refetches {
    /// Whether a peer's record may be asked for now; if so, it counts.
    pub(super) fn begin(&mut self, peer: NodeId, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.duration_since(*at) < INTERVAL;
        if self.0.get(&peer).is_some_and(is_recent) {
            return false;
        }
        if self.0.len() >= MAX_REFETCHES {
            self.0.retain(|_, at| is_recent(at));
        }
        let is_free = self.0.len() < MAX_REFETCHES;
        if is_free {
            self.0.insert(peer, now);
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_for_each_peer_and_so_many_for_all() {
        let start = Instant::now();
        let peer = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            NodeId::from(id)
        };
        let mut refetches = Refetches::default();
        assert!(refetches.begin(peer(0), start));
        assert!(!refetches.begin(peer(0), start + INTERVAL / 2));
        let begun = (1..2 * MAX_REFETCHES).filter(|number| refetches.begin(peer(*number), start)).count();
        assert_eq!(begun, MAX_REFETCHES - 1);
        assert!(refetches.begin(peer(0), start + INTERVAL));
    }
}
