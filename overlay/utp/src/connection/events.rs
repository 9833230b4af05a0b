//! What a connection tells its owner.

use std::time::{Duration, Instant};

use crate::CloseReason;

/// What is to be done for a connection, one thing at a time. See [`Connection::poll_output`](crate::Connection::poll_output).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A packet of so many bytes was appended to the buffer: send it.
    Transmit(usize),
    /// Something happened that the reader or writer of the stream may wait for.
    Event(Event),
    /// That is all for now. Unless something is called before, call
    /// [`handle_timeout`](crate::Connection::handle_timeout) at this time. `None`: never, the connection is closed.
    Timeout(Option<Instant>),
}

/// What happened. Each says that something may be tried; none carries data.
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
pub struct ConnectionStats {
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
    /// Packets sent again: SYN, data and FIN.
    pub retransmissions: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Data and FIN packets that carried nothing new.
    pub duplicates: u64,
    /// Payload bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Payload bytes that arrived in order.
    pub bytes_received: u64,
}

/// Events that were not polled yet: one of each is enough.
#[derive(Debug, Default)]
pub(super) struct PendingEvents {
    pub(super) connected: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) finished: bool,
    pub(super) closed: Option<CloseReason>,
}

impl PendingEvents {
    pub(super) fn next(&mut self) -> Option<Event> {
        let flags = [
            (&mut self.connected, Event::Connected),
            (&mut self.readable, Event::Readable),
            (&mut self.writable, Event::Writable),
            (&mut self.finished, Event::Finished),
        ];
        for (flag, event) in flags {
            if std::mem::take(flag) {
                return Some(event);
            }
        }
        self.closed.take().map(Event::Closed)
    }
}
