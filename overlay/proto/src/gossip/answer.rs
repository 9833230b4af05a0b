//! The answer to an OFFER: one code for each key.

use std::time::Instant;

use super::{Claim, InFlight, Offerer};
use crate::wire::AcceptCode;
use bytes::Bytes;

/// What the host of the sub-network says to one offered key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferVerdict {
    /// It is wanted.
    Wanted,
    /// It is here already.
    AlreadyStored,
    /// It lies outside the radius.
    OutsideRadius,
    /// It would be wanted, and there is no room for it at the moment.
    NoRoom,
    /// The key is malformed, or what it stands for could not be checked.
    NotVerifiable,
}

/// The answer to an OFFER, with the slot `S` for the stream that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferAnswer<S> {
    /// One code for each key, in the order of the OFFER.
    pub codes: Vec<AcceptCode>,
    /// The accepted keys, in the order in which their items will come over the stream. Each is claimed: the caller owes
    /// [`InFlight::handle_received`] or [`InFlight::handle_failed`] for each. If there are none, the connection ID in ACCEPT is 0.
    pub accepted: Vec<Bytes>,
    /// The slot for the stream; there is one if anything is accepted.
    pub slot: Option<S>,
}

/// Decides about the keys that a peer offers: each comes with the verdict on it. At most `allowance` of them are accepted.
/// `take_slot` takes an inbound transfer slot, if there is one, and is called once at most.
pub fn answer_offer<S>(
    offered: &[(Bytes, OfferVerdict)],
    offerer: Offerer,
    allowance: usize,
    in_flight: &mut InFlight,
    take_slot: impl FnOnce() -> Option<S>,
    now: Instant,
) -> OfferAnswer<S> {
    let (mut take_slot, mut slot) = (Some(take_slot), None);
    let mut accepted = Vec::new();
    let mut decide = |(key, verdict): &(Bytes, OfferVerdict)| match verdict {
        OfferVerdict::AlreadyStored => AcceptCode::AlreadyStored,
        OfferVerdict::OutsideRadius => AcceptCode::OutsideRadius,
        // The code of what may be offered again later.
        OfferVerdict::NoRoom => AcceptCode::RateLimited,
        OfferVerdict::NotVerifiable => AcceptCode::NotVerifiable,
        OfferVerdict::Wanted => {
            // One stream brings all items, so one slot is enough for them.
            // What another is sending needs no slot, but is noted.
            if !in_flight.is_busy(key, &offerer.node_id, now) {
                if let Some(take_slot) = take_slot.take_if(|_| accepted.len() < allowance) {
                    slot = take_slot();
                }
                if slot.is_none() || accepted.len() >= allowance {
                    return AcceptCode::RateLimited;
                }
            }
            match in_flight.handle_offer(key, offerer, now) {
                Claim::Taken => {
                    accepted.push(key.clone());
                    AcceptCode::Accepted
                }
                Claim::Busy => AcceptCode::InboundKeyLimited,
                Claim::Full => AcceptCode::RateLimited,
            }
        }
    };
    let codes = offered.iter().map(&mut decide).collect();
    // There may be too many keys in flight.
    let slot = slot.filter(|_| !accepted.is_empty());
    OfferAnswer { codes, accepted, slot }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use content_types::NodeId;

    use super::*;
    use crate::routing::Subnet;

    fn peer(byte: u8) -> NodeId {
        NodeId::from([byte; 32])
    }

    fn keys(names: &[&'static str]) -> Vec<Bytes> {
        names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect()
    }

    /// Keys that begin with `s`, `r` and `v` are declined for the reason of that letter.
    fn verdict(key: &Bytes) -> OfferVerdict {
        match key[0] {
            b's' => OfferVerdict::AlreadyStored,
            b'r' => OfferVerdict::OutsideRadius,
            b'v' => OfferVerdict::NotVerifiable,
            _ => OfferVerdict::Wanted,
        }
    }

    struct Node {
        in_flight: InFlight,
        /// Slots that are free.
        free: Cell<usize>,
        now: Instant,
    }

    impl Node {
        fn new(slots: usize) -> Self {
            Self { in_flight: InFlight::default(), free: Cell::new(slots), now: Instant::now() }
        }

        fn offer(&mut self, from: u8, names: &[&'static str]) -> OfferAnswer<()> {
            self.offer_some(from, names, 64)
        }

        fn offer_some(&mut self, from: u8, names: &[&'static str], allowance: usize) -> OfferAnswer<()> {
            let from = Offerer { node_id: peer(from), subnet: Some(Subnet::V4([8, 8, from])), is_proved: false };
            let offered: Vec<_> = keys(names).into_iter().map(|key| (key.clone(), verdict(&key))).collect();
            let take_slot = || {
                let left = self.free.get().checked_sub(1)?;
                self.free.set(left);
                Some(())
            };
            answer_offer(&offered, from, allowance, &mut self.in_flight, take_slot, self.now)
        }
    }

    #[test]
    fn every_reason_has_its_code() {
        use AcceptCode::*;
        let mut node = Node::new(2);
        let answer = node.offer(1, &["a", "s", "r", "v", "b", "a"]);
        assert_eq!(answer.codes, [Accepted, AlreadyStored, OutsideRadius, NotVerifiable, Accepted, InboundKeyLimited]);
        assert_eq!(answer.accepted, keys(&["a", "b"]));
        assert_eq!(node.free.get(), 1, "one slot for the whole stream");

        assert_eq!(node.offer(2, &["a", "c"]).codes, [InboundKeyLimited, Accepted]);
        let answer = node.offer(3, &["d", "s", "e"]);
        assert_eq!(answer.codes, [RateLimited, AlreadyStored, RateLimited], "all slots are in use");
        assert_eq!(answer.slot, None);
        assert_eq!(
            node.in_flight.handle_failed(b"a", &peer(1), node.now),
            Some(peer(2)),
            "who was told 5 is remembered"
        );
    }

    #[test]
    fn nothing_accepted_keeps_no_slot() {
        let mut node = Node::new(9);
        let other = Offerer { node_id: peer(9), subnet: None, is_proved: false };
        node.in_flight.handle_offer(&Bytes::from_static(b"a"), other, node.now);
        for names in [&["s", "r"][..], &["a"], &[]] {
            let answer = node.offer(1, names);
            assert!(answer.accepted.is_empty() && answer.slot.is_none());
        }
        assert_eq!(node.free.get(), 9);
    }

    #[test]
    fn who_has_little_credit_has_little_accepted() {
        use AcceptCode::*;
        let mut node = Node::new(9);
        assert_eq!(
            node.offer_some(1, &["a", "b", "s", "c"], 2).codes,
            [Accepted, Accepted, AlreadyStored, RateLimited]
        );
        assert_eq!(node.offer_some(2, &["d", "a"], 0).codes, [RateLimited, InboundKeyLimited]);
        assert_eq!(node.free.get(), 8);
    }
}
