//! Which runs a storage peer fetches next, so that it holds what lies within its radius: a decision without I/O and clock.
//!
//! What is wanted is what lies within the radius, can be proved, and is held by somebody who is connected. Claims cost nothing, so
//! what peers hold that have delivered is fetched apart from what others only say that they hold: nobody keeps a batch of the one
//! kind waiting by claims of the other kind. A store that fills up lets go of what lies farthest, so what would go again comes
//! last, the nearest of it first and little at a time: it shows how far the radius really reaches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_swarm::geometry::{Component, Run, RunSet};
use cairn_swarm::quic::Held;
use content_types::{Distance, Key as _, NodeId, history};

use super::choice::{Candidate, choose, sibling};
use super::failures::Failures;
use super::run_bits::{ComponentBits, MAX_RUNS, RunBits};
use super::standing::{RunEnd, Trust};
use crate::parts::content_type_of;

/// Runs that are fetched together: on mainnet some hundred megabytes.
pub(super) const BATCH_RUNS: usize = 16;
/// The same of runs for which there seems to be no room: what is fetched for nothing is bounded by this.
const BEYOND_RUNS: usize = 4;
/// The nearest runs that are looked at for the rarest among them; each is sought in what each peer holds.
const WINDOW: usize = 1024;
/// How long it is believed of a run at most that nothing of it is missing. A damaged item is fetched again after that.
const BELIEVED: Duration = Duration::from_secs(60 * 60);
/// It is forgotten by so many slices, one after another: there is no moment at which all has to be looked at again.
const SLICES: usize = 60;
/// Intervals of the key space that runs fill, by the highest byte of their content IDs.
const INTERVALS: usize = 256;
/// What is pulled.
const PULLED: [Component; 2] = [Component::Bodies, Component::Receipts];

/// A connected peer.
#[derive(Clone, Debug)]
pub(super) struct Claimant {
    /// What it says it holds.
    pub(super) held: Arc<Held>,
    /// What that counts for.
    pub(super) trust: Trust,
}

/// What a node sees of itself and of others.
pub(super) struct PullView<'a> {
    /// The runs that this node holds whole.
    pub(super) own: &'a ComponentBits,
    /// How far from its ID it keeps content.
    pub(super) radius: Distance,
    /// How many runs its store has room for, those that it holds among them; `None` while nobody knows how large they are.
    pub(super) room: Option<u64>,
    /// The runs whose headers can be proved.
    pub(super) provable: &'a RunSet,
    /// The connected peers.
    pub(super) peers: &'a [Claimant],
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

/// Runs that are fetched together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NextBatch {
    pub(super) runs: Vec<Run>,
    /// Whether any of them was not had before.
    pub(super) is_retry: bool,
}

/// What was decided so far, and what came of it.
#[derive(Debug)]
pub(super) struct Pull {
    node_id: NodeId,
    /// The runs that are being fetched, and whether whoever claims them has delivered before.
    under_way: BTreeMap<Run, bool>,
    failures: Failures,
    /// Runs of which nothing is missing within `radius`.
    complete: ComponentBits,
    radius: Distance,
    begun: Instant,
    /// Slices of `complete` that were forgotten since then.
    forgotten: u64,
}

impl Pull {
    pub(super) fn new(now: Instant, node_id: NodeId) -> Self {
        Self {
            node_id,
            under_way: BTreeMap::new(),
            failures: Failures::new(now),
            complete: Default::default(),
            radius: Distance::MAX,
            begun: now,
            forgotten: 0,
        }
    }

    /// How far it is, and which runs are to be fetched together next, if any may; they count as under way until
    /// [`handle_ended`](Self::handle_ended).
    pub(super) fn next(&mut self, now: Instant, view: &PullView<'_>, may_fetch: bool) -> (PullCounts, NextBatch) {
        self.forget_complete(now);
        // Within a larger radius there may be more of a run than before.
        if view.radius > self.radius {
            self.complete = Default::default();
        }
        self.radius = view.radius;
        let mut counts = PullCounts::default();
        let mut missing = ComponentBits::default();
        let mut by_trust: [ComponentBits; Trust::COUNT] = Default::default();
        let mut of_interval = [0_u64; INTERVALS];
        let last = view.provable.last_before(MAX_RUNS).unwrap_or(0);
        for component in PULLED {
            let place = component.index();
            // What lies outside is cut off before it is joined with anything.
            let mut within = RunBits::touched(component, &self.node_id, &view.radius, last);
            within.keep(&RunBits::from(view.provable));
            let mut known = view.own[place].clone();
            known.keep(&within);
            for peer in view.peers {
                by_trust[peer.trust.index()][place].add_claim(&peer.held[place], &within);
            }
            by_trust.iter().for_each(|claimed| known.add(&claimed[place]));
            let mut left = known.clone();
            left.take_out(&view.own[place]);
            left.take_out(&self.complete[place]);
            (counts.wanted, counts.held) = (counts.wanted + known.len(), counts.held + known.len() - left.len());
            for index in known.iter() {
                of_interval[interval(self.distance(Run { component, index }))] += 1;
            }
            by_trust.iter_mut().for_each(|claimed| claimed[place].keep(&left));
            missing[place] = left;
        }
        let is_useful =
            |peer: &&Claimant| missing.iter().zip(peer.held.iter()).any(|(missing, held)| missing.has_any_of(held));
        counts.useful = view.peers.iter().filter(is_useful).count();
        if !may_fetch {
            return (counts, NextBatch::default());
        }
        let room = farthest_with_room(&of_interval, view.room.unwrap_or(0));
        let (runs, is_proved) = self.batch(now, &by_trust, room, view.peers);
        self.under_way.extend(runs.iter().map(|run| (*run, is_proved)));
        let is_retry = runs.iter().any(|run| self.failures.times(*run) > 0);
        (counts, NextBatch { runs, is_retry })
    }

