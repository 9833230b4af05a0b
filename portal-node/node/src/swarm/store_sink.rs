//! What comes from peers, checked item by item and put into the node's own store: the way of everything that comes by
//! offers, with the headers that a range brings along instead of those that would have to be sought.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cairn_store::StoreError;
use cairn_swarm::download::{DownloadConfig, Order};
use cairn_swarm::geometry::{Component, Run};
use cairn_swarm::quic::{Fetch, FetchOptions, PutError, Received, Sink, Swarm};
use content_types::ProvedHeader;
use parking_lot::{Mutex, RwLock};

use super::library::NodeLibrary;
use crate::holdings::{Holdings, is_held};
use crate::parts::key_of;
use crate::pipeline::{Pipeline, Refusal};

/// Threads that check and store. Each waits for the disk, and those that wait together share one sync.
const THREADS: usize = 8;
/// Bytes that have come and wait for those threads.
const BUFFER: usize = 4 << 20;

/// The store, as somewhere to put a range of blocks. It takes what lies within the radius; a header that does not is kept as
/// long as this is, for what has to be checked against it.
pub(crate) struct StoreSink {
    pipeline: Pipeline,
    library: Arc<NodeLibrary>,
    holdings: Holdings,
    headers: RwLock<BTreeMap<u64, ProvedHeader>>,
    /// The blocks that are missing of runs of bodies and receipts. A run of which none is, is not in it.
    left: Mutex<BTreeMap<Run, BTreeSet<u64>>>,
    wanted: Vec<(Component, Range<u64>)>,
    stored: AtomicU64,
    outside: AtomicU64,
}

