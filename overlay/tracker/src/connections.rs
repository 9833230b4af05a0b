//! Which connections there are, and which of those that others opened goes when one more comes. No I/O.
//!
//! Connections cost a stranger little, and one that is kept alive stays. So a full house shuts nobody out: the newcomer
//! takes the place of the connection that has been idle longest, of those from the subnet that has most. A stranger with
//! many connections so competes with himself first.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

use crate::addresses::AddressSubnet;

/// Connections that one subnet may open to us, of some hundreds in all.
pub(crate) const MAX_INBOUND_OF_SUBNET: usize = 16;

/// A connection with a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerConnection {
    pub(crate) id: ConnectionId,
    pub(crate) remote: Option<SocketAddr>,
    /// Whether we opened it, and so know that the peer can be reached there.
    pub(crate) is_dialled: bool,
    /// When something was asked or answered on it last.
    active: Instant,
    /// Whether it is being closed to make room.
    is_leaving: bool,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Connections {
    of_peer: HashMap<PeerId, Vec<PeerConnection>>,
    max_inbound: usize,
}

impl Connections {
    pub(crate) fn new(max_inbound: usize) -> Self {
        Self { of_peer: HashMap::new(), max_inbound }
    }

    /// A connection is there.
    pub(crate) fn add(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        remote: Option<SocketAddr>,
        is_dialled: bool,
        now: Instant,
    ) {
        let connection = PeerConnection { id, remote, is_dialled, active: now, is_leaving: false };
        self.of_peer.entry(peer).or_default().push(connection);
    }

    /// A connection is gone.
    pub(crate) fn remove(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(connections) = self.of_peer.get_mut(peer) {
            connections.retain(|connection| connection.id != id);
            if connections.is_empty() {
                self.of_peer.remove(peer);
            }
        }
    }

    /// Something was asked or answered on a connection.
    pub(crate) fn used(&mut self, peer: &PeerId, id: ConnectionId, now: Instant) {
        let connections = self.of_peer.get_mut(peer);
        if let Some(connection) = connections.and_then(|of| of.iter_mut().find(|connection| connection.id == id)) {
            connection.active = now;
        }
    }

    /// The connection that says most of where a peer can be reached.
    pub(crate) fn best(&self, peer: &PeerId) -> Option<&PeerConnection> {
        self.of_peer.get(peer)?.iter().max_by_key(|connection| connection.is_dialled)
    }

    /// Whether a subnet has as many connections to us as it may. It competes with itself only: nobody else's goes for it.
    pub(crate) fn is_crowded(&self, from: Option<SocketAddr>) -> bool {
        let Some(of) = from.and_then(|from| AddressSubnet::of(from.ip())) else { return false };
        self.inbound().filter(|(_, connection)| subnet(connection) == Some(of)).count() >= MAX_INBOUND_OF_SUBNET
    }

    /// One more that somebody else opened is about to come: the one that is to be closed for it, if there are too many.
    pub(crate) fn make_room(&mut self) -> Option<(PeerId, ConnectionId)> {
        if self.inbound().count() < self.max_inbound {
            return None;
        }
        let mut of_subnet = HashMap::<_, usize>::new();
        for subnet in self.inbound().filter_map(|(_, connection)| subnet(connection)) {
            *of_subnet.entry(subnet).or_default() += 1;
        }
        // Who is in no subnet is alone.
        let weight = |of: &PeerConnection| subnet(of).and_then(|subnet| of_subnet.get(&subnet).copied()).unwrap_or(1);
        let (peer, id) = self
            .inbound()
            .max_by_key(|(_, connection)| (weight(connection), std::cmp::Reverse(connection.active)))
            .map(|(peer, connection)| (*peer, connection.id))?;
        let leaving = self.of_peer.get_mut(&peer)?.iter_mut().find(|connection| connection.id == id)?;
        leaving.is_leaving = true;
        Some((peer, id))
    }

    /// What others opened and what stays.
    fn inbound(&self) -> impl Iterator<Item = (&PeerId, &PeerConnection)> {
        let all = self.of_peer.iter().flat_map(|(peer, of)| of.iter().map(move |connection| (peer, connection)));
        all.filter(|(_, connection)| !connection.is_dialled && !connection.is_leaving)
    }
}

