//! Peers beyond the routing table that may want a piece. The table knows few of those that are near a piece: of each half, quarter,
//! eighth of the key space it keeps 16 peers. Where as many are known, a lookup of the piece's own surroundings may find others;
//! where fewer are, these are all that there were when somebody last looked there.

use std::net::IpAddr;
use std::time::Duration;

use cairn_limits::Subnet;
use cairn_limits::holder::is_local;
use content_types::{ContentId, NodeId};
use futures::{StreamExt, stream};
use hashlink::LruCache;
use overlay::{Enr, Overlay};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::plan::Taker;

/// Peers of a bucket, at most.
const BUCKET_PEERS: usize = 16;
/// Peers that are remembered.
const REMEMBERED: usize = 1024;
/// How long what a peer said of its radius counts, and a look at a bucket that is not full.
const LIFETIME: Duration = Duration::from_secs(600);
/// Peers that are asked for their radius at once, for one piece.
const PINGS_AT_ONCE: usize = 4;

/// See the [module](self).
pub(super) struct Explorer {
    found: Mutex<LruCache<NodeId, Found>>,
    /// When the surroundings of a bucket that is not full were last looked at, by its place.
    looked_at: Mutex<LruCache<usize, Instant>>,
}

#[derive(Clone)]
struct Found {
    taker: Taker,
    record: Enr,
    at: Instant,
}

impl Explorer {
    pub(super) fn new() -> Self {
        Self { found: Mutex::new(LruCache::new(REMEMBERED)), looked_at: Mutex::new(LruCache::new(u8::MAX.into())) }
    }

    /// The peers that were found lately.
    pub(super) fn found(&self, now: Instant) -> Vec<(Taker, Enr)> {
        let found = self.found.lock();
        let fresh = found.iter().filter(|(_, found)| now.duration_since(found.at) < LIFETIME);
        fresh.map(|(_, found)| (found.taker, found.record.clone())).collect()
    }

    /// Looks around pieces that nobody covers who is known, `at_once` of them at a time. Gives the peers that were not known before.
    pub(super) async fn explore(&self, overlay: &Overlay, pieces: Vec<ContentId>, at_once: usize) -> Vec<Taker> {
        let looks = pieces.into_iter().map(|id| self.look_around(overlay, id));
        stream::iter(looks).buffer_unordered(at_once.max(1)).concat().await
    }

    async fn look_around(&self, overlay: &Overlay, id: ContentId) -> Vec<Taker> {
        if !self.may_find_others(overlay, &id) {
            return Vec::new();
        }
        let nearest = overlay.lookup_nodes(NodeId::from(<[u8; 32]>::from(id))).await;
        let table = overlay.routing_table();
        let own = table.local;
        let asked = stream::iter(nearest).map(async |record| {
            let node_id = NodeId::from(record.node_id().raw());
            let entry = table.buckets.iter().flatten().find(|entry| entry.enr.node_id() == record.node_id());
            let is_known = entry.is_some_and(|entry| entry.live && entry.radius.is_some());
            if node_id == own || is_known || self.is_fresh(&node_id) {
                return None;
            }
            let radius = overlay.ping(record.clone(), None).await.ok()?.payload.data_radius()?;
            let subnet = entry.map_or_else(|| claimed_subnet(&record), |entry| entry.subnet);
            let taker = Taker { node_id, radius, subnet, is_slow: false };
            self.found.lock().insert(node_id, Found { taker, record, at: Instant::now() });
            Some(taker)
        });
        asked.buffer_unordered(PINGS_AT_ONCE).filter_map(std::future::ready).collect().await
    }

    fn is_fresh(&self, peer: &NodeId) -> bool {
        self.found.lock().peek(peer).is_some_and(|found| found.at.elapsed() < LIFETIME)
    }

    /// Whether a lookup around a piece could find peers that the table does not have: always where its bucket is full, and otherwise
    /// once in a while for all that lies there.
    fn may_find_others(&self, overlay: &Overlay, id: &ContentId) -> bool {
        let table = overlay.routing_table();
        // Bucket 0 is the nearest one.
        let bucket = table.local.distance(id).log2().map_or(0, usize::from);
        if table.buckets.get(bucket).is_some_and(|peers| peers.len() >= BUCKET_PEERS) {
            return true;
        }
        let now = Instant::now();
        let mut looked_at = self.looked_at.lock();
        let is_due = looked_at.peek(&bucket).is_none_or(|at| now.duration_since(*at) >= LIFETIME);
        if is_due {
            looked_at.insert(bucket, now);
        }
        is_due
    }
}

/// The subnet that a record claims, unless it is of a local network: a table may count those or not.
fn claimed_subnet(record: &Enr) -> Option<Subnet> {
    record.ip4().map(IpAddr::from).filter(|ip| !is_local(*ip)).map(Subnet::of)
}
