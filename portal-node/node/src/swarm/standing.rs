//! Whether peers keep what they say: how much of what each claimed it brought, and of how much nothing came. Claims cost nothing, so
//! what a claim counts for follows from what its peer did before. Without I/O and clock.
//!
//! A batch of runs is a whole, of which each peer that claimed some has its part: what it brought counts for it in proportion, and
//! what it claimed and nobody brought counts against it. Whoever would count as one that delivers has to deliver as much as he
//! only claims. All of it is forgotten by halves, so that a peer that was too busy for a while is asked again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cairn_swarm::geometry::Run;
use cairn_swarm::quic::Held;
use content_types::NodeId;

/// What a whole batch counts for.
const WHOLE: u64 = 1 << 12;
/// When half of it is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(10 * 60);
/// How long ago a peer delivered that does so lately.
const LATELY: Duration = Duration::from_secs(5 * 60);
/// Peers that are remembered; whoever was heard of least lately makes room.
const MAX_PEERS: usize = 1024;

/// What a peer's claims count for: the smaller, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// It has delivered, and not less than it only claimed.
    Proved,
    /// It serves this node, and nothing speaks against it.
    Serving,
    /// It does not serve this node, or nothing came of what it claimed.
    Doubtful,
}

impl Trust {
    pub(super) const COUNT: usize = 3;

    /// Its place in [`Trust::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Proved => 0,
            Self::Serving => 1,
            Self::Doubtful => 2,
        }
    }
}

/// How it ended with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunEnd {
    /// Nothing of it is missing any more.
    Complete,
    /// Something of it came.
    Partly,
    /// Nothing came.
    Missed,
    /// Nothing came, and nobody is to blame: it was not waited for long enough, or the headers were not here without which nobody
    /// is asked.
    NotTried,
}

/// What is remembered of a peer.
#[derive(Clone, Copy, Debug)]
struct Standing {
    brought: u64,
    missed: u64,
    delivered: Option<Instant>,
    /// Up to when it was forgotten by halves.
    aged: Instant,
    seen: Instant,
}

impl Standing {
    const fn new(now: Instant) -> Self {
        Self { brought: 0, missed: 0, delivered: None, aged: now, seen: now }
    }

    fn aged(mut self, now: Instant) -> Self {
        let halvings = now.saturating_duration_since(self.aged).as_secs() / HALF_LIFE.as_secs();
        let shift = u32::try_from(halvings).unwrap_or(u32::MAX).min(u64::BITS - 1);
        (self.brought, self.missed) = (self.brought >> shift, self.missed >> shift);
        self.aged += HALF_LIFE * shift;
        self
    }

    fn has_delivered_lately(&self, now: Instant) -> bool {
        self.delivered.is_some_and(|at| now.saturating_duration_since(at) < LATELY)
    }
}

/// What came of a batch.
pub(super) struct BatchOutcome<'a> {
    pub(super) runs: &'a [(Run, RunEnd)],
    /// What each peer claimed when it began.
    pub(super) claims: &'a [(NodeId, std::sync::Arc<Held>)],
    /// Bytes that came from each.
    pub(super) brought: &'a BTreeMap<NodeId, u64>,
}

/// What peers did.
#[derive(Debug, Default)]
pub(super) struct Standings(BTreeMap<NodeId, Standing>);

impl Standings {
    /// Something came from a peer.
    pub(super) fn handle_delivered(&mut self, now: Instant, peer: NodeId) {
        self.of(now, peer).delivered = Some(now);
    }

