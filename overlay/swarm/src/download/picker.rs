//! What to ask for next: which blocks are missing, which are asked for, and which run is the best for a peer.
//!
//! Runs lie in the order of their blocks, headers before bodies before receipts. For each question that picking asks of
//! them (is there anything to ask for, how many hold it, has it been begun) there is a bitmap over that order.

use std::{collections::BTreeMap, ops::Range};

use super::{DownloadConfig, Order, bitmap::Bitmap, blocks::Blocks, peer::DownloadPeer};
use crate::{
    geometry::{Component, Part, RUN_BLOCKS, Run, RunSet},
    random::mix,
};

/// Runs of a download at most: the components of mainnet's history several times over.
pub const MAX_RUNS: usize = 1 << 20;

/// Runs are told apart by how many hold them up to so many levels: nobody, 1, 2, 3, 4, up to 8, 16, 32, more.
const LEVELS: usize = 9;

/// A block's size counts for one in so many, once so many have come.
const AVERAGE_OVER: u64 = 64;

const fn level(holders: u32) -> usize {
    match holders {
        0..=4 => holders as usize,
        5..=8 => 5,
        9..=16 => 6,
        17..=32 => 7,
        _ => LEVELS - 1,
    }
}

#[derive(Debug)]
struct RunState {
    run: Run,
    /// Wanted, and not here.
    missing: Blocks,
    /// Of those, asked for.
    asked: Blocks,
    /// Whose header is known; of headers, all.
    checkable: Blocks,
    holders: u32,
}

/// The average size of blocks, in 1/256 byte, so that small blocks do not round it down.
#[derive(Debug, Clone, Copy)]
struct Average {
    scaled: u64,
    samples: u64,
}

impl Average {
    fn add(&mut self, bytes: u64) {
        let bytes = bytes.min(1 << 32) << 8;
        self.samples = (self.samples + 1).min(AVERAGE_OVER);
        self.scaled = (self.scaled * (self.samples - 1) + bytes) / self.samples;
    }
}

#[derive(Debug)]
pub(super) struct Picker {
    order: Order,
    /// Where the search begins among runs that are equally rare.
    first: usize,
    min_part_bytes: u64,
    runs: Vec<RunState>,
    open: Bitmap,
    begun: Bitmap,
    begun_runs: usize,
    levels: [Bitmap; LEVELS],
    averages: [Average; Component::COUNT],
    wanted: u64,
    missing: u64,
    /// Missing blocks by component: see [`Component::index`].
    missing_of: [u64; Component::COUNT],
    /// Missing blocks of runs that no connected peer holds.
    unreachable: u64,
}

impl Picker {
    pub(super) fn new(
        config: &DownloadConfig,
        wanted: impl IntoIterator<Item = (Component, Range<u64>)>,
        seed: u64,
    ) -> Self {
        let mut by_run = BTreeMap::<(u64, Component), Blocks>::new();
        for (component, Range { mut start, end }) in wanted {
            while start < end {
                let run = Run::of(component, start);
                if by_run.len() >= MAX_RUNS && !by_run.contains_key(&(run.index, component)) {
                    break;
                }
                let until = run.blocks().end.min(end);
                if let Some(part) = Part::new(component, start..until) {
                    let blocks = by_run.entry((run.index, component)).or_default();
                    *blocks = blocks.or(Blocks::of(part));
                }
                if until <= start {
                    break;
                }
                start = until;
            }
        }
        let state = |((index, component), missing)| RunState {
            run: Run { component, index },
            missing,
            asked: Blocks::NONE,
            checkable: if component == Component::Headers { Blocks::ALL } else { Blocks::NONE },
            holders: 0,
        };
        let runs: Vec<_> = by_run.into_iter().map(state).collect();
        let missing = runs.iter().map(|state| u64::from(state.missing.len())).sum();
        let missing_of = Component::ALL.map(|component| {
            let of_it = runs.iter().filter(|state| state.run.component == component);
            of_it.map(|state| u64::from(state.missing.len())).sum()
        });
        let bitmap = || Bitmap::new(runs.len());
        let mut picker = Self {
            order: config.order,
            first: mix(seed, 0).checked_rem(runs.len() as u64).unwrap_or(0) as usize,
            min_part_bytes: config.min_part_bytes,
            open: bitmap(),
            begun: bitmap(),
            begun_runs: 0,
            levels: std::array::from_fn(|_| bitmap()),
            averages: config.expected_block_bytes.map(|bytes| Average { scaled: bytes.min(1 << 32) << 8, samples: 4 }),
            wanted: missing,
            missing,
            missing_of,
            unreachable: missing,
            runs,
        };
        for slot in 0..picker.runs.len() {
            picker.levels[0].set(slot, true);
            picker.refresh(slot);
        }
        picker
    }

