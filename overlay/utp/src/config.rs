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
    /// Longest time that a packet waits for its acknowledgement, at most 100 ms.
    pub ack_delay: Duration,
    /// Time for the connection to open: for the answer to our SYN, or for the peer's SYN. At most an hour.
    pub connect_timeout: Duration,
    /// The connection is given up when nothing came from the peer for this long, be it because neither side had
    /// anything to send. At most an hour.
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
        const TIMEOUT_LIMIT: Duration = Duration::from_secs(3_600);
        self.max_payload = self.max_payload.clamp(150, 65_000);
        self.receive_buffer = self.receive_buffer.clamp(4 * self.max_payload, BUFFER_LIMIT);
        self.send_buffer = self.send_buffer.clamp(4 * self.max_payload, BUFFER_LIMIT);
        self.target_delay = self.target_delay.clamp(Duration::from_millis(1), Duration::from_secs(1));
        // A sender whose window is our buffer must hear of it several times before it stands still.
        let ack_limit = (self.receive_buffer / (4 * self.max_payload)).min(64) as u32;
        self.ack_every = self.ack_every.clamp(1, ack_limit);
        self.ack_delay = self.ack_delay.min(Duration::from_millis(100));
        self.connect_timeout = self.connect_timeout.min(TIMEOUT_LIMIT);
        self.idle_timeout = self.idle_timeout.min(TIMEOUT_LIMIT);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_brought_into_their_ranges() {
        let nothing = Config {
            max_payload: 0,
            receive_buffer: 0,
            send_buffer: 0,
            target_delay: Duration::ZERO,
            ack_every: 0,
            ack_delay: Duration::ZERO,
            connect_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
        };
        let smallest = nothing.clamped();
        assert_eq!((smallest.max_payload, smallest.receive_buffer, smallest.send_buffer), (150, 600, 600));
        assert_eq!(smallest.ack_every, 1);
        let everything = Config {
            max_payload: usize::MAX,
            receive_buffer: usize::MAX,
            send_buffer: usize::MAX,
            target_delay: Duration::MAX,
            ack_every: u32::MAX,
            ack_delay: Duration::MAX,
            connect_timeout: Duration::MAX,
            idle_timeout: Duration::MAX,
        };
        let largest = everything.clamped();
        assert_eq!((largest.max_payload, largest.ack_every), (65_000, 64));
        assert_eq!(largest.clamped(), largest);
        assert_eq!(Config::default().clamped(), Config::default());
    }
}
