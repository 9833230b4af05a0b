//! Which runs a storage peer fetches next, so that it holds what lies within its radius: a decision without I/O and clock.
//!
//! What is wanted is what lies within the radius, can be proved, and is held by somebody who is connected. Of that, what the
//! fewest hold comes first, as long as there is room for it. A store that fills up lets go of what lies farthest, so what would
//! go again comes last, the nearest of it first and little at a time: it shows how far the radius really reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_swarm::geometry::{Component, MAX_BLOCK, RUN_BLOCKS, Run, RunSet};
use cairn_swarm::quic::Held;
use content_types::{Distance, Key as _, NodeId, history};

use crate::parts::content_type_of;

/// Runs that are fetched together: on mainnet some hundred megabytes.
pub(super) const BATCH_RUNS: usize = 16;
/// The same of runs for which there seems to be no room: what is fetched for nothing is bounded by this.
const BEYOND_RUNS: usize = 4;
/// The nearest runs that are looked at for the rarest among them; each is sought in what each peer holds.
const WINDOW: usize = 1024;
/// Runs that are remembered because they were not had; where there are more, those that are due first are forgotten.
const MAX_FAILED: usize = 4096;
/// How long a run is left alone that was not had, the first time; four times as long each time after that.
const BACKOFF: Duration = Duration::from_secs(10);
/// The longest of that. Whose archive ends within a run says that it has it, rightly, and is charged a little each time that it
/// has not all of it.
const MAX_BACKOFF: Duration = Duration::from_secs(6 * 60 * 60);
/// How long it is believed of a run that nothing of it is missing. A damaged item is fetched again after that.
const BELIEVED: Duration = Duration::from_secs(60 * 60);
/// Intervals of the key space that runs fill, by the highest byte of their content IDs.
const INTERVALS: usize = 256;

/// What a node sees of itself and of others.
pub(super) struct PullView<'a> {
    /// What this node holds.
    pub(super) own: &'a Held,
    /// How far from its ID it keeps content.
    pub(super) radius: Distance,
    /// How many runs its store has room for, those that it holds among them; `None` while nobody knows how large they are.
    pub(super) room: Option<u64>,
    /// The runs whose headers can be proved.
    pub(super) provable: &'a RunSet,
    /// What each connected peer holds.
    pub(super) peers: &'a [Arc<Held>],
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PullCounts {
    /// Runs within the radius that anybody in sight holds, this node included.
    pub(super) wanted: u64,
    /// Of those, here as far as they lie within the radius.
    pub(super) held: u64,
    /// Peers that hold some of the others.
    pub(super) useful: usize,
}

/// A run that was not had.
#[derive(Clone, Copy, Debug)]
struct FailedRun {
    due: Instant,
    times: u32,
}

/// What was decided so far, and what came of it.
#[derive(Debug)]
pub(super) struct Pull {
    node_id: NodeId,
    under_way: BTreeSet<Run>,
    failed: BTreeMap<Run, FailedRun>,
    /// Runs of which nothing is missing within `radius`, since so long.
    complete: Held,
    radius: Distance,
    complete_since: Instant,
}

/// What speaks for a run that is missing: the smaller, the sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Urgency {
    is_beyond_room: bool,
    holders: usize,
    distance: u64,
}

impl Pull {
    pub(super) fn new(now: Instant, node_id: NodeId) -> Self {
        Self {
            node_id,
            under_way: BTreeSet::new(),
            failed: BTreeMap::new(),
            complete: Held::default(),
            radius: Distance::MAX,
            complete_since: now,
        }
    }

    /// How far it is, and which runs are to be fetched together next, `most` at most; they count as under way until
    /// [`handle_ended`](Self::handle_ended).
    pub(super) fn next(&mut self, now: Instant, view: &PullView<'_>, most: usize) -> (PullCounts, Vec<Run>) {
        // Within a larger radius there may be more of a run than before.
        if view.radius > self.radius || now.saturating_duration_since(self.complete_since) >= BELIEVED {
            (self.complete, self.complete_since) = (Held::default(), now);
        }
        self.radius = view.radius;
        let mut missing = Held::default();
        let mut counts = PullCounts::default();
        let mut of_interval = [0_u64; INTERVALS];
        for component in Component::ALL.into_iter().filter(|component| *component != Component::Headers) {
            let known = self.known(component, view);
            let place = component.index();
            let left = known.difference(&view.own[place]).difference(&self.complete[place]);
            (counts.wanted, counts.held) = (counts.wanted + known.len(), counts.held + known.len() - left.len());
            for index in known.ranges().flatten() {
                of_interval[interval(self.distance(Run { component, index }))] += 1;
            }
            missing[place] = left;
        }
        counts.useful = view.peers.iter().filter(|held| has_any(held, &missing)).count();
        let room = farthest_with_room(&of_interval, view.room.unwrap_or(0));
        let mut batch = if most == 0 { Vec::new() } else { self.batch(now, &missing, room, view.peers) };
        batch.truncate(most);
        self.under_way.extend(&batch);
        (counts, batch)
    }

