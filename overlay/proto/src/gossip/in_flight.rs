//! Which keys are being taken from whom.
//!
//! A key that several peers offer at a time is taken from the first. The others are told so ([`InboundKeyLimited`]) and
//! remembered: if the first fails, the content can be had from them with FINDCONTENT.
//!
//! A claim is worth as much as what comes of it. When nothing moves for [`CLAIM_PATIENCE`], the key is the next offerer's; the
//! one before may still send it, and whichever copy comes first counts.
//!
//! [`InboundKeyLimited`]: crate::wire::AcceptCode::InboundKeyLimited

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_limits::ledger::USUAL_PATIENCE;
use content_types::NodeId;

use crate::routing::Subnet;

/// Most keys being taken at a time.
pub const MAX_IN_FLIGHT_KEYS: usize = 16_384;

/// Most other peers remembered for a key.
pub const MAX_ALTERNATIVES: usize = 4;

/// How long nothing may move before a key is the next offerer's.
pub const CLAIM_PATIENCE: Duration = USUAL_PATIENCE;

/// How long a key may wait for its turn on a stream, or be on its way, before it may be taken from another too, however much
/// moves: one copy too many is a smaller evil than one that never ends.
pub const MAX_CLAIM: Duration = Duration::from_secs(60);

/// Who offers a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offerer {
    /// Its node ID.
    pub node_id: NodeId,
    /// The subnet that it counts for; `None`: one without limits.
    pub subnet: Option<Subnet>,
    /// Whether it has delivered before: then it is asked before those who have not, when another fails.
    pub is_proved: bool,
}

/// What came of asking to take a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is to be taken from this peer; the caller owes [`InFlight::handle_received`] or [`InFlight::handle_failed`].
    Taken,
    /// It is being taken from a peer already.
    Busy,
    /// Too many keys are in flight.
    Full,
}

#[derive(Debug)]
struct Taking {
    from: Offerer,
    claimed: Instant,
    /// When something last came of it.
    moved: Instant,
    /// Those who have delivered before come first. Never two of one subnet: who has many node IDs there could else be all who
    /// step in.
    alternatives: VecDeque<Offerer>,
}

impl Taking {
    fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.moved) >= CLAIM_PATIENCE
            || now.saturating_duration_since(self.claimed) >= MAX_CLAIM
    }

    fn is_from(&self, peer: &NodeId) -> bool {
        self.from.node_id == *peer
    }

    fn pass_to(&mut self, next: Offerer, now: Instant) {
        (self.from, self.claimed, self.moved) = (next, now, now);
        self.alternatives.retain(|other| other.node_id != next.node_id);
    }

    /// Remembers who has it too.
    fn add(&mut self, offerer: Offerer) {
        let is_same = |other: &Offerer| {
            other.node_id == offerer.node_id || (offerer.subnet.is_some() && other.subnet == offerer.subnet)
        };
        if is_same(&self.from) || self.alternatives.iter().any(is_same) {
            return;
        }
        if self.alternatives.len() >= MAX_ALTERNATIVES {
            match self.alternatives.back() {
                Some(last) if offerer.is_proved && !last.is_proved => self.alternatives.pop_back(),
                _ => return,
            };
        }
        let place = self.alternatives.partition_point(|other| other.is_proved || !offerer.is_proved);
        self.alternatives.insert(place, offerer);
    }
}

/// The keys being taken.
#[derive(Debug, Default)]
pub struct InFlight {
    keys: HashMap<Bytes, Taking>,
}

impl InFlight {
    /// Whether a key is being taken from a peer that is at it, or from `offerer` itself.
    pub fn is_busy(&self, key: &[u8], offerer: &NodeId, now: Instant) -> bool {
        self.keys.get(key).is_some_and(|taking| taking.is_from(offerer) || !taking.is_stale(now))
    }

