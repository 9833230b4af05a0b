//! Whether a node wants some content: by XOR distance and radius, never by logarithmic distance.

use std::time::{Duration, Instant};

use content_types::{ContentId, Distance, NodeId};

use crate::expiring::ExpiringMap;

/// Whether content lies within the radius of a node.
pub fn interested(node: &NodeId, radius: &Distance, content: &ContentId) -> bool {
    node.distance(content) <= *radius
}

/// How long a radius heard from a peer outside the routing table is relied upon.
const RADIUS_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Most such radii.
const MAX_RADII: usize = 2048;

/// Radii of peers that are not in the routing table. Most peers met in lookups are such, and to know whether they are
/// interested saves a PING before content is offered to them.
#[derive(Debug)]
pub(crate) struct RadiusCache {
    radii: ExpiringMap<NodeId, Distance>,
}

impl Default for RadiusCache {
    fn default() -> Self {
        Self { radii: ExpiringMap::new(RADIUS_LIFETIME, MAX_RADII) }
    }
}

impl RadiusCache {
    /// A peer announced its radius.
    pub(crate) fn insert(&mut self, node: NodeId, radius: Distance, now: Instant) {
        self.radii.insert(node, radius, now);
    }

    /// The radius that a peer announced lately.
    pub(crate) fn get(&self, node: &NodeId, now: Instant) -> Option<Distance> {
        self.radii.get(node, now).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A distance and a radius with the same logarithm: 2^200 + 1 is outside a radius of 2^200.
    #[test]
    fn the_whole_distance_counts() {
        let node = NodeId::from([0; 32]);
        let radius = Distance::from_log2(200);
        let at = |distance: Distance| ContentId::from(distance.to_be_bytes());
        let mut beyond = radius.to_be_bytes();
        beyond[31] |= 1;
        assert!(interested(&node, &radius, &at(radius)));
        assert!(!interested(&node, &radius, &ContentId::from(beyond)));
        assert!(interested(&node, &Distance::ZERO, &at(Distance::ZERO)));
        assert!(interested(&node, &Distance::MAX, &at(Distance::MAX)));
    }
}
