//! One uTP stream: its state, and what its owner reads, writes and asks. What packets do to it is in `input`, what it
//! sends in `output`, what time does to it in `timeout`.

mod events;
mod input;
mod output;
mod timeout;

use std::time::{Duration, Instant};

use bytes::Bytes;

use self::events::PendingEvents;
pub use self::events::{ConnectionStats, Event, Output};
use crate::{
    CloseReason, Config, Packet, ReadError, WriteError,
    acks::Acks,
    congestion::Congestion,
    delay::DelayEstimator,
    in_flight::PacketsInFlight,
    reassembly::Reassembly,
    rtt::{MAX_RTO, RttEstimator},
    send_buffer::SendBuffer,
    seq::SeqNr,
};

/// How long a connection whose streams have ended answers a peer that may have missed our last acknowledgement: as long
/// as a peer waits at most before it asks again.
const LINGER: Duration = MAX_RTO;

/// One uTP stream, in either role. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    receive_id: u16,
    send_id: u16,
    /// The origin of our timestamps.
    epoch: Instant,
    /// The number of our first data packet.
    first_seq_nr: SeqNr,
    state: ConnectionState,
    events: PendingEvents,
    stats: ConnectionStats,

    // This side's stream.
    send_buffer: SendBuffer,
    in_flight: PacketsInFlight,
    fin: Fin,
    /// The peer's stream had ended when our FIN left: who acknowledges the FIN knows that we have everything.
    fin_was_last: bool,
    rtt: RttEstimator,
    delay: DelayEstimator,
    congestion: Congestion,
    recovery: LossRecovery,
    retransmission: Retransmission,
    /// Bytes that the peer has room for.
    peer_window: usize,
    /// The timestamp of the packet that said so.
    peer_window_at: u32,
    /// When to try a closed window, and the try itself.
    window_probe: WindowProbe,
    write_blocked: bool,

    // The peer's stream.
    reassembly: Reassembly,
    acks: Acks,
    /// What our clock showed at the last packet's arrival less the packet's timestamp.
    timestamp_difference: u32,
    /// The window in the last packet sent.
    announced_window: usize,
    /// Whether the next selective acknowledgement may be longer than 4 bytes.
    long_selective_ack: bool,
    last_received: Instant,
    /// The reader is gone: the end of the peer's stream is not waited for.
    closing: bool,
}

/// How far a connection has come.
#[derive(Debug)]
enum ConnectionState {
    /// We opened; the SYN is on its way.
    SynSent(SynSent),
    /// The peer has been told to open.
    SynExpected {
        deadline: Instant,
    },
    Connected {
        /// The peer's SYN, if it opened.
        syn: Option<SeqNr>,
        /// The SYN has to be answered, for the first time or again.
        answer_due: bool,
    },
    /// Both streams have ended; the peer may not know yet.
    Lingering {
        until: Instant,
    },
    Closed {
        reason: CloseReason,
        reset_due: bool,
    },
}

#[derive(Debug)]
struct SynSent {
    due: bool,
    transmissions: u32,
    sent_at: Instant,
    retransmit_at: Instant,
    deadline: Instant,
    /// What came before the answer to the SYN, without which it cannot be put in order.
    early: Vec<Packet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    Open,
    Queued,
    Sent,
    Acked,
}

/// Losses since the window was last reduced: one round trip's are one.
#[derive(Debug, Default)]
struct LossRecovery {
    /// The first transmission after the reduction.
    until: u64,
    lost: u32,
    late: u32,
}

/// The timer that watches over the packets in flight.
#[derive(Debug)]
struct Retransmission {
    /// When a packet was last sent, or something new acknowledged.
    since: Instant,
    /// Whether the tail was probed since.
    probed: bool,
    backoff: u32,
}

#[derive(Debug, Default)]
struct WindowProbe {
    at: Option<Instant>,
    due: bool,
    backoff: u32,
}

