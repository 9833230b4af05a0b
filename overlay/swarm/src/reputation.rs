//! What peers earned and lost: verified bytes earn, broken promises cost, and one proven lie bars a node ID for a while.
//!
//! Nothing is asked of a barred peer, and its connection is not kept. The bars outlive a download: hand the
//! [`Reputation`] of one to the next.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use content_types::NodeId;

/// Peers that are noted at most. Who has been heard of least lately makes room, barred peers last.
pub const MAX_NOTED: usize = 4096;

/// For how long the first proven lie bars a peer; each further one doubles it.
pub const LIE_BAR: Duration = Duration::from_secs(60 * 60);

/// The longest that a peer is barred for.
pub const MAX_BAR: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long a peer is barred that lost all of its credit without having lied.
pub const POOR_BAR: Duration = Duration::from_secs(5 * 60);

/// Verified bytes that earn a point.
const BYTES_PER_POINT: u64 = 1 << 20;

/// More points than these are not kept: past merit buys a peer some failures, not impunity.
const MAX_POINTS: i32 = 100;

/// A peer with so few points is barred.
const LEAST_POINTS: i32 = -30;

/// What a peer did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// It sent a block that was proved wrong.
    Lie,
    /// It lacks a run that it was believed to hold. Costs little, since what is held may be a prediction.
    NotHeld,
    /// It sent nothing for a long time while others did.
    Silent,
    /// It trickled while others could have delivered.
    Slow,
    /// It broke a request off, or called it malformed.
    Broken,
}

impl Offence {
    /// In a word or two, as progress and metrics say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lie => "lie",
            Self::NotHeld => "not held",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Broken => "broken off",
        }
    }

    /// Points that it costs; `None` if no points make up for it.
    const fn cost(self) -> Option<i32> {
        match self {
            Self::Lie => None,
            Self::NotHeld => Some(1),
            Self::Broken => Some(2),
            Self::Slow => Some(5),
            Self::Silent => Some(10),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    points: i32,
    /// Verified bytes that have not earned a point yet.
    bytes: u64,
    lies: u32,
    barred_until: Option<Instant>,
    /// When it was last heard of.
    last: Instant,
}

impl Standing {
    fn new(now: Instant) -> Self {
        Self { points: 0, bytes: 0, lies: 0, barred_until: None, last: now }
    }
}

/// The standing of peers, by node ID.
#[derive(Debug, Clone, Default)]
pub struct Reputation {
    peers: BTreeMap<NodeId, Standing>,
}

impl Reputation {
    /// A block of so many bytes came from a peer and proved true.
    pub fn on_verified(&mut self, now: Instant, peer: &NodeId, bytes: u64) {
        let standing = self.standing(now, peer);
        let bytes = standing.bytes.saturating_add(bytes);
        let points = i32::try_from(bytes / BYTES_PER_POINT).unwrap_or(MAX_POINTS);
        standing.points = standing.points.saturating_add(points).min(MAX_POINTS);
        standing.bytes = bytes % BYTES_PER_POINT;
    }

    /// A peer did wrong. If that was too much, for how long it is barred from now on.
    pub fn on_offence(&mut self, now: Instant, peer: &NodeId, offence: Offence) -> Option<Duration> {
        let standing = self.standing(now, peer);
        let bar = if let Some(cost) = offence.cost() {
            standing.points = standing.points.saturating_sub(cost);
            if standing.points > LEAST_POINTS {
                return None;
            }
            POOR_BAR
        } else {
            standing.lies = standing.lies.saturating_add(1);
            LIE_BAR.saturating_mul(1 << (standing.lies - 1).min(16)).min(MAX_BAR)
        };
        // Who comes back has half of the way to the next bar before it.
        standing.points = LEAST_POINTS / 2;
        standing.bytes = 0;
        let until = now + bar;
        standing.barred_until = Some(standing.barred_until.map_or(until, |before| before.max(until)));
        Some(bar)
    }

    /// For how long a peer is still barred.
    pub fn barred_for(&self, now: Instant, peer: &NodeId) -> Option<Duration> {
        let until = self.peers.get(peer)?.barred_until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// A peer's points: 0 for a stranger, at most 100; it is barred at -30.
    pub fn points(&self, peer: &NodeId) -> i32 {
        self.peers.get(peer).map_or(0, |standing| standing.points)
    }

    /// How many peers are noted.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether nobody is noted.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    fn standing(&mut self, now: Instant, peer: &NodeId) -> &mut Standing {
        if self.peers.len() >= MAX_NOTED && !self.peers.contains_key(peer) {
            let barred = |standing: &Standing| standing.barred_until.filter(|until| *until > now);
            let least = self.peers.iter().min_by_key(|(_, standing)| (barred(standing), standing.last));
            if let Some(id) = least.map(|(id, _)| *id) {
                self.peers.remove(&id);
            }
        }
        let standing = self.peers.entry(*peer).or_insert_with(|| Standing::new(now));
        standing.last = now;
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u64) -> NodeId {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        bytes.into()
    }

    #[test]
    fn a_lie_bars_whatever_was_earned_and_the_next_one_for_longer() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        reputation.on_verified(now, &peer(1), 1 << 40);
        assert_eq!(reputation.points(&peer(1)), MAX_POINTS);
        assert_eq!(reputation.on_offence(now, &peer(1), Offence::Lie), Some(LIE_BAR));
        assert_eq!(reputation.barred_for(now + Duration::from_secs(600), &peer(1)), Some(LIE_BAR * 5 / 6));
        assert_eq!(reputation.barred_for(now + LIE_BAR, &peer(1)), None);
        assert_eq!(reputation.on_offence(now + LIE_BAR, &peer(1), Offence::Lie), Some(2 * LIE_BAR));
        let bars = (0..100).map(|_| reputation.on_offence(now, &peer(1), Offence::Lie).unwrap());
        assert_eq!(bars.max(), Some(MAX_BAR));
        assert_eq!(reputation.barred_for(now, &peer(2)), None);
    }

    #[test]
    fn broken_promises_bar_who_delivers_nothing_and_not_who_delivers() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        let until_barred = (1..).find(|_| reputation.on_offence(now, &peer(1), Offence::NotHeld).is_some());
        assert_eq!(until_barred, Some(30));
        assert_eq!(reputation.barred_for(now, &peer(1)), Some(POOR_BAR));
        for _ in 0..1000 {
            reputation.on_verified(now, &peer(2), BYTES_PER_POINT / 2);
            reputation.on_verified(now, &peer(2), BYTES_PER_POINT / 2);
            assert_eq!(reputation.on_offence(now, &peer(2), Offence::NotHeld), None);
        }
    }

    #[test]
    fn a_crowd_of_strangers_neither_grows_the_notes_nor_frees_who_is_barred() {
        let (mut reputation, now) = (Reputation::default(), Instant::now());
        reputation.on_offence(now, &peer(0), Offence::Lie);
        for stranger in 1..3 * MAX_NOTED as u64 {
            let now = now + Duration::from_millis(stranger);
            reputation.on_offence(now, &peer(stranger), Offence::Broken);
            assert!(reputation.len() <= MAX_NOTED);
        }
        assert!(reputation.barred_for(now, &peer(0)).is_some());
        assert_eq!(reputation.points(&peer(3 * MAX_NOTED as u64 - 1)), -2);
    }
}