    /// Takes note of how it went with a run.
    pub(super) fn handle_ended(&mut self, now: Instant, run: Run, end: RunEnd) {
        let is_proved = self.under_way.remove(&run).unwrap_or(false);
        if end == RunEnd::Complete {
            self.complete[run.component.index()].insert(run.index..run.index.saturating_add(1));
            self.failures.forget(run);
        } else {
            self.failures.note(now, run, end == RunEnd::Partly, is_proved);
        }
    }

    fn forget_complete(&mut self, now: Instant) {
        let slice = BELIEVED / SLICES as u32;
        let until = (now.saturating_duration_since(self.begun).as_millis() / slice.as_millis()).try_into();
        let until = until.unwrap_or(u64::MAX);
        for slice in self.forgotten.max(until.saturating_sub(SLICES as u64))..until {
            let slice = (slice % SLICES as u64) as usize;
            self.complete.iter_mut().for_each(|complete| complete.empty_slice(slice, SLICES));
        }
        self.forgotten = until;
    }

    /// The runs of the next batch, and whether those who claim them have delivered before. All that nobody but strangers claims is
    /// one kind, of which one batch is under way at a time as long as there is anybody who has delivered.
    fn batch(
        &self,
        now: Instant,
        by_trust: &[ComponentBits; Trust::COUNT],
        room: Option<usize>,
        peers: &[Claimant],
    ) -> (Vec<Run>, bool) {
        let is_under_way = |is_proved: bool| self.under_way.values().any(|of| *of == is_proved);
        let has_proved = peers.iter().any(|peer| peer.trust == Trust::Proved);
        let hoped: &[Trust] = &[Trust::Serving, Trust::Doubtful];
        let hoped = if is_under_way(false) && has_proved { &[] } else { hoped };
        let proved: &[Trust] = &[Trust::Proved];
        // While there is a batch of what is proved, it is the others' turn.
        let turns = if is_under_way(true) { [hoped, proved] } else { [proved, hoped] };
        let mut beyond = None;
        for trust in turns.concat() {
            let is_proved = trust == Trust::Proved;
            let candidates = self.candidates(now, by_trust, trust, room, peers);
            let of_kind = self.under_way.values().filter(|of| **of == is_proved).count();
            let (runs, is_beyond) = choose(&candidates, BATCH_RUNS, BEYOND_RUNS.saturating_sub(of_kind));
            match (runs.is_empty(), is_beyond) {
                (false, false) => return (runs, is_proved),
                (false, true) if beyond.is_none() => beyond = Some((runs, is_proved)),
                _ => {}
            }
        }
        beyond.unwrap_or_default()
    }

    /// The nearest of the runs that peers claim who are trusted so much, and nobody who is trusted more.
    fn candidates(
        &self,
        now: Instant,
        by_trust: &[ComponentBits; Trust::COUNT],
        trust: Trust,
        room: Option<usize>,
        peers: &[Claimant],
    ) -> Vec<Candidate> {
        let (more, from_here) = by_trust.split_at(trust.index());
        let Some(claimed) = from_here.first() else { return Vec::new() };
        let is_claimed_by_better = |run: &Run| more.iter().any(|of| of[run.component.index()].contains(run.index));
        let is_proved = trust == Trust::Proved;
        let is_due = |run: &Run| !self.under_way.contains_key(run) && self.failures.is_due(now, *run, is_proved);
        let all = Component::ALL.into_iter().zip(claimed);
        let all = all.flat_map(|(component, runs)| runs.iter().map(move |index| Run { component, index }));
        let all = all.filter(|run| is_due(run) && !is_claimed_by_better(run));
        let mut nearest: Vec<_> = all.map(|run| (self.distance(run), run)).collect();
        if nearest.len() > WINDOW {
            nearest.select_nth_unstable(WINDOW);
            nearest.truncate(WINDOW);
        }
        let candidate = |(distance, run): (u64, Run)| {
            let is_held =
                |peer: &&Claimant| peer.trust == trust && peer.held[run.component.index()].contains(run.index);
            Candidate {
                run,
                is_beyond_room: room.is_none_or(|room| interval(distance) > room),
                holders: peers.iter().filter(is_held).count(),
                distance,
                is_begun: self.under_way.contains_key(&sibling(run)),
            }
        };
        nearest.into_iter().map(candidate).collect()
    }

    /// How far a run's blocks are from the node, but for their places in the run, by which they all differ: the highest byte tells
    /// the run's interval, the others its cycle, in an order that is another one for each node.
    pub(super) fn distance(&self, run: Run) -> u64 {
        let Some(content_type) = content_type_of(run.component) else { return u64::MAX };
        let id = history::ContentKey::new(content_type, run.blocks().start).content_id();
        let high = |bytes: &[u8; 32]| bytes.iter().take(8).fold(0, |high, byte| high << 8 | u64::from(*byte));
        (high(id.as_bytes()) ^ high(self.node_id.as_bytes())) & !(0xff << 48)
    }
}

/// The interval that a distance leads to.
pub(super) const fn interval(distance: u64) -> usize {
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
