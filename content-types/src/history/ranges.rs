//! Which blocks lie within a radius of a node: the inverse of the range-friendly content ID.
//!
//! In one cycle only the highest 16 bits of the IDs differ. A block is within the radius when those bits are closer to
//! the node's than the radius' own highest 16 bits; when they are exactly that far, the remaining 240 bits, the same for
//! the whole cycle, decide. So a cycle's answer is the places `p` with `p ^ node < bound` for one of two neighbouring
//! bounds, and such a set is at most 16 aligned intervals: one for each bit of the bound.

use std::ops::RangeInclusive;

use super::key::{BLOCKS_PER_CYCLE, CYCLE_BITS, ContentKey, ContentType};
use crate::{Distance, Key as _, NodeId};

/// The ranges of blocks up to and including `last` whose content of type `content_type` lies within `radius` of `node`.
///
/// Ranges come in ascending order, don't overlap and don't touch. Nothing is computed before it is asked for: a cycle of
/// 65,536 blocks costs a few dozen steps and the memory does not depend on `last`.
pub fn blocks_within(
    content_type: ContentType,
    node: &NodeId,
    radius: &Distance,
    last: u64,
) -> impl Iterator<Item = RangeInclusive<u64>> + use<> {
    let (node, radius) = (*node, *radius);
    let (node_place, radius_place) = (place(node.as_bytes()), place(&radius.to_be_bytes()));
    // Indexed by whether the blocks exactly as far away as the radius' highest bits are within it.
    let places = [places_below(node_place, radius_place), places_below(node_place, radius_place + 1)];

    let ranges = (0..=last >> CYCLE_BITS).flat_map(move |cycle| {
        let first = cycle * BLOCKS_PER_CYCLE;
        let boundary = ContentKey::new(content_type, first | u64::from((node_place ^ radius_place) as u16));
        let reaches_boundary = node.distance(&boundary.content_id()) <= radius;
        places[usize::from(reaches_boundary)]
            .clone()
            .into_iter()
            .map(move |(from, to)| first + u64::from(from)..=first + u64::from(to))
    });
    join(ranges, last)
}

/// The highest 16 bits of a 256-bit number.
fn place(bytes: &[u8; 32]) -> u32 {
    u32::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The intervals, both ends included and in ascending order, of the 16-bit numbers `p` with `p ^ node < bound`.
fn places_below(node: u32, bound: u32) -> Vec<(u32, u32)> {
    let mut intervals: Vec<_> = (0..=CYCLE_BITS)
        .filter(|bit| bound >> bit & 1 == 1)
        .map(|bit| {
            // Numbers that agree with the bound above this bit and have a zero where it has a one, whatever follows.
            let size = 1_u32 << bit;
            let from = ((bound ^ size) ^ node) & !(size - 1);
            (from, from + (size - 1))
        })
        .collect();
    intervals.sort_unstable();
    intervals
}

/// Joins ranges that touch and cuts off what lies beyond `last`.
fn join(ranges: impl Iterator<Item = RangeInclusive<u64>>, last: u64) -> impl Iterator<Item = RangeInclusive<u64>> {
    let mut ranges = ranges
        .take_while(move |range| *range.start() <= last)
        .map(move |range| *range.start()..=last.min(*range.end()))
        .peekable();
    std::iter::from_fn(move || {
        let mut joined = ranges.next()?;
        while let Some(next) = ranges.next_if(|next| joined.end().checked_add(1) == Some(*next.start())) {
            joined = *joined.start()..=*next.end();
        }
        Some(joined)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brute_force(
        content_type: ContentType,
        node: &NodeId,
        radius: &Distance,
        blocks: RangeInclusive<u64>,
    ) -> Vec<u64> {
        blocks.filter(|number| node.distance(&ContentKey::new(content_type, *number).content_id()) <= *radius).collect()
    }

    fn any_radius() -> impl Strategy<Value = Distance> {
        (any::<[u8; 32]>(), 0..=255_u8, any::<bool>()).prop_map(|(bytes, exponent, power)| {
            if power {
                return Distance::from_log2(exponent);
            }
            let mut bytes = bytes;
            bytes[..usize::from(exponent / 8)].fill(0);
            Distance::from_be_bytes(bytes)
        })
    }

    /// Nodes with a low part that makes the boundary case of the lower 240 bits common.
    fn any_node() -> impl Strategy<Value = NodeId> {
        (any::<[u8; 32]>(), any::<bool>()).prop_map(|(mut bytes, on_content)| {
            if on_content {
                bytes[3..].fill(0);
            }
            bytes.into()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn agrees_with_brute_force(
            node in any_node(),
            radius in any_radius(),
            content_type in prop::sample::select(&ContentType::ALL[..]),
            last in 0..200_000_u64,
        ) {
            let ranges: Vec<_> = blocks_within(content_type, &node, &radius, last).collect();
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].end() + 1 < *pair[1].start(), "{:?} overlap, touch or descend", pair);
            }
            let blocks: Vec<_> = ranges.into_iter().flatten().collect();
            prop_assert_eq!(blocks, brute_force(content_type, &node, &radius, 0..=last));
        }

        #[test]
        fn a_radius_at_a_blocks_own_distance_includes_it(
            node in any_node(),
            number in 0..200_000_u64,
            content_type in prop::sample::select(&ContentType::ALL[..]),
        ) {
            let radius = node.distance(&ContentKey::new(content_type, number).content_id());
            let blocks: Vec<_> = blocks_within(content_type, &node, &radius, number).flatten().collect();
            prop_assert!(blocks.contains(&number));
            prop_assert_eq!(blocks, brute_force(content_type, &node, &radius, 0..=number));
        }
    }

    #[test]
    fn extremes() {
        let node = NodeId::from([0xa7; 32]);
        let collect = |radius, last| blocks_within(ContentType::BlockBody, &node, &radius, last).collect::<Vec<_>>();
        assert_eq!(collect(Distance::ZERO, 1 << 20), []);
        assert_eq!(collect(Distance::MAX, 0), [0..=0]);
        assert_eq!(collect(Distance::MAX, 1 << 20), [0..=1 << 20]);
        // The end of the key space is reached only lazily: 2^48 cycles.
        let mut ranges = blocks_within(ContentType::BlockBody, &node, &Distance::from_log2(248), u64::MAX);
        let first = ranges.next().unwrap();
        assert_eq!((first.start() % BLOCKS_PER_CYCLE, first.count()), (0xa700, 256));
    }
}
