//! Peers that kept the job waiting. Each batch waits for all its offers, so a peer that accepts and then reads slowly, or never
//! opens the stream, would cost every batch again what it takes to give up; it is remembered from one to the next, and gets
//! only what too few others cover.

use std::time::Duration;

use content_types::NodeId;
use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Peers that are remembered.
const REMEMBERED: usize = 1024;
/// How long a peer counts as slow.
const LIFETIME: Duration = Duration::from_secs(600);

/// The peers that were slow lately.
pub(super) struct SlowPeers(Mutex<LruCache<NodeId, Instant>>);

impl SlowPeers {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }

    /// A peer kept an offer waiting.
    pub(super) fn note(&self, peer: NodeId, now: Instant) {
        self.0.lock().insert(peer, now);
    }

    /// Whether a peer was slow lately.
    pub(super) fn contains(&self, peer: &NodeId, now: Instant) -> bool {
        self.0.lock().peek(peer).is_some_and(|since| now.duration_since(*since) < LIFETIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_slow_is_so_for_a_while() {
        let [first, second] = [1, 2].map(|number| NodeId::from([number; 32]));
        let (slow, now) = (SlowPeers::new(), Instant::now());
        slow.note(first, now);
        assert!(slow.contains(&first, now) && !slow.contains(&second, now));
        let soon = now + LIFETIME / 2;
        slow.note(second, soon);
        assert!(slow.contains(&first, soon) && slow.contains(&second, soon));
        assert!(!slow.contains(&first, now + LIFETIME) && slow.contains(&second, now + LIFETIME));
    }
}
