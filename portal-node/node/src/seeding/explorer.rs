//! Peers beyond the routing table that may want a piece. The table knows few of those that are near a piece: of each half, quarter,
//! eighth of the key space it keeps 16 peers. A lookup finds the 16 that are nearest, and with them all that there are in the part of
//! the key space around the piece that is no wider than to the farthest of them: what lies there needs no lookup of its own.

use std::time::Duration;

use content_types::{ContentId, NodeId};
use futures::{StreamExt, stream};
use hashlink::LruCache;
use overlay::service::TableEntry;
use overlay::{Enr, Overlay};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::plan::Taker;

/// Peers that a lookup finds, at most. Where it finds fewer there are no others.
const NEAREST: usize = 16;
/// Peers, and parts of the key space, that are remembered.
const REMEMBERED: usize = 1024;
/// How long that counts.
const LIFETIME: Duration = Duration::from_secs(600);
/// Lookups under way at once, for all that is offered.
const LOOKS_AT_ONCE: usize = 8;

/// See the [module](self).
pub(super) struct Explorer {
    found: Mutex<LruCache<NodeId, Found>>,
    /// What was looked around, and when.
    explored: Mutex<LruCache<ContentId, (Part, Instant)>>,
    looks: Semaphore,
}

#[derive(Clone)]
struct Found {
    taker: Taker,
    record: Enr,
    at: Instant,
}

/// A part of the key space that a piece lies in: everything that is nearer to it than this power of two; `None`: all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part(Option<u8>);

impl Part {
    /// The part that is known whole when these are the peers nearest to a piece.
    fn of(id: &ContentId, nearest: &[NodeId]) -> Self {
        let farthest = nearest.iter().map(|peer| peer.distance(id)).max().filter(|_| nearest.len() >= NEAREST);
        Self(farthest.map(|farthest| farthest.log2().unwrap_or(0)))
    }

    fn contains(self, middle: &ContentId, id: &ContentId) -> bool {
        let distance = NodeId::from(<[u8; 32]>::from(*middle)).distance(id);
        self.0.is_none_or(|wide| distance.log2().is_none_or(|log2| log2 < wide))
    }
}

impl Explorer {
    pub(super) fn new() -> Self {
        Self {
            found: Mutex::new(LruCache::new(REMEMBERED)),
            explored: Mutex::new(LruCache::new(REMEMBERED)),
            looks: Semaphore::new(LOOKS_AT_ONCE),
        }
    }

    /// The peers that were found lately.
    pub(super) fn found(&self, now: Instant) -> Vec<(Taker, Enr)> {
        let found = self.found.lock();
        let fresh = found.iter().filter(|(_, found)| now.duration_since(found.at) < LIFETIME);
        fresh.map(|(_, found)| (found.taker, found.record.clone())).collect()
    }

    /// A peer does not answer.
    pub(super) fn forget(&self, peer: &NodeId) {
        self.found.lock().remove(peer);
    }

    /// Looks around pieces that nobody covers who is known. Says of each whether everybody near it has been found now; where not, that
    /// nobody was there to answer says nothing.
    pub(super) async fn explore(&self, overlay: &Overlay, pieces: Vec<ContentId>) -> Vec<bool> {
        let looks = pieces.into_iter().map(|id| self.look_around(overlay, id));
        stream::iter(looks).buffered(LOOKS_AT_ONCE).collect().await
    }

    async fn look_around(&self, overlay: &Overlay, id: ContentId) -> bool {
        let Ok(_place) = self.looks.acquire().await else { return false };
        // Somebody else may have looked here meanwhile.
        if self.is_explored(&id, Instant::now()) {
            return true;
        }
        let nearest = overlay.explore(&id).await;
        if nearest.is_empty() {
            return false;
        }
        let peers: Vec<NodeId> = nearest.iter().map(|entry| NodeId::from(entry.enr.node_id().raw())).collect();
        let now = Instant::now();
        nearest.into_iter().for_each(|entry| self.note(entry, now));
        self.explored.lock().insert(id, (Part::of(&id, &peers), now));
        true
    }

    fn note(&self, entry: TableEntry, now: Instant) {
        let TableEntry { enr, radius: Some(radius), subnet, .. } = entry else { return };
        let node_id = NodeId::from(enr.node_id().raw());
        let taker = Taker { node_id, radius, subnet, is_slow: false };
        self.found.lock().insert(node_id, Found { taker, record: Enr::clone(&enr), at: now });
    }

    fn is_explored(&self, id: &ContentId, now: Instant) -> bool {
        let explored = self.explored.lock();
        let mut fresh = explored.iter().filter(|(_, (_, at))| now.duration_since(*at) < LIFETIME);
        fresh.any(|(middle, (part, _))| part.contains(middle, id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Of whatever lies in a part that counts as explored, the part's peers are known.
        #[test]
        fn a_part_has_no_peers_but_those_that_were_found(
            middle: [u8; 32],
            other: [u8; 32],
            peers in prop::collection::vec(any::<[u8; 32]>(), 0..60),
        ) {
            let (middle, other) = (ContentId::from(middle), ContentId::from(other));
            let mut peers: Vec<NodeId> = peers.into_iter().map(NodeId::from).collect();
            peers.sort_by_key(|peer| peer.distance(&middle));
            let nearest = &peers[..peers.len().min(NEAREST)];
            let part = Part::of(&middle, nearest);
            prop_assert!(part.contains(&middle, &middle));
            prop_assert_eq!(peers.len() < NEAREST, part.0.is_none());
            if part.contains(&middle, &other) {
                let inside = |peer: &&NodeId| part.contains(&middle, &ContentId::from(<[u8; 32]>::from(**peer)));
                prop_assert!(peers.iter().filter(inside).all(|peer| nearest.contains(peer)));
            }
        }
    }
}
