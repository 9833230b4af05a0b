//! One uTP stream.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{CloseReason, Config, PacketError, ReadError, WriteError};

/// What a connection tells its owner. Each says that something may be tried; none carries data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done.
    Connected,
    /// There are bytes to read, or the end of the peer's stream was reached.
    Readable,
    /// The send buffer, which was full, has room again.
    Writable,
    /// Everything written and the FIN behind it were acknowledged.
    Finished,
    /// The connection is gone and may be dropped. No event follows.
    Closed(CloseReason),
}

/// Figures of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Smoothed round-trip time; zero before the first sample.
    pub rtt: Duration,
    /// Queueing delay on the way to the peer, as last estimated.
    pub queueing_delay: Duration,
    /// Congestion window in bytes.
    pub congestion_window: usize,
    /// Bytes sent and neither acknowledged nor found lost.
    pub bytes_in_flight: usize,
    /// Bytes the peer has room for, as it last said.
    pub peer_window: usize,
    /// Packets sent, acknowledgements and retransmissions among them.
    pub packets_sent: u64,
    /// Packets received and taken, duplicates among them.
    pub packets_received: u64,
    /// Data and FIN packets sent again.
    pub retransmissions: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Packets that carried nothing new.
    pub duplicates: u64,
    /// Payload bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Payload bytes that arrived in order.
    pub bytes_received: u64,
}

/// One uTP stream, in either role. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    receive_id: u16,
    closed: Option<CloseReason>,
}

impl Connection {
    /// Opens a connection: sends a SYN. The opener receives on `connection_id` and sends on the one above.
    ///
    /// `initial_seq_nr` must be random, so that packets of an earlier connection with the same id are not taken.
    pub fn connect(config: Config, connection_id: u16, now: Instant, initial_seq_nr: u16) -> Self {
        let _ = (now, initial_seq_nr);
        Self { config: config.clamped(), receive_id: connection_id, closed: None }
    }

    /// Waits for the SYN of a peer that was told `connection_id`: receives on the id above and sends on `connection_id`.
    ///
    /// Data may be written at once; it leaves when the SYN has come. `initial_seq_nr` must be random.
    pub fn accept(config: Config, connection_id: u16, now: Instant, initial_seq_nr: u16) -> Self {
        let _ = (now, initial_seq_nr);
        Self { config: config.clamped(), receive_id: connection_id.wrapping_add(1), closed: None }
    }

    /// The id that the peer's packets carry: with the peer's identity, what the connection is found by.
    /// See [`Header::receive_ids`](crate::Header::receive_ids).
    pub fn receive_id(&self) -> u16 {
        self.receive_id
    }

    /// Takes a packet that came from the peer. The payload is kept without a copy.
    ///
    /// # Errors
    /// The packet was ignored and why. Nothing has to be done about it.
    pub fn handle_packet(&mut self, now: Instant, packet: Bytes) -> Result<(), PacketError> {
        let _ = (now, packet, self.config);
        Err(PacketError::Closed)
    }

    /// Does what was due at `now`. Calling it early or late does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called; changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Appends the next packet to send to `out` and returns its length; `None` when there is nothing to send now.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<usize> {
        let _ = (now, out);
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Queues a copy of as many bytes as there is room for and returns how many.
    ///
    /// # Errors
    /// When not one byte could be taken; an empty `data` is never refused for want of room.
    pub fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        let _ = data;
        Err(WriteError::Blocked)
    }

    /// Queues as much from the front of `data` as there is room for, without a copy, and returns how many bytes; what
    /// was taken is split off.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_chunk(&mut self, data: &mut Bytes) -> Result<usize, WriteError> {
        let _ = data;
        Err(WriteError::Blocked)
    }

    /// Bytes that a write would take now.
    pub fn writable(&self) -> usize {
        0
    }

    /// Takes the next bytes of the peer's stream, at most `max`, without a copy; `None` is the end of the stream.
    ///
    /// # Errors
    /// When there is nothing to read: not yet, or not any more.
    pub fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        let _ = max;
        Err(ReadError::Blocked)
    }

    /// Copies the next bytes of the peer's stream into `buf` and returns how many; 0, unless `buf` is empty, is the
    /// end of the stream.
    ///
    /// # Errors
    /// As [`read_chunk`](Self::read_chunk).
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        let _ = buf;
        Err(ReadError::Blocked)
    }

    /// Ends this side's stream: a FIN follows what was written. The peer's stream goes on.
    pub fn finish(&mut self) {}

    /// Ends this side's stream and gives up on the peer's: what still comes is thrown away, and the connection closes as
    /// soon as our FIN is acknowledged, whether or not the peer ends its stream.
    pub fn close(&mut self) {}

    /// Tears the connection down: one RESET goes out, nothing else does.
    pub fn reset(&mut self) {
        self.closed = Some(CloseReason::LocalReset);
    }

    /// Why the connection ended, once it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.closed
    }

    /// The connection's figures.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
