//! Which keys are being taken from whom.
//!
//! A key that several peers offer at a time is taken from the first. The others are told so ([`InboundKeyLimited`]) and
//! remembered: if the first fails, the content can be had from them with FINDCONTENT.
//!
//! [`InboundKeyLimited`]: crate::wire::AcceptCode::InboundKeyLimited

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use content_types::NodeId;

use crate::routing::Subnet;

/// Most keys being taken at a time.
pub const MAX_IN_FLIGHT_KEYS: usize = 16_384;

/// Most other peers remembered for a key.
pub const MAX_ALTERNATIVES: usize = 4;

/// A key of which nothing is reported for so long is no longer in flight. Streams end by themselves when they stand still:
/// this is for those that nobody reports on.
pub const IN_FLIGHT_TIMEOUT: Duration = Duration::from_secs(120);

/// What came of asking to take a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is to be taken from this peer; the caller owes [`InFlight::done`] or [`InFlight::failed`].
    Taken,
    /// It is being taken from a peer already.
    Busy,
    /// Too many keys are in flight.
    Full,
}

#[derive(Debug)]
struct Taking {
    from: NodeId,
    expires: Instant,
    alternatives: VecDeque<NodeId>,
    /// Where the two above are. Who has many node IDs in one subnet could else be all who step in.
    subnets: Vec<Subnet>,
}

/// The keys being taken.
#[derive(Debug, Default)]
pub struct InFlight {
    keys: HashMap<Bytes, Taking>,
}

impl InFlight {
    /// `from`, a peer of a subnet (`None`: one without limits), offers `key`: is it to be taken?
    pub fn claim(&mut self, key: &Bytes, (from, subnet): (NodeId, Option<Subnet>), now: Instant) -> Claim {
        if let Some(taking) = self.keys.get_mut(key)
            && taking.expires > now
        {
            let is_known = taking.from == from
                || taking.alternatives.contains(&from)
                || subnet.is_some_and(|subnet| taking.subnets.contains(&subnet));
            if !is_known && taking.alternatives.len() < MAX_ALTERNATIVES {
                taking.alternatives.push_back(from);
                taking.subnets.extend(subnet);
            }
            return Claim::Busy;
        }
        if self.keys.len() >= MAX_IN_FLIGHT_KEYS {
            self.keys.retain(|_, taking| taking.expires > now);
        }
        if self.keys.len() >= MAX_IN_FLIGHT_KEYS {
            return Claim::Full;
        }
        let (expires, subnets) = (now + IN_FLIGHT_TIMEOUT, Vec::from_iter(subnet));
        let taking = Taking { from, expires, alternatives: VecDeque::new(), subnets };
        self.keys.insert(key.clone(), taking);
        Claim::Taken
    }

