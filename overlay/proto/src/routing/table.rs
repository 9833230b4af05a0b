//! Who is in the table: insertion, removal and the questions asked of it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use content_types::{ContentId, Distance, NodeId};

use super::{
    Fit, MAX_SUBNET_PEERS_PER_BUCKET, MAX_SUBNET_PEERS_PER_TABLE, PING_INTERVAL, Peer, PeerRules, REFRESH_INTERVAL,
    Subnet, Unfit,
    bucket::{KBucket, Placing},
    log_distance,
    rules::Standing,
    schedule::Schedule,
};
use crate::{
    interest::{RadiusCache, interested},
    record::{self, Enr},
    tally::Tally,
    wire::{MAX_ENRS, MAX_LOG_DISTANCE, PingPayload},
};

/// What a table is told at its making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableConfig {
    /// Which peers may stand in it.
    pub rules: PeerRules,
    /// Pause between PINGs to a peer that answers.
    pub ping_interval: Duration,
    /// A bucket in whose range nothing was looked up for so long is looked up.
    pub refresh_interval: Duration,
}

impl TableConfig {
    /// A table for peers that fulfil `rules`, with [`PING_INTERVAL`] and [`REFRESH_INTERVAL`].
    pub fn new(rules: PeerRules) -> Self {
        Self { rules, ping_interval: PING_INTERVAL, refresh_interval: REFRESH_INTERVAL }
    }
}

/// How a peer became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquaintance {
    /// It answered a request.
    Answered,
    /// Somebody mentioned it, it sent a request, or it stands in a list from before: whether it can be reached is open.
    Mentioned,
}

/// What became of an inserted peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// New, and in its bucket.
    Added,
    /// Its bucket is full of live peers; it waits in the replacement cache.
    Waiting,
    /// It was known; its record is newer than the one before.
    Updated,
    /// It was known, by this record or a newer one.
    Known,
}

/// Why a peer was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is this node.
    #[error("it is this node itself")]
    Local,
    /// It is not to be contacted at all.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There are enough peers of its subnet.
    #[error("there are enough peers of its subnet")]
    SubnetFull,
    /// The bucket and its replacement cache are full of better peers.
    #[error("its bucket is full of better peers")]
    BucketFull,
}

/// Sizes of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableStats {
    /// Peers in buckets.
    pub peers: usize,
    /// Those that have answered and left nothing unanswered since.
    pub live: usize,
    /// Those of them that may be named to others.
    pub presentable: usize,
    /// Peers in replacement caches.
    pub replacements: usize,
}

/// The peers of one sub-network, in k-buckets by logarithmic distance.
#[derive(Debug)]
pub struct RoutingTable {
    pub(super) local: NodeId,
    pub(super) config: TableConfig,
    /// By closeness: bucket `i` holds logarithmic distance `256 - i`. Grown when a nearer peer is met.
    pub(super) buckets: Vec<KBucket>,
    /// Peers of each subnet: those that were seen there apart from those that only claim to be there.
    subnets: Tally<(Subnet, Standing)>,
    /// Of peers that are not in a bucket.
    radii: RadiusCache,
    pub(super) upkeep: Schedule,
}

impl RoutingTable {
    /// An empty table of the node `local`.
    pub fn new(local: NodeId, config: TableConfig) -> Self {
        Self {
            local,
            config,
            buckets: Vec::new(),
            subnets: Tally::default(),
            radii: RadiusCache::default(),
            upkeep: Schedule::default(),
        }
    }

    /// The node whose table this is.
    pub fn local_id(&self) -> NodeId {
        self.local
    }

    /// Takes a peer, or the newer record of one already here. One that answered did so where its record says.
    ///
    /// # Errors
    /// Why it is not taken. A known peer whose newer record is refused is dropped: the old one no longer holds.
    pub fn insert(&mut self, enr: Arc<Enr>, how: Acquaintance, now: Instant) -> Result<Inserted, Refused> {
        let seen_at = record::udp_socket(&enr).filter(|_| how == Acquaintance::Answered);
        self.take(enr, seen_at, how, now)
    }

    /// Takes in the record of a peer that was seen at `address`, which is what it counts for, whatever its record claims.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); a known peer that is refused at its new address is dropped too.
    pub fn insert_seen(
        &mut self,
        enr: Arc<Enr>,
        address: SocketAddr,
        how: Acquaintance,
        now: Instant,
    ) -> Result<Inserted, Refused> {
        self.take(enr, Some(address), how, now)
    }

