//! Which content is given up when a sub-network is over its budget, and how far the radius then reaches. Pure decisions:
//! the caller walks over what is stored, farthest first, and does what it is told.

use content_types::room::{RadiusSteps, Retention};
use content_types::{Distance, SubNetwork};

/// The highest byte of a distance numbers the 256 intervals that the history network's content ID gives to aligned runs of
/// 256 blocks (`content_types::history::BLOCKS_PER_RUN`).
const RUN_INTERVALS: u16 = 256;

/// Share of the budget, in percent, below which the radius grows again. Far enough under a full budget that a radius
/// which has just shrunk does not grow at once.
const GROW_BELOW_PERCENT: u128 = 70;
/// Share of the budget, in percent, that is expected to be used after the radius has grown.
const GROW_TO_PERCENT: u128 = 85;

/// The steps in which a sub-network's radius shrinks and grows; `None` if its content is not kept by distance.
pub fn steps(network: SubNetwork) -> Option<RadiusSteps> {
    match network.spec().retention {
        Retention::Nearest(steps) => Some(steps),
        Retention::Newest => None,
    }
}

/// The largest radius that promises neither what lies at `distance` nor a part of that item's run.
fn below(steps: RadiusSteps, distance: Distance) -> Distance {
    let mut bytes = distance.to_be_bytes();
    if steps == RadiusSteps::Runs && bytes[0] > 0 {
        bytes[1..].fill(0);
    }
    decrement(&mut bytes);
    Distance::from_be_bytes(bytes)
}

/// The largest radius up to `radius` that keeps runs whole.
fn align(steps: RadiusSteps, radius: Distance) -> Distance {
    let mut bytes = radius.to_be_bytes();
    let is_whole = bytes[1..].iter().all(|byte| *byte == 0xff);
    if steps == RadiusSteps::Runs && bytes[0] > 0 && !is_whole {
        bytes[0] -= 1;
        bytes[1..].fill(0xff);
    }
    Distance::from_be_bytes(bytes)
}

/// What is to become of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemFate {
    /// Evict it and ask about the next one.
    Evict,
    /// Keep it and everything nearer.
    Keep,
}

/// One round of eviction in one sub-network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    steps: RadiusSteps,
    budget: u64,
    used: u64,
    radius: Distance,
}

impl Eviction {
    /// Starts with `used` bytes held, counting what was just added and lies within `radius`.
    pub const fn new(steps: RadiusSteps, budget: u64, used: u64, radius: Distance) -> Self {
        Self { steps, budget, used, radius }
    }

    /// Decides about the farthest item that is left: at `distance`, of `len` bytes.
    pub fn decide(&mut self, distance: Distance, len: u64) -> ItemFate {
        let is_outside = distance > self.radius;
        if !is_outside && self.used <= self.budget {
            return ItemFate::Keep;
        }
        if !is_outside {
            self.radius = below(self.steps, distance);
        }
        self.used = self.used.saturating_sub(len);
        ItemFate::Evict
    }

    /// Whether more is held than may be.
    pub const fn is_over_budget(&self) -> bool {
        self.used > self.budget
    }

    /// The radius after what was decided: it promises nothing that was evicted.
    pub const fn radius(&self) -> Distance {
        self.radius
    }
}

/// The radius for a sub-network that uses `used` bytes of its `budget` with `radius`: a larger one when there is plenty of
/// room. It is estimated as if the key space were evenly filled.
pub fn grown_radius(steps: RadiusSteps, budget: u64, used: u64, radius: Distance) -> Distance {
    let (budget, used) = (u128::from(budget), u128::from(used));
    if budget == 0 || used * 100 >= budget * GROW_BELOW_PERCENT {
        return radius;
    }
    if used == 0 {
        return Distance::MAX;
    }
    // The highest 64 bits below the leading zeros are exact enough for an estimate.
    let bytes = radius.to_be_bytes();
    let skip = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 8).min(bytes.len() - 8);
    let Some(high) = bytes[skip..].first_chunk::<8>() else { return radius };
    let high = u128::from(u64::from_be_bytes(*high));
    let factor_percent = budget * GROW_TO_PERCENT / used;
    let grown = high.saturating_add(1).saturating_mul(factor_percent) / 100;
    // As 128 bits, `grown` reaches 8 bytes above the place that `high` was taken from.
    let mut wide = [0_u8; 40];
    wide[skip..skip + 16].copy_from_slice(&grown.to_be_bytes());
    wide[skip + 16..].fill(0xff);
    let (overflow, low) = wide.split_at(8);
    if overflow.iter().any(|byte| *byte != 0) {
        return Distance::MAX;
    }
    let grown = low.try_into().map_or(Distance::MAX, Distance::from_be_bytes);
    align(steps, grown).max(radius)
}

/// In how many whole intervals of runs a radius reaches.
pub fn whole_runs(radius: Distance) -> u16 {
    let bytes = radius.to_be_bytes();
    let is_whole = bytes[1..].iter().all(|byte| *byte == 0xff);
    (u16::from(bytes[0]) + u16::from(is_whole)).min(RUN_INTERVALS)
}

