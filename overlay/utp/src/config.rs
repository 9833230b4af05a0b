//! What the owner of a connection may choose.

use std::time::Duration;

/// The settings of one connection. Values outside the stated range are brought into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Largest payload of one packet, in bytes: what the carrier takes less [`HEADER_LEN`](crate::HEADER_LEN).
    /// 150 to 65,000; the default is what a discv5 TALKREQ has room for.
    pub max_payload: usize,
    /// Bytes that may wait here for the reader, which is also the largest window advertised. 4 payloads to 1 GiB.
    pub receive_buffer: usize,
    /// Bytes that may wait here to be sent or acknowledged. 4 payloads to 1 GiB.
    pub send_buffer: usize,
    /// Queueing delay that congestion control aims at (RFC 6817, section 2.4.2: at most 100 ms).
    pub target_delay: Duration,
    /// Packets that one acknowledgement covers in a steady stream, 1 to 64. More cost the carrier less; the first
    /// packets of a burst and everything that hints at loss are acknowledged sooner.
    pub ack_every: u32,
    /// Longest time that a packet waits for its acknowledgement.
    pub ack_delay: Duration,
    /// Time for the connection to open: for the answer to our SYN, or for the peer's SYN.
    pub connect_timeout: Duration,
    /// The connection is given up when nothing came from the peer for this long.
    pub idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_payload: 1153,
            receive_buffer: 1 << 20,
            send_buffer: 1 << 20,
            target_delay: Duration::from_millis(100),
            ack_every: 8,
            ack_delay: Duration::from_millis(10),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// The same settings within their ranges.
    pub(crate) fn clamped(mut self) -> Self {
        const BUFFER_LIMIT: usize = 1 << 30;
        self.max_payload = self.max_payload.clamp(150, 65_000);
        self.receive_buffer = self.receive_buffer.clamp(4 * self.max_payload, BUFFER_LIMIT);
        self.send_buffer = self.send_buffer.clamp(4 * self.max_payload, BUFFER_LIMIT);
        self.target_delay = self.target_delay.clamp(Duration::from_millis(1), Duration::from_secs(1));
        self.ack_every = self.ack_every.clamp(1, 64);
        self.ack_delay = self.ack_delay.min(Duration::from_millis(100));
        self
    }
}