    fn take(
        &mut self,
        enr: Arc<Enr>,
        seen_at: Option<SocketAddr>,
        how: Acquaintance,
        now: Instant,
    ) -> Result<Inserted, Refused> {
        let id = record::node_id(&enr);
        let index = self.index_of(&id).ok_or(Refused::Local)?;
        if let Some(known) = self.get(&id) {
            let is_newer = enr.seq() > known.enr().seq();
            // Where it was seen holds until it is seen elsewhere: a newer record only claims.
            let seen_at = seen_at.or(known.seen_at());
            if is_newer || seen_at != known.seen_at() {
                let enr = if is_newer { enr } else { Arc::clone(known.enr()) };
                self.update(index, id, enr, seen_at)?;
            }
            if how == Acquaintance::Answered {
                self.handle_answer(&id, now);
            }
            return Ok(if is_newer { Inserted::Updated } else { Inserted::Known });
        }

        let fit = self.admit(index, &enr, seen_at)?;
        if self.buckets.len() <= index {
            self.buckets.resize_with(index + 1, KBucket::default);
        }
        let mut peer = Peer::new(enr, fit, now);
        peer.radius = self.radii.get(&id, now);
        if how == Acquaintance::Answered {
            peer.answered(now);
        }
        let (inserted, displaced) = match self.buckets[index].place(peer) {
            Placing::InBucket(displaced) => (Inserted::Added, displaced),
            Placing::Waiting(displaced) => (Inserted::Waiting, displaced),
            Placing::NoRoom(_) => return Err(Refused::BucketFull),
        };
        self.count(fit.counted());
        self.uncount(displaced.and_then(|peer| peer.counted()));
        Ok(inserted)
    }

    fn update(&mut self, index: usize, id: NodeId, enr: Arc<Enr>, seen_at: Option<SocketAddr>) -> Result<(), Refused> {
        // Its own address must not stand in its way when the limits are checked.
        let old = self.get(&id).and_then(Peer::counted);
        self.uncount(old);
        if let Some(peer) = self.find_mut(&id) {
            peer.subnet = None;
        }
        match self.admit(index, &enr, seen_at) {
            Ok(fit) => {
                self.count(fit.counted());
                if let Some(peer) = self.find_mut(&id) {
                    peer.replace_record(enr, fit);
                }
                Ok(())
            }
            Err(refused) => {
                self.remove(&id);
                Err(refused)
            }
        }
    }

    fn admit(&self, index: usize, enr: &Enr, seen_at: Option<SocketAddr>) -> Result<Fit, Refused> {
        let fit = self.config.rules.check(enr, seen_at)?;
        if let Some(subnet) = fit.subnet {
            // Claims keep nobody out who was seen.
            let is_claim = fit.seen_at.is_none();
            let of_subnet = |bucket: &KBucket| {
                bucket.subnet_count((subnet, Standing::Seen))
                    + if is_claim { bucket.subnet_count((subnet, Standing::Claimed)) } else { 0 }
            };
            let in_bucket = self.buckets.get(index).map_or(0, of_subnet);
            let in_table = self.subnets.of(&(subnet, Standing::Seen))
                + if is_claim { self.subnets.of(&(subnet, Standing::Claimed)) } else { 0 };
            if in_bucket >= MAX_SUBNET_PEERS_PER_BUCKET || in_table >= MAX_SUBNET_PEERS_PER_TABLE {
                return Err(Refused::SubnetFull);
            }
        }
        Ok(fit)
    }

    fn count(&mut self, subnet: Option<(Subnet, Standing)>) {
        if let Some(subnet) = subnet {
            self.subnets.add(subnet);
        }
    }

    fn uncount(&mut self, subnet: Option<(Subnet, Standing)>) {
        if let Some(subnet) = subnet {
            self.subnets.remove(&subnet);
        }
    }

    /// Drops a peer; the best replacement gets its place.
    pub fn remove(&mut self, id: &NodeId) -> Option<Peer> {
        let removed = self.bucket_mut(id)?.remove(id)?;
        self.uncount(removed.counted());
        Some(removed)
    }

    /// A peer answered a request, whichever it was.
    pub fn handle_answer(&mut self, id: &NodeId, now: Instant) {
        let Some(bucket) = self.bucket_mut(id) else { return };
        let Some(peer) = bucket.find_mut(id) else { return };
        peer.answered(now);
        let displaced = bucket.advance(id);
        self.uncount(displaced.and_then(|peer| peer.counted()));
    }

    /// A peer's PONG came. True: it has a newer record than the one here, which FINDNODES for distance 0 gets.
    pub fn handle_pong(&mut self, id: &NodeId, enr_seq: u64, payload: &PingPayload, now: Instant) -> bool {
        self.handle_answer(id, now);
        let next_ping = now + self.config.ping_interval;
        if let Some(peer) = self.find_mut(id) {
            peer.liveness.ping_expires = None;
            peer.liveness.next_ping = next_ping;
        }
        self.announced(id, enr_seq, payload, now)
    }

    /// A peer sent a PING: what it announces there is as good as in a PONG, but says nothing about reaching it.
    /// True: it has a newer record than the one here.
    pub fn handle_ping(&mut self, id: &NodeId, enr_seq: u64, payload: &PingPayload, now: Instant) -> bool {
        self.announced(id, enr_seq, payload, now)
    }