    /// Takes note of how it went with a run: whether nothing of it is missing any more.
    pub(super) fn handle_ended(&mut self, now: Instant, run: Run, is_complete: bool) {
        self.under_way.remove(&run);
        // One that cannot be remembered as complete is left alone for a while like one that was not had.
        if is_complete && self.complete[run.component.index()].insert(run.index..run.index.saturating_add(1)) {
            self.failed.remove(&run);
            return;
        }
        let times = self.failed.get(&run).map_or(0, |failed| failed.times.saturating_add(1));
        let pause = BACKOFF.saturating_mul(1 << (2 * times.min(8))).min(MAX_BACKOFF);
        if self.failed.len() >= MAX_FAILED
            && !self.failed.contains_key(&run)
            && let Some(first) = self.failed.iter().min_by_key(|(_, failed)| failed.due).map(|(run, _)| *run)
        {
            self.failed.remove(&first);
        }
        self.failed.insert(run, FailedRun { due: now + pause, times });
    }

    /// The runs of a component within the radius that can be proved and that somebody holds.
    fn known(&self, component: Component, view: &PullView<'_>) -> RunSet {
        let mut known = view.own[component.index()].clone();
        view.peers.iter().for_each(|held| known.union(&held[component.index()]));
        let known = known.intersection(view.provable);
        let last = known.last_before(u64::MAX).unwrap_or(0).min(MAX_BLOCK / RUN_BLOCKS);
        let last_block = Run { component, index: last }.blocks().end.saturating_sub(1);
        known.intersection(&RunSet::touched(component, &self.node_id, &view.radius, last_block))
    }

    fn batch(&self, now: Instant, missing: &Held, room: Option<usize>, peers: &[Arc<Held>]) -> Vec<Run> {
        let is_due =
            |run: &Run| !self.under_way.contains(run) && self.failed.get(run).is_none_or(|failed| now >= failed.due);
        let all = Component::ALL.into_iter().zip(missing);
        let all = all.flat_map(|(component, runs)| runs.ranges().flatten().map(move |index| Run { component, index }));
        let mut nearest: Vec<_> = all.filter(is_due).map(|run| (self.distance(run), run)).collect();
        if nearest.len() > WINDOW {
            nearest.select_nth_unstable(WINDOW);
            nearest.truncate(WINDOW);
        }
        let urgency = |(distance, run): (u64, Run)| {
            let is_beyond_room = room.is_none_or(|room| interval(distance) > room);
            let is_held = |held: &&Arc<Held>| held[run.component.index()].contains(run.index);
            let holders = if is_beyond_room { 0 } else { peers.iter().filter(is_held).count() };
            (Urgency { is_beyond_room, holders, distance }, run)
        };
        let mut urgent: Vec<_> = nearest.into_iter().map(urgency).collect();
        urgent.sort_unstable();
        let Some((first, _)) = urgent.first().copied() else { return Vec::new() };
        let most = if first.is_beyond_room { BEYOND_RUNS.saturating_sub(self.under_way.len()) } else { BATCH_RUNS };
        let alike = urgent.into_iter().take_while(|(of, _)| of.is_beyond_room == first.is_beyond_room);
        alike.take(most).map(|(_, run)| run).collect()
    }

    /// How far a run's blocks are from the node, but for their places in the run, by which they all differ: the highest byte tells
    /// the run's interval, the others its cycle, in an order that is another one for each node.
    fn distance(&self, run: Run) -> u64 {
        let Some(content_type) = content_type_of(run.component) else { return u64::MAX };
        let id = history::ContentKey::new(content_type, run.blocks().start).content_id();
        let high = |bytes: &[u8; 32]| bytes.iter().take(8).fold(0, |high, byte| high << 8 | u64::from(*byte));
        (high(id.as_bytes()) ^ high(self.node_id.as_bytes())) & !(0xff << 48)
    }
}

