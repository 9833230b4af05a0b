//! What the peer's packets do to a connection.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Connection, ConnectionState, Fin, LossRecovery, WindowProbe};
use crate::{
    CloseReason, Header, Packet, PacketError, PacketType,
    in_flight::LostPackets,
    reassembly::{PacketInserted, Reassembly},
    seq::{SeqNr, WINDOW_PACKETS},
};

/// Packets kept that arrive before the answer to our SYN: the first flight of a peer that sends at once.
const EARLY_PACKETS: usize = 32;

/// How soon the SYN is sent again when data shows that its answer was lost, or late.
const EARLY_SYN_DELAY: Duration = Duration::from_millis(20);

impl Connection {
    /// Takes a packet that came from the peer. The payload is kept without a copy.
    ///
    /// # Errors
    /// The packet was ignored and why. Nothing has to be done about it.
    pub fn handle_packet(&mut self, now: Instant, packet: Bytes) -> Result<(), PacketError> {
        let packet = Packet::decode(packet)?;
        let header = packet.header;
        let ours = match header.packet_type {
            PacketType::Syn => header.connection_id == self.receive_id.wrapping_sub(1),
            PacketType::Reset => header.connection_id == self.receive_id || header.connection_id == self.send_id,
            PacketType::Data | PacketType::Fin | PacketType::State => header.connection_id == self.receive_id,
        };
        if !ours {
            return Err(PacketError::ConnectionId(header.connection_id));
        }
        match (&mut self.state, header.packet_type) {
            (ConnectionState::Closed { .. }, _) => return Err(PacketError::Closed),
            (_, PacketType::Reset) => self.end_by_peer(CloseReason::PeerReset),
            (ConnectionState::SynExpected { .. }, PacketType::Syn) => self.handle_syn(now, &header),
            (ConnectionState::Connected { syn: Some(syn), answer_due }, PacketType::Syn)
                if syn.wire() == header.seq_nr =>
            {
                *answer_due = true;
            }
            (ConnectionState::SynSent(_), PacketType::State) => self.handle_syn_answer(now, &header)?,
            (ConnectionState::SynSent(_), PacketType::Data | PacketType::Fin) => self.keep_early(now, packet)?,
            (
                ConnectionState::Connected { .. } | ConnectionState::Lingering { .. },
                PacketType::Data | PacketType::Fin | PacketType::State,
            ) => {
                self.handle_stream_packet(now, packet)?;
            }
            (
                ConnectionState::SynExpected { .. }
                | ConnectionState::SynSent(_)
                | ConnectionState::Connected { .. }
                | ConnectionState::Lingering { .. },
                _,
            ) => {
                return Err(PacketError::State);
            }
        }
        self.last_received = now;
        self.stats.packets_received += 1;
        Ok(())
    }

    fn handle_syn(&mut self, now: Instant, header: &Header) {
        let syn = SeqNr::first(header.seq_nr);
        self.start(now, header, syn.add(1), ConnectionState::Connected { syn: Some(syn), answer_due: true });
    }

    /// The answer carries the number of the first data packet (discv5-utp.md: `ack_nr = seq_nr - 1`).
    fn handle_syn_answer(&mut self, now: Instant, header: &Header) -> Result<(), PacketError> {
        let ConnectionState::SynSent(syn) = &mut self.state else { return Err(PacketError::State) };
        let syn_nr = self.in_flight.first_unacked().previous();
        if header.ack_nr != syn_nr.wire() || syn.transmissions == 0 {
            return Err(PacketError::AckNr { ack_nr: header.ack_nr, last_sent: syn_nr.wire() });
        }
        if syn.transmissions == 1 {
            self.rtt.sample(now.saturating_duration_since(syn.sent_at));
        }
        let early = std::mem::take(&mut syn.early);
        let first = SeqNr::first(header.seq_nr);
        self.start(now, header, first, ConnectionState::Connected { syn: None, answer_due: false });
        self.delay.sample_ours(now, header.timestamp_difference_microseconds);
        for packet in early {
            // What does not fit is ignored, as it would have been had it come now.
            let _ = self.handle_stream_packet(now, packet);
        }
        Ok(())
    }

    fn start(&mut self, now: Instant, header: &Header, first: SeqNr, state: ConnectionState) {
        self.state = state;
        self.reassembly = Reassembly::new(first, self.config.receive_buffer);
        if self.closing {
            self.reassembly.discard();
        }
        self.peer_window = header.wnd_size as usize;
        self.peer_window_at = header.timestamp_microseconds;
        self.measure_arrival(now, header);
        self.events.connected = true;
    }

    fn keep_early(&mut self, now: Instant, packet: Packet) -> Result<(), PacketError> {
        let ConnectionState::SynSent(syn) = &mut self.state else { return Err(PacketError::State) };
        let syn_nr = self.in_flight.first_unacked().previous();
        if packet.header.ack_nr != syn_nr.wire() || syn.transmissions == 0 {
            return Err(PacketError::AckNr { ack_nr: packet.header.ack_nr, last_sent: syn_nr.wire() });
        }
        if syn.early.len() >= EARLY_PACKETS {
            return Err(PacketError::State);
        }
        if syn.early.is_empty() {
            syn.retransmit_at = syn.retransmit_at.min(now + EARLY_SYN_DELAY);
        }
        syn.early.push(packet);
        Ok(())
    }

