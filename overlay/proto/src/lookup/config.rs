//! The numbers of a lookup.

use std::time::Duration;

use crate::routing::{K, PeerRules};

/// Most nodes a lookup remembers; the farthest it has not asked are forgotten first.
pub const MAX_CANDIDATES: usize = 256;

/// Most nodes a lookup takes from one answer, the nearest to the target.
pub const MAX_LEARNED_PER_ANSWER: usize = K;

/// Most nodes of one subnet in a lookup, beyond those it began with.
pub const MAX_SUBNET_CANDIDATES: usize = 4;

/// How a lookup goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupConfig {
    /// Which nodes may be asked.
    pub rules: PeerRules,
    /// Requests under way at a time (α), not counting peers that are silent for `stall_after`.
    pub parallelism: usize,
    /// Nearest nodes that have to answer before it ends (`k`).
    pub k: usize,
    /// Nodes beyond the `k` nearest that are asked too when none of those has the content: who serves a whole archive may be
    /// far from it, and known to nobody as interested.
    pub last_resort: usize,
    /// Requests in all.
    pub max_queries: usize,
    /// A peer that has not answered for so long does not keep others waiting.
    pub stall_after: Duration,
    /// A peer that has not answered for so long counts as failed.
    pub query_timeout: Duration,
    /// The pause after which a peer is asked again that was too busy to look, a little more or less by chance of its distance;
    /// it doubles each time.
    pub busy_pause: Duration,
    /// How often such a peer is asked again before it counts as failed.
    pub busy_retries: u8,
    /// The whole lookup's time.
    pub deadline: Duration,
    /// Streams open at a time, for a content lookup.
    pub max_streams: usize,
    /// A stream that has not ended after so long gets company: other peers are asked, a second stream is opened.
    pub hedge_after: Duration,
    /// A stream that has not ended after so long makes room when another peer has the content, unless it is the one that has
    /// brought most.
    pub replace_after: Duration,
    /// A stream that brought nothing for so long is given up.
    pub stream_idle_timeout: Duration,
}

impl LookupConfig {
    /// The usual numbers, for peers that fulfil `rules`.
    pub fn new(rules: PeerRules) -> Self {
        Self {
            rules,
            parallelism: 3,
            k: K,
            last_resort: K,
            max_queries: 96,
            stall_after: Duration::from_millis(750),
            query_timeout: Duration::from_secs(4),
            busy_pause: Duration::from_millis(200),
            busy_retries: 4,
            deadline: Duration::from_secs(60),
            max_streams: 2,
            hedge_after: Duration::from_millis(500),
            replace_after: Duration::from_secs(4),
            stream_idle_timeout: Duration::from_secs(5),
        }
    }

    /// Requests under way at a time, with those to silent peers.
    pub(super) fn max_in_flight(&self) -> usize {
        self.parallelism.saturating_mul(4)
    }
}
