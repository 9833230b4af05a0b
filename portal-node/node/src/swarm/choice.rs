//! Which of the runs that could be fetched next are, so many of them: half of them those that the fewest hold, so that nothing gets
//! lost, and half those that the most hold, so that whoever claims what nobody else has decides about half of it at most.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use cairn_swarm::geometry::{Component, Run};

/// A run that could be fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) run: Run,
    /// Whether there is no room for it.
    pub(super) is_beyond_room: bool,
    /// Peers that hold it.
    pub(super) holders: usize,
    pub(super) distance: u64,
    /// Whether the same blocks' other component is being fetched already.
    pub(super) is_begun: bool,
}

/// The bodies of receipts, and the other way round: both are checked against the same headers.
pub(super) const fn sibling(run: Run) -> Run {
    let component = match run.component {
        Component::Headers => Component::Headers,
        Component::Bodies => Component::Receipts,
        Component::Receipts => Component::Bodies,
    };
    Run { component, index: run.index }
}

/// `most` runs, those alone that there is room for as long as there are any, and `most_beyond` otherwise, the nearest.
pub(super) fn choose(candidates: &[Candidate], most: usize, most_beyond: usize) -> (Vec<Run>, bool) {
    let is_beyond = candidates.iter().all(|candidate| candidate.is_beyond_room);
    let mut alike: Vec<_> = candidates.iter().filter(|candidate| candidate.is_beyond_room == is_beyond).collect();
    if is_beyond {
        alike.sort_unstable_by_key(|candidate| (candidate.distance, candidate.run));
        return (alike.into_iter().take(most_beyond).map(|candidate| candidate.run).collect(), true);
    }
    let runs: BTreeSet<Run> = alike.iter().map(|candidate| candidate.run).collect();
    let mut chosen = Vec::new();
    let mut take = |order: &[&Candidate], most: usize| {
        for candidate in order {
            // Headers come once for both. Whose sibling is in another batch comes last, for then its headers may be here.
            for run in [candidate.run, sibling(candidate.run)] {
                if chosen.len() < most && runs.contains(&run) && !chosen.contains(&run) {
                    chosen.push(run);
                }
            }
        }
    };
    alike.sort_unstable_by_key(|of| (of.is_begun, of.holders, of.distance, of.run));
    take(&alike, most.div_ceil(2));
    alike.sort_unstable_by_key(|of| (of.is_begun, Reverse(of.holders), of.distance, of.run));
    take(&alike, most);
    (chosen, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let of_run = (any::<bool>(), 0..9_usize, any::<bool>());
        let runs = prop::collection::btree_map((any::<bool>(), 0..60_u64), of_run, 0..90);
        runs.prop_map(|runs| {
            let candidate = |((is_body, index), (is_far, holders, is_begun))| Candidate {
                run: Run { component: if is_body { Component::Bodies } else { Component::Receipts }, index },
                // Both components of a run are as far.
                is_beyond_room: index % 3 == 0 || is_far && index % 3 == 1,
                holders,
                distance: index,
                is_begun,
            };
            runs.into_iter().map(candidate).collect()
        })
    }

    proptest! {
        #[test]
        fn half_of_it_is_what_the_fewest_hold_and_half_what_the_most_do(candidates in any_candidates(), most in 1..20_usize) {
            let (chosen, is_beyond) = choose(&candidates, most, 4);
            prop_assert_eq!(is_beyond, candidates.iter().all(|of| of.is_beyond_room));
            let alike: Vec<_> = candidates.iter().filter(|of| of.is_beyond_room == is_beyond).collect();
            let most = if is_beyond { 4 } else { most };
            prop_assert_eq!(chosen.len(), alike.len().min(most));
            prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
            let is_chosen = |of: &&&Candidate| chosen.contains(&of.run);
            let (taken, left): (Vec<&Candidate>, Vec<&Candidate>) = alike.iter().copied().partition(|of| is_chosen(&of));
            prop_assert_eq!(taken.len(), chosen.len());
            if is_beyond {
                prop_assert!(taken.iter().all(|taken| left.iter().all(|left| taken.distance <= left.distance)));
                return Ok(());
            }
            if left.is_empty() {
                return Ok(());
            }
            // Each that was chosen for its rank may have brought its sibling along.
            let is_fresh = |of: &&&Candidate| !of.is_begun;
            if left.iter().filter(is_fresh).count() > 0 {
                let fewest = left.iter().filter(is_fresh).map(|of| of.holders).min().unwrap();
                let most_held = left.iter().filter(is_fresh).map(|of| of.holders).max().unwrap();
                let rare = taken.iter().filter(is_fresh).filter(|of| of.holders <= fewest).count();
                let common = taken.iter().filter(is_fresh).filter(|of| of.holders >= most_held).count();
                prop_assert!(rare >= most.div_ceil(2).div_ceil(2), "{} of {}", rare, most);
                prop_assert!(common >= (most / 2) / 2, "{} of {}", common, most);
                // No more of what is begun than came along.
                prop_assert!(taken.iter().filter(|of| of.is_begun).all(|of| chosen.contains(&sibling(of.run))));
            }
            let alone = taken.iter().filter(|of| left.iter().any(|left| left.run == sibling(of.run))).count();
            prop_assert!(alone <= 2, "the last of each half at most");
        }
    }
}
