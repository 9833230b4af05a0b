//! What comes from peers, checked item by item and put into the node's own store: the way of everything that comes by
//! offers, with the headers that a range brings along instead of those that would have to be sought.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cairn_store::StoreError;
use cairn_swarm::geometry::Component;
use cairn_swarm::quic::{PutError, Received, Sink};
use content_types::{ContentKey, ProvedHeader};
use parking_lot::RwLock;

use crate::holdings::{Holdings, is_held};
use crate::parts::key_of;
use crate::pipeline::{Pipeline, Refusal};

/// The store, as somewhere to put a range of blocks. It takes what lies within the radius; a header that does not is kept as
/// long as this is, for what has to be checked against it.
pub(crate) struct StoreSink {
    pipeline: Pipeline,
    holdings: Holdings,
    headers: RwLock<BTreeMap<u64, ProvedHeader>>,
    wanted: Vec<(Component, Range<u64>)>,
    stored: AtomicU64,
    outside: AtomicU64,
}

impl StoreSink {
    /// Looks at what of some blocks is here, and what would be kept. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub(crate) fn survey(
        pipeline: Pipeline,
        holdings: Holdings,
        blocks: RangeInclusive<u64>,
    ) -> Result<Self, StoreError> {
        let (mut headers, mut outside) = (BTreeMap::new(), 0);
        let mut wanted: [Vec<Range<u64>>; Component::COUNT] = Default::default();
        for number in blocks {
            let mut is_missing = [false; Component::COUNT];
            for component in Component::ALL {
                let key = key_of(component, number);
                let is_near = holdings.is_within_radius(key.sub_network(), &key.content_id());
                let is_here = holdings.store().contains(&key)?;
                is_missing[component.index()] = is_near && !is_here;
                outside += u64::from(!is_near && !is_here);
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
            holdings,
            headers: RwLock::new(headers),
            stored: AtomicU64::new(0),
            outside: AtomicU64::new(outside),
        })
    }

    /// What is missing.
    pub(crate) fn wanted(&self) -> Vec<(Component, Range<u64>)> {
        self.wanted.clone()
    }

    /// The blocks whose headers are here.
    pub(crate) fn known(&self) -> Vec<Range<u64>> {
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

    fn put_header(&self, number: u64, item: &Bytes) -> Result<(), PutError> {
        let (contents, header) = self.pipeline.validate_header(number, item).map_err(refused)?;
        let mut is_kept = false;
        for content in &contents {
            is_kept |= is_held(self.holdings.put_blocking(content).map_err(failed)?);
        }
        self.count(is_kept);
        self.headers.write().insert(number, header);
        Ok(())
    }

    fn put_part(&self, key: ContentKey, number: u64, item: Bytes) -> Result<(), PutError> {
        let header = self.headers.read().get(&number).cloned();
        let header =
            header.ok_or_else(|| PutError::Failed(format!("block {number}: its header is not here").into()))?;
        let content = self.pipeline.validate_part(key, item, &header).map_err(refused)?;
        let placement = self.holdings.put_blocking(&content).map_err(failed)?;
        self.count(is_held(placement));
        Ok(())
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
            Component::Bodies | Component::Receipts => self.put_part(key_of(component, number), number, item.clone()),
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
        StoreSink::survey(fixture.pipeline.clone(), fixture.holdings.clone(), 0..=95).unwrap()
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
