//! Who may have a handshake under way with us.
//!
//! A first datagram costs its sender nothing, and its address may be anybody's. So a few handshakes begin without further
//! ado, which spares honest peers a round trip while nothing is going on; from then on an address proves first that it
//! receives what is sent to it (Retry, RFC 9000, section 8.1.2). What did that counts for its address and its subnet, so
//! that no party has all places. Unproved addresses count for nobody: else a forged sender could use up another's share.

use std::net::IpAddr;

use cairn_limits::{Holder, Limiter, Permit, Quota};

/// Handshakes with unproved addresses.
pub(super) const UNPROVED: u64 = 8;

/// What becomes of a first datagram.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Its handshake may begin, and has this place until it is over.
    Begin(Permit),
    /// Its sender has to prove its address first.
    Prove,
    /// It is dropped without an answer; who means it tries again by itself.
    Ignore,
}

/// Places for the handshakes under way. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct HandshakePlaces {
    unproved: Limiter,
    proved: Limiter,
}

impl HandshakePlaces {
    /// Places for `total` handshakes with proved addresses, and `of_address` with each of them; a subnet may have a quarter.
    pub(super) fn new(total: usize, of_address: usize) -> Self {
        let quota = Quota::new(total as u64);
        Self {
            unproved: Limiter::new(Quota::new(UNPROVED.min(quota.total))),
            proved: Limiter::new(quota.of_peer(of_address as u64).of_subnet(quota.of_subnet)),
        }
    }

    /// A first datagram came from this address, which has proved itself or not.
    pub(super) fn enter(&self, from: IpAddr, is_proved: bool) -> Verdict {
        let (taken, refused) = if is_proved {
            (self.proved.try_take(Holder::address(from), 1), Verdict::Ignore)
        } else {
            (self.unproved.try_take(Holder::nobody(), 1), Verdict::Prove)
        };
        taken.map_or(refused, Verdict::Begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The places that these addresses get, one after another.
    fn admitted(places: &HandshakePlaces, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Permit> {
        let enter = |from| match places.enter(from, true) {
            Verdict::Begin(permit) => Some(permit),
            Verdict::Prove | Verdict::Ignore => None,
        };
        addresses.into_iter().filter_map(enter).collect()
    }

    #[tokio::test]
    async fn after_a_few_handshakes_an_address_has_to_prove_itself() {
        let places = HandshakePlaces::new(64, 6);
        let mut flood: Vec<_> = (0..200).map(|_| places.enter(ip("8.8.8.8"), false)).collect();
        let begun = |verdict: &Verdict| matches!(verdict, Verdict::Begin(_));
        assert_eq!(flood.iter().filter(|verdict| begun(verdict)).count() as u64, UNPROVED);
        assert!(flood[UNPROVED as usize..].iter().all(|verdict| matches!(verdict, Verdict::Prove)));
        // Nobody else is worse off for it but by a round trip, not even whose address was forged.
        assert_eq!(admitted(&places, vec![ip("8.8.8.8"); 6]).len(), 6);
        flood.remove(0);
        assert!(begun(&places.enter(ip("9.9.9.9"), false)));
    }

    #[tokio::test]
    async fn an_address_and_a_subnet_have_their_share() {
        let places = HandshakePlaces::new(64, 6);
        let mut of_first = admitted(&places, vec![ip("8.8.8.8"); 99]);
        assert_eq!(of_first.len(), 6);
        assert!(admitted(&places, vec![ip("::ffff:8.8.8.8"); 99]).is_empty(), "a mapped address is the same");
        let of_subnet = admitted(&places, (10..99).map(|last| IpAddr::from([8, 8, 8, last])));
        assert_eq!(of_subnet.len(), 10);
        let of_others = admitted(&places, (10..99).map(|third| IpAddr::from([8, 8, third, 1])));
        assert_eq!(of_others.len(), 48);
        assert!(matches!(places.enter(ip("1.1.1.1"), true), Verdict::Ignore));
        of_first.pop();
        assert!(matches!(places.enter(ip("8.8.8.99"), true), Verdict::Begin(_)));
    }

    #[tokio::test]
    async fn in_a_local_network_only_the_address_counts() {
        let places = HandshakePlaces::new(64, 6);
        let of_all = admitted(&places, (0..40).map(|last| IpAddr::from([127, 0, 0, last])));
        assert_eq!((of_all.len(), admitted(&places, vec![ip("127.0.0.1"); 9]).len()), (40, 5));
    }
}
