//! What is pulled next, of any node among any peers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_swarm::geometry::{Component, MAX_RUN_RANGES, RUN_BLOCKS, Run, RunSet};
use cairn_swarm::quic::Held;
use content_types::Distance;
use proptest::prelude::*;

use super::choice::sibling;
use super::failures::MAX_BACKOFF;
use super::pull::{BATCH_RUNS, Claimant, Pull, PullView, interval};
use super::run_bits::{ComponentBits, RunBits};
use super::standing::{RunEnd, Trust};

const TRUST: [Trust; Trust::COUNT] = [Trust::Proved, Trust::Serving, Trust::Doubtful];

fn set(runs: impl IntoIterator<Item = u64>) -> RunSet {
    let mut set = RunSet::default();
    runs.into_iter().for_each(|run| assert!(set.insert(run..run + 1)));
    set
}

fn bits(held: &Held) -> ComponentBits {
    held.each_ref().map(RunBits::from)
}

fn runs_of(held: &ComponentBits) -> BTreeSet<Run> {
    let all = Component::ALL.into_iter().zip(held);
    all.flat_map(|(component, runs)| runs.iter().map(move |index| Run { component, index })).collect()
}

fn add(own: &mut ComponentBits, run: Run) {
    own[run.component.index()].insert(run.index..run.index + 1);
}

fn bodies(runs: RunSet) -> Held {
    [RunSet::default(), runs, RunSet::default()]
}