    /// A peer offers a key: is it to be taken from it?
    pub fn handle_offer(&mut self, key: &Bytes, offerer: Offerer, now: Instant) -> Claim {
        let is_busy = self.is_busy(key, &offerer.node_id, now);
        if let Some(taking) = self.keys.get_mut(key) {
            if is_busy {
                taking.add(offerer);
                return Claim::Busy;
            }
            taking.pass_to(offerer, now);
            return Claim::Taken;
        }
        if self.keys.len() >= MAX_IN_FLIGHT_KEYS {
            self.keys.retain(|_, taking| !taking.is_stale(now));
        }
        if self.keys.len() >= MAX_IN_FLIGHT_KEYS {
            return Claim::Full;
        }
        let taking = Taking { from: offerer, claimed: now, moved: now, alternatives: VecDeque::new() };
        self.keys.insert(key.clone(), taking);
        Claim::Taken
    }

    /// Something came of what `from` is to send: none of these keys, which wait their turn, is to be taken from another. What
    /// is no longer taken from it stays so.
    pub fn handle_progress<'a>(&mut self, keys: impl IntoIterator<Item = &'a Bytes>, from: &NodeId, now: Instant) {
        for key in keys {
            if let Some(taking) = self.keys.get_mut(key).filter(|taking| taking.is_from(from)) {
                taking.moved = now;
            }
        }
    }

    /// The content came and is valid, or is not wanted any more.
    pub fn handle_received(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }

    /// The content did not come from `from`, or was invalid. Returns the next peer that has it, which holds the claim
    /// from now on; with nobody left the key is no longer in flight.
    pub fn handle_failed(&mut self, key: &[u8], from: &NodeId, now: Instant) -> Option<NodeId> {
        let taking = self.keys.get_mut(key).filter(|taking| taking.is_from(from))?;
        let Some(next) = taking.alternatives.pop_front() else {
            self.keys.remove(key);
            return None;
        };
        taking.pass_to(next, now);
        Some(next.node_id)
    }

    /// Which of the keys that `from` is to send are passed on because nothing moves, and to whom: those that somebody else
    /// offered meanwhile.
    pub fn handle_timeout<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a Bytes>,
        from: &NodeId,
        now: Instant,
    ) -> Vec<(Bytes, NodeId)> {
        let mut passed = Vec::new();
        for key in keys {
            if let Some(taking) = self.keys.get_mut(key).filter(|taking| taking.is_from(from) && taking.is_stale(now))
                && let Some(next) = taking.alternatives.pop_front()
            {
                taking.pass_to(next, now);
                passed.push((key.clone(), next.node_id));
            }
        }
        passed
    }

    /// Keys in flight.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(byte: u8) -> NodeId {
        NodeId::from([byte; 32])
    }

    const KEY: Bytes = Bytes::from_static(b"key");

    fn newcomer(byte: u8) -> Offerer {
        Offerer { node_id: peer(byte), subnet: None, is_proved: false }
    }

    fn proved(byte: u8) -> Offerer {
        Offerer { is_proved: true, ..newcomer(byte) }
    }

    #[test]
    fn others_step_in_when_the_first_fails() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(0), now), Claim::Taken);
        for byte in [0, 1, 1, 2] {
            assert_eq!(in_flight.handle_offer(&KEY, newcomer(byte), now), Claim::Busy);
        }
        assert_eq!(in_flight.handle_failed(&KEY, &peer(9), now), None, "it is not taken from this one");
        assert_eq!(in_flight.handle_failed(&KEY, &peer(0), now), Some(peer(1)));
        assert_eq!(in_flight.handle_failed(&KEY, &peer(0), now), None, "nor from the first any more");
        assert_eq!(in_flight.handle_failed(&KEY, &peer(1), now), Some(peer(2)));
        assert_eq!(in_flight.handle_failed(&KEY, &peer(2), now), None);
        assert!(in_flight.is_empty());
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(3), now), Claim::Taken);
        in_flight.handle_received(&KEY);
        assert!(in_flight.is_empty());
    }

    #[test]
    fn one_subnet_does_not_step_in_for_itself() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        for (byte, subnet) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)] {
            let subnet = Some(Subnet::V4([8, 8, subnet]));
            in_flight.handle_offer(&KEY, Offerer { subnet, ..newcomer(byte) }, now);
        }
        let chain = std::iter::successors(Some(peer(0)), |from| in_flight.handle_failed(&KEY, from, now));
        assert_eq!(chain.collect::<Vec<_>>(), [peer(0), peer(2), peer(4)]);
    }

    #[test]
    fn who_has_delivered_before_steps_in_first() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        for byte in 0..=8 {
            in_flight.handle_offer(&KEY, newcomer(byte), now);
        }
        for byte in 10..12 {
            in_flight.handle_offer(&KEY, proved(byte), now);
        }
        let chain = std::iter::successors(Some(peer(0)), |from| in_flight.handle_failed(&KEY, from, now));
        assert_eq!(chain.collect::<Vec<_>>(), [0, 10, 11, 1, 2].map(peer));
    }

    #[test]
    fn a_claim_of_which_nothing_comes_is_the_next_offerers() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        in_flight.handle_offer(&KEY, newcomer(0), now);
        let late = now + CLAIM_PATIENCE;
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(0), late), Claim::Busy, "not the same one's again");
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(1), late), Claim::Taken);
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(0), late), Claim::Busy);
        assert_eq!(in_flight.handle_failed(&KEY, &peer(0), late), None, "the claim passed on");
        assert_eq!(in_flight.len(), 1);
    }

    #[test]
    fn what_stands_still_passes_to_who_offered_it_meanwhile() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        let other = Bytes::from_static(b"other");
        for byte in 0..2 {
            in_flight.handle_offer(&KEY, newcomer(byte), now);
        }
        in_flight.handle_offer(&other, newcomer(0), now);
        assert!(in_flight.handle_timeout([&KEY, &other], &peer(0), now).is_empty());
        let late = now + CLAIM_PATIENCE;
        assert_eq!(
            in_flight.handle_timeout([&KEY, &other], &peer(0), late),
            [(KEY, peer(1))],
            "nobody else has the other"
        );
        assert!(in_flight.is_busy(&KEY, &peer(2), late) && !in_flight.is_busy(&other, &peer(2), late));
    }

    #[test]
    fn a_claim_lasts_while_something_comes_but_not_for_ever() {
        let (now, half) = (Instant::now(), CLAIM_PATIENCE / 2);
        let mut in_flight = InFlight::default();
        in_flight.handle_offer(&KEY, newcomer(0), now);
        in_flight.handle_progress([&KEY], &peer(0), now + half);
        in_flight.handle_progress([&KEY], &peer(1), now + 2 * half);
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(1), now + 2 * half), Claim::Busy);
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(1), now + 3 * half), Claim::Taken, "another renews nothing");
        in_flight.handle_progress([&KEY], &peer(0), now + 4 * half);
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(2), now + 5 * half), Claim::Taken, "nor who has lost it");
        let end = now + 5 * half + MAX_CLAIM;
        in_flight.handle_progress([&KEY], &peer(2), end);
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(3), end), Claim::Taken, "however much moves");
    }

    #[test]
    fn bounded() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        for number in 0..MAX_IN_FLIGHT_KEYS as u32 {
            assert_eq!(in_flight.handle_offer(&number.to_be_bytes().to_vec().into(), newcomer(0), now), Claim::Taken);
        }
        assert_eq!(in_flight.handle_offer(&KEY, newcomer(0), now), Claim::Full);
        let first = Bytes::from_static(&[0; 4]);
        for byte in 1..=255 {
            in_flight.handle_offer(&first, newcomer(byte), now);
        }
        let chain = std::iter::successors(Some(peer(0)), |from| in_flight.handle_failed(&first, from, now));
        assert_eq!(chain.count(), 1 + MAX_ALTERNATIVES);
        assert_eq!(
            in_flight.handle_offer(&KEY, newcomer(0), now + CLAIM_PATIENCE),
            Claim::Taken,
            "the old ones make room"
        );
    }
}
