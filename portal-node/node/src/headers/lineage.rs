//! Headers of an archive that holds no proofs of them. A header names its parent, so one header that is proved elsewhere
//! proves those below it in the file, and a search or two prove a whole archive.
//!
//! What is kept is the last proved header of each segment, and how far down the file follows from it; the headers in
//! between are read and hashed again when one is asked for. Above a header that is damaged or another chain's nothing
//! leads further down: the next segment's last header is sought by itself.

use std::ops::Range;
use std::sync::Arc;

use cairn_archive::{Archive, Component, MAX_BLOCKS};
use content_types::{ChainSpec, ProvedHeader};
use parking_lot::RwLock;

use super::HeaderSource;
use crate::workers::{Stopping, Workers};

/// Blocks of a segment, of which one proved header of about 1.5 kB is kept, and as many headers are read at most to prove
/// one of them.
const SEGMENT_BLOCKS: u64 = 256;
/// Headers that are not found before an attempt is given up: others of the same archive are hardly to be had either.
const MAX_FAILED_SEARCHES: usize = 3;

/// Which headers of an archive are proved.
pub(crate) struct Lineage {
    archive: Archive,
    /// From here on no proof is in the archive, nor can be built from it.
    unproved: Range<u64>,
    /// Of the blocks in `unproved`, [`SEGMENT_BLOCKS`] each.
    segments: RwLock<Vec<Option<Segment>>>,
    /// The job that offers and the one that waits for headers to turn up need not search for the same ones.
    attempt: tokio::sync::Mutex<()>,
}

/// The proved headers of a segment: from `first` on up to `last`, which ends it.
#[derive(Clone)]
struct Segment {
    first: u64,
    last: ProvedHeader,
}

impl Lineage {
    /// The lineage of an archive, unless the archive proves its headers itself.
    pub(crate) fn of(archive: &Archive, chain: &ChainSpec) -> Option<Self> {
        let blocks = *archive.blocks().start()..archive.blocks().end().saturating_add(1);
        let has = |component| archive.components().has(component);
        if has(Component::Proof) {
            return None;
        }
        // What it takes to build the tree of an epoch.
        let builds_proofs =
            blocks.start.is_multiple_of(MAX_BLOCKS) && (has(Component::TotalDifficulty) || blocks.start == 0);
        let merge = if builds_proofs { chain.merge_block().unwrap_or(u64::MAX) } else { 0 };
        let unproved = merge.clamp(blocks.start, blocks.end)..blocks.end;
        let segments = usize::try_from((unproved.end - unproved.start).div_ceil(SEGMENT_BLOCKS)).ok()?;
        (segments > 0).then(|| Self {
            archive: archive.clone(),
            unproved,
            segments: RwLock::new(vec![None; segments]),
            attempt: tokio::sync::Mutex::default(),
        })
    }

    /// Whether a part of a block can be proved. No proof of a header that is handed on can be made from its children.
    pub(crate) fn vouches_for(&self, number: u64, component: Component) -> bool {
        number < self.unproved.start || (component != Component::Header && self.is_proved(number))
    }

    /// How many blocks are not proved.
    pub(crate) fn unproved_count(&self) -> u64 {
        let proved = |segment: &Segment| segment.last.number() + 1 - segment.first;
        let proved: u64 = self.segments.read().iter().flatten().map(proved).sum();
        self.unproved.end - self.unproved.start - proved
    }

    fn is_proved(&self, number: u64) -> bool {
        self.segment_of(number).is_some_and(|segment| segment.first <= number)
    }

    /// The proved headers of these blocks, the last block's first; those that are not proved are left out. Blocks on the
    /// disk.
    pub(crate) fn headers(&self, numbers: Range<u64>) -> Vec<ProvedHeader> {
        let Ok(archive) = self.archive.pinned() else { return Vec::new() };
        let mut headers = Vec::new();
        let mut end = numbers.end.min(self.unproved.end);
        while let Some(last) = end.checked_sub(1).filter(|last| *last >= numbers.start.max(self.unproved.start)) {
            let first = self.start_of(self.place_of(last));
            if let Some(segment) = self.segment_of(last) {
                let from = first.max(segment.first).max(numbers.start);
                let segment = descent(&archive, segment.last).take_while(|header| header.number() >= from);
                headers.extend(segment.filter(|header| header.number() <= last));
            }
            end = first;
        }
        headers
    }

    /// Looks for headers that prove what is not proved yet.
    ///
    /// # Errors
    /// [`Stopping`].
    pub(crate) async fn seek(self: &Arc<Self>, headers: &Arc<HeaderSource>, workers: &Workers) -> Result<(), Stopping> {
        let _attempt = self.attempt.lock().await;
        let before = self.unproved_count();
        let places = 0..self.segments.read().len();
        let mut failed = 0;
        for place in places.rev() {
            if self.has_segment(place) {
                continue;
            }
            if failed == MAX_FAILED_SEARCHES {
                break;
            }
            let last = self.start_of(place + 1).min(self.unproved.end) - 1;
            let found = match headers.get_for_archive(last).await {
                Some(header) => {
                    let lineage = Arc::clone(self);
                    workers.read(move || lineage.descend(header)).await?
                }
                None => false,
            };
            failed += usize::from(!found);
        }
        let left = self.unproved_count();
        if left < before {
            let archive = self.archive.name();
            tracing::info!(archive, proved = before - left, left, "headers of an archive without proofs were proved");
        }
        Ok(())
    }

    /// Takes in what follows from a proved header that ends a segment. Returns whether it is the archive's at all.
    fn descend(&self, from: ProvedHeader) -> bool {
        let Ok(archive) = self.archive.pinned() else { return false };
        let number = from.number();
        if !archive.decoded_header(number).is_ok_and(|header| header.hash() == from.hash()) {
            return false;
        }
        let mut segment = Segment { first: number, last: from.clone() };
        for header in descent(&archive, from).take_while(|header| header.number() >= self.unproved.start) {
            let place = self.place_of(header.number());
            if place != self.place_of(segment.first) {
                self.learn(segment);
                if self.has_segment(place) {
                    return true;
                }
                segment = Segment { first: header.number(), last: header };
            } else {
                segment.first = header.number();
            }
        }
        self.learn(segment);
        true
    }

    fn learn(&self, segment: Segment) {
        let place = self.place_of(segment.first);
        if let Some(known) = self.segments.write().get_mut(place) {
            *known = Some(segment);
        }
    }

    fn has_segment(&self, place: usize) -> bool {
        self.segments.read().get(place).is_some_and(Option::is_some)
    }

    fn segment_of(&self, number: u64) -> Option<Segment> {
        if !self.unproved.contains(&number) {
            return None;
        }
        self.segments.read().get(self.place_of(number))?.clone()
    }

    fn place_of(&self, number: u64) -> usize {
        (number.saturating_sub(self.unproved.start) / SEGMENT_BLOCKS) as usize
    }

    fn start_of(&self, place: usize) -> u64 {
        self.unproved.start.saturating_add(place as u64 * SEGMENT_BLOCKS)
    }
}

/// A proved header and those below it in the archive, as far as each is the parent of the next.
fn descent(archive: &Archive, from: ProvedHeader) -> impl Iterator<Item = ProvedHeader> {
    std::iter::successors(Some(from), move |child| {
        let parent = archive.decoded_header(child.number().checked_sub(1)?).ok()?;
        child.prove_parent(parent).ok()
    })
}
