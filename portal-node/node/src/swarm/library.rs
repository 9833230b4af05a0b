//! What is served over QUIC: whatever store and archives hold. Each item was checked against the chain before it leaves,
//! archives' when they are read for the first time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_limits::Holder;
use cairn_store::StoreError;
use cairn_swarm::geometry::{Component, Part, RUN_BLOCKS, Run, RunSet};
use cairn_swarm::quic::{Held, Items, Library, NotServed};
use cairn_swarm::wire::{Encoding, Encodings};
use content_types::state::Way;
use content_types::{ContentKey, Distance, Key as _, SubNetwork, history};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::holdings::{Holdings, HoldingsError, Pieces, WantedPart};
use crate::parts::{content_type_of, record_of};
use crate::seeding::Archives;
use crate::workers::Workers;

/// How often it is looked at what is held.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often the store's runs are counted, which takes an index lookup for each block within the radius.
const COUNT_EVERY: u32 = 150;
/// Blocks above this are not looked for in the store: well above any chain's head for years.
const LAST_BLOCK: u64 = 40_000_000;

/// The runs of bodies and receipts that the store holds whole.
#[derive(Debug, Default)]
struct StoredRuns {
    held: Held,
    /// Those that were noted since the last count began: it may have gone past them before they were whole.
    noted: Held,
}

impl StoredRuns {
    /// What was counted is how it is, but for what came meanwhile.
    fn count(&mut self, counted: Held) {
        self.held = counted;
        self.held.iter_mut().zip(&self.noted).for_each(|(held, noted)| held.union(noted));
    }

    /// What lies outside the radius was let go of.
    fn keep_within(&mut self, within: &Held) {
        let all = self.held.iter_mut().chain(&mut self.noted).zip(within.iter().chain(within));
        all.for_each(|(runs, within)| *runs = runs.intersection(within));
    }
}

/// Store and archives, as a swarm serves them.
#[derive(Debug)]
pub(crate) struct NodeLibrary {
    holdings: Holdings,
    held: watch::Sender<Arc<Held>>,
    stored: Mutex<StoredRuns>,
}

impl NodeLibrary {
    pub(crate) fn new(holdings: Holdings) -> Self {
        Self { holdings, held: watch::Sender::default(), stored: Mutex::default() }
    }

    pub(super) const fn holdings(&self) -> &Holdings {
        &self.holdings
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
        let mut stored = self.stored.lock();
        stored.noted[place].insert(runs.clone());
        stored.held[place].insert(runs.clone());
        self.held.send_if_modified(|held| {
            let is_new = !held[place].contains(run.index);
            is_new && Arc::make_mut(held)[place].insert(runs)
        });
    }

    /// What is held is what archives have, and what the store has.
    fn tell(&self, mut held: Held, stored: &StoredRuns) {
        held.iter_mut().zip(&stored.held).for_each(|(held, stored)| held.union(stored));
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
            library.stored.lock().noted = Held::default();
        }
        let before = radius;
        let looked = workers.read(move || {
            let counted = counts.then(|| in_store(&of_store));
            let radius = of_store.radius(SubNetwork::History);
            // Nobody should ask for what an eviction took until the next count.
            let within = (radius < before).then(|| within(&of_store, &radius));
            (in_archives(&of_archives), counted, radius, within)
        });
        let Ok((in_archives, counted, now, within)) = looked.await else { return };
        radius = now;
        {
            let mut stored = library.stored.lock();
            if let Some(counted) = counted {
                stored.count(counted);
            }
            if let Some(within) = within {
                stored.keep_within(&within);
            }
            library.tell(in_archives, &stored);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The runs that lie whole within a radius.
fn within(holdings: &Holdings, radius: &Distance) -> Held {
    Component::ALL.map(|component| RunSet::predicted(component, &holdings.node_id(), radius, LAST_BLOCK))
}

/// The runs that archives have blocks of.
fn in_archives(archives: &Archives) -> Held {
    let mut held = Held::default();
    for archive in archives.list() {
        for component in Component::ALL {
            for blocks in archive.held(record_of(component)) {
                held[component.index()].insert(blocks.start() / RUN_BLOCKS..blocks.end() / RUN_BLOCKS + 1);
            }
        }
    }
    held
}

/// The runs of bodies and receipts that the store holds whole.
fn in_store(holdings: &Holdings) -> Held {
    let mut held = Held::default();
    let store = holdings.store();
    if store.usage(SubNetwork::History).items == 0 {
        return held;
    }
    let within = within(holdings, &holdings.radius(SubNetwork::History));
    for component in Component::ALL {
        let Some(content_type) = content_type_of(component) else { continue };
        for run in within[component.index()].ranges().flatten() {
            // Most runs are not there at all, which their first block tells.
            let first = history::ContentKey::new(content_type, run * RUN_BLOCKS).content_id();
            let is_begun = store.contains_id(SubNetwork::History, &first).unwrap_or(false);
            if is_begun && store.run(content_type, run).is_ok_and(|bits| bits.is_whole()) {
                held[component.index()].insert(run..run + 1);
            }
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(indices: impl IntoIterator<Item = u64>) -> Held {
        let mut runs = RunSet::default();
        indices.into_iter().for_each(|run| assert!(runs.insert(run..run + 1)));
        [RunSet::default(), runs, RunSet::default()]
    }

    #[test]
    fn a_run_that_is_noted_while_others_are_counted_stays() {
        let mut stored = StoredRuns { held: bodies([0, 1, 2, 9]), noted: bodies([9]) };
        stored.count(bodies([1, 2, 5]));
        assert_eq!(stored.held, bodies([1, 2, 5, 9]));
    }

    #[test]
    fn what_an_eviction_took_is_not_told_of_any_more() {
        let mut stored = StoredRuns { held: bodies(0..10), noted: bodies([4, 5]) };
        stored.keep_within(&bodies((2..5).chain(8..20)));
        assert_eq!((stored.held, stored.noted), (bodies([2, 3, 4, 8, 9]), bodies([4])));
    }
}
