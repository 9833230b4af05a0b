//! Which kinds of header proof there are.

use std::fmt;

/// Which of the four kinds a proof is. The values are those of ere files (`proof-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ProofKind {
    /// [`BlockProofHistoricalHashesAccumulator`](super::BlockProofHistoricalHashesAccumulator)
    HistoricalHashes = 0,
    /// [`BlockProofHistoricalRoots`](super::BlockProofHistoricalRoots)
    HistoricalRoots = 1,
    /// [`BlockProofHistoricalSummariesCapella`](super::BlockProofHistoricalSummariesCapella)
    HistoricalSummariesCapella = 2,
    /// [`BlockProofHistoricalSummariesDeneb`](super::BlockProofHistoricalSummariesDeneb)
    HistoricalSummariesDeneb = 3,
}

impl ProofKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::HistoricalHashes,
        Self::HistoricalRoots,
        Self::HistoricalSummariesCapella,
        Self::HistoricalSummariesDeneb,
    ];
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HistoricalHashes => "historical hashes",
            Self::HistoricalRoots => "historical roots",
            Self::HistoricalSummariesCapella => "historical summaries (Capella)",
            Self::HistoricalSummariesDeneb => "historical summaries (Deneb)",
        })
    }
}