/// Subtracts one; zero stays zero.
fn decrement(bytes: &mut [u8; 32]) {
    if bytes.iter().all(|byte| *byte == 0) {
        return;
    }
    for byte in bytes.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn distance(first: u8, second: u8, last: u8) -> Distance {
        let mut bytes = [0; 32];
        (bytes[0], bytes[1], bytes[31]) = (first, second, last);
        Distance::from_be_bytes(bytes)
    }

    fn distance_of_runs(runs: u16) -> Distance {
        let mut bytes = [0xff; 32];
        bytes[0] = (runs - 1) as u8;
        Distance::from_be_bytes(bytes)
    }

    fn evict(eviction: &mut Eviction, items: &mut BTreeMap<Distance, u64>) {
        while let Some(farthest) = items.last_entry() {
            match eviction.decide(*farthest.key(), *farthest.get()) {
                ItemFate::Evict => farthest.remove(),
                ItemFate::Keep => break,
            };
        }
    }

    #[test]
    fn runs_stay_whole_until_less_than_one_fits() {
        // 1/256 of the key space each: intervals 0 to 3, two items in each.
        let mut items: BTreeMap<_, _> =
            (0..4).flat_map(|run| [(distance(run, 0, 0), 10), (distance(run, 0xff, 7), 10)]).collect();
        let mut eviction = Eviction::new(RadiusSteps::Runs, 75, 80, Distance::MAX);
        evict(&mut eviction, &mut items);
        assert_eq!(items.len(), 6);
        assert_eq!(whole_runs(eviction.radius()), 3);
        assert_eq!(eviction.radius().log2(), Some(249));

        let mut eviction = Eviction::new(RadiusSteps::Runs, 10, 60, eviction.radius());
        evict(&mut eviction, &mut items);
        assert_eq!(items.keys().copied().collect::<Vec<_>>(), [distance(0, 0, 0)]);
        assert!(eviction.radius() < distance(0, 0xff, 7));
    }

    fn items() -> impl Strategy<Value = BTreeMap<Distance, u64>> {
        let distance = (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| distance(a >> 3, b, c));
        vec((distance, 1..1000_u64), 0..60).prop_map(|items| items.into_iter().collect())
    }

    proptest! {
        #[test]
        fn the_farthest_goes_first_and_nothing_promised_goes(
            all in items(),
            steps in select(&[RadiusSteps::Items, RadiusSteps::Runs]),
            budget in 0..20_000_u64,
            radius in any::<[u8; 32]>().prop_map(Distance::from_be_bytes),
        ) {
            let mut kept = all.clone();
            let used = all.values().sum();
            let mut eviction = Eviction::new(steps, budget, used, radius);
            evict(&mut eviction, &mut kept);

            prop_assert!(kept.values().sum::<u64>() <= budget);
            prop_assert!(!eviction.is_over_budget());
            prop_assert!(eviction.radius() <= radius);
            // Item for item the radius tells what is kept, but for a distance of zero, which no radius excludes.
            for (distance, _) in all.iter().filter(|(distance, _)| **distance != Distance::ZERO) {
                prop_assert_eq!(kept.contains_key(distance), *distance <= eviction.radius());
            }
            // Not more than needed: an item, or its run, more and the budget would be exceeded.
            let nearest_lost = all.range(..=radius).find(|(distance, _)| !kept.contains_key(distance));
            if let (RadiusSteps::Items, Some((_, len))) = (steps, nearest_lost) {
                prop_assert!(kept.values().sum::<u64>() + len > budget);
            }
            // A radius of a run or more consists of whole runs, unless it was not made of them before.
            if steps == RadiusSteps::Runs && eviction.radius() < radius && eviction.radius().to_be_bytes()[0] > 0 {
                prop_assert_eq!(&eviction.radius().to_be_bytes()[1..], [0xff; 31]);
            }
        }

        #[test]
        fn a_radius_that_shrank_does_not_grow_back(budget in 1000..u64::MAX, runs in 2..=256_u16) {
            // A full, evenly filled store gives up one of its runs.
            let radius = distance_of_runs(runs);
            let mut eviction = Eviction::new(RadiusSteps::Runs, budget - 1, budget, radius);
            prop_assert_eq!(eviction.decide(radius, budget / u64::from(runs)), ItemFate::Evict);
            prop_assert_eq!(eviction.radius(), distance_of_runs(runs - 1));
            let left = budget - budget / u64::from(runs);
            prop_assert_eq!(grown_radius(RadiusSteps::Runs, budget, left, eviction.radius()), eviction.radius());
        }

        #[test]
        fn growing_never_shrinks_and_stops_at_the_low_water_mark(
            bytes: [u8; 32],
            steps in select(&[RadiusSteps::Items, RadiusSteps::Runs]),
            budget: u64,
            used: u64,
        ) {
            let radius = Distance::from_be_bytes(bytes);
            let grown = grown_radius(steps, budget, used, radius);
            prop_assert!(grown >= radius);
            if u128::from(used) * 100 >= u128::from(budget) * GROW_BELOW_PERCENT {
                prop_assert_eq!(grown, radius);
            } else if used == 0 {
                prop_assert_eq!(grown, Distance::MAX);
            }
        }
    }

    #[test]
    fn growing_scales_with_the_room() {
        let radius = Distance::from_log2(200);
        // A tenth used: 8.5 times the radius.
        let grown = grown_radius(RadiusSteps::Items, 1000, 100, radius);
        assert_eq!(grown.log2(), Some(203));
        assert_eq!(whole_runs(grown_radius(RadiusSteps::Runs, 1000, 100, distance_of_runs(4))), 34);
        assert_eq!(grown_radius(RadiusSteps::Items, 1000, 100, Distance::from_log2(254)), Distance::MAX);
        assert_eq!(grown_radius(RadiusSteps::Items, 0, 0, Distance::ZERO), Distance::ZERO);
        assert_eq!(grown_radius(RadiusSteps::Items, 1000, 0, Distance::ZERO), Distance::MAX);
    }
}
