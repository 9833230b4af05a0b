//! Logarithmic distances, which number the buckets.

use content_types::NodeId;
use rand::Rng;

/// The logarithmic distance of discv5: 0 from a node to itself, 256 to the half of the key space it is not in.
pub fn log_distance(a: &NodeId, b: &NodeId) -> u16 {
    a.distance_to_node(b).log2().map_or(0, |log2| u16::from(log2) + 1)
}

/// A random node ID at logarithmic distance `log_distance`, 1 to 256, from `local`; for 0 `local` itself.
pub fn random_id_at(local: &NodeId, log_distance: u16, rng: &mut impl Rng) -> NodeId {
    let Some(highest) = log_distance.checked_sub(1) else { return *local };
    let highest = usize::from(highest.min(255));
    let mut random = [0; 32];
    rng.fill_bytes(&mut random);
    let mut id = *local.as_bytes();
    for (i, (byte, random)) in id.iter_mut().zip(random).enumerate() {
        // Position of this byte's lowest bit in the 256-bit number.
        let lowest = 8 * (31 - i);
        let below = u8::try_from((1u16 << highest.saturating_sub(lowest).min(8)) - 1).unwrap_or(u8::MAX);
        *byte ^= random & below;
        if (lowest..lowest + 8).contains(&highest) {
            *byte ^= 1 << (highest - lowest);
        }
    }
    NodeId::from(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn ends_of_the_scale() {
        let local = NodeId::from([0; 32]);
        assert_eq!(log_distance(&local, &local), 0);
        let mut one = [0; 32];
        one[31] = 1;
        assert_eq!(log_distance(&local, &NodeId::from(one)), 1);
        assert_eq!(log_distance(&local, &NodeId::from([0x80; 32])), 256);
    }

    proptest! {
        #[test]
        fn random_ids_lie_where_they_are_asked_for(local: [u8; 32], at in 0u16..=256, seed: u64) {
            let local = NodeId::from(local);
            let mut rng = StdRng::seed_from_u64(seed);
            prop_assert_eq!(log_distance(&local, &random_id_at(&local, at, &mut rng)), at);
        }
    }

    /// Every bit below the highest is drawn: two draws of a whole half of the key space share no long prefix.
    #[test]
    fn random_ids_differ() {
        let local = NodeId::from([0; 32]);
        let mut rng = StdRng::seed_from_u64(1);
        let ids: Vec<_> = (0..64).map(|_| random_id_at(&local, 256, &mut rng)).collect();
        for bit in 0..255 {
            let is_set = |id: &NodeId| id.as_bytes()[31 - bit / 8] >> (bit % 8) & 1 == 1;
            assert!(ids.iter().any(is_set) && !ids.iter().all(is_set), "bit {bit}");
        }
    }
}
