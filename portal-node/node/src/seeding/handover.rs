//! Before a store that is nearly full lets go of what lies farthest, that is offered to the peers whose radius covers it: it may be
//! the network's only copy. What they have already costs them a key in an offer.
//!
//! The store evicts as it always does; this only runs ahead of it. What goes before it was offered, because much came in at once,
//! came from peers a moment ago.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_store::{Entry, StoreError};
use content_types::ContentId;
use content_types::room::StoredForm;
use hashlink::LruCache;
use tokio::time::Instant;

use super::SeedOptions;
use super::batch::Retry;
use super::offer::{self, CheckedPiece, PeerNotes};
use crate::holdings::Holdings;
use crate::metrics::Metrics;
use crate::networks::Network;
use crate::workers::{Stopping, Workers};

/// From this share of its budget on, in percent, a store will soon let go of something.
const NEARLY_FULL_PERCENT: u128 = 90;
/// The outermost part of the budget, in percent, that is offered before it goes.
const AHEAD_PERCENT: u64 = 5;
/// Entries that are looked at for it, at most: each is a short read of its volume. Those behind them follow when these are gone.
const MAX_ENTRIES: usize = 1024;
/// Pieces that are offered together, at most.
const MAX_PIECES: usize = 64;
/// Their bytes, at which no more are added.
const MAX_BYTES: usize = 4 << 20;
/// Items of which it is remembered that they were offered, and as many of which that they are open.
const REMEMBERED: usize = 1 << 16;
/// Pause when there is nothing to be offered.
const PAUSE: Duration = Duration::from_secs(10);
/// Pause between offers: whoever fills this store has the line first.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// What was offered, and what came of it.
struct Offered {
    ended: LruCache<ContentId, ()>,
    /// A peer that should have it was too busy, or did not answer: when it is offered again. Until then it keeps nothing waiting that
    /// lies behind it.
    open: LruCache<ContentId, Retry>,
}

impl Offered {
    fn new() -> Self {
        Self { ended: LruCache::new(REMEMBERED), open: LruCache::new(REMEMBERED) }
    }

    /// Whether a piece is to be offered now.
    fn is_due(&self, id: &ContentId, now: Instant) -> bool {
        self.ended.peek(id).is_none() && self.open.peek(id).is_none_or(|retry| now >= retry.at)
    }

    /// A piece was offered, and has its end or not.
    fn note(&mut self, id: ContentId, is_open: bool, now: Instant) {
        let before = self.open.remove(&id);
        if is_open {
            self.open.insert(id, Retry::after(before, now));
        } else {
            self.ended.insert(id, ());
        }
    }
}

/// What runs ahead of the evictions of one sub-network.
pub(crate) struct HandOver {
    pub(crate) network: Arc<Network>,
    pub(crate) holdings: Holdings,
    pub(crate) workers: Workers,
    pub(crate) metrics: Arc<Metrics>,
}

impl HandOver {
    /// Offers what will go soon, for as long as this is awaited.
    pub(crate) async fn run(self) {
        let spec = self.network.spec();
        if spec.stored != StoredForm::AsOffered || self.network.capacity() == 0 {
            return;
        }
        let (mut offered, notes) = (Offered::new(), PeerNotes::new());
        let options = SeedOptions { replicas: 1, ..SeedOptions::default() };
        loop {
            offer::wait_for_storage(self.network.overlay()).await;
            let pieces = match self.next(&offered).await {
                Ok(pieces) => pieces,
                Err(Stopping) => return,
            };
            if pieces.is_empty() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let ids: Vec<ContentId> = pieces.iter().map(CheckedPiece::id).collect();
            let placed = offer::place(self.network.overlay(), pieces, options, &notes, None).await;
            let is_open = |place: &usize| placed.open.contains(place);
            let ended = (0..ids.len()).filter(|place| !is_open(place)).count() as u64;
            let taken = placed.placed.len() as u64;
            let unclaimed = ended.saturating_sub(taken);
            self.metrics.handed_over(spec.label, taken, unclaimed);
            if unclaimed > 0 {
                tracing::debug!(network = spec.name, unclaimed, "nobody takes what this store will let go of");
            }
            let now = Instant::now();
            ids.into_iter().enumerate().for_each(|(place, id)| offered.note(id, is_open(&place), now));
            tokio::time::sleep(SHORT_PAUSE).await;
        }
    }