impl Connection {
    /// Opens a connection: sends a SYN. The opener receives on `connection_id` and sends on the one above.
    ///
    /// `initial_seq_nr` must be random, so that packets of an earlier connection with the same id are not taken.
    pub fn connect(config: Config, connection_id: u16, now: Instant, initial_seq_nr: u16) -> Self {
        let config = config.clamped();
        let syn = SynSent {
            due: true,
            transmissions: 0,
            sent_at: now,
            retransmit_at: now,
            deadline: now + config.connect_timeout,
            early: Vec::new(),
        };
        let first = SeqNr::first(initial_seq_nr).add(1);
        Self::new(config, (connection_id, connection_id.wrapping_add(1)), now, first, ConnectionState::SynSent(syn))
    }

    /// Waits for the SYN of a peer that was told `connection_id`: receives on the id above and sends on
    /// `connection_id`.
    ///
    /// Data may be written at once; it leaves when the SYN has come. `initial_seq_nr` must be random.
    pub fn accept(config: Config, connection_id: u16, now: Instant, initial_seq_nr: u16) -> Self {
        let config = config.clamped();
        let state = ConnectionState::SynExpected { deadline: now + config.connect_timeout };
        Self::new(config, (connection_id.wrapping_add(1), connection_id), now, SeqNr::first(initial_seq_nr), state)
    }

    fn new(
        config: Config,
        (receive_id, send_id): (u16, u16),
        now: Instant,
        first: SeqNr,
        state: ConnectionState,
    ) -> Self {
        Self {
            receive_id,
            send_id,
            epoch: now,
            first_seq_nr: first,
            state,
            events: PendingEvents::default(),
            stats: ConnectionStats::default(),
            send_buffer: SendBuffer::default(),
            in_flight: PacketsInFlight::new(first),
            fin: Fin::Open,
            fin_was_last: false,
            rtt: RttEstimator::new(),
            delay: DelayEstimator::new(),
            congestion: Congestion::new(config.max_payload, config.target_delay),
            recovery: LossRecovery::default(),
            retransmission: Retransmission { since: now, probed: false, backoff: 0 },
            peer_window: 0,
            peer_window_at: 0,
            window_probe: WindowProbe::default(),
            write_blocked: false,
            reassembly: Reassembly::new(SeqNr::first(0), config.receive_buffer),
            acks: Acks::new(config.ack_every, config.ack_delay),
            timestamp_difference: 0,
            announced_window: config.receive_buffer,
            long_selective_ack: false,
            last_received: now,
            closing: false,
            config,
        }
    }

    /// The id that the peer's packets carry: with the peer's identity, what the connection is found by.
    /// See [`Header::receive_ids`](crate::Header::receive_ids).
    pub fn receive_id(&self) -> u16 {
        self.receive_id
    }