    fn handle_stream_packet(&mut self, now: Instant, packet: Packet) -> Result<(), PacketError> {
        let header = packet.header;
        let last_acked = self.in_flight.first_unacked().previous();
        let last_sent = self.in_flight.next_seq_nr().previous();
        let ack_nr = last_acked.nearest(header.ack_nr);
        if ack_nr > last_sent || ack_nr.add(2 * WINDOW_PACKETS as u64) < last_acked {
            return Err(PacketError::AckNr { ack_nr: header.ack_nr, last_sent: last_sent.wire() });
        }
        let received = self.reassembly.ack_nr();
        let seq_nr = received.nearest(header.seq_nr);
        let carries = header.packet_type != PacketType::State;
        if carries && !self.reassembly.is_within_window(seq_nr) {
            return Err(PacketError::SeqNr { seq_nr: header.seq_nr, ack_nr: received.wire() });
        }
        if carries {
            let fin = header.packet_type == PacketType::Fin;
            self.take_payload(now, seq_nr, packet.payload.clone(), fin)?;
        }
        self.measure_arrival(now, &header);
        self.take_ack(now, &packet, ack_nr, last_acked);
        self.end_if_done(now);
        Ok(())
    }

    fn take_payload(&mut self, now: Instant, seq_nr: SeqNr, payload: Bytes, fin: bool) -> Result<(), PacketError> {
        let was_complete = self.reassembly.is_complete();
        let (inserted, bytes) = self.reassembly.insert(seq_nr, payload, fin);
        match inserted {
            PacketInserted::InOrder if fin => self.acks.demand(),
            PacketInserted::InOrder => self.acks.handle_in_order(now),
            PacketInserted::Early => self.acks.handle_early(now),
            PacketInserted::FilledGap | PacketInserted::NoRoom => self.acks.demand(),
            PacketInserted::Duplicate => {
                self.stats.duplicates += 1;
                self.acks.demand();
            }
            PacketInserted::BeyondEnd => return Err(PacketError::State),
        }
        self.stats.bytes_received += bytes as u64;
        self.events.readable |= bytes > 0 || self.reassembly.is_complete() != was_complete;
        Ok(())
    }

    fn measure_arrival(&mut self, now: Instant, header: &Header) {
        self.timestamp_difference = self.timestamp(now).wrapping_sub(header.timestamp_microseconds);
        self.delay.sample_theirs(now, self.timestamp_difference);
    }

    fn take_ack(&mut self, now: Instant, packet: &Packet, ack_nr: SeqNr, last_acked: SeqNr) {
        let header = &packet.header;
        let in_flight = self.in_flight.bytes();
        let acked = self.in_flight.handle_ack(now, ack_nr, packet.selective_ack.as_ref(), self.rtt.min());
        if acked.packets > 0 {
            if let Some(rtt) = acked.rtt {
                self.rtt.sample(rtt);
            }
            self.delay.sample_ours(now, header.timestamp_difference_microseconds);
            self.congestion.handle_ack(now, acked.bytes, in_flight, self.delay.queueing(), self.rtt.smoothed());
            self.retransmission.since = now;
            self.retransmission.probed = false;
            self.retransmission.backoff = 0;
            self.stats.bytes_acked += acked.bytes as u64;
        }
        if acked.late > 0 {
            self.recovery.late += acked.late;
            if self.recovery.late >= self.recovery.lost {
                self.congestion.undo();
                self.recovery = LossRecovery::default();
            }
        }
        let same_window = header.wnd_size as usize == self.peer_window;
        self.take_window(header, ack_nr, last_acked);
        let lost = self.in_flight.detect_lost(now, self.rtt.loss_delay());
        self.handle_lost(lost);
        let bare = header.packet_type == PacketType::State && packet.selective_ack.is_none();
        if bare && same_window && ack_nr == last_acked && self.peer_window > 0 {
            let lost = self.in_flight.handle_duplicate_ack();
            self.handle_lost(lost);
        }
        if self.fin == Fin::Sent && self.in_flight.is_empty() {
            self.fin = Fin::Acked;
            self.events.finished = true;
        }
        if self.write_blocked && self.fin == Fin::Open && self.writable() >= self.config.send_buffer / 4 {
            self.write_blocked = false;
            self.events.writable = true;
        }
    }

    /// Packets may overtake each other: only the newest says how much room the peer has.
    fn take_window(&mut self, header: &Header, ack_nr: SeqNr, last_acked: SeqNr) {
        let since = header.timestamp_microseconds.wrapping_sub(self.peer_window_at) as i32;
        if ack_nr > last_acked || (ack_nr == last_acked && since >= 0) {
            self.peer_window = header.wnd_size as usize;
            self.peer_window_at = header.timestamp_microseconds;
            if self.peer_window >= self.config.max_payload {
                self.window_probe = WindowProbe::default();
            }
        }
    }

    pub(super) fn handle_lost(&mut self, lost: LostPackets) {
        if lost.packets == 0 {
            return;
        }
        if lost.newest >= self.recovery.until {
            self.congestion.handle_loss();
            self.recovery = LossRecovery { until: self.in_flight.next_transmission(), lost: 0, late: 0 };
        }
        self.recovery.lost += lost.packets;
    }
}
