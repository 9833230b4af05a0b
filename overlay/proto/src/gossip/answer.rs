//! The answer to an OFFER: one code for each key.

use std::{net::IpAddr, time::Instant};

use bytes::Bytes;
use content_types::NodeId;

use super::{Claim, InFlight};
use crate::{
    limits::{Direction, TransferCounts},
    routing::Subnet,
    wire::AcceptCode,
};

/// What the host of the sub-network says to one offered key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferVerdict {
    /// It is wanted.
    Wanted,
    /// It is here already.
    AlreadyStored,
    /// It lies outside the radius.
    OutsideRadius,
    /// The key is malformed, or what it stands for could not be checked.
    NotVerifiable,
}

/// The answer to an OFFER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferAnswer {
    /// One code for each key, in the order of the OFFER.
    pub codes: Vec<AcceptCode>,
    /// The accepted keys, in the order in which their items will come over the stream. If there are any, an inbound
    /// transfer slot is taken and each key is claimed: the caller owes [`TransferCounts::finish`] once, and
    /// [`InFlight::done`] or [`InFlight::failed`] for each. If there are none, the connection ID in ACCEPT is 0.
    pub accepted: Vec<Bytes>,
}

/// Decides about the keys that `from`, which is at `ip`, offers: each comes with the verdict on it.
pub fn answer_offer(
    offered: &[(Bytes, OfferVerdict)],
    (from, ip): (NodeId, IpAddr),
    in_flight: &mut InFlight,
    transfers: &mut TransferCounts,
    now: Instant,
) -> OfferAnswer {
    let mut has_slot = false;
    let mut accepted = Vec::new();
    let mut decide = |(key, verdict): &(Bytes, OfferVerdict)| match verdict {
        OfferVerdict::AlreadyStored => AcceptCode::AlreadyStored,
        OfferVerdict::OutsideRadius => AcceptCode::OutsideRadius,
        OfferVerdict::NotVerifiable => AcceptCode::NotVerifiable,
        OfferVerdict::Wanted => {
            // One stream brings all items, so one slot is enough for them.
            has_slot = has_slot || transfers.start(Direction::Inbound, from, ip).is_ok();
            if !has_slot {
                return AcceptCode::RateLimited;
            }
            match in_flight.claim(key, (from, Subnet::of_stranger(ip)), now) {
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
    if has_slot && accepted.is_empty() {
        transfers.finish(Direction::Inbound, &from);
    }
    OfferAnswer { codes, accepted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TransferLimits;

    const LIMITS: TransferLimits = TransferLimits {
        inbound: 2,
        inbound_per_peer: 1,
        fetches: 0,
        fetches_per_peer: 0,
        outbound: 0,
        outbound_per_peer: 0,
    };

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
        transfers: TransferCounts,
        now: Instant,
    }

    impl Node {
        fn new() -> Self {
            Self { in_flight: InFlight::default(), transfers: TransferCounts::new(LIMITS), now: Instant::now() }
        }

        fn offer(&mut self, from: u8, names: &[&'static str]) -> OfferAnswer {
            let from = (peer(from), IpAddr::from([8, 8, from, 8]));
            let offered: Vec<_> = keys(names).into_iter().map(|key| (key.clone(), verdict(&key))).collect();
            answer_offer(&offered, from, &mut self.in_flight, &mut self.transfers, self.now)
        }
    }

    #[test]
    fn every_reason_has_its_code() {
        use AcceptCode::*;
        let mut node = Node::new();
        let answer = node.offer(1, &["a", "s", "r", "v", "b", "a"]);
        assert_eq!(answer.codes, [Accepted, AlreadyStored, OutsideRadius, NotVerifiable, Accepted, InboundKeyLimited]);
        assert_eq!(answer.accepted, keys(&["a", "b"]));
        assert_eq!(node.transfers.running(Direction::Inbound), 1, "one slot for the whole stream");

        assert_eq!(node.offer(1, &["c", "s"]).codes, [RateLimited, AlreadyStored], "this peer has its slot in use");
        assert_eq!(node.offer(2, &["a", "c"]).codes, [InboundKeyLimited, Accepted]);
        assert_eq!(node.offer(3, &["d"]).codes, [RateLimited], "all slots are in use");
        assert_eq!(node.in_flight.failed(b"a", &peer(1), node.now), Some(peer(2)), "who was told 5 is remembered");
    }

    #[test]
    fn nothing_accepted_takes_no_slot() {
        let mut node = Node::new();
        node.in_flight.claim(&Bytes::from_static(b"a"), (peer(9), None), node.now);
        for names in [&["s", "r"][..], &["a"], &[]] {
            assert!(node.offer(1, names).accepted.is_empty());
            assert_eq!(node.transfers.running(Direction::Inbound), 0);
        }
    }
}
