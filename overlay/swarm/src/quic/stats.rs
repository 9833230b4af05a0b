//! What an endpoint does and has done, as figures.

use std::sync::{Weak, atomic::Ordering};

use super::{Swarm, inner::SwarmEndpoint};
use crate::geometry::Component;

/// What an endpoint does now, and what it has done since its start; that only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwarmStats {
    /// Peers that are connected.
    pub sessions: usize,
    /// Of those, whom this node serves ranges.
    pub served: usize,
    /// Of those, who want ranges and have to wait.
    pub waiting: usize,
    /// Of those, who serve this node.
    pub serving: usize,
    /// Bars that were put on peers.
    pub bars: u64,
    /// Bytes of items that others got, by [`Component::index`].
    pub uploaded: [u64; Component::COUNT],
    /// Bytes of answers to requests for ranges, by [`Component::index`].
    pub downloaded: [u64; Component::COUNT],
    /// Runs that this node holds, by [`Component::index`].
    pub held: [u64; Component::COUNT],
}

/// Asks an endpoint for its figures, and keeps nothing of it alive.
#[derive(Clone)]
pub struct StatsSource(Weak<SwarmEndpoint>);

impl StatsSource {
    /// The figures as they are now; `None` once the endpoint is gone.
    pub fn stats(&self) -> Option<SwarmStats> {
        self.0.upgrade().map(|inner| Swarm { inner }.stats())
    }
}

impl std::fmt::Debug for StatsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatsSource")
    }
}

impl Swarm {
    /// The figures as they are now.
    pub fn stats(&self) -> SwarmStats {
        let sessions = self.sessions();
        let (served, waiting) = self.inner.uploads.counts();
        SwarmStats {
            sessions: sessions.len(),
            served,
            waiting,
            serving: sessions.iter().filter(|session| session.view().serves_us).count(),
            bars: self.inner.bars.load(Ordering::Relaxed),
            uploaded: self.inner.uploads.upload.moved(),
            downloaded: self.inner.uploads.download.moved(),
            held: std::array::from_fn(|of| self.held()[of].len()),
        }
    }

    /// What asks for them later.
    pub fn stats_source(&self) -> StatsSource {
        StatsSource(std::sync::Arc::downgrade(&self.inner))
    }
}
