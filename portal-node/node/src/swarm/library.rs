//! What is served over QUIC: whatever store and archives hold. Each item was checked against the chain before it leaves,
//! archives' when they are read for the first time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_limits::Holder;
use cairn_swarm::geometry::{Component, Part, RUN_BLOCKS, RunSet};
use cairn_swarm::quic::{Held, Items, Library, NotServed};
use cairn_swarm::wire::{Encoding, Encodings};
use content_types::state::Way;
use content_types::{ContentKey, Key as _, SubNetwork, history};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::holdings::{Holdings, HoldingsError, Pieces, WantedPart};
use crate::parts::record_of;
use crate::seeding::Archives;
use crate::workers::Workers;

/// How often it is looked at what is held.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often the store's runs are counted, which takes an index lookup for each block within the radius.
const COUNT_EVERY: u32 = 150;
/// Blocks above this are not looked for in the store: well above any chain's head for years.
const LAST_BLOCK: u64 = 40_000_000;

/// Store and archives, as a swarm serves them.
#[derive(Debug)]
pub(crate) struct NodeLibrary {
    holdings: Holdings,
    held: watch::Sender<Arc<Held>>,
}

impl NodeLibrary {
    pub(crate) fn new(holdings: Holdings) -> Self {
        Self { holdings, held: watch::Sender::default() }
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
    let mut stored = Held::default();
    for look in 0_u32.. {
        let (of_archives, of_store) = (Arc::clone(&archives), library.holdings.clone());
        let counted = look.is_multiple_of(COUNT_EVERY);
        let looked = workers.read(move || (in_archives(&of_archives), counted.then(|| in_store(&of_store)))).await;
        let Ok((mut held, counted)) = looked else { return };
        stored = counted.unwrap_or(stored);
        held.iter_mut().zip(&stored).for_each(|(held, stored)| held.union(stored));
        library.held.send_if_modified(|before| {
            let is_new = **before != held;
            if is_new {
                *before = Arc::new(held);
            }
            is_new
        });
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
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
    let (store, node_id) = (holdings.store(), holdings.node_id());
    let radius = store.radius(SubNetwork::History);
    if store.usage(SubNetwork::History).items == 0 {
        return held;
    }
    for (component, content_type) in [
        (Component::Bodies, history::ContentType::BlockBody),
        (Component::Receipts, history::ContentType::BlockReceipts),
    ] {
        let within = RunSet::predicted(component, &node_id, &radius, LAST_BLOCK);
        for run in within.ranges().flatten() {
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
