//! Who has how much of something that all peers share: counts for each peer and for each subnet, since node IDs cost nothing.

use cairn_proto::routing::Subnet;
use cairn_proto::tally::Tally;

use crate::transport::Endpoint;

/// The counts.
#[derive(Default)]
pub(crate) struct Shares {
    by_peer: Tally<Endpoint>,
    by_subnet: Tally<Subnet>,
}

impl Shares {
    /// One more for a peer.
    pub(crate) fn add(&mut self, peer: Endpoint) {
        self.by_peer.add(peer);
        if let Some(subnet) = Subnet::of_stranger(peer.address.ip()) {
            self.by_subnet.add(subnet);
        }
    }

    /// One less for a peer.
    pub(crate) fn remove(&mut self, peer: &Endpoint) {
        if self.by_peer.remove(peer)
            && let Some(subnet) = Subnet::of_stranger(peer.address.ip())
        {
            self.by_subnet.remove(&subnet);
        }
    }

    /// What a peer has.
    pub(crate) fn of_peer(&self, peer: &Endpoint) -> usize {
        self.by_peer.of(peer)
    }

    /// What all peers of a peer's subnet have; nothing for a local network, which has no limit.
    pub(crate) fn of_subnet(&self, peer: &Endpoint) -> usize {
        Subnet::of_stranger(peer.address.ip()).map_or(0, |subnet| self.by_subnet.of(&subnet))
    }

    /// What all peers have.
    pub(crate) fn total(&self) -> usize {
        self.by_peer.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_what_its_peers_have() {
        let peer = |id: u8, ip: [u8; 4]| Endpoint { node_id: [id; 32].into(), address: (ip, 9009).into() };
        let [a, b, neighbour] = [peer(1, [8, 8, 8, 1]), peer(2, [8, 8, 8, 2]), peer(3, [192, 168, 0, 1])];
        let mut shares = Shares::default();
        [a, a, b, neighbour].into_iter().for_each(|peer| shares.add(peer));
        assert_eq!((shares.of_peer(&a), shares.of_subnet(&b), shares.of_subnet(&neighbour)), (2, 3, 0));
        shares.remove(&a);
        shares.remove(&peer(4, [8, 8, 8, 4]));
        assert_eq!((shares.of_peer(&a), shares.of_subnet(&a), shares.total()), (1, 2, 3));
    }
}
