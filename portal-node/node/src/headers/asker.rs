//! For whom a header is looked for, and the places for searches that each of them has.

use cairn_limits::{Full, Holder, Limiter, Permit, Quota, Subnet};
use content_types::NodeId;

/// For whom a header is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// Somebody on this machine.
    User,
    /// A peer that offered content, which is to be checked.
    Peer {
        /// Which one.
        id: NodeId,
        /// The subnet that it counts for; `None`: one without limits.
        subnet: Option<Subnet>,
    },
}

impl Asker {
    /// As one that shares with others.
    pub(crate) fn holder(&self) -> Holder {
        match self {
            Self::User => Holder::nobody(),
            Self::Peer { id, subnet } => Holder::in_subnet(*id, *subnet),
        }
    }
}

/// Places for searches. Peers have their own: whatever they offer, users wait for none of it. A peer stands in line for
/// them once at a time, and a subnet has a share: those who offer much do not keep those waiting who offer little.
pub(super) struct SearchPlaces {
    users: Limiter,
    peers: Limiter,
}

impl SearchPlaces {
    pub(super) fn new(users: u64, peers: u64) -> Self {
        Self { users: Limiter::new(Quota::new(users)), peers: Limiter::new(Quota::new(peers).of_peer(1)) }
    }

    /// Waits for a place, which is taken until it is dropped.
    ///
    /// # Errors
    ///
    /// When there are none for anybody of this kind.
    pub(super) async fn take(&self, asker: Asker) -> Result<Permit, Full> {
        match asker {
            Asker::User => self.users.take(asker.holder(), 1).await,
            Asker::Peer { .. } => self.peers.take(asker.holder(), 1).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn peer(number: u8) -> Asker {
        Asker::Peer { id: [number; 32].into(), subnet: None }
    }

    #[tokio::test]
    async fn peers_take_no_place_of_a_user() {
        let places = SearchPlaces::new(2, 1);
        let offered = places.take(peer(1)).now_or_never();
        assert!(matches!(offered, Some(Ok(_))));
        assert!(places.take(peer(2)).now_or_never().is_none(), "peers have no more");
        let asked = [places.take(Asker::User).now_or_never(), places.take(Asker::User).now_or_never()];
        assert!(asked.iter().all(|place| matches!(place, Some(Ok(_)))));
        drop(offered);
        assert!(places.take(Asker::User).now_or_never().is_none(), "nor do users take theirs");
        assert!(places.take(peer(2)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_node_ids_of_one_subnet_leave_places_to_others() {
        let places = SearchPlaces::new(0, 4);
        let of = |id: u8, subnet: u8| Asker::Peer { id: [id; 32].into(), subnet: Some(Subnet::V4([8, 8, subnet])) };
        let first = places.take(of(1, 1)).now_or_never();
        assert!(matches!(first, Some(Ok(_))));
        assert!(places.take(of(2, 1)).now_or_never().is_none(), "another node ID of the same subnet");
        assert!(places.take(of(3, 2)).now_or_never().is_some(), "another subnet");
    }

    #[tokio::test]
    async fn a_peer_that_offers_much_stands_in_line_once() {
        let places = SearchPlaces::new(0, 2);
        let first = places.take(peer(1)).now_or_never();
        assert!(matches!(first, Some(Ok(_))));
        assert!(places.take(peer(1)).now_or_never().is_none(), "its first search is not over");
        assert!(places.take(peer(2)).now_or_never().is_some(), "another need not wait for it");
        drop(first);
        assert!(places.take(peer(1)).now_or_never().is_some());
    }
}
