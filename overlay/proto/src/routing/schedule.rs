//! How often a table is seen to, and when it was last.

use std::time::{Duration, Instant};

/// Usual pause between PINGs to a peer that answers.
pub const PING_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Usual time after which a bucket is looked up in whose range nothing was.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// When lookups are due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// When this node's own surroundings were last looked up.
    pub(super) own_lookup: Option<Instant>,
    pub(super) last_lookup: Option<Instant>,
}
