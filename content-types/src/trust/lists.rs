//! The lists that a verifier has at hand.

use alloy_primitives::B256;

use super::{HistoricalRoots, HistoricalSummaries, PreMergeAccumulator, TrustError, TrustListKind, TrustRoots};

/// A chain's checked lists, as far as they are there. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustLists {
    /// Covers blocks before the merge.
    pub pre_merge: Option<PreMergeAccumulator>,
    /// Covers blocks from the merge until Capella.
    pub historical_roots: Option<HistoricalRoots>,
    /// Covers blocks from Capella on.
    pub summaries: Option<HistoricalSummaries>,
}

impl TrustLists {
    /// Checks the SSZ encoding of a list against its root in `roots` and takes it in. Summaries don't replace ones that
    /// reach further.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when the bytes are malformed or have another root, or no root is known.
    pub fn import(&mut self, kind: TrustListKind, bytes: &[u8], roots: &TrustRoots) -> Result<(), TrustError> {
        match kind {
            TrustListKind::PreMergeAccumulator => self.pre_merge = Some(PreMergeAccumulator::from_ssz(bytes, roots)?),
            TrustListKind::HistoricalRoots => self.historical_roots = Some(HistoricalRoots::from_ssz(bytes, roots)?),
            TrustListKind::HistoricalSummaries => self.extend_summaries(HistoricalSummaries::from_ssz(bytes, roots)?),
        }
        Ok(())
    }

    /// Finds out which of the chain's lists the bytes encode, by their root, and takes it in.
    ///
    /// # Errors
    ///
    /// [`TrustError::Unrecognized`] when they are none of them.
    pub fn import_any(&mut self, bytes: &[u8], roots: &TrustRoots) -> Result<TrustListKind, TrustError> {
        TrustListKind::ALL
            .into_iter()
            .find(|kind| self.import(*kind, bytes, roots).is_ok())
            .ok_or(TrustError::Unrecognized { length: bytes.len() })
    }

    /// Takes in checked summaries, unless the ones that are there reach further.
    pub fn extend_summaries(&mut self, summaries: HistoricalSummaries) {
        let known = self.summaries.as_ref().map_or(0, |known| known.summaries().len());
        if summaries.summaries().len() >= known {
            self.summaries = Some(summaries);
        }
    }

    /// How many entries of a list are there; `None` when the list is missing.
    pub fn entries(&self, kind: TrustListKind) -> Option<usize> {
        match kind {
            TrustListKind::PreMergeAccumulator => self.pre_merge.as_ref().map(|list| list.epoch_roots().len()),
            TrustListKind::HistoricalRoots => self.historical_roots.as_ref().map(|list| list.roots().len()),
            TrustListKind::HistoricalSummaries => self.summaries.as_ref().map(|list| list.summaries().len()),
        }
    }

    /// The SSZ encoding of the list with the root `root`, which must be one of `roots`: what a peer that trusts the same
    /// root can check.
    pub fn encoded(&self, root: &B256, roots: &TrustRoots) -> Option<Vec<u8>> {
        match roots.kind_of(root)? {
            TrustListKind::PreMergeAccumulator => self.pre_merge.as_ref().map(PreMergeAccumulator::to_ssz),
            TrustListKind::HistoricalRoots => self.historical_roots.as_ref().map(HistoricalRoots::to_ssz),
            TrustListKind::HistoricalSummaries => {
                let covered = self.summaries.as_ref()?.summaries().get(..roots.summaries?.count)?;
                Some(HistoricalSummaries::encode(covered))
            }
        }
    }
}