fn subnet(connection: &PeerConnection) -> Option<AddressSubnet> {
    let ip: Option<IpAddr> = connection.remote.map(|remote| remote.ip());
    ip.and_then(AddressSubnet::of)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MAX: usize = 4;

    struct Fixture {
        connections: Connections,
        peers: Vec<PeerId>,
        start: Instant,
    }

    impl Fixture {
        /// Peers at these addresses, who connected one after another.
        fn new(addresses: &[&str]) -> Self {
            let start = Instant::now();
            let mut fixture = Self { connections: Connections::new(MAX), peers: Vec::new(), start };
            for (index, address) in addresses.iter().enumerate() {
                fixture.connect(index, address, false);
            }
            fixture
        }

        fn connect(&mut self, index: usize, address: &str, is_dialled: bool) {
            let (peer, at) = (PeerId::random(), self.at(index));
            let id = ConnectionId::new_unchecked(index);
            self.connections.add(peer, id, address.parse().ok(), is_dialled, at);
            self.peers.push(peer);
        }

        fn at(&self, seconds: usize) -> Instant {
            self.start + Duration::from_secs(seconds as u64)
        }

        /// Which of the peers goes for the next one.
        fn victim(&mut self) -> Option<usize> {
            let (peer, id) = self.connections.make_room()?;
            let index = self.peers.iter().position(|other| *other == peer).unwrap();
            assert_eq!(id, ConnectionId::new_unchecked(index));
            Some(index)
        }
    }

    #[test]
    fn as_long_as_there_is_room_nobody_goes() {
        let mut few = Fixture::new(&["20.0.0.1:1", "20.0.0.1:2", "20.0.0.1:3"]);
        for index in 3..9 {
            few.connect(index, "20.0.0.1:9", true);
        }
        assert_eq!(few.victim(), None, "what we opened ourselves does not count");
    }

    #[test]
    fn the_one_that_was_idle_longest_goes() {
        let mut full = Fixture::new(&["20.0.1.1:1", "20.0.2.1:1", "20.0.3.1:1", "20.0.4.1:1"]);
        let (peer, at) = (full.peers[0], full.at(60));
        full.connections.used(&peer, ConnectionId::new_unchecked(0), at);
        assert_eq!(full.victim(), Some(1));
        assert_eq!(full.victim(), None, "its place is free");
        full.connect(4, "20.0.5.1:1", false);
        assert_eq!(full.victim(), Some(2));
        full.connections.remove(&full.peers[1], ConnectionId::new_unchecked(1));
        full.connections.remove(&full.peers[2], ConnectionId::new_unchecked(2));
        assert_eq!(full.victim(), None);
    }

    #[test]
    fn the_most_crowded_subnet_gives_first() {
        let mut full = Fixture::new(&["20.0.1.1:1", "20.0.2.1:1", "20.0.3.1:1", "20.0.2.2:1"]);
        assert_eq!(full.victim(), Some(1));
        full.connect(4, "20.0.5.1:1", false);
        assert_eq!(full.victim(), Some(0), "now all are alone");
    }

    #[test]
    fn on_one_machine_everybody_is_alone() {
        let mut full = Fixture::new(&["127.0.0.1:1", "127.0.0.1:2", "20.0.1.1:1", "20.0.1.2:1"]);
        assert_eq!(full.victim(), Some(2));
    }

    #[test]
    fn a_subnet_has_few_connections() {
        let mut of_subnet = Fixture::new(&[]);
        for index in 0..MAX_INBOUND_OF_SUBNET {
            assert!(!of_subnet.connections.is_crowded("20.0.0.9:1".parse().ok()));
            of_subnet.connect(index, "20.0.0.1:1", false);
        }
        assert!(of_subnet.connections.is_crowded("20.0.0.9:1".parse().ok()));
        assert!(!of_subnet.connections.is_crowded("20.0.1.9:1".parse().ok()));
        assert!(!of_subnet.connections.is_crowded("127.0.0.1:1".parse().ok()));
    }
}
