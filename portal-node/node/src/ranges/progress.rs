//! How far a range is.

use cairn_swarm::quic::FetchProgress;

/// How far the fetch of a range is.
#[derive(Clone, Debug, Default)]
pub enum RangeProgress {
    /// Nothing has begun.
    #[default]
    Waiting,
    /// It comes over QUIC.
    Served {
        /// Which era it is, of several.
        era: Option<u64>,
        /// How far that is, and how its peers do.
        fetch: FetchProgress,
    },
    /// It is looked up.
    LookedUp {
        /// Blocks that are there.
        done: u64,
    },
}