    /// A batch has ended.
    pub(super) fn handle_ended(&mut self, now: Instant, outcome: &BatchOutcome<'_>) {
        let BatchOutcome { runs, claims, brought } = outcome;
        let all = u64::try_from(runs.len()).unwrap_or(u64::MAX).max(1);
        let complete = runs.iter().filter(|(_, end)| *end == RunEnd::Complete).count() as u64;
        let bytes = brought.values().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes)).max(1);
        for (peer, of_peer) in brought.iter().filter(|(_, bytes)| **bytes > 0) {
            let part = u128::from(WHOLE) * u128::from(complete) * u128::from(*of_peer) / u128::from(bytes);
            let standing = self.of(now, *peer);
            standing.brought = standing.brought.saturating_add(u64::try_from(part).unwrap_or(u64::MAX) / all);
        }
        for (peer, held) in *claims {
            let is_missed = |(run, end): &&(Run, RunEnd)| {
                matches!(end, RunEnd::Partly | RunEnd::Missed) && held[run.component.index()].contains(run.index)
            };
            let missed = runs.iter().filter(is_missed).count() as u64;
            if missed > 0 {
                let standing = self.of(now, *peer);
                standing.missed = standing.missed.saturating_add(WHOLE * missed / all);
            }
        }
    }

    /// What a connected peer's claims count for.
    pub(super) fn trust(&self, now: Instant, peer: &NodeId, serves_us: bool) -> Trust {
        let standing = self.0.get(peer).map(|standing| standing.aged(now));
        match standing {
            Some(of) if of.missed > of.brought => Trust::Doubtful,
            // Who delivers takes turns with others, and is not gone while it is their turn.
            Some(of) if of.has_delivered_lately(now) => Trust::Proved,
            _ if serves_us => Trust::Serving,
            _ => Trust::Doubtful,
        }
    }

    /// Whether a peer has delivered lately.
    pub(super) fn has_delivered_lately(&self, now: Instant, peer: &NodeId) -> bool {
        self.0.get(peer).is_some_and(|standing| standing.has_delivered_lately(now))
    }

    fn of(&mut self, now: Instant, peer: NodeId) -> &mut Standing {
        if self.0.len() >= MAX_PEERS
            && !self.0.contains_key(&peer)
            && let Some(first) = self.0.iter().min_by_key(|(_, standing)| standing.seen).map(|(peer, _)| *peer)
        {
            self.0.remove(&first);
        }
        let standing = self.0.entry(peer).or_insert_with(|| Standing::new(now));
        *standing = Standing { seen: now, ..standing.aged(now) };
        standing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cairn_swarm::geometry::{Component, RunSet};

    use super::*;

    fn peer(number: u16) -> NodeId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        id.into()
    }

    fn claim(runs: std::ops::Range<u64>) -> Arc<Held> {
        let mut of_bodies = RunSet::default();
        assert!(of_bodies.insert(runs));
        Arc::new([RunSet::default(), of_bodies, RunSet::default()])
    }

    fn batch(ends: &[RunEnd]) -> Vec<(Run, RunEnd)> {
        let run = |index| Run { component: Component::Bodies, index };
        ends.iter().enumerate().map(|(index, end)| (run(index as u64), *end)).collect()
    }

    #[test]
    fn a_claim_counts_for_what_its_peer_did() {
        let start = Instant::now();
        let (honest, liar, stranger) = (peer(1), peer(2), peer(3));
        let mut standings = Standings::default();
        assert_eq!(standings.trust(start, &honest, true), Trust::Serving);
        assert_eq!(standings.trust(start, &honest, false), Trust::Doubtful);
        // The liar claims all four; the honest one brings the two that it claims.
        let runs = batch(&[RunEnd::Complete, RunEnd::Complete, RunEnd::Missed, RunEnd::Partly]);
        let claims = [(honest, claim(0..2)), (liar, claim(0..4)), (stranger, claim(9..12))];
        standings.handle_delivered(start, honest);
        let brought = BTreeMap::from([(honest, 1000)]);
        standings.handle_ended(start, &BatchOutcome { runs: &runs, claims: &claims, brought: &brought });
        assert_eq!(standings.trust(start, &honest, false), Trust::Proved);
        assert_eq!(standings.trust(start, &liar, true), Trust::Doubtful);
        assert_eq!(standings.trust(start, &stranger, true), Trust::Serving);
        // Nor does it help to bring a little of what others bring, too.
        let brought = BTreeMap::from([(honest, 900), (liar, 100)]);
        for _ in 0..100 {
            standings.handle_delivered(start, liar);
            standings.handle_ended(start, &BatchOutcome { runs: &runs, claims: &claims, brought: &brought });
        }
        assert_eq!(standings.trust(start, &liar, true), Trust::Doubtful);
        assert_eq!(standings.trust(start, &honest, true), Trust::Proved);
        assert_eq!(standings.trust(start + LATELY, &honest, true), Trust::Serving, "that was long ago");
    }

    #[test]
    fn what_a_peer_missed_is_forgotten_in_time_and_what_was_not_tried_is_no_fault() {
        let start = Instant::now();
        let (busy, claims) = (peer(1), [(peer(1), claim(0..4))]);
        let mut standings = Standings::default();
        let end = |standings: &mut Standings, end| {
            let outcome = BatchOutcome { runs: &batch(&[end; 4]), claims: &claims, brought: &BTreeMap::new() };
            standings.handle_ended(start, &outcome);
        };
        end(&mut standings, RunEnd::NotTried);
        assert_eq!(standings.trust(start, &busy, true), Trust::Serving);
        end(&mut standings, RunEnd::Missed);
        assert_eq!(standings.trust(start + HALF_LIFE, &busy, true), Trust::Doubtful);
        assert_eq!(standings.trust(start + HALF_LIFE * 13, &busy, true), Trust::Serving);
        // Time that passed counts once.
        (1..=26).for_each(|half| standings.handle_delivered(start + HALF_LIFE / 2 * half, busy));
        assert_eq!(standings.trust(start + HALF_LIFE * 13, &busy, true), Trust::Proved);
    }

    #[test]
    fn what_is_remembered_of_peers_is_bounded() {
        let start = Instant::now();
        let mut standings = Standings::default();
        for number in 0..2 * MAX_PEERS as u16 {
            standings.handle_delivered(start + Duration::from_millis(number.into()), peer(number));
        }
        assert_eq!(standings.0.len(), MAX_PEERS);
        assert!(standings.has_delivered_lately(start, &peer(2 * MAX_PEERS as u16 - 1)));
    }
}