    /// Queues a copy of as many bytes as there is room for and returns how many.
    ///
    /// # Errors
    /// When not one byte could be taken; an empty `data` is never refused for want of room.
    pub fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        let taken = self.room_for(data.len())?;
        self.send_buffer.copy_in(&data[..taken]);
        Ok(taken)
    }

    /// Queues as much from the front of `data` as there is room for, without a copy, and returns how many bytes; what
    /// was taken is split off.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_chunk(&mut self, data: &mut Bytes) -> Result<usize, WriteError> {
        let taken = self.room_for(data.len())?;
        self.send_buffer.push(data.split_to(taken));
        Ok(taken)
    }

    /// Bytes that a write would take now.
    pub fn writable(&self) -> usize {
        self.config.send_buffer.saturating_sub(self.send_buffer.len() + self.in_flight.span_bytes())
    }

    fn room_for(&mut self, wanted: usize) -> Result<usize, WriteError> {
        if let Some(reason) = self.close_reason() {
            return Err(WriteError::Closed(reason));
        }
        if self.fin != Fin::Open {
            return Err(WriteError::Finished);
        }
        let room = self.writable();
        self.write_blocked |= room < wanted;
        if room == 0 && wanted > 0 {
            return Err(WriteError::Blocked);
        }
        Ok(room.min(wanted))
    }

    /// Takes the next bytes of the peer's stream, at most `max`, without a copy; `None` is the end of the stream.
    ///
    /// # Errors
    /// When there is nothing to read: not yet, or not any more.
    pub fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        if let Some(chunk) = self.reassembly.read(max) {
            self.announce_window_if_opened();
            return Ok(Some(chunk));
        }
        if self.reassembly.readable() > 0 {
            return Ok(Some(Bytes::new()));
        }
        if self.reassembly.is_complete() {
            return Ok(None);
        }
        Err(self.close_reason().map_or(ReadError::Blocked, ReadError::Closed))
    }

    /// Copies the next bytes of the peer's stream into `buf` and returns how many; 0, unless `buf` is empty, is the
    /// end of the stream.
    ///
    /// # Errors
    /// As [`read_chunk`](Self::read_chunk).
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read_chunk(buf.len() - filled) {
                Ok(Some(chunk)) => {
                    buf[filled..][..chunk.len()].copy_from_slice(&chunk);
                    filled += chunk.len();
                }
                Ok(None) => break,
                Err(error) if filled == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(filled)
    }

    /// A sender that was told of a small window waits for a larger one; it hears of it in steps of a quarter of the
    /// buffer, not byte by byte (RFC 9293, section 3.8.6.2.2).
    fn announce_window_if_opened(&mut self) {
        let step = self.config.receive_buffer / 4;
        if self.announced_window < 2 * step && self.reassembly.window() >= self.announced_window + step {
            self.acks.demand();
        }
    }

    /// Ends this side's stream: a FIN follows what was written. The peer's stream goes on.
    pub fn finish(&mut self) {
        if self.fin == Fin::Open {
            self.fin = Fin::Queued;
        }
    }

    /// Ends this side's stream and gives up on the peer's: what still comes is thrown away, and the connection closes
    /// as soon as our FIN is acknowledged, whether or not the peer ends its stream.
    pub fn close(&mut self, now: Instant) {
        self.finish();
        self.closing = true;
        self.reassembly.discard();
        self.announce_window_if_opened();
        self.end_if_done(now);
    }

    /// Tears the connection down: one RESET goes out, nothing else does.
    pub fn reset(&mut self) {
        if self.close_reason().is_none() {
            self.end(CloseReason::LocalReset);
            self.state = ConnectionState::Closed { reason: CloseReason::LocalReset, reset_due: true };
        }
    }

    /// Why the connection ended, once it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match self.state {
            ConnectionState::Closed { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// The connection's figures.
    pub fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            rtt: self.rtt.smoothed(),
            queueing_delay: self.delay.queueing(),
            congestion_window: self.congestion.window(),
            bytes_in_flight: self.in_flight.bytes(),
            peer_window: self.peer_window,
            ..self.stats
        }
    }

    /// Whether the reader needs nothing more from the peer.
    fn has_read_all(&self) -> bool {
        self.closing || self.reassembly.is_complete()
    }

    /// Ends the connection when both streams have ended; stays a while if the peer may not know of it.
    fn end_if_done(&mut self, now: Instant) {
        if self.close_reason().is_some() || self.fin != Fin::Acked || !self.has_read_all() {
            return;
        }
        if self.fin_was_last {
            self.end(CloseReason::Finished);
        } else {
            self.state = ConnectionState::Lingering { until: now + LINGER };
        }
    }

    /// The peer is gone, for `reason`. That it never acknowledged our FIN is no failure if it has everything else.
    fn end_by_peer(&mut self, reason: CloseReason) {
        if self.fin == Fin::Sent && self.in_flight.is_only_fin() {
            self.fin = Fin::Acked;
            self.events.finished = true;
        }
        let finished = self.fin == Fin::Acked && self.has_read_all();
        self.end(if finished { CloseReason::Finished } else { reason });
    }

    fn end(&mut self, reason: CloseReason) {
        self.state = ConnectionState::Closed { reason, reset_due: false };
        self.send_buffer.clear();
        self.in_flight = PacketsInFlight::new(self.in_flight.next_seq_nr());
        self.events.closed = Some(reason);
    }

    /// Our clock, as packets tell it.
    fn timestamp(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_micros() as u32
    }
}
