//! Peers that kept the job waiting. Each run waits for all its offers, so a peer that accepts and then reads slowly, or never
//! opens the stream, would cost every run again what it takes to give up; it is remembered from one to the next.

use std::time::Duration;

use content_types::NodeId;
use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Peers that are remembered.
const REMEMBERED: usize = 1024;
/// How long a peer is left out.
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

    /// Leaves out who was slow lately, unless that is everybody: a slow peer is better than none.
    pub(super) fn spare<T>(&self, peers: Vec<T>, id: impl Fn(&T) -> NodeId, now: Instant) -> Vec<T> {
        let noted = self.0.lock();
        let is_slow = |peer: &T| noted.peek(&id(peer)).is_some_and(|since| now.duration_since(*since) < LIFETIME);
        let (slow, others): (Vec<T>, Vec<T>) = peers.into_iter().partition(is_slow);
        if others.is_empty() { slow } else { others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_slow_is_left_out_for_a_while_as_long_as_there_are_others() {
        let [first, second] = [1, 2].map(|number| NodeId::from([number; 32]));
        let (slow, now) = (SlowPeers::new(), Instant::now());
        let spared = |at| slow.spare(vec![first, second], |peer| *peer, at);
        slow.note(first, now);
        assert_eq!(spared(now), [second]);
        let soon = now + LIFETIME / 2;
        slow.note(second, soon);
        assert_eq!(spared(soon), [first, second], "there are no others");
        assert_eq!(spared(now + LIFETIME), [first], "its time is over, the other's is not");
    }
}
