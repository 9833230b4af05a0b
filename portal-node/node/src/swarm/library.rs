//! What is served over QUIC: whatever store and archives hold. Each item was checked against the chain before it leaves,
//! archives' when they are read for the first time.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_limits::Holder;
use cairn_store::StoreError;
use cairn_swarm::geometry::{Component, Part, RUN_BLOCKS, Run};
use cairn_swarm::quic::{Held, Items, Library, NotServed};
use cairn_swarm::wire::{Encoding, Encodings};
use content_types::state::Way;
use content_types::{ContentKey, Distance, Key as _, SubNetwork, history};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::run_bits::{ComponentBits, RunBits, whole_runs};
use crate::holdings::{Holdings, HoldingsError, Pieces, WantedPart};
use crate::parts::{content_type_of, record_of};
use crate::seeding::Archives;
use crate::workers::Workers;

/// How often it is looked at what is held.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often the store's runs are counted, which takes an index lookup for each block within the radius.
const COUNT_EVERY: u32 = 150;
/// Runs above this are not looked for in the store: well above any chain's head for years.
const LAST_RUN: u64 = 40_000_000 / RUN_BLOCKS;

/// The runs that are here whole.
#[derive(Debug, Default)]
struct WholeRuns {
    /// Bodies and receipts that the store holds.
    stored: ComponentBits,
    /// Those that were noted since the last count began: it may have gone past them before they were whole.
    noted: ComponentBits,
    /// What archives have.
    of_archives: ComponentBits,
}

impl WholeRuns {
    /// What was counted is how it is, but for what came meanwhile.
    fn count(&mut self, counted: ComponentBits) {
        self.stored = counted;
        self.stored.iter_mut().zip(&self.noted).for_each(|(stored, noted)| stored.add(noted));
    }

    /// What lies outside the radius was let go of.
    fn keep_within(&mut self, within: &ComponentBits) {
        let all = self.stored.iter_mut().chain(&mut self.noted).zip(within.iter().chain(within));
        all.for_each(|(runs, within)| runs.keep(within));
    }

    fn all(&self) -> ComponentBits {
        let mut all = self.stored.clone();
        all.iter_mut().zip(&self.of_archives).for_each(|(all, of_archives)| all.add(of_archives));
        all
    }
}

/// Store and archives, as a swarm serves them.
#[derive(Debug)]
pub(crate) struct NodeLibrary {
    holdings: Holdings,
    held: watch::Sender<Arc<Held>>,
    whole: Mutex<WholeRuns>,
}

impl NodeLibrary {
    pub(crate) fn new(holdings: Holdings) -> Self {
        Self { holdings, held: watch::Sender::default(), whole: Mutex::default() }
    }

    pub(super) const fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// The runs that this node holds whole. What it tells others is more: of a run that an archive has a part of, they may want
    /// that.
    pub(super) fn whole(&self) -> ComponentBits {
        self.whole.lock().all()
    }

    /// Takes note of a run if the store holds it whole now, so that peers hear of it without a count. The next count is the
    /// truth again. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub(super) fn note_if_whole(&self, run: Run) -> Result<(), StoreError> {
        if let Some(content_type) = content_type_of(run.component)
            && self.holdings.store().run(content_type, run.index)?.is_whole()
        {
            self.note(run);
        }
        Ok(())
    }

    fn note(&self, run: Run) {
        let (place, runs) = (run.component.index(), run.index..run.index.saturating_add(1));
        let mut whole = self.whole.lock();
        whole.noted[place].insert(runs.clone());
        whole.stored[place].insert(runs.clone());
        self.held.send_if_modified(|held| {
            let is_new = !held[place].contains(run.index);
            is_new && Arc::make_mut(held)[place].insert(runs)
        });
    }

    /// What is held is what archives have, and what the store has.
    fn tell(&self, mut held: Held, stored: &ComponentBits) {
        held.iter_mut().zip(stored).for_each(|(held, stored)| held.union(&stored.to_set()));
        self.held.send_if_modified(|before| {
            let is_new = **before != held;
            if is_new {
                *before = Arc::new(held);
            }
            is_new
        });
    }
}

impl Library for NodeLibrary {
    fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    fn read(
        &self,
        peer: Holder,
        part: Part,
        encodings: Encodings,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Items, NotServed>> {
        let part = WantedPart {
            component: part.component,
            blocks: part.blocks(),
            takes_compressed: encodings.has(Encoding::Snappy),
            max_bytes,
        };
        async move {
            let Pieces { is_compressed, items } = self.holdings.part_for_peer(peer, part).await.map_err(not_served)?;
            if items.is_empty() {
                return Err(NotServed::NotHeld);
            }
            Ok(Items { encoding: if is_compressed { Encoding::Snappy } else { Encoding::Plain }, items })
        }
        .boxed()
    }

    fn way(&self, peer: Holder, way: Way) -> BoxFuture<'_, Result<Vec<Bytes>, NotServed>> {
        async move {
            let take = |nodes: &mut Vec<Bytes>, node| {
                nodes.push(node);
                true
            };
            let nodes = self.holdings.way_for_peer(peer, way, Vec::new(), take).await.map_err(not_served)?;
            nodes.filter(|nodes| !nodes.is_empty()).ok_or(NotServed::NotHeld)
        }
        .boxed()
    }

    fn item(&self, peer: Holder, key: ContentKey) -> BoxFuture<'_, Result<Bytes, NotServed>> {
        async move { self.holdings.get_for_peer(peer, &key).await.map_err(not_served)?.ok_or(NotServed::NotHeld) }
            .boxed()
    }
}

