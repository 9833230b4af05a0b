//! Who is offered what: a decision without I/O.

use cairn_proto::routing::{Subnet, spread};
use cairn_proto::wire::MAX_OFFERED_KEYS;
use content_types::{ContentId, Distance, NodeId};

/// Bytes of the values in one OFFER: what is accepted goes in one stream, which should not take long.
const MAX_OFFER_BYTES: usize = 4 << 20;

/// A peer that may take pieces, as far as planning needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taker {
    pub(super) node_id: NodeId,
    pub(super) radius: Distance,
    pub(super) subnet: Option<Subnet>,
    /// Whether it kept an offer waiting lately.
    pub(super) is_slow: bool,
}

impl Taker {
    /// Whether it covers a piece that it is not among those who declined.
    pub(super) fn may_want(&self, piece: &ContentId, refused: &[NodeId]) -> bool {
        self.node_id.distance(piece) <= self.radius && !refused.contains(&self.node_id)
    }
}

/// A piece as far as planning needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlannedPiece<'a> {
    pub(super) id: ContentId,
    /// Bytes of the value.
    pub(super) len: usize,
    /// To how many peers it goes.
    pub(super) replicas: usize,
    /// Who does not want it.
    pub(super) refused: &'a [NodeId],
}

/// Pieces for one peer, by their places in the list that was planned for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedOffer {
    /// Place of the peer in the list of peers.
    pub(super) peer: usize,
    pub(super) pieces: Vec<usize>,
}

/// Gives each piece to the [`replicas`](PlannedPiece::replicas) peers nearest to it whose radius covers it and who did not refuse it, in offers that the wire
/// protocol allows. Pieces that nobody covers are in no offer, and two copies go into one subnet only when there is no other. Slow
/// peers take the places that the others leave: a piece that few cover needs them too.
pub(super) fn plan(pieces: &[PlannedPiece<'_>], peers: &[Taker]) -> Vec<PlannedOffer> {
    let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); peers.len()];
    for (place, piece) in pieces.iter().enumerate() {
        let mut covering: Vec<(Distance, usize, &Taker)> = peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| peer.may_want(&piece.id, piece.refused))
            .map(|(place, peer)| (peer.node_id.distance(&piece.id), place, peer))
            .collect();
        covering.sort_unstable_by_key(|(distance, place, _)| (*distance, *place));
        let (slow, brisk): (Vec<_>, Vec<_>) = covering.into_iter().partition(|(_, _, peer)| peer.is_slow);
        let mut chosen = spread(brisk, piece.replicas, |(_, _, peer)| peer.subnet);
        let left = piece.replicas.saturating_sub(chosen.len());
        chosen.extend(spread(slow, left, |(_, _, peer)| peer.subnet));
        for (_, peer, _) in chosen {
            if let Some(wanted) = wanted.get_mut(peer) {
                wanted.push(place);
            }
        }
    }
    wanted.into_iter().enumerate().flat_map(|(peer, places)| split(pieces, peer, places)).collect()
}

fn split(pieces: &[PlannedPiece<'_>], peer: usize, places: Vec<usize>) -> Vec<PlannedOffer> {
    let mut offers: Vec<PlannedOffer> = Vec::new();
    let mut bytes = 0_usize;
    for place in places {
        let len = pieces.get(place).map_or(0, |piece| piece.len);
        match offers.last_mut() {
            Some(offer) if offer.pieces.len() < MAX_OFFERED_KEYS && bytes.saturating_add(len) <= MAX_OFFER_BYTES => {
                offer.pieces.push(place);
                bytes += len;
            }
            _ => {
                offers.push(PlannedOffer { peer, pieces: vec![place] });
                bytes = len;
            }
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_peers() -> impl Strategy<Value = Vec<Taker>> {
        let peer = (any::<[u8; 32]>(), 248..=255_u8, any::<bool>()).prop_map(|(id, log, is_slow)| Taker {
            node_id: id.into(),
            radius: Distance::from_log2(log),
            subnet: None,
            is_slow,
        });
        prop::collection::vec(peer, 0..12)
    }

    fn any_pieces() -> impl Strategy<Value = Vec<PlannedPiece<'static>>> {
        let piece = (any::<[u8; 32]>(), prop_oneof![0..2_000_usize, 0..6_000_000_usize])
            .prop_map(|(id, len)| PlannedPiece { id: id.into(), len, replicas: 0, refused: &[] });
        prop::collection::vec(piece, 0..200)
    }

    proptest! {
        #[test]
        fn every_piece_goes_to_the_nearest_peers_that_cover_it_and_to_slow_ones_last(
            pieces in any_pieces(),
            peers in any_peers(),
            replicas in 1..6_usize,
            refusing in 0..4_usize,
        ) {
            let refused: Vec<NodeId> = peers.iter().take(refusing).map(|peer| peer.node_id).collect();
            let pieces: Vec<_> = pieces.into_iter().map(|piece| PlannedPiece { replicas, refused: &refused, ..piece }).collect();
            let offers = plan(&pieces, &peers);
            for (place, piece) in pieces.iter().enumerate() {
                let offered: Vec<usize> =
                    offers.iter().filter(|offer| offer.pieces.contains(&place)).map(|offer| offer.peer).collect();
                let covers = |peer: &Taker| {
                    peer.node_id.distance(&piece.id) <= peer.radius && !refused.contains(&peer.node_id)
                };
                prop_assert_eq!(offered.len(), peers.iter().filter(|peer| covers(peer)).count().min(replicas));
                prop_assert!(offered.iter().all(|peer| covers(&peers[*peer])));
                let rank = |peer: &Taker| (peer.is_slow, peer.node_id.distance(&piece.id));
                let last = offered.iter().map(|peer| rank(&peers[*peer])).max();
                let passed_over = peers.iter().enumerate().filter(|(at, peer)| covers(peer) && !offered.contains(at));
                for (_, peer) in passed_over {
                    prop_assert!(Some(rank(peer)) >= last);
                }
            }
            for offer in &offers {
                let bytes: usize = offer.pieces.iter().map(|place| pieces[*place].len).sum();
                prop_assert!((1..=MAX_OFFERED_KEYS).contains(&offer.pieces.len()));
                prop_assert!(bytes <= MAX_OFFER_BYTES || offer.pieces.len() == 1);
            }
        }
    }
}
