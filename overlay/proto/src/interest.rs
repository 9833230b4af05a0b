//! Whether a node wants some content: by XOR distance and radius, never by logarithmic distance.

use content_types::{ContentId, Distance, NodeId};

/// Whether content lies within the radius of a node.
pub fn interested(node: &NodeId, radius: &Distance, content: &ContentId) -> bool {
    node.distance(content) <= *radius
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