    /// The farthest pieces that are to be offered now, if the store will soon let go of some.
    async fn next(&self, offered: &Offered) -> Result<Vec<CheckedPiece>, Stopping> {
        let (store, network) = (Arc::clone(self.holdings.store()), self.network.sub_network());
        let budget = self.network.capacity();
        let used = store.usage(network).bytes;
        if u128::from(used) * 100 < u128::from(budget) * NEARLY_FULL_PERCENT {
            return Ok(Vec::new());
        }
        let entries = self.workers.read(move || store.farthest(network, MAX_ENTRIES)).await?;
        let entries = entries.unwrap_or_else(|error| {
            tracing::warn!(%error, "the store's index cannot be asked");
            Vec::new()
        });
        let now = Instant::now();
        let due = going(entries, budget / 100 * AHEAD_PERCENT, |id| offered.is_due(id, now));
        let store = Arc::clone(self.holdings.store());
        let read = move || -> Result<Vec<CheckedPiece>, StoreError> {
            let (mut pieces, mut bytes) = (Vec::new(), 0);
            for Entry { id, key, .. } in due {
                if pieces.len() == MAX_PIECES || bytes >= MAX_BYTES {
                    break;
                }
                // It may have gone meanwhile.
                let Some(value): Option<Bytes> = store.get_by_id(network, &id)? else { continue };
                bytes += value.len();
                pieces.push(CheckedPiece::stored(id, key, value));
            }
            Ok(pieces)
        };
        Ok(self.workers.read(read).await?.unwrap_or_else(|error| {
            tracing::warn!(%error, "what the store will let go of cannot be read");
            Vec::new()
        }))
    }
}

/// Of what lies farthest, farthest first: what makes up the outermost `bytes`, and one at least, without what is not due.
fn going(entries: Vec<Entry>, bytes: u64, is_due: impl Fn(&ContentId) -> bool) -> Vec<Entry> {
    let mut before = 0;
    let outermost = entries.into_iter().take_while(|entry| {
        let is_first_or_fits = before == 0 || before < bytes;
        before += entry.record_len;
        is_first_or_fits
    });
    outermost.filter(|entry| is_due(&entry.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8) -> Entry {
        Entry { id: [number; 32].into(), key: Bytes::new(), record_len: 10 }
    }

    #[test]
    fn the_outermost_bytes_go_and_what_was_offered_counts_among_them() {
        let entries = || (0..9).map(entry).collect::<Vec<_>>();
        let all = |_: &ContentId| true;
        assert_eq!(going(entries(), 0, all), [entry(0)]);
        assert_eq!(going(entries(), 10, all), [entry(0)]);
        assert_eq!(going(entries(), 25, all), [entry(0), entry(1), entry(2)]);
        assert_eq!(going(entries(), 25, |id| *id != [1; 32].into()), [entry(0), entry(2)]);
        assert!(going(Vec::new(), 25, all).is_empty());
    }

    #[test]
    fn what_is_open_lets_others_pass_and_is_offered_again_ever_more_rarely() {
        let mut offered = Offered::new();
        let (mut now, busy) = (Instant::now(), entry(0).id);
        let due = |offered: &Offered, now| going((0..3).map(entry).collect(), 30, |id| offered.is_due(id, now));
        let mut pauses = Vec::new();
        for _ in 0..3 {
            offered.note(busy, true, now);
            assert_eq!(due(&offered, now), [entry(1), entry(2)], "those behind it");
            let retry = *offered.open.peek(&busy).unwrap();
            assert_eq!(due(&offered, retry.at).len(), 3);
            pauses.push(retry.at - now);
            now = retry.at;
        }
        assert!(pauses.is_sorted_by(|shorter, longer| shorter < longer), "{pauses:?}");
        offered.note(busy, false, now);
        assert_eq!(due(&offered, now + Duration::from_secs(1 << 20)), [entry(1), entry(2)], "it has its end");
    }
}
