//! The numbers of a download.

use std::time::Duration;

use crate::geometry::Component;

/// In which order runs are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By block number.
    Sequential,
    /// What the fewest connected peers hold comes first.
    RarestFirst,
}

/// How a download goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadConfig {
    /// In which order runs are fetched.
    pub order: Order,
    /// Peers at a time.
    pub max_peers: usize,
    /// Requests to one peer at a time, whatever it allows.
    pub max_requests: usize,
    /// The size that parts aim at, in bytes.
    pub part_bytes: u64,
    /// Bodies and receipts wait for more of their headers rather than being asked for in parts below this, in bytes.
    pub min_part_bytes: u64,
    /// Bytes in flight from one peer: the least that is allowed, and what slow start begins with.
    pub min_window: u64,
    /// Bytes in flight from one peer, at most.
    pub max_window: u64,
    /// Bytes in flight from all peers at which none gets a second request.
    pub max_in_flight: u64,
    /// What a peer needs to begin with an answer, beyond the round trip.
    pub queue_time: Duration,
    /// A peer that sent nothing for so long loses its requests.
    pub stall_after: Duration,
    /// A request that brought nothing for so long is given up, though its peer sends on others.
    pub request_timeout: Duration,
    /// A peer that is slower than this, in bytes a second, when others take over from it is charged with that.
    pub min_rate: u64,
    /// What a block is believed to take until some have come, in bytes, by [`Component::index`].
    pub expected_block_bytes: [u64; Component::COUNT],
}

impl Default for DownloadConfig {
    fn default() -> Self {
        Self {
            order: Order::RarestFirst,
            max_peers: 64,
            max_requests: 32,
            part_bytes: 1 << 20,
            min_part_bytes: 256 << 10,
            min_window: 256 << 10,
            max_window: 16 << 20,
            max_in_flight: 128 << 20,
            queue_time: Duration::from_millis(20),
            stall_after: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            min_rate: 8 << 10,
            expected_block_bytes: [1_000, 60_000, 30_000],
        }
    }
}
