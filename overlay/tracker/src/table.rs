//! Who may be in the routing table: few of one subnet, so that nobody owns a neighbourhood cheaply; and nobody who
//! could not be reached several times in a row. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use libp2p_identity::PeerId;

use crate::addresses::AddressSubnet;

/// Peers of one subnet in a bucket of 20.
const MAX_OF_SUBNET_IN_BUCKET: usize = 2;

/// Peers of one subnet in the whole table.
const MAX_OF_SUBNET: usize = 10;

/// Addresses of a peer that are kept and dialled.
pub(crate) const MAX_ADDRESSES: usize = 3;

/// Failed dials in a row after which a peer leaves the table. One may be due to our own line.
const MAX_FAILED_DIALS: u8 = 3;

/// Peers whose failures are counted: more than a table has in practice, which is some 20 for each of a dozen buckets.
const MAX_COUNTED: usize = 1024;

/// The subnets of a peer's addresses.
pub(crate) type Subnets = BTreeSet<AddressSubnet>;

/// Whether a peer of these subnets may stand in a table beside those others, and in its bucket beside those.
pub(crate) fn has_room(of: &Subnets, in_bucket: &[Subnets], in_table: &[Subnets]) -> bool {
    let count = |peers: &[Subnets], subnet| peers.iter().filter(|peer| peer.contains(subnet)).count();
    of.iter()
        .all(|subnet| count(in_bucket, subnet) < MAX_OF_SUBNET_IN_BUCKET && count(in_table, subnet) < MAX_OF_SUBNET)
}

/// How often in a row each peer of the table could not be reached.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    of_peer: BTreeMap<PeerId, u8>,
}

impl Failures {
    /// Counts one more; true when the peer is to leave the table.
    pub(crate) fn count(&mut self, peer: PeerId) -> bool {
        if self.of_peer.len() >= MAX_COUNTED && !self.of_peer.contains_key(&peer) {
            self.of_peer.clear();
        }
        let count = self.of_peer.entry(peer).or_default();
        *count += 1;
        let is_gone = *count >= MAX_FAILED_DIALS;
        if is_gone {
            self.of_peer.remove(&peer);
        }
        is_gone
    }

    /// The peer was reached.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.of_peer.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn subnets(third: u8) -> Subnets {
        AddressSubnet::of(Ipv4Addr::new(20, 0, third, 1).into()).into_iter().collect()
    }

    #[test]
    fn a_subnet_has_two_places_in_a_bucket_and_ten_in_the_table() {
        let one = subnets(1);
        let others: Vec<_> = (2..20).map(subnets).collect();
        assert!(has_room(&one, &others, &others));
        assert!(has_room(&one, &[one.clone(), subnets(2)], &others));
        assert!(!has_room(&one, &[one.clone(), one.clone()], &others));
        assert!(has_room(&one, &[], &vec![one.clone(); 9]));
        assert!(!has_room(&one, &[], &vec![one.clone(); 10]));
    }

    #[test]
    fn every_subnet_of_a_peer_counts() {
        let both: Subnets = subnets(1).into_iter().chain(subnets(2)).collect();
        assert!(!has_room(&both, &[subnets(2), subnets(2)], &[]));
        assert!(!has_room(&subnets(2), &[both.clone(), both], &[]));
    }

    #[test]
    fn loopback_is_never_crowded() {
        let local: Subnets = AddressSubnet::of(Ipv4Addr::LOCALHOST.into()).into_iter().collect();
        assert!(has_room(&local, &vec![local.clone(); 20], &vec![local.clone(); 200]));
    }

    #[test]
    fn a_peer_goes_after_three_failures_in_a_row() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let mut failures = Failures::default();
        assert!(!failures.count(peer) && !failures.count(peer));
        failures.forget(&peer);
        assert!(!failures.count(peer) && !failures.count(peer) && !failures.count(other));
        assert!(failures.count(peer));
        assert!(!failures.count(peer), "counted anew");
    }
}