    fn announced(&mut self, id: &NodeId, enr_seq: u64, payload: &PingPayload, now: Instant) -> bool {
        if let Some(peer) = self.find_mut(id) {
            peer.announced(payload);
            return enr_seq > peer.enr().seq();
        }
        if let Some(radius) = payload.data_radius() {
            self.radii.insert(*id, radius, now);
        }
        false
    }

    /// The radius that a peer last announced, whether or not there is room for it in the table.
    pub fn radius(&self, id: &NodeId, now: Instant) -> Option<Distance> {
        self.get(id).map_or_else(|| self.radii.get(id, now), Peer::radius)
    }

    /// A peer left a request unanswered. When it counts as dead it makes room for a replacement; a peer that once
    /// answered and has no replacement stays, is not named to others, and may come back.
    pub fn handle_failure(&mut self, id: &NodeId, now: Instant) {
        let Some(bucket) = self.bucket_mut(id) else { return };
        let Some(peer) = bucket.find_mut(id) else { return };
        peer.failed(now);
        if peer.is_dead() && (!peer.is_confirmed() || bucket.has_replacement()) {
            self.remove(id);
        }
    }

    /// A peer in a bucket or a replacement cache.
    pub fn get(&self, id: &NodeId) -> Option<&Peer> {
        let bucket = self.buckets.get(self.index_of(id)?)?;
        bucket.peers().iter().chain(bucket.replacements()).find(|peer| peer.node_id() == *id)
    }

    /// The peers in buckets.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.buckets.iter().flat_map(KBucket::peers)
    }

    /// The buckets met so far, farthest first: logarithmic distance and peers.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, &[Peer])> {
        (1..=MAX_LOG_DISTANCE).rev().zip(&self.buckets).map(|(distance, bucket)| (distance, bucket.peers()))
    }

    /// The `count` peers nearest to a node ID or content ID among those that pass `filter`, nearest first.
    pub fn closest(&self, target: impl Into<[u8; 32]>, count: usize, filter: impl Fn(&Peer) -> bool) -> Vec<&Peer> {
        let target = NodeId::from(target.into());
        let mut peers: Vec<(Distance, &Peer)> = self
            .peers()
            .filter(|peer| filter(peer))
            .map(|peer| (target.distance_to_node(&peer.node_id()), peer))
            .collect();
        if count < peers.len() {
            peers.select_nth_unstable_by_key(count, |(distance, _)| *distance);
            peers.truncate(count);
        }
        peers.sort_unstable_by_key(|(distance, _)| *distance);
        peers.into_iter().map(|(_, peer)| peer).collect()
    }

    /// The peers known to be interested in some content: not dead, and with a known radius that reaches it.
    pub fn interested(&self, content: &ContentId) -> impl Iterator<Item = &Peer> {
        self.peers().filter(|peer| {
            !peer.is_dead() && peer.radius().is_some_and(|radius| interested(&peer.node_id(), &radius, content))
        })
    }

    /// Records for NODES: presentable peers at these logarithmic distances, without `asker`, one from each distance in
    /// turn so that none crowds out the others. Distance 0, the record of this node, is for the caller to put first.
    pub fn nodes_at(&self, distances: &[u16], asker: &NodeId) -> Vec<Arc<Enr>> {
        let bucket_at = |distance: u16| {
            let index = MAX_LOG_DISTANCE.checked_sub(distance)?;
            self.buckets.get(usize::from(index)).map(KBucket::peers)
        };
        let mut sources: Vec<_> = distances
            .iter()
            .filter(|distance| **distance > 0)
            .filter_map(|distance| bucket_at(*distance))
            .map(|peers| peers.iter().filter(|peer| peer.is_presentable() && peer.node_id() != *asker))
            .collect();
        let mut records = Vec::new();
        while !sources.is_empty() && records.len() < MAX_ENRS {
            sources.retain_mut(|source| source.next().map(|peer| records.push(Arc::clone(peer.enr()))).is_some());
        }
        records.truncate(MAX_ENRS);
        records
    }

    /// Whether no bucket has a peer.
    pub fn is_empty(&self) -> bool {
        self.peers().next().is_none()
    }

    /// Counts for metrics.
    pub fn stats(&self) -> TableStats {
        let mut stats = TableStats::default();
        for bucket in &self.buckets {
            stats.peers += bucket.peers().len();
            stats.replacements += bucket.replacements().len();
            stats.live += bucket.peers().iter().filter(|peer| peer.is_live()).count();
            stats.presentable += bucket.peers().iter().filter(|peer| peer.is_presentable()).count();
        }
        stats
    }

    pub(super) fn index_of(&self, id: &NodeId) -> Option<usize> {
        match log_distance(&self.local, id) {
            0 => None,
            distance => Some(usize::from(MAX_LOG_DISTANCE - distance)),
        }
    }

    fn bucket_mut(&mut self, id: &NodeId) -> Option<&mut KBucket> {
        let index = self.index_of(id)?;
        self.buckets.get_mut(index)
    }

    fn find_mut(&mut self, id: &NodeId) -> Option<&mut Peer> {
        self.bucket_mut(id)?.find_mut(id)
    }
}