    /// Where a run lies in the list; `None` if nothing of it was ever wanted.
    pub(super) fn slot(&self, run: Run) -> Option<usize> {
        let key = (run.index, run.component);
        self.runs.binary_search_by_key(&key, |state| (state.run.index, state.run.component)).ok()
    }

    /// The wanted runs of a component among those in a set, as a bitmap. Its size follows from what is wanted, whatever a
    /// peer announces.
    pub(super) fn held(&self, component: Component, runs: &RunSet) -> Bitmap {
        let mut held = Bitmap::new(self.runs.len());
        for range in runs.ranges() {
            let from = self.runs.partition_point(|state| state.run.index < range.start);
            let states = self.runs.iter().enumerate().skip(from);
            for (slot, state) in states.take_while(|(_, state)| state.run.index < range.end) {
                held.set(slot, state.run.component == component || held.contains(slot));
            }
        }
        held
    }

    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn component(&self, slot: usize) -> Option<Component> {
        self.runs.get(slot).map(|state| state.run.component)
    }

    pub(super) fn run(&self, slot: usize) -> Option<Run> {
        self.runs.get(slot).map(|state| state.run)
    }

    /// Bytes that a block of a component takes on average.
    pub(super) fn average(&self, component: Component) -> u64 {
        self.averages.get(component.index()).map_or(1, |average| (average.scaled >> 8).max(1))
    }

    /// About how many bytes some blocks of a run take.
    pub(super) fn bytes(&self, slot: usize, blocks: Blocks) -> u64 {
        self.component(slot).map_or(0, |of| self.average(of).saturating_mul(u64::from(blocks.len())))
    }

    /// About how many bytes all that is missing takes.
    pub(super) fn missing_bytes(&self) -> u64 {
        Component::ALL.into_iter().map(|of| self.average(of).saturating_mul(self.missing_of[of.index()])).sum()
    }

    /// Blocks: wanted, missing, missing and held by nobody.
    pub(super) const fn counts(&self) -> (u64, u64, u64) {
        (self.wanted, self.missing, self.unreachable)
    }

    /// The best run for a peer, with the blocks that can be asked for. While more than `max_begun` runs have been begun,
    /// those are ended first.
    pub(super) fn pick(&mut self, held: &Bitmap, max_begun: usize) -> Option<(usize, Blocks)> {
        loop {
            let slot = self.pick_slot(held, self.begun_runs > max_begun)?;
            let ready = self.ready(slot);
            if !ready.is_empty() {
                return Some((slot, ready));
            }
            // A run is open as it was when something of it last changed. Since then blocks have become smaller on average,
            // and it is worth waiting for more headers now: it opens again when one comes.
            self.open.set(slot, false);
        }
    }

    fn pick_slot(&self, held: &Bitmap, is_crowded: bool) -> Option<usize> {
        // Whoever reads the blocks as they come wants the first one next, however rare the others are.
        if self.order == Order::Sequential {
            return Bitmap::first_common(0, [held, &self.open]);
        }
        // Each node begins its search elsewhere (`first`), so that peers which fetch the same can give each other
        // what they have: it would be the same runs otherwise. A run that was begun goes before a new one of the same
        // rarity, since only whole runs are announced to others.
        let crowded = || Bitmap::first_common(self.first, [held, &self.open, &self.begun]);
        let rarest = |level| {
            Bitmap::first_common(self.first, [held, &self.open, level, &self.begun])
                .or_else(|| Bitmap::first_common(self.first, [held, &self.open, level]))
        };
        // Too many runs are begun: one of these is ended first, be it common, so that what is begun stays bounded. If this
        // peer holds none of them, a new one is better than an idle peer. Otherwise the rarest goes first, as its holder may
        // leave. The levels are in this order; in the first, which nobody holds, this finds only runs of a peer that does
        // not count as a holder.
        is_crowded.then(crowded).flatten().or_else(|| self.levels.iter().find_map(rarest))
    }

    /// The first of some blocks of a run, about so many bytes of them, as a part.
    pub(super) fn part(&self, slot: usize, among: Blocks, bytes: u64) -> Option<Part> {
        let run = self.runs.get(slot)?.run;
        let average = self.average(run.component);
        let most = u16::try_from(bytes / average).unwrap_or(u16::MAX).clamp(1, RUN_BLOCKS as u16);
        let (first, count) = among.first_stretch(most)?;
        Some(Part { component: run.component, first: run.blocks().start.checked_add(u64::from(first))?, count })
    }

