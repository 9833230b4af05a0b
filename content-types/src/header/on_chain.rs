//! Which kind of proof a chain's forks ask of a header.

use super::{HeaderError, ProofKind};
use crate::ChainSpec;

impl ChainSpec {
    /// The kind of proof that a header of this number and timestamp (seconds since 1970) needs.
    ///
    /// # Errors
    ///
    /// [`HeaderError::NoProofKind`] when the header lies behind a fork for which no kind of proof is defined.
    pub fn proof_kind(&self, number: u64, timestamp: u64) -> Result<ProofKind, HeaderError> {
        let active = |fork: Option<u64>| fork.filter(|fork_time| *fork_time <= timestamp);
        if self.is_pre_merge(number) {
            Ok(ProofKind::HistoricalHashes)
        } else if let Some(fork_time) = active(self.parameters().amsterdam_time) {
            Err(HeaderError::NoProofKind { number, timestamp, fork_time })
        } else if active(self.parameters().cancun_time).is_some() {
            Ok(ProofKind::HistoricalSummariesDeneb)
        } else if active(self.parameters().shanghai_time).is_some() {
            Ok(ProofKind::HistoricalSummariesCapella)
        } else {
            Ok(ProofKind::HistoricalRoots)
        }
    }
}