fn claimant(trust: Trust, held: Held) -> Claimant {
    Claimant { held: Arc::new(held), trust }
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

fn any_peers() -> impl Strategy<Value = Vec<Claimant>> {
    let peer = (any_held(), prop::sample::select(TRUST.to_vec()));
    prop::collection::vec(peer.prop_map(|(held, trust)| claimant(trust, held)), 0..6)
}

fn known(node: [u8; 32], view: &PullView<'_>) -> ComponentBits {
    let last_block = 600 * RUN_BLOCKS;
    let touched = |component| RunSet::touched(component, &node.into(), &view.radius, last_block);
    bits(&Component::ALL.map(|component| touched(component).intersection(view.provable)))
}

fn claims(peers: &[Claimant], trust: Trust, run: Run) -> usize {
    let is_held = |peer: &&Claimant| peer.trust == trust && peer.held[run.component.index()].contains(run.index);
    peers.iter().filter(is_held).count()
}

/// The best trust that a holder of a run has.
fn best(peers: &[Claimant], run: Run) -> Option<Trust> {
    TRUST.into_iter().find(|trust| claims(peers, *trust, run) > 0)
}

proptest! {
    #[test]
    fn what_is_fetched_is_missing_near_provable_and_held_by_those_who_deliver_if_there_are_any(
        node: [u8; 32], own in any_held(), peers in any_peers(), radius: u8, room in prop::option::of(0..600_u64),
        provable in 0..600_u64,
    ) {
        let (now, provable, own) = (Instant::now(), set(0..provable), bits(&own));
        let mut pull = Pull::new(now, node.into());
        let view = PullView { own: &own, radius: radius_of(radius), room, provable: &provable, peers: &peers };
        let (counts, batch) = pull.next(now, &view, true);

        let mut all = runs_of(&own);
        peers.iter().for_each(|peer| all.extend(runs_of(&bits(&peer.held))));
        let all = &all & &runs_of(&known(node, &view));
        let missing: BTreeSet<_> = &all - &runs_of(&own);
        prop_assert_eq!((counts.wanted, counts.held), (all.len() as u64, (all.len() - missing.len()) as u64));
        prop_assert_eq!(counts.useful > 0, !missing.is_empty());
        prop_assert_eq!(batch.runs.is_empty(), missing.is_empty());
        prop_assert!(!batch.is_retry);
        let chosen: BTreeSet<_> = batch.runs.iter().copied().collect();
        prop_assert!(chosen.len() == batch.runs.len() && chosen.len() <= BATCH_RUNS && chosen.is_subset(&missing));

        // With all that lies as near.
        let has_room = |run: Run| {
            let is_as_near = |of: &&Run| interval(pull.distance(**of)) <= interval(pull.distance(run));
            all.iter().filter(is_as_near).count() as u64 <= room.unwrap_or(0)
        };
        let is_any_with_room = missing.iter().any(|run| has_room(*run));
        prop_assert!(chosen.iter().all(|run| has_room(*run) == is_any_with_room));
        let kind: Vec<_> = missing.iter().filter(|run| has_room(**run) == is_any_with_room).copied().collect();
        let best_of = |runs: &mut dyn Iterator<Item = Run>| runs.filter_map(|run| best(&peers, run)).min();
        let trust = best_of(&mut kind.iter().copied());
        prop_assert!(chosen.iter().all(|run| best(&peers, *run) == trust));
        let alike: Vec<_> = kind.into_iter().filter(|run| best(&peers, *run) == trust).collect();
        let most = if is_any_with_room { BATCH_RUNS } else { 4 };
        prop_assert_eq!(chosen.len(), alike.len().min(most));
        if let (Some(trust), true) = (trust, is_any_with_room) {
            let holders = |run: &&Run| claims(&peers, trust, **run);
            prop_assert_eq!(chosen.iter().map(|run| holders(&run)).min(), alike.iter().map(|run| holders(&run)).min());
            prop_assert_eq!(chosen.iter().map(|run| holders(&run)).max(), alike.iter().map(|run| holders(&run)).max());
        }
    }

    #[test]
    fn it_ends_with_all_that_can_be_had_and_asks_for_nothing_twice(
        node: [u8; 32], own in any_held(), peers in any_peers(), radius: u8, room in prop::option::of(0..600_u64),
    ) {
        let (now, provable) = (Instant::now(), set(0..512));
        let mut pull = Pull::new(now, node.into());
        let (mut own, mut fetched, mut batches) = (bits(&own), BTreeSet::new(), Vec::new());
        loop {
            let view = PullView { own: &own, radius: radius_of(radius), room, provable: &provable, peers: &peers };
            let (counts, batch) = pull.next(now, &view, true);
            if batch.runs.is_empty() && batches.is_empty() {
                prop_assert_eq!((counts.wanted, counts.useful), (counts.held, 0));
                break;
            }
            for run in &batch.runs {
                prop_assert!(fetched.insert(*run), "{:?} twice", run);
            }
            batches.push(batch.runs);
            // Two at a time, as they are fetched.
            if batches.len() == 2 || batches.last().is_some_and(Vec::is_empty) {
                for run in batches.remove(0) {
                    // One in three is not counted as held: of its run some lies outside the radius.
                    if run.index % 3 != 0 {
                        add(&mut own, run);
                    }
                    pull.handle_ended(now, run, RunEnd::Complete);
                }
            }
            batches.retain(|batch| !batch.is_empty());
        }
    }

    #[test]
    fn what_was_not_had_is_tried_again_later_and_keeps_nothing_else_waiting(
        node: [u8; 32], others in 1..40_u64, times in 1..10_u32,
    ) {
        let mut now = Instant::now();
        let mut pull = Pull::new(now, node.into());
        let bad = Run { component: Component::Bodies, index: 0 };
        let mut own = ComponentBits::default();
        let peers = [claimant(Trust::Serving, bodies(set(0..=others)))];
        let provable = set(0..100);
        for time in 0..times {
            let mut had = 0;
            loop {
                let view =
                    PullView { own: &own, radius: Distance::MAX, room: Some(99), provable: &provable, peers: &peers };
                let (_, batch) = pull.next(now, &view, true);
                prop_assert_eq!(batch.is_retry, time > 0 && batch.runs.contains(&bad));
                if batch.runs.is_empty() {
                    break;
                }
                for run in batch.runs {
                    had += u64::from(run == bad);
                    if run != bad {
                        add(&mut own, run);
                    }
                    pull.handle_ended(now, run, if run == bad { RunEnd::Missed } else { RunEnd::Complete });
                }
            }
            prop_assert_eq!(had, 1);
            prop_assert_eq!(own[1].len(), others);
            now += MAX_BACKOFF + Duration::from_secs(1);
        }
    }
}

#[test]
fn a_larger_radius_and_time_make_it_look_again_at_what_was_complete() {
    let mut now = Instant::now();
    let mut pull = Pull::new(now, [7; 32].into());
    let peers = [claimant(Trust::Proved, bodies(set(0..8)))];
    let (own, provable) = (ComponentBits::default(), set(0..8));
    let mut next = |now, radius| {
        let view = PullView { own: &own, radius, room: Some(8), provable: &provable, peers: &peers };
        let (_, batch) = pull.next(now, &view, true);
        batch.runs.iter().for_each(|run| pull.handle_ended(now, *run, RunEnd::Complete));
        batch.runs.len()
    };
    assert_eq!((next(now, radius_of(7)), next(now, radius_of(7)), next(now, radius_of(3))), (8, 0, 0));
    assert_eq!((next(now, radius_of(9)), next(now, radius_of(9))), (8, 0));
    now += Duration::from_secs(60 * 60);
    assert_eq!((next(now, radius_of(9)), next(now, radius_of(9))), (8, 0));
}

#[test]
fn what_was_complete_is_never_looked_at_again_all_at_once() {
    const RUNS: u64 = 60 * 64;
    let start = Instant::now();
    let mut pull = Pull::new(start, [7; 32].into());
    let peers = [claimant(Trust::Proved, bodies(set(0..RUNS)))];
    let (own, provable) = (ComponentBits::default(), set(0..RUNS));
    (0..RUNS).for_each(|index| pull.handle_ended(start, Run { component: Component::Bodies, index }, RunEnd::Complete));
    let mut before = 0;
    for minute in 0..=60 {
        let now = start + Duration::from_secs(60) * minute;
        let view = PullView { own: &own, radius: Distance::MAX, room: None, provable: &provable, peers: &peers };
        let (counts, _) = pull.next(now, &view, false);
        let left = counts.wanted - counts.held;
        assert_eq!(left - before, if minute == 0 { 0 } else { RUNS / 60 });
        before = left;
    }
    assert_eq!(before, RUNS, "all of it within an hour");
}

/// Whoever claims every second run fills a set of ranges.
fn scattered() -> Held {
    bodies(set((0..MAX_RUN_RANGES as u64).map(|run| 2 * run)))
}

#[test]
fn scattered_claims_push_nothing_out_that_others_hold_or_that_is_here() {
    let now = Instant::now();
    let mut pull = Pull::new(now, [7; 32].into());
    let mut own = ComponentBits::default();
    own[Component::Bodies.index()].insert(30_000..30_010);
    let (provable, high) = (set(0..40_000), set(20_000..20_032));
    let peers = [claimant(Trust::Doubtful, scattered()), claimant(Trust::Proved, bodies(high.clone()))];
    let view = PullView { own: &own, radius: Distance::MAX, room: Some(50_000), provable: &provable, peers: &peers };
    let (counts, batch) = pull.next(now, &view, true);
    assert_eq!((counts.wanted, counts.held), (MAX_RUN_RANGES as u64 + 32 + 10, 10));
    assert_eq!((batch.runs.len(), counts.useful), (BATCH_RUNS, 2));
    assert!(batch.runs.iter().all(|run| high.contains(run.index)));
    // What is had of it, is, however scattered what is complete.
    (0..MAX_RUN_RANGES as u64 * 2).step_by(2).for_each(|index| {
        pull.handle_ended(now, Run { component: Component::Bodies, index }, RunEnd::Complete);
    });
    batch.runs.iter().for_each(|run| pull.handle_ended(now, *run, RunEnd::Complete));
    let (counts, _) = pull.next(now, &view, false);
    assert_eq!(counts.wanted - counts.held, 16);
}

#[test]
fn claims_of_others_never_take_the_place_of_what_is_held_by_those_who_deliver() {
    let mut now = Instant::now();
    let (provable, held) = (set(0..20_000), set((0..20_000).filter(|run| run % 100 == 7)));
    let all = || bodies(set(0..20_000));
    let mut peers = vec![claimant(Trust::Proved, bodies(held.clone())), claimant(Trust::Proved, bodies(held.clone()))];
    // They are many, and some of them serve.
    (0..20).for_each(|liar| peers.push(claimant(if liar < 10 { Trust::Serving } else { Trust::Doubtful }, all())));
    for room in [Some(40_000), None] {
        let (mut pull, mut own) = (Pull::new(now, [7; 32].into()), ComponentBits::default());
        let (mut rounds, mut in_vain) = (0, 0);
        while held.ranges().flatten().any(|run| !own[1].contains(run)) {
            rounds += 1;
            let mut batches = Vec::new();
            for _ in 0..3 {
                let view = PullView { own: &own, radius: Distance::MAX, room, provable: &provable, peers: &peers };
                let (_, batch) = pull.next(now, &view, true);
                if !batch.runs.is_empty() {
                    batches.push(batch.runs);
                }
            }
            let is_true = |batch: &&Vec<Run>| batch.iter().all(|run| held.contains(run.index));
            assert!(batches.iter().any(|batch| is_true(&batch)), "round {rounds}");
            assert!(batches.iter().filter(|batch| !is_true(batch)).count() <= 1, "round {rounds}");
            for run in batches.concat() {
                let is_had = held.contains(run.index);
                in_vain += u64::from(!is_had);
                if is_had {
                    add(&mut own, run);
                }
                pull.handle_ended(now, run, if is_had { RunEnd::Complete } else { RunEnd::Missed });
            }
            now += Duration::from_secs(30);
        }
        assert!(in_vain > 0, "what others claim is tried beside it");
    }
}

#[test]
fn what_strangers_claimed_in_vain_is_due_as_soon_as_somebody_holds_it_who_delivers() {
    let now = Instant::now();
    let mut pull = Pull::new(now, [7; 32].into());
    let (own, provable) = (ComponentBits::default(), set(0..8));
    let mut next = |trusts: &[Trust], end| {
        let peers: Vec<_> = trusts.iter().map(|trust| claimant(*trust, bodies(set(0..8)))).collect();
        let view = PullView { own: &own, radius: Distance::MAX, room: Some(8), provable: &provable, peers: &peers };
        let (_, batch) = pull.next(now, &view, true);
        batch.runs.iter().for_each(|run| pull.handle_ended(now, *run, end));
        batch.runs.len()
    };
    assert_eq!((next(&[Trust::Serving], RunEnd::Missed), next(&[Trust::Serving], RunEnd::Missed)), (8, 0));
    let both = [Trust::Serving, Trust::Proved];
    assert_eq!((next(&both, RunEnd::Missed), next(&both, RunEnd::Missed)), (8, 0));
}

#[test]
fn bodies_and_receipts_of_the_same_blocks_come_together() {
    let now = Instant::now();
    let mut pull = Pull::new(now, [7; 32].into());
    let (own, provable) = (ComponentBits::default(), set(0..100));
    // By how many hold them alone, the receipts of the rarest bodies would come much later.
    let both = || [RunSet::default(), set(0..100), set(0..100)];
    let receipts = |runs| [RunSet::default(), RunSet::default(), set(runs)];
    let peers = [both(), receipts(0..100), receipts(50..100)].map(|held| claimant(Trust::Proved, held));
    let view = PullView { own: &own, radius: Distance::MAX, room: Some(500), provable: &provable, peers: &peers };
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let (_, batch) = pull.next(now, &view, true);
        assert_eq!(batch.runs.len(), BATCH_RUNS);
        assert!(batch.runs.iter().all(|run| batch.runs.contains(&sibling(*run))));
        assert!(batch.runs.iter().all(|run| seen.insert(*run)));
    }
}