    /// Notes that blocks were asked for.
    pub(super) fn ask(&mut self, slot: usize, blocks: Blocks) {
        let Some(state) = self.runs.get_mut(slot) else { return };
        state.asked = state.asked.or(blocks.and(state.missing));
        self.begun_runs += usize::from(self.begun.set(slot, true));
        self.refresh_run(slot);
    }

    /// Notes that blocks are not asked of anybody any more.
    pub(super) fn give_back(&mut self, slot: usize, blocks: Blocks) {
        let Some(state) = self.runs.get_mut(slot) else { return };
        state.asked = state.asked.minus(blocks);
        self.refresh_run(slot);
    }

    /// Notes that a block is here; false if it was, or was never wanted.
    pub(super) fn verify(&mut self, slot: usize, place: u8, bytes: u64) -> bool {
        let Some(state) = self.runs.get_mut(slot) else { return false };
        if !state.missing.remove(place) {
            return false;
        }
        self.missing -= 1;
        self.missing_of[state.run.component.index()] -= 1;
        self.unreachable -= u64::from(state.holders == 0);
        state.asked.remove(place);
        let (run, level) = (state.run, level(state.holders));
        if state.missing.is_empty() {
            self.levels[level].set(slot, false);
            self.begun_runs -= usize::from(self.begun.set(slot, false));
        }
        self.averages[run.component.index()].add(bytes);
        self.refresh(slot);
        if run.component == Component::Headers {
            self.know_header(run.index, place);
        }
        true
    }

    /// Notes that a header is known, so that body and receipts can be checked.
    pub(super) fn know_header(&mut self, index: u64, place: u8) {
        for component in [Component::Bodies, Component::Receipts] {
            let Some(slot) = self.slot(Run { component, index }) else { continue };
            if let Some(state) = self.runs.get_mut(slot) {
                state.checkable.insert(place);
            }
            self.refresh(slot);
        }
    }

    /// Notes that one peer more, or one less, holds a run.
    pub(super) fn change_holders(&mut self, slot: usize, is_held: bool) {
        let Some(state) = self.runs.get_mut(slot) else { return };
        let before = state.holders;
        state.holders = if is_held { before.saturating_add(1) } else { before.saturating_sub(1) };
        let (after, missing) = (state.holders, u64::from(state.missing.len()));
        if missing > 0 {
            self.levels[level(before)].set(slot, false);
            self.levels[level(after)].set(slot, true);
        }
        match (before, after) {
            (0, 1) => self.unreachable -= missing,
            (1, 0) => self.unreachable += missing,
            _ => {}
        }
    }

    /// Counts a peer among the holders of what it holds, or not.
    pub(super) fn believe(&mut self, peer: &mut DownloadPeer, is_credible: bool) {
        if std::mem::replace(&mut peer.is_credible, is_credible) != is_credible {
            for slot in peer.held.iter() {
                self.change_holders(slot, is_credible);
            }
        }
    }

    /// The blocks of a run that can be asked for now.
    fn ready(&self, slot: usize) -> Blocks {
        let Some(state) = self.runs.get(slot) else { return Blocks::NONE };
        let free = state.missing.minus(state.asked);
        let ready = free.and(state.checkable);
        let bytes = u64::from(ready.len()).saturating_mul(self.average(state.run.component));
        let coming = free.minus(state.checkable).and(self.headers_asked(slot));
        // A request for each block whose header has just come would be slower than a few for many.
        if bytes < self.min_part_bytes && !coming.is_empty() { Blocks::NONE } else { ready }
    }

    /// The headers that are asked for of the blocks of a run of bodies or receipts.
    fn headers_asked(&self, slot: usize) -> Blocks {
        let Some(index) = self.runs.get(slot).map(|state| state.run.index) else { return Blocks::NONE };
        let before = slot.saturating_sub(2)..slot;
        let is_headers = |state: &&RunState| state.run == Run { component: Component::Headers, index };
        self.runs
            .get(before)
            .and_then(|states| states.iter().find(is_headers))
            .map_or(Blocks::NONE, |state| state.asked)
    }

    fn refresh(&mut self, slot: usize) {
        let is_open = !self.ready(slot).is_empty();
        self.open.set(slot, is_open);
    }

    /// As headers are asked for or given back, what waits for them has to wait or not.
    fn refresh_run(&mut self, slot: usize) {
        self.refresh(slot);
        let Some(Run { component: Component::Headers, index }) = self.runs.get(slot).map(|state| state.run) else {
            return;
        };
        for slot in [slot + 1, slot + 2] {
            if self.runs.get(slot).is_some_and(|state| state.run.index == index) {
                self.refresh(slot);
            }
        }
    }
}
