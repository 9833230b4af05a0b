//! What a table wants done: PINGs to peers not heard of for a while, lookups where it knows too few.
//!
//! Specification: `portal-wire-protocol.md`, "Joining the Network" and "Finding Nodes".

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use content_types::NodeId;
use rand::Rng;

use super::{K, Peer, RoutingTable, random_id_at};
use crate::{
    record::Enr,
    wire::{Extensions, MAX_LOG_DISTANCE},
};

/// Most PINGs of a table under way at a time.
pub const MAX_PINGS: usize = 8;

/// After this a PING whose outcome was never reported no longer counts as under way.
const PING_EXPIRY: Duration = Duration::from_secs(30);

/// Pause between lookups of this node's own surroundings while the table has fewer than [`K`] live peers.
pub const SPARSE_INTERVAL: Duration = Duration::from_secs(60);

/// Pause between two lookups that a table asks for.
const LOOKUP_SPACING: Duration = Duration::from_secs(2);

/// A peer that once answered is forgotten after this long without a sign.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What the driver is to do for the table.
#[derive(Debug, Clone, PartialEq)]
pub enum Upkeep {
    /// Send a PING and report [`RoutingTable::handle_pong`] or [`RoutingTable::handle_failure`].
    Ping {
        /// To whom.
        peer: Arc<Enr>,
        /// The extension to use, the best that both sides list.
        payload_type: u16,
    },
    /// Look up the nodes nearest to `target` and insert those that come up.
    Lookup {
        /// This node's own ID, or a random one in a bucket's range.
        target: NodeId,
    },
    /// Nothing before this time, unless the table changes; `None`: not before a peer is inserted.
    Timeout(Option<Instant>),
}

impl RoutingTable {
    /// The next thing to do now. `own` are the ping extensions that this node speaks.
    pub fn poll_output(&mut self, now: Instant, own: Extensions, rng: &mut impl Rng) -> Upkeep {
        let next = self.next_ping(now, own).or_else(|| self.next_lookup(now, rng));
        next.unwrap_or_else(|| Upkeep::Timeout(self.next_due(now)))
    }

    fn next_due(&self, now: Instant) -> Option<Instant> {
        let expiries = self.peers().filter_map(|peer| peer.liveness.ping_expires);
        let has_room = self.pings_under_way() < MAX_PINGS;
        let pings = self.peers().filter(|peer| has_room && !is_pinging(peer)).map(|peer| peer.liveness.next_ping);
        expiries.chain(pings).chain(self.lookup_due(now)).min()
    }

    /// Nodes were looked up near `target`, for whatever reason: its bucket is fresh.
    pub fn handle_lookup(&mut self, target: &NodeId, now: Instant) {
        match self.index_of(target) {
            None => self.upkeep.own_lookup = Some(now),
            Some(index) => {
                if let Some(bucket) = self.buckets.get_mut(index) {
                    bucket.refreshed = Some(now);
                }
            }
        }
    }

    fn pings_under_way(&self) -> usize {
        self.peers().filter(|peer| is_pinging(peer)).count()
    }

    fn next_ping(&mut self, now: Instant, own: Extensions) -> Option<Upkeep> {
        self.forget(now);
        for peer in self.buckets.iter_mut().flat_map(|bucket| bucket.peers_mut()) {
            peer.liveness.ping_expires = peer.liveness.ping_expires.filter(|expires| *expires > now);
        }
        if self.pings_under_way() >= MAX_PINGS {
            return None;
        }
        let interval = self.config.ping_interval;
        let peers = self.buckets.iter_mut().flat_map(|bucket| bucket.peers_mut());
        let peer = peers
            .filter(|peer| !is_pinging(peer) && peer.liveness.next_ping <= now)
            .min_by_key(|peer| peer.liveness.next_ping)?;
        peer.liveness.ping_expires = Some(now + PING_EXPIRY);
        peer.liveness.next_ping = now + interval;
        Some(Upkeep::Ping { peer: Arc::clone(peer.enr()), payload_type: own.best_common(peer.extensions()) })
    }

    fn forget(&mut self, now: Instant) {
        let is_gone =
            |peer: &Peer| peer.is_dead() && peer.last_seen().is_none_or(|seen| now.duration_since(seen) > FORGET_AFTER);
        let gone: Vec<NodeId> = self.peers().filter(|peer| is_gone(peer)).map(Peer::node_id).collect();
        for id in gone {
            self.remove(&id);
        }
    }

    fn own_interval(&self) -> Duration {
        let live = self.peers().filter(|peer| !peer.is_dead()).take(K).count();
        if live < K { SPARSE_INTERVAL.min(self.config.refresh_interval) } else { self.config.refresh_interval }
    }

    /// When the next lookup is due; `None` while there is nobody to ask.
    fn lookup_due(&self, now: Instant) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        let refresh_interval = self.config.refresh_interval;
        let own = self.upkeep.own_lookup.map_or(now, |at| at + self.own_interval());
        let buckets = self.buckets.iter().map(|bucket| bucket.refreshed.map_or(now, |at| at + refresh_interval));
        let due = buckets.chain([own]).min()?;
        Some(self.upkeep.last_lookup.map_or(due, |last| due.max(last + LOOKUP_SPACING)))
    }

    /// First this node's own surroundings, then every bucket farther away than the nearest peer, the stalest first.
    fn next_lookup(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Upkeep> {
        if self.is_empty() || self.upkeep.last_lookup.is_some_and(|last| now < last + LOOKUP_SPACING) {
            return None;
        }
        let refresh_interval = self.config.refresh_interval;
        let own_interval = self.own_interval();
        let target = if self.upkeep.own_lookup.is_none_or(|at| now >= at + own_interval) {
            self.upkeep.own_lookup = Some(now);
            self.local
        } else {
            let is_stale = |refreshed: Option<Instant>| refreshed.is_none_or(|at| now >= at + refresh_interval);
            let stale = self.buckets.iter_mut().enumerate().filter(|(_, bucket)| is_stale(bucket.refreshed));
            let (index, bucket) = stale.min_by_key(|(_, bucket)| bucket.refreshed)?;
            bucket.refreshed = Some(now);
            // At most 256 buckets, so the index fits.
            random_id_at(&self.local, MAX_LOG_DISTANCE.saturating_sub(index as u16), rng)
        };
        self.upkeep.last_lookup = Some(now);
        Some(Upkeep::Lookup { target })
    }
}

fn is_pinging(peer: &Peer) -> bool {
    peer.liveness.ping_expires.is_some()
}