impl StoreSink {
    /// Looks at what of some blocks is here, and what would be kept of what `is_asked_for`. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub(crate) fn survey(
        pipeline: Pipeline,
        library: Arc<NodeLibrary>,
        blocks: impl IntoIterator<Item = u64>,
        is_asked_for: impl Fn(Component, u64) -> bool,
    ) -> Result<Self, StoreError> {
        let holdings = library.holdings().clone();
        let (mut headers, mut outside) = (BTreeMap::new(), 0);
        let mut left = BTreeMap::<Run, BTreeSet<u64>>::new();
        let mut wanted: [Vec<Range<u64>>; Component::COUNT] = Default::default();
        for number in blocks {
            let mut is_missing = [false; Component::COUNT];
            for component in Component::ALL.into_iter().filter(|component| is_asked_for(*component, number)) {
                let key = key_of(component, number);
                let is_near = holdings.is_within_radius(key.sub_network(), &key.content_id());
                let is_here = holdings.store().contains(&key)?;
                is_missing[component.index()] = is_near && !is_here;
                outside += u64::from(!is_near && !is_here);
                if is_near && !is_here && component != Component::Headers {
                    left.entry(Run::of(component, number)).or_default().insert(number);
                }
            }
            let [wants_header, wants_body, wants_receipts] = &mut is_missing;
            if !*wants_header && (*wants_body || *wants_receipts) {
                // It was proved when it came in; to be proved again is what makes it one that others are checked against.
                let stored = holdings.store().get(&key_of(Component::Headers, number))?;
                match stored.and_then(|stored| pipeline.validate_header(number, &stored).ok()) {
                    Some((_, header)) => drop(headers.insert(number, header)),
                    None => *wants_header = true,
                }
            }
            for (wanted, _) in wanted.iter_mut().zip(is_missing).filter(|(_, is_missing)| *is_missing) {
                match wanted.last_mut() {
                    Some(last) if last.end == number => last.end = number.saturating_add(1),
                    _ => wanted.push(number..number.saturating_add(1)),
                }
            }
        }
        let with_component = Component::ALL.into_iter().zip(wanted);
        let wanted = with_component.flat_map(|(component, ranges)| ranges.into_iter().map(move |of| (component, of)));
        Ok(Self {
            wanted: wanted.collect(),
            pipeline,
            library,
            holdings,
            headers: RwLock::new(headers),
            left: Mutex::new(left),
            stored: AtomicU64::new(0),
            outside: AtomicU64::new(outside),
        })
    }

    /// A fetch of what is missing.
    pub(crate) fn fetch(self: &Arc<Self>, swarm: Swarm, order: Order) -> Fetch {
        let options = FetchOptions {
            download: DownloadConfig { order, ..DownloadConfig::default() },
            seed: rand::random(),
            threads: THREADS,
            buffer: BUFFER,
            ..FetchOptions::default()
        };
        let kept: Arc<dyn Sink> = Arc::clone(self) as Arc<dyn Sink>;
        Fetch::new(swarm, &options, self.wanted(), self.known(), &kept)
    }

    /// What is missing. A header that was learned from elsewhere is not.
    pub(crate) fn wanted(&self) -> Vec<(Component, Range<u64>)> {
        let mut wanted = self.wanted.clone();
        let headers = self.headers.read();
        if wanted.iter().any(|(of, blocks)| *of == Component::Headers && headers.range(blocks.clone()).next().is_some())
        {
            let (of_headers, others): (Vec<_>, Vec<_>) =
                wanted.into_iter().partition(|(of, _)| *of == Component::Headers);
            let missing =
                of_headers.into_iter().flat_map(|(_, blocks)| blocks).filter(|number| !headers.contains_key(number));
            wanted =
                missing.map(|number| (Component::Headers, number..number.saturating_add(1))).chain(others).collect();
        }
        wanted
    }

    /// The blocks that something is missing of and whose headers are not here.
    pub(crate) fn headers_needed(&self) -> BTreeSet<u64> {
        let headers = self.headers.read();
        let left = self.left.lock();
        left.values().flatten().copied().filter(|number| !headers.contains_key(number)).collect()
    }

    /// Takes a header that came from elsewhere, to check its block against. It is not stored.
    pub(crate) fn learn(&self, header: ProvedHeader) {
        self.headers.write().insert(header.number(), header);
    }

    /// The blocks whose headers are here.
    fn known(&self) -> Vec<Range<u64>> {
        self.headers.read().keys().map(|number| *number..number.saturating_add(1)).collect()
    }

    /// Items that were stored.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Items that lie outside the radius, or for which there was no room.
    pub(crate) fn outside(&self) -> u64 {
        self.outside.load(Ordering::Relaxed)
    }

    /// Whether nothing is missing any more of a run of bodies or receipts that was surveyed.
    pub(crate) fn has_all_of(&self, run: Run) -> bool {
        !self.left.lock().contains_key(&run)
    }

    /// How many blocks are missing of a run of bodies or receipts that was surveyed.
    pub(crate) fn missing_of(&self, run: Run) -> usize {
        self.left.lock().get(&run).map_or(0, BTreeSet::len)
    }

    /// Whether the header of any block is here that is missing of a run: without, nobody is asked for the others.
    pub(crate) fn has_header_of_missing(&self, run: Run) -> bool {
        let headers = self.headers.read();
        self.left.lock().get(&run).is_some_and(|left| left.iter().any(|number| headers.contains_key(number)))
    }

    /// Whether a block's header is here.
    pub(crate) fn has_header(&self, number: u64) -> bool {
        self.headers.read().contains_key(&number)
    }

    /// How many headers are here.
    pub(crate) fn headers_here(&self) -> usize {
        self.headers.read().len()
    }

    fn put_header(&self, number: u64, item: &Bytes) -> Result<(), PutError> {
        let (contents, header) = self.pipeline.validate_header(number, item).map_err(refused)?;
        let placements = self.holdings.put_together(&contents).map_err(failed)?;
        self.count(placements.into_iter().any(is_held));
        self.headers.write().insert(number, header);
        Ok(())
    }

    fn put_part(&self, component: Component, number: u64, item: Bytes) -> Result<(), PutError> {
        let key = key_of(component, number);
        let header = self.headers.read().get(&number).cloned();
        let header =
            header.ok_or_else(|| PutError::Failed(format!("block {number}: its header is not here").into()))?;
        let content = self.pipeline.validate_part(key, item, &header).map_err(refused)?;
        let placement = self.holdings.put_blocking(&content).map_err(failed)?;
        self.count(is_held(placement));
        // Peers are told of a run with its last block.
        let run = Run::of(component, number);
        if self.is_the_last_of(run, number) { self.library.note_if_whole(run).map_err(failed) } else { Ok(()) }
    }

    fn is_the_last_of(&self, run: Run, number: u64) -> bool {
        let mut left = self.left.lock();
        let Some(of_run) = left.get_mut(&run) else { return false };
        of_run.remove(&number);
        let is_last = of_run.is_empty();
        if is_last {
            left.remove(&run);
        }
        is_last
    }

    fn count(&self, is_kept: bool) {
        let counter = if is_kept { &self.stored } else { &self.outside };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Sink for StoreSink {
    fn put(&self, component: Component, number: u64, Received { item, .. }: &Received) -> Result<(), PutError> {
        match component {
            Component::Headers => self.put_header(number, item),
            Component::Bodies | Component::Receipts => self.put_part(component, number, item.clone()),
        }
    }
}

fn refused(refusal: Refusal) -> PutError {
    match refusal {
        Refusal::Content(unverified) => unverified.into(),
        refusal if refusal.is_invalid() => PutError::Invalid(refusal.into()),
        refusal => PutError::Failed(refusal.into()),
    }
}

fn failed(error: StoreError) -> PutError {
    PutError::Failed(error.into())
}

#[cfg(test)]
mod tests {
    use cairn_synthetic::Block;

    use super::*;
    use crate::testing::Fixture;

    fn survey(fixture: &Fixture) -> StoreSink {
        let library = Arc::new(NodeLibrary::new(fixture.holdings.clone()));
        StoreSink::survey(fixture.pipeline.clone(), library, 0..=95, |_, _| true).unwrap()
    }

    fn items(block: &Block) -> [(Component, Bytes); 3] {
        let Block { body, receipts, .. } = block;
        [
            (Component::Headers, block.header_with_proof()),
            (Component::Bodies, body.clone()),
            (Component::Receipts, receipts.clone()),
        ]
    }

    #[tokio::test]
    async fn what_was_put_is_held_and_not_wanted_again() {
        let fixture = Fixture::new();
        let sink = survey(&fixture);
        assert_eq!(sink.wanted(), Component::ALL.map(|component| (component, 0..96)));
        for number in [5, 90] {
            for (component, item) in items(&fixture.chain.block(number).unwrap()) {
                sink.put(component, number, &item.clone().into()).unwrap();
                let held = fixture
                    .holdings
                    .store()
                    .get_by_id(key_of(component, number).sub_network(), &key_of(component, number).content_id());
                assert_eq!(held.unwrap(), Some(item));
            }
        }
        assert_eq!((sink.stored(), sink.outside()), (6, 0));
        let hash = fixture.chain.block(5).unwrap().header.hash();
        let by_hash = content_types::legacy_history::ContentKey::HeaderByHash(hash).into();
        assert!(fixture.holdings.store().contains(&by_hash).unwrap());
        let rest = [0..5, 6..90, 91..96];
        let rest: Vec<_> = Component::ALL.iter().flat_map(|of| rest.clone().map(|blocks| (*of, blocks))).collect();
        assert_eq!(survey(&fixture).wanted(), rest);
    }

    #[tokio::test]
    async fn a_header_that_is_stored_is_known() {
        let fixture = Fixture::new();
        fixture.store_header(7);
        let sink = survey(&fixture);
        assert_eq!((sink.known().len(), sink.known().first()), (1, Some(&(7..8))));
        let block = fixture.chain.block(7).unwrap();
        sink.put(Component::Bodies, 7, &block.body.clone().into()).unwrap();
        assert_eq!(sink.stored(), 1);
    }

    #[tokio::test]
    async fn what_is_not_asked_for_is_not_wanted_but_the_headers_that_it_takes() {
        let fixture = Fixture::new();
        let library = Arc::new(NodeLibrary::new(fixture.holdings.clone()));
        fixture.store_header(7);
        let is_asked_for = |component, number| component == Component::Receipts && number < 10;
        let sink = StoreSink::survey(fixture.pipeline.clone(), library, 5..=20, is_asked_for).unwrap();
        let headers = [(Component::Headers, 5..7), (Component::Headers, 8..10)];
        assert_eq!(sink.wanted(), [&headers[..], &[(Component::Receipts, 5..10)]].concat());
        let [receipts, bodies] = [Component::Receipts, Component::Bodies].map(|component| Run { component, index: 0 });
        assert_eq!((sink.has_all_of(receipts), sink.has_all_of(bodies)), (false, true));
        assert_eq!((sink.missing_of(receipts), sink.missing_of(bodies)), (5, 0));
        assert!(sink.has_header(7) && !sink.has_header(8) && sink.headers_here() == 1);
        assert!(sink.has_header_of_missing(receipts) && !sink.has_header_of_missing(bodies));
        for number in 5..10 {
            let [header, _, receipts] = items(&fixture.chain.block(number).unwrap());
            sink.put(header.0, number, &header.1.into()).unwrap();
            sink.put(receipts.0, number, &receipts.1.into()).unwrap();
        }
        assert!(sink.has_all_of(receipts));
    }

    #[tokio::test]
    async fn a_header_that_was_learned_is_not_wanted_and_what_belongs_to_it_is_checked_against_it() {
        let fixture = Fixture::new();
        let sink = survey(&fixture);
        let block = fixture.chain.block(7).unwrap();
        let (_, header) = fixture.pipeline.validate_header(7, &block.header_with_proof()).unwrap();
        assert!(sink.headers_needed().into_iter().eq(0..96));
        let run = Run { component: Component::Bodies, index: 0 };
        assert!(!sink.has_header_of_missing(run));
        sink.learn(header);
        assert!(sink.has_header_of_missing(run));
        assert!(sink.headers_needed().into_iter().eq((0..96).filter(|number| *number != 7)));
        let is_wanted =
            |of, number| sink.wanted().iter().any(|(wanted, blocks)| *wanted == of && blocks.contains(&number));
        assert_eq!([6, 7, 8].map(|number| is_wanted(Component::Headers, number)), [true, false, true]);
        assert!(is_wanted(Component::Bodies, 7));
        sink.put(Component::Bodies, 7, &block.body.into()).unwrap();
        assert_eq!(sink.stored(), 1);
    }

    #[tokio::test]
    async fn another_blocks_items_are_a_lie_and_are_not_stored() {
        let fixture = Fixture::new();
        fixture.store_header(7);
        let sink = survey(&fixture);
        for (component, item) in items(&fixture.chain.block(90).unwrap()) {
            let refused = sink.put(component, 7, &item.into());
            assert!(matches!(refused, Err(PutError::Invalid(_))), "{component:?}: {refused:?}");
        }
        assert_eq!(sink.stored(), 0);
    }
}