/// The interval that a distance leads to.
const fn interval(distance: u64) -> usize {
    (distance >> 56) as usize
}

/// The farthest interval up to which all runs find room; `None` if not even those of the nearest do.
fn farthest_with_room(of_interval: &[u64; INTERVALS], room: u64) -> Option<usize> {
    let sums = of_interval.iter().scan(0_u64, |sum, runs| {
        *sum = sum.saturating_add(*runs);
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= room).count().checked_sub(1)
}

fn has_any(held: &Held, missing: &Held) -> bool {
    held.iter().zip(missing).any(|(held, missing)| !held.intersection(missing).is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(runs: impl IntoIterator<Item = u64>) -> RunSet {
        let mut set = RunSet::default();
        runs.into_iter().for_each(|run| assert!(set.insert(run..run + 1)));
        set
    }

    fn runs_of(held: &Held) -> BTreeSet<Run> {
        let all = Component::ALL.into_iter().zip(held);
        all.flat_map(|(component, runs)| runs.ranges().flatten().map(move |index| Run { component, index })).collect()
    }

    fn radius_of(intervals: u8) -> Distance {
        let mut radius = [0xff; 32];
        radius[0] = intervals;
        Distance::from_be_bytes(radius)
    }

    /// Runs of the first two cycles: each interval has two of each component.
    fn any_held() -> impl Strategy<Value = Held> {
        let runs = || prop::collection::btree_set(0..512_u64, 0..80).prop_map(set);
        (runs(), runs()).prop_map(|(bodies, receipts)| [RunSet::default(), bodies, receipts])
    }

    fn any_peers() -> impl Strategy<Value = Vec<Arc<Held>>> {
        prop::collection::vec(any_held().prop_map(Arc::new), 0..6)
    }

    fn known(pull: &Pull, view: &PullView<'_>) -> Held {
        let last_block = 600 * RUN_BLOCKS;
        let touched = |component| RunSet::touched(component, &pull.node_id, &view.radius, last_block);
        Component::ALL.map(|component| touched(component).intersection(view.provable))
    }

    fn holders(view: &PullView<'_>, run: Run) -> usize {
        view.peers.iter().filter(|held| held[run.component.index()].contains(run.index)).count()
    }

    proptest! {
        #[test]
        fn what_is_fetched_is_missing_near_provable_and_held_by_somebody_and_the_rarest_comes_first(
            node: [u8; 32], own in any_held(), peers in any_peers(), radius: u8, room in prop::option::of(0..600_u64),
            provable in 0..600_u64,
        ) {
            let (now, provable) = (Instant::now(), set(0..provable));
            let mut pull = Pull::new(now, node.into());
            let view = PullView { own: &own, radius: radius_of(radius), room, provable: &provable, peers: &peers };
            let (counts, batch) = pull.next(now, &view, BATCH_RUNS);

            let mut all = runs_of(&own);
            peers.iter().for_each(|held| all.extend(runs_of(held)));
            let all = &all & &runs_of(&known(&pull, &view));
            let missing: BTreeSet<_> = &all - &runs_of(&own);
            prop_assert_eq!((counts.wanted, counts.held), (all.len() as u64, (all.len() - missing.len()) as u64));
            prop_assert_eq!(counts.useful > 0, !missing.is_empty());
            prop_assert_eq!(batch.is_empty(), missing.is_empty());
            let chosen: BTreeSet<_> = batch.iter().copied().collect();
            prop_assert!(chosen.len() == batch.len() && batch.len() <= BATCH_RUNS && chosen.is_subset(&missing));

            // With all that lies as near.
            let has_room = |run: Run| {
                let is_as_near = |of: &&Run| interval(pull.distance(**of)) <= interval(pull.distance(run));
                all.iter().filter(is_as_near).count() as u64 <= room.unwrap_or(0)
            };
            let left: Vec<_> = (&missing - &chosen).into_iter().collect();
            if missing.iter().any(|run| has_room(*run)) {
                prop_assert!(batch.iter().all(|run| has_room(*run)));
                let most = batch.iter().map(|run| holders(&view, *run)).max().unwrap();
                prop_assert!(left.iter().filter(|run| has_room(**run)).all(|run| holders(&view, *run) >= most));
                prop_assert!(batch.len() == BATCH_RUNS || left.iter().all(|run| !has_room(*run)));
            } else {
                prop_assert!(batch.len() <= BEYOND_RUNS);
                let farthest = batch.iter().map(|run| pull.distance(*run)).max().unwrap_or(0);
                prop_assert!(left.iter().all(|run| pull.distance(*run) >= farthest));
            }
        }

        #[test]
        fn it_ends_with_all_that_can_be_had_and_asks_for_nothing_twice(
            node: [u8; 32], own in any_held(), peers in any_peers(), radius: u8, room in prop::option::of(0..600_u64),
        ) {
            let (now, provable) = (Instant::now(), set(0..512));
            let mut pull = Pull::new(now, node.into());
            let (mut own, mut fetched, mut batches) = (own, BTreeSet::new(), Vec::new());
            loop {
                let view = PullView { own: &own, radius: radius_of(radius), room, provable: &provable, peers: &peers };
                let (counts, batch) = pull.next(now, &view, BATCH_RUNS);
                if batch.is_empty() && batches.is_empty() {
                    prop_assert_eq!((counts.wanted, counts.useful), (counts.held, 0));
                    break;
                }
                for run in &batch {
                    prop_assert!(fetched.insert(*run), "{:?} twice", run);
                }
                batches.push(batch);
                // Two at a time, as they are fetched.
                if batches.len() == 2 || batches.last().is_some_and(Vec::is_empty) {
                    for run in batches.remove(0) {
                        // One in three is not counted as held: of its run some lies outside the radius.
                        if run.index % 3 != 0 {
                            prop_assert!(own[run.component.index()].insert(run.index..run.index + 1));
                        }
                        pull.handle_ended(now, run, true);
                    }
                }
                batches.retain(|batch| !batch.is_empty());
            }
        }

        #[test]
        fn what_was_not_had_is_left_alone_for_longer_each_time_and_keeps_nothing_else_waiting(
            node: [u8; 32], others in 1..40_u64, times in 1..20_u32,
        ) {
            let mut now = Instant::now();
            let mut pull = Pull::new(now, node.into());
            let bad = Run { component: Component::Bodies, index: 0 };
            let mut own = Held::default();
            let peers = [Arc::new([RunSet::default(), set(0..=others), RunSet::default()])];
            let provable = set(0..100);
            let mut pause = Duration::ZERO;
            for _ in 0..times {
                let mut had = 0;
                loop {
                    let view = PullView { own: &own, radius: Distance::MAX, room: Some(99), provable: &provable, peers: &peers };
                    let (_, batch) = pull.next(now, &view, BATCH_RUNS);
                    if batch.is_empty() {
                        break;
                    }
                    for run in batch {
                        had += u64::from(run == bad);
                        if run != bad {
                            own[1].insert(run.index..run.index + 1);
                        }
                        pull.handle_ended(now, run, run != bad);
                    }
                }
                prop_assert_eq!(had, 1);
                prop_assert_eq!(own[1].len(), others);
                let due = pull.failed[&bad].due;
                prop_assert!(due - now >= pause && due - now <= MAX_BACKOFF);
                pause = due - now;
                now = due;
            }
        }
    }

    #[test]
    fn a_larger_radius_and_time_make_it_look_again_at_what_was_complete() {
        let mut now = Instant::now();
        let mut pull = Pull::new(now, [7; 32].into());
        let peers = [Arc::new([RunSet::default(), set(0..8), RunSet::default()])];
        let (own, provable) = (Held::default(), set(0..8));
        let mut next = |now, radius| {
            let view = PullView { own: &own, radius, room: Some(8), provable: &provable, peers: &peers };
            let (_, batch) = pull.next(now, &view, BATCH_RUNS);
            batch.iter().for_each(|run| pull.handle_ended(now, *run, true));
            batch.len()
        };
        assert_eq!((next(now, radius_of(7)), next(now, radius_of(7)), next(now, radius_of(3))), (8, 0, 0));
        assert_eq!((next(now, radius_of(9)), next(now, radius_of(9))), (8, 0));
        now += BELIEVED;
        assert_eq!((next(now, radius_of(9)), next(now, radius_of(9))), (8, 0));
    }

    #[test]
    fn what_is_remembered_of_failures_is_bounded() {
        let now = Instant::now();
        let mut pull = Pull::new(now, [7; 32].into());
        for index in 0..2 * MAX_FAILED as u64 {
            pull.handle_ended(now, Run { component: Component::Receipts, index }, false);
        }
        assert_eq!(pull.failed.len(), MAX_FAILED);
    }
}
