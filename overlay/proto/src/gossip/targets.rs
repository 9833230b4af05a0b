//! Whom to offer content to.

use std::sync::Arc;

use content_types::{ContentId, Distance, NodeId};
use rand::{Rng, seq::SliceRandom};

use crate::{
    interest::interested,
    record::{self, Enr},
    routing::{Peer, spread},
};

/// To how many peers content is gossiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GossipWidth {
    /// Interested peers nearest to the content: those who keep it longest when radii shrink.
    pub nearest: usize,
    /// Further interested peers at random: those by which it spreads beyond the neighbours that everybody picks.
    pub random: usize,
}

impl Default for GossipWidth {
    fn default() -> Self {
        Self { nearest: 4, random: 4 }
    }
}

/// Most peers that content is offered to after a lookup found it.
pub const MAX_POKES: usize = 4;

/// The peers to offer `content` to among `candidates`: the peers of the table that are not dead and whose known radius
/// covers it ([`RoutingTable::interested`](crate::routing::RoutingTable::interested)), without the peer that it came from
/// and those that declined it. One subnet comes twice only when there are not enough others: who has many node IDs in one could
/// else be all of them.
pub fn gossip_targets<'a>(
    candidates: impl IntoIterator<Item = &'a Peer>,
    content: &ContentId,
    width: GossipWidth,
    rng: &mut impl Rng,
) -> Vec<Arc<Enr>> {
    let mut candidates: Vec<&Peer> = candidates.into_iter().collect();
    candidates.sort_unstable_by_key(|peer| peer.node_id().distance(content));
    let mut candidates = spread(candidates, usize::MAX, |peer| peer.subnet());
    let nearest = width.nearest.min(candidates.len());
    candidates[nearest..].shuffle(rng);
    let targets = spread(candidates, width.nearest.saturating_add(width.random), |peer| peer.subnet());
    targets.into_iter().map(|peer| Arc::clone(peer.enr())).collect()
}

/// The peers to offer `content` to after a lookup found it: those that said they lack it although it lies within the
/// radius that `radius_of` knows of them, at most [`MAX_POKES`], in the order of `lacking`.
pub fn poke_targets<'a>(
    lacking: impl IntoIterator<Item = &'a Arc<Enr>>,
    content: &ContentId,
    radius_of: impl Fn(&NodeId) -> Option<Distance>,
) -> Vec<Arc<Enr>> {
    let wants_it = |enr: &&Arc<Enr>| {
        let id = record::node_id(enr);
        radius_of(&id).is_some_and(|radius| interested(&id, &radius, content))
    };
    lacking.into_iter().filter(wants_it).take(MAX_POKES).cloned().collect()
}
