//! How far the trust lists reach: which block numbers some header could be proved for. What lies beyond is refused
//! without a search.

use std::sync::atomic::{AtomicI64, Ordering};

use content_types::header::epoch::EPOCH_SIZE;
use content_types::header::period::SLOTS_PER_HISTORICAL_ROOT;
use content_types::{ChainSpec, HeaderVerifier, ProvedHeader, TrustLists};

/// The reach of a chain's lists.
///
/// The lists that cover blocks after the merge are of slots. There is at most one block in a slot, so that a block's
/// number minus its slot never grows: what it is for any proved header, or could be at the merge, it is at most for
/// later ones.
pub(super) struct Reach {
    lead: AtomicI64,
}

impl Reach {
    /// Before any header was proved: the first block after the merge lies in slot 0 or later.
    pub(super) fn new(chain: &ChainSpec) -> Self {
        Self { lead: AtomicI64::new(chain.merge_block().map_or(0, signed)) }
    }

    /// A proved header tells how number and slot correspond.
    pub(super) fn learn(&self, chain: &ChainSpec, header: &ProvedHeader) {
        if !chain.is_pre_merge(header.number())
            && let Some(slot) = chain.slot_at(header.header().timestamp)
        {
            self.lead.fetch_min(signed(header.number()).saturating_sub(signed(slot)), Ordering::Relaxed);
        }
    }

    /// Whether there may be a block of this number whose header can be proved.
    pub(super) fn covers(&self, number: u64, verifier: &HeaderVerifier) -> bool {
        let (chain, lists) = (verifier.chain(), verifier.lists());
        if chain.is_pre_merge(number) {
            return lists.pre_merge.as_ref().is_some_and(|list| number / EPOCH_SIZE < list.epoch_roots().len() as u64);
        }
        let end = end_slot(chain, lists).map(|end| signed(end).saturating_add(self.lead.load(Ordering::Relaxed)));
        end.is_some_and(|end| signed(number) < end)
    }
}

/// The first slot that no list covers.
fn end_slot(chain: &ChainSpec, lists: &TrustLists) -> Option<u64> {
    let roots = lists.historical_roots.as_ref().map(|list| list.roots().len() as u64);
    let summaries = lists.summaries.as_ref().and_then(|list| {
        let first = chain.capella_slot()? / SLOTS_PER_HISTORICAL_ROOT;
        first.checked_add(list.summaries().len() as u64)
    });
    roots.max(summaries)?.checked_mul(SLOTS_PER_HISTORICAL_ROOT)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cairn_synthetic::{SyntheticChain, SyntheticConfig};

    use super::*;

    #[test]
    fn a_list_reaches_to_its_last_slot_and_proved_headers_tell_how_many_blocks_that_are() {
        let chain = SyntheticChain::new(SyntheticConfig::small()).unwrap();
        let verifier = chain.verifier();
        let spec = verifier.chain();
        let reach = Reach::new(spec);
        let last = chain.blocks().last().unwrap();
        let merge = spec.merge_block().unwrap();
        let end = end_slot(spec, verifier.lists()).unwrap();

        // At most one block a slot from the merge on.
        assert!(reach.covers(0, &verifier) && reach.covers(merge + end - 1, &verifier));
        assert!(!reach.covers(merge + end, &verifier) && !reach.covers(u64::MAX, &verifier));

        let proved = verifier.verify(&last.header_with_proof()).unwrap();
        let slot = spec.slot_at(proved.header().timestamp).unwrap();
        reach.learn(spec, &proved);
        for block in chain.blocks() {
            assert!(reach.covers(block.number(), &verifier), "block {} can be proved", block.number());
        }
        assert!(reach.covers(last.number() + (end - slot) - 1, &verifier));
        assert!(!reach.covers(last.number() + (end - slot), &verifier));
        // What an older header tells is less.
        reach.learn(spec, &verifier.verify(&chain.block(merge).unwrap().header_with_proof()).unwrap());
        assert!(!reach.covers(last.number() + (end - slot), &verifier));
    }

    #[test]
    fn without_lists_nothing_can_be_proved_and_each_list_has_its_blocks() {
        let chain = SyntheticChain::new(SyntheticConfig::small()).unwrap();
        let spec = chain.verifier().chain().clone();
        let merge = spec.merge_block().unwrap();
        let reach = Reach::new(&spec);
        let with = |lists: TrustLists| HeaderVerifier::new(Arc::clone(&spec), lists);
        let none = with(TrustLists::default());
        assert!(!reach.covers(0, &none) && !reach.covers(merge, &none));
        let all = chain.trust_lists();
        let before = with(TrustLists { pre_merge: all.pre_merge.clone(), ..TrustLists::default() });
        assert!(reach.covers(merge - 1, &before) && !reach.covers(merge, &before));
        let after = with(TrustLists { historical_roots: all.historical_roots.clone(), ..TrustLists::default() });
        assert!(!reach.covers(merge - 1, &after) && reach.covers(merge, &after));
    }
}
