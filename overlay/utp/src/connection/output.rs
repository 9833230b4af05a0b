//! What a connection sends.

use std::time::Instant;

use bytes::Bytes;

use super::{Connection, ConnectionState, Fin, Output};
use crate::{Header, MAX_SELECTIVE_ACK_LEN, PacketType, in_flight::SentKind, seq::SeqNr};

/// The selective acknowledgement that every peer takes; libutp sends no other.
const SHORT_SELECTIVE_ACK: usize = 4;

impl Connection {
    /// What is to be done next: all packets that may leave now, then what happened, then the time to wait for.
    ///
    /// Call it until it returns [`Output::Timeout`], after each time that something was handed in, written or read. A packet
    /// is written to the end of `packet`, whose memory the caller reuses. A carrier that has no room for a packet gives
    /// `None`: it hears of events and the time all the same, and the packets wait until it gives a buffer again.
    pub fn poll_output(&mut self, now: Instant, packet: Option<&mut Vec<u8>>) -> Output {
        // Packets come before events because the last event may be that the connection is closed: whoever drops it then
        // has sent its RESET.
        if let Some(len) = packet.and_then(|packet| self.next_transmit(now, packet)) {
            return Output::Transmit(len);
        }
        match self.events.next() {
            Some(event) => Output::Event(event),
            None => Output::Timeout(self.timeout()),
        }
    }

    /// Appends the next packet to send to `out` and returns its length; `None` when there is nothing to send now.
    fn next_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<usize> {
        let len = match &mut self.state {
            ConnectionState::SynExpected { .. } => None,
            ConnectionState::Closed { reset_due, .. } => std::mem::take(reset_due).then(|| self.send_reset(now, out)),
            ConnectionState::SynSent(syn) if !syn.due => None,
            ConnectionState::SynSent(_) => Some(self.send_syn(now, out)),
            ConnectionState::Connected { answer_due, syn: Some(syn) } if *answer_due => {
                *answer_due = false;
                let syn = *syn;
                Some(self.send_syn_answer(now, syn, out))
            }
            ConnectionState::Connected { .. } | ConnectionState::Lingering { .. } => self.send_stream_packet(now, out),
        }?;
        self.stats.packets_sent += 1;
        Some(len)
    }