    /// Something came of what `from` is to send: none of these keys, which wait their turn, is to be taken from another. What
    /// is no longer taken from it stays so.
    pub fn renew<'a>(&mut self, keys: impl IntoIterator<Item = &'a Bytes>, from: &NodeId, now: Instant) {
        for key in keys {
            if let Some(taking) = self.keys.get_mut(key).filter(|taking| taking.from == *from) {
                taking.expires = now + IN_FLIGHT_TIMEOUT;
            }
        }
    }

    /// The content came from `from` and is valid, or is not wanted any more.
    pub fn done(&mut self, key: &[u8], from: &NodeId) {
        if self.is_taken_from(key, from) {
            self.keys.remove(key);
        }
    }

    /// The content did not come from `from`, or was invalid. Returns the next peer that has it, which holds the claim
    /// from now on; with nobody left the key is no longer in flight.
    pub fn failed(&mut self, key: &[u8], from: &NodeId, now: Instant) -> Option<NodeId> {
        if !self.is_taken_from(key, from) {
            return None;
        }
        let taking = self.keys.get_mut(key)?;
        let Some(next) = taking.alternatives.pop_front() else {
            self.keys.remove(key);
            return None;
        };
        taking.from = next;
        taking.expires = now + IN_FLIGHT_TIMEOUT;
        Some(next)
    }

    /// Keys in flight.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn is_taken_from(&self, key: &[u8], from: &NodeId) -> bool {
        self.keys.get(key).is_some_and(|taking| taking.from == *from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(byte: u8) -> NodeId {
        NodeId::from([byte; 32])
    }

    const KEY: Bytes = Bytes::from_static(b"key");

    #[test]
    fn others_step_in_when_the_first_fails() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        assert_eq!(in_flight.claim(&KEY, (peer(0), None), now), Claim::Taken);
        for byte in [0, 1, 1, 2] {
            assert_eq!(in_flight.claim(&KEY, (peer(byte), None), now), Claim::Busy);
        }
        assert_eq!(in_flight.failed(&KEY, &peer(9), now), None, "it is not taken from this one");
        assert_eq!(in_flight.failed(&KEY, &peer(0), now), Some(peer(1)));
        assert_eq!(in_flight.failed(&KEY, &peer(0), now), None, "nor from the first any more");
        in_flight.done(&KEY, &peer(0));
        assert_eq!(in_flight.failed(&KEY, &peer(1), now), Some(peer(2)));
        assert_eq!(in_flight.failed(&KEY, &peer(2), now), None);
        assert!(in_flight.is_empty());
        assert_eq!(in_flight.claim(&KEY, (peer(3), None), now), Claim::Taken);
        in_flight.done(&KEY, &peer(3));
        assert!(in_flight.is_empty());
    }

    #[test]
    fn one_subnet_does_not_step_in_for_itself() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        for (byte, subnet) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)] {
            in_flight.claim(&KEY, (peer(byte), Some(Subnet::V4([8, 8, subnet]))), now);
        }
        let chain = std::iter::successors(Some(peer(0)), |from| in_flight.failed(&KEY, from, now));
        assert_eq!(chain.collect::<Vec<_>>(), [peer(0), peer(2), peer(4)]);
    }

    #[test]
    fn a_claim_nobody_reports_on_ends() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        in_flight.claim(&KEY, (peer(0), None), now);
        assert_eq!(in_flight.claim(&KEY, (peer(1), None), now + IN_FLIGHT_TIMEOUT), Claim::Taken);
        assert_eq!(in_flight.failed(&KEY, &peer(0), now + IN_FLIGHT_TIMEOUT), None, "the claim passed on");
        assert_eq!(in_flight.len(), 1);
    }

    #[test]
    fn a_claim_lasts_while_something_comes() {
        let (now, half) = (Instant::now(), IN_FLIGHT_TIMEOUT / 2);
        let mut in_flight = InFlight::default();
        in_flight.claim(&KEY, (peer(0), None), now);
        in_flight.renew([&KEY], &peer(0), now + half);
        in_flight.renew([&KEY], &peer(1), now + 2 * half);
        assert_eq!(in_flight.claim(&KEY, (peer(1), None), now + 2 * half), Claim::Busy);
        assert_eq!(in_flight.claim(&KEY, (peer(1), None), now + 3 * half), Claim::Taken, "another renews nothing");
        in_flight.renew([&KEY], &peer(0), now + 4 * half);
        assert_eq!(in_flight.claim(&KEY, (peer(2), None), now + 5 * half), Claim::Taken, "nor who has lost it");
    }

    #[test]
    fn bounded() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        for number in 0..MAX_IN_FLIGHT_KEYS as u32 {
            assert_eq!(in_flight.claim(&number.to_be_bytes().to_vec().into(), (peer(0), None), now), Claim::Taken);
        }
        assert_eq!(in_flight.claim(&KEY, (peer(0), None), now), Claim::Full);
        let first = Bytes::from_static(&[0; 4]);
        for byte in 1..=255 {
            in_flight.claim(&first, (peer(byte), None), now);
        }
        let chain = std::iter::successors(Some(peer(0)), |from| in_flight.failed(&first, from, now));
        assert_eq!(chain.count(), 1 + MAX_ALTERNATIVES);
        assert_eq!(
            in_flight.claim(&KEY, (peer(0), None), now + IN_FLIGHT_TIMEOUT),
            Claim::Taken,
            "the old ones make room"
        );
    }
}