fn not_served(error: HoldingsError) -> NotServed {
    match error {
        HoldingsError::Busy => NotServed::Busy,
        // What the disk does wrong is reported by the store, and another peer has it.
        HoldingsError::Store(_) | HoldingsError::Stopping(_) => NotServed::NotHeld,
    }
}

/// Keeps up to date what the library says it holds.
pub(crate) async fn keep_held(library: Arc<NodeLibrary>, archives: Arc<Archives>, workers: Workers) {
    archives.wait_until_scanned().await;
    let mut radius = Distance::MAX;
    for look in 0_u32.. {
        let (of_archives, of_store) = (Arc::clone(&archives), library.holdings.clone());
        let counts = look.is_multiple_of(COUNT_EVERY);
        if counts {
            library.whole.lock().noted = ComponentBits::default();
        }
        let before = radius;
        let looked = workers.read(move || {
            let counted = counts.then(|| in_store(&of_store));
            let radius = of_store.radius(SubNetwork::History);
            // Nobody should ask for what an eviction took until the next count.
            let within = (radius < before).then(|| within(&of_store, &radius));
            (in_archives(&of_archives), counted, radius, within)
        });
        let Ok(((in_archives, whole_in_archives), counted, now, within)) = looked.await else { return };
        radius = now;
        {
            let mut whole = library.whole.lock();
            whole.of_archives = whole_in_archives;
            if let Some(counted) = counted {
                whole.count(counted);
            }
            if let Some(within) = within {
                whole.keep_within(&within);
            }
            library.tell(in_archives, &whole.stored);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The runs that lie whole within a radius.
fn within(holdings: &Holdings, radius: &Distance) -> ComponentBits {
    Component::ALL.map(|component| RunBits::predicted(component, &holdings.node_id(), radius, LAST_RUN))
}

/// The runs that archives have blocks of, and those that they have whole.
fn in_archives(archives: &Archives) -> (Held, ComponentBits) {
    let (mut held, mut whole) = (Held::default(), ComponentBits::default());
    let archives = archives.list();
    for component in Component::ALL {
        let blocks: Vec<_> = archives.iter().flat_map(|archive| archive.held(record_of(component))).collect();
        for blocks in &blocks {
            held[component.index()].insert(blocks.start() / RUN_BLOCKS..blocks.end() / RUN_BLOCKS + 1);
        }
        joined(blocks).iter().for_each(|blocks| whole[component.index()].insert(whole_runs(blocks)));
    }
    (held, whole)
}

/// Ranges of blocks in order, those as one that touch: a run may begin in one archive and end in the next.
fn joined(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.sort_unstable_by_key(|blocks| *blocks.start());
    let mut joined: Vec<RangeInclusive<u64>> = Vec::new();
    for blocks in ranges {
        match joined.last_mut() {
            Some(last) if *blocks.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(blocks.end());
            }
            _ => joined.push(blocks),
        }
    }
    joined
}

/// The runs of bodies and receipts that the store holds whole.
fn in_store(holdings: &Holdings) -> ComponentBits {
    let mut whole = ComponentBits::default();
    let store = holdings.store();
    if store.usage(SubNetwork::History).items == 0 {
        return whole;
    }
    let within = within(holdings, &holdings.radius(SubNetwork::History));
    for component in Component::ALL {
        let Some(content_type) = content_type_of(component) else { continue };
        for run in within[component.index()].iter() {
            // Most runs are not there at all, which their first block tells.
            let first = history::ContentKey::new(content_type, run * RUN_BLOCKS).content_id();
            let is_begun = store.contains_id(SubNetwork::History, &first).unwrap_or(false);
            if is_begun && store.run(content_type, run).is_ok_and(|bits| bits.is_whole()) {
                whole[component.index()].insert(run..run + 1);
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(indices: impl IntoIterator<Item = u64>) -> ComponentBits {
        let mut runs = RunBits::default();
        indices.into_iter().for_each(|run| runs.insert(run..run + 1));
        [RunBits::default(), runs, RunBits::default()]
    }

    fn runs(of: &ComponentBits) -> Vec<u64> {
        of[Component::Bodies.index()].iter().collect()
    }

    #[test]
    fn a_run_that_is_noted_while_others_are_counted_stays() {
        let mut whole = WholeRuns { stored: bodies([0, 1, 2, 9]), noted: bodies([9]), ..WholeRuns::default() };
        whole.count(bodies([1, 2, 5]));
        assert_eq!(runs(&whole.stored), [1, 2, 5, 9]);
    }

    #[test]
    fn what_an_eviction_took_is_not_told_of_any_more_and_what_archives_have_stays() {
        let of_archives = bodies([30]);
        let mut whole = WholeRuns { stored: bodies(0..10), noted: bodies([4, 5]), of_archives };
        whole.keep_within(&bodies((2..5).chain(8..20)));
        assert_eq!((runs(&whole.stored), runs(&whole.noted)), (vec![2, 3, 4, 8, 9], vec![4]));
        assert_eq!(runs(&whole.all()), [2, 3, 4, 8, 9, 30]);
    }

    #[test]
    fn a_run_is_whole_in_archives_if_they_have_all_of_its_blocks_together() {
        let whole = |ranges: &[RangeInclusive<u64>]| {
            let mut runs = RunBits::default();
            joined(ranges.to_vec()).iter().for_each(|blocks| runs.insert(whole_runs(blocks)));
            runs.iter().collect::<Vec<_>>()
        };
        assert_eq!(whole(&[0..=299]), [0]);
        assert_eq!(whole(&[300..=700, 0..=299]), [0, 1]);
        assert_eq!(whole(&[1..=511, 512..=767, 600..=650]), [1, 2]);
        assert_eq!(whole(&[0..=299, 301..=511]), [0]);
    }
}