    /// A data packet brings the acknowledgement along, unless there is more to say than the header holds.
    fn send_stream_packet(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<usize> {
        if self.acks.is_due() && self.reassembly.has_gap() {
            return Some(self.send_ack(now, out));
        }
        if let Some((seq_nr, payload, fin)) = self.next_packet(now) {
            self.retransmission.since = now;
            let packet_type = if fin { PacketType::Fin } else { PacketType::Data };
            if !self.reassembly.has_gap() {
                self.acks.handle_sent();
            }
            return Some(self.header(now, packet_type, seq_nr).encode(None, &payload, out));
        }
        self.acks.is_due().then(|| self.send_ack(now, out))
    }

    /// What was lost goes first, then what was written, then the FIN.
    fn next_packet(&mut self, now: Instant) -> Option<(SeqNr, Bytes, bool)> {
        let window = self.congestion.window();
        if let Some(len) = self.in_flight.next_lost_len() {
            if self.in_flight.bytes() > 0 && self.in_flight.bytes() + len > window {
                return None;
            }
            self.stats.retransmissions += 1;
            return self.in_flight.retransmit(now);
        }
        if self.in_flight.is_full() {
            return None;
        }
        let seq_nr = self.in_flight.next_seq_nr();
        if self.send_buffer.len() == 0 {
            if self.fin != Fin::Queued {
                return None;
            }
            self.fin = Fin::Sent;
            self.fin_was_last = self.reassembly.is_complete();
            self.in_flight.push(now, Bytes::new(), SentKind::Fin);
            return Some((seq_nr, Bytes::new(), true));
        }
        let len = self.new_packet_len(now, window)?;
        let payload = self.send_buffer.take(len);
        self.in_flight.push(now, payload.clone(), SentKind::Data);
        Some((seq_nr, payload, false))
    }

    /// How much the next new packet may carry, if it may leave.
    fn new_packet_len(&mut self, now: Instant, window: usize) -> Option<usize> {
        let len = self.send_buffer.len().min(self.config.max_payload);
        let in_flight = self.in_flight.bytes();
        if self.in_flight.is_empty() {
            if now.saturating_duration_since(self.retransmission.since) > self.rtt.rto(0) {
                self.congestion.handle_idle();
            }
        } else if len < self.config.max_payload && self.fin == Fin::Open {
            // A packet that is not full waits for company while others are on their way (RFC 9293, section 3.7.4).
            return None;
        }
        if in_flight > 0 && in_flight + len > window {
            return None;
        }
        if self.in_flight.span_bytes() + len <= self.peer_window {
            return Some(len);
        }
        if !self.in_flight.is_empty() {
            return None;
        }
        // The window is closed and nothing is on its way whose acknowledgement could open it.
        if std::mem::take(&mut self.window_probe.due) {
            self.window_probe.backoff += 1;
            return Some(len.min(self.peer_window.max(1)));
        }
        if self.window_probe.at.is_none() {
            self.window_probe.at = Some(now + self.rtt.rto(self.window_probe.backoff));
        }
        None
    }

    fn send_ack(&mut self, now: Instant, out: &mut Vec<u8>) -> usize {
        // Some peers drop a packet whose selective acknowledgement is longer than 4 bytes: every second is not.
        let max_len = if self.long_selective_ack { MAX_SELECTIVE_ACK_LEN } else { SHORT_SELECTIVE_ACK };
        let selective_ack = self.reassembly.selective_ack(max_len);
        if selective_ack.is_some() {
            self.long_selective_ack = !self.long_selective_ack;
        }
        self.acks.handle_sent();
        let header = self.header(now, PacketType::State, self.in_flight.next_seq_nr());
        header.encode(selective_ack.as_ref(), &[], out)
    }

    fn send_syn(&mut self, now: Instant, out: &mut Vec<u8>) -> usize {
        if let ConnectionState::SynSent(syn) = &mut self.state {
            syn.due = false;
            syn.sent_at = now;
            syn.retransmit_at = now + self.rtt.rto(syn.transmissions);
            self.stats.retransmissions += u64::from(syn.transmissions > 0);
            syn.transmissions += 1;
        }
        let seq_nr = self.in_flight.first_unacked().previous();
        let header = self.header(now, PacketType::Syn, seq_nr);
        Header { connection_id: self.receive_id, ack_nr: 0, ..header }.encode(None, &[], out)
    }

    /// Even when it is repeated, the answer says where our stream starts, not where it has got to.
    fn send_syn_answer(&mut self, now: Instant, syn: SeqNr, out: &mut Vec<u8>) -> usize {
        let header = self.header(now, PacketType::State, self.first_seq_nr);
        Header { ack_nr: syn.wire(), ..header }.encode(None, &[], out)
    }

    fn send_reset(&mut self, now: Instant, out: &mut Vec<u8>) -> usize {
        let header = self.header(now, PacketType::Reset, self.in_flight.next_seq_nr());
        Header { timestamp_difference_microseconds: 0, wnd_size: 0, ..header }.encode(None, &[], out)
    }

    fn header(&mut self, now: Instant, packet_type: PacketType, seq_nr: SeqNr) -> Header {
        self.announced_window = self.reassembly.window();
        Header {
            packet_type,
            connection_id: self.send_id,
            timestamp_microseconds: self.timestamp(now),
            timestamp_difference_microseconds: self.timestamp_difference,
            wnd_size: u32::try_from(self.announced_window).unwrap_or(u32::MAX),
            seq_nr: seq_nr.wire(),
            ack_nr: self.reassembly.ack_nr().wire(),
        }
    }
}
