//! The packets on their way to the peer: which were acknowledged, which are lost and have to be sent again.
//!
//! uTP sends a packet again under the same sequence number, which leaves open which transmission an acknowledgement is
//! for. Here each transmission has a number of its own, as in QUIC, and RFC 9002's rules apply: a transmission is lost
//! when a later one was acknowledged and it is behind by a number of packets or by a time. That finds lost
//! retransmissions too, and every step costs constant time per packet.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    SelectiveAck,
    seq::{SeqNr, SeqSet, WINDOW_PACKETS},
};

/// Packets that may overtake another before it counts as lost, at first (RFC 9002, section 6.1.1).
const INITIAL_REORDERING: u64 = 3;

/// Packets that may overtake another when the carrier has been seen to reorder by more.
const MAX_REORDERING: u64 = 300;

/// Acknowledgements of the same number after which the packet behind it counts as lost, for peers that do not say
/// what else they have (BEP 29, "packet loss").
const DUPLICATE_ACKS: u32 = 3;

/// What became of a packet so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PacketState {
    InFlight,
    /// Waits to be sent again.
    Lost,
    Acked,
}

/// What a packet that has to be acknowledged is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentKind {
    /// Part of the stream.
    Data,
    /// The end of the stream.
    Fin,
}

#[derive(Debug)]
struct SentPacket {
    /// Emptied when acknowledged.
    payload: Bytes,
    fin: bool,
    len: usize,
    state: PacketState,
    sent_at: Instant,
    /// Number of the last transmission.
    transmission: u64,
    retransmitted: bool,
    /// It was sent again because others overtook it, not because time ran out.
    overtaken: bool,
}

impl SentPacket {
    /// What the packet counts for in the window: a FIN counts too.
    fn size(&self) -> usize {
        self.len.max(1)
    }
}

/// What an acknowledgement told.
#[derive(Debug, Default)]
pub(crate) struct Acked {
    /// Bytes acknowledged for the first time.
    pub(crate) bytes: usize,
    /// Packets acknowledged for the first time.
    pub(crate) packets: usize,
    /// Time since the latest packet that was sent only once.
    pub(crate) rtt: Option<Duration>,
    /// Packets that had been taken for lost because others overtook them, and were not.
    pub(crate) late: u32,
}

/// What loss detection found.
#[derive(Debug, Default)]
pub(crate) struct LostPackets {
    pub(crate) packets: u32,
    /// Transmission number of the newest of them.
    pub(crate) newest: u64,
}

#[derive(Debug)]
pub(crate) struct PacketsInFlight {
    /// The packets from the first that is not acknowledged to the last sent.
    packets: VecDeque<SentPacket>,
    first: SeqNr,
    acked: SeqSet,
    /// Which packet each transmission carried, from `first_transmission` on.
    transmissions: VecDeque<SeqNr>,
    first_transmission: u64,
    largest_acked: u64,
    /// The highest number that an acknowledgement spoke of. What lies above is not known to be missing.
    highest_reported: SeqNr,
    lost: VecDeque<SeqNr>,
    loss_time: Option<Instant>,
    reordering: u64,
    duplicate_acks: u32,
    bytes: usize,
    span_bytes: usize,
}

impl PacketsInFlight {
    pub(crate) fn new(first: SeqNr) -> Self {
        Self {
            packets: VecDeque::new(),
            first,
            acked: SeqSet::new(),
            transmissions: VecDeque::new(),
            first_transmission: 1,
            largest_acked: 0,
            highest_reported: first.previous(),
            lost: VecDeque::new(),
            loss_time: None,
            reordering: INITIAL_REORDERING,
            duplicate_acks: 0,
            bytes: 0,
            span_bytes: 0,
        }
    }

    /// The number that the next new packet takes.
    pub(crate) fn next_seq_nr(&self) -> SeqNr {
        self.first.add(self.packets.len() as u64)
    }

    /// The first number that is not acknowledged.
    pub(crate) fn first_unacked(&self) -> SeqNr {
        self.first
    }

    /// Whether everything sent was acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Whether a FIN and nothing else waits to be acknowledged.
    pub(crate) fn is_only_fin(&self) -> bool {
        self.packets.len() == 1 && self.packets.front().is_some_and(|packet| packet.fin)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.packets.len() >= WINDOW_PACKETS
    }

    /// Bytes sent and neither acknowledged nor lost.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes from the first packet that is not acknowledged to the last sent: what the peer must have room for.
    pub(crate) fn span_bytes(&self) -> usize {
        self.span_bytes
    }

    /// The number that the next transmission gets.
    pub(crate) fn next_transmission(&self) -> u64 {
        self.first_transmission + self.transmissions.len() as u64
    }

    /// When a packet that was overtaken becomes lost by time.
    pub(crate) fn loss_time(&self) -> Option<Instant> {
        self.loss_time
    }

    /// Enters a packet that is sent for the first time.
    pub(crate) fn push(&mut self, now: Instant, payload: Bytes, kind: SentKind) {
        let seq_nr = self.next_seq_nr();
        let len = payload.len();
        let packet = SentPacket {
            payload,
            fin: kind == SentKind::Fin,
            len,
            state: PacketState::InFlight,
            sent_at: now,
            transmission: self.next_transmission(),
            retransmitted: false,
            overtaken: false,
        };
        self.bytes += packet.size();
        self.span_bytes += len;
        self.packets.push_back(packet);
        self.transmissions.push_back(seq_nr);
    }

    /// Payload bytes of the packet to send again next, if there is one.
    pub(crate) fn next_lost_len(&mut self) -> Option<usize> {
        while let Some(&seq_nr) = self.lost.front() {
            match self.get_mut(seq_nr) {
                Some(packet) if packet.state == PacketState::Lost => return Some(packet.len),
                _ => self.lost.pop_front(),
            };
        }
        None
    }

    /// Enters the next lost packet as sent again. Returns its number, payload and whether it is the FIN.
    pub(crate) fn retransmit(&mut self, now: Instant) -> Option<(SeqNr, Bytes, bool)> {
        self.next_lost_len()?;
        let seq_nr = self.lost.pop_front()?;
        let transmission = self.next_transmission();
        let packet = self.get_mut(seq_nr)?;
        packet.state = PacketState::InFlight;
        packet.sent_at = now;
        packet.transmission = transmission;
        packet.retransmitted = true;
        let (size, sent) = (packet.size(), (seq_nr, packet.payload.clone(), packet.fin));
        self.bytes += size;
        self.transmissions.push_back(seq_nr);
        Some(sent)
    }

    /// Takes an acknowledgement of everything up to `ack_nr`, which must not lie beyond the last packet sent, and of
    /// what `selective_ack` says. An acknowledgement that comes sooner than half of `min_rtt` after a packet was sent
    /// again is for an earlier transmission. Half, because the shortest round trip seen may be that of a long burst.
    pub(crate) fn handle_ack(
        &mut self,
        now: Instant,
        ack_nr: SeqNr,
        selective_ack: Option<&SelectiveAck>,
        min_rtt: Duration,
    ) -> Acked {
        let mut acked = Acked::default();
        let mut newest = None;
        while self.first <= ack_nr
            && let Some(packet) = self.packets.front()
        {
            self.span_bytes -= packet.len;
            if packet.state != PacketState::Acked {
                self.ack(now, 0, min_rtt, &mut acked, &mut newest);
            }
            self.packets.pop_front();
            self.acked.remove(self.first);
            self.first = self.first.add(1);
            self.duplicate_acks = 0;
        }
        self.highest_reported = self.highest_reported.max(ack_nr);
        if let Some(selective_ack) = selective_ack {
            self.handle_selective_ack(now, ack_nr, selective_ack, min_rtt, &mut acked, &mut newest);
        }
        acked.rtt = newest.map(|sent_at| now.saturating_duration_since(sent_at));
        if self.packets.is_empty() {
            self.forget_burst();
        }
        acked
    }

    fn handle_selective_ack(
        &mut self,
        now: Instant,
        ack_nr: SeqNr,
        selective_ack: &SelectiveAck,
        min_rtt: Duration,
        acked: &mut Acked,
        newest: &mut Option<Instant>,
    ) {
        let mut word_start = ack_nr.add(2);
        for word in selective_ack.words() {
            if word_start >= self.next_seq_nr() {
                return;
            }
            // What a late acknowledgement says about packets before the first missing one is known.
            let mut new = match self.first.since(word_start) {
                Some(known @ 0..32) => word & !self.acked.window(word_start) & (u32::MAX << known),
                Some(_) => 0,
                None => word & !self.acked.window(word_start),
            };
            while new != 0 {
                let seq_nr = word_start.add(new.trailing_zeros().into());
                new &= new - 1;
                let Some(index) = seq_nr.since(self.first).filter(|index| *index < self.packets.len()) else { break };
                self.acked.insert(seq_nr);
                self.highest_reported = self.highest_reported.max(seq_nr);
                self.ack(now, index, min_rtt, acked, newest);
            }
            word_start = word_start.add(32);
        }
    }

    /// Marks the packet at `index`, which is not acknowledged yet.
    fn ack(&mut self, now: Instant, index: usize, min_rtt: Duration, acked: &mut Acked, newest: &mut Option<Instant>) {
        let Some(packet) = self.packets.get_mut(index) else { return };
        acked.packets += 1;
        acked.bytes += packet.len;
        if packet.state == PacketState::InFlight {
            self.bytes -= packet.size();
        }
        let of_last = !packet.retransmitted || now.saturating_duration_since(packet.sent_at) >= min_rtt / 2;
        if packet.state == PacketState::InFlight && of_last {
            self.largest_acked = self.largest_acked.max(packet.transmission);
        } else if packet.overtaken {
            acked.late += 1;
            self.reordering = (self.reordering * 2).min(MAX_REORDERING);
        }
        if packet.state == PacketState::InFlight && !packet.retransmitted {
            *newest = Some(newest.map_or(packet.sent_at, |newest| newest.max(packet.sent_at)));
        }
        packet.state = PacketState::Acked;
        packet.payload = Bytes::new();
    }

    /// Finds what is lost, given how long a packet may be overtaken.
    ///
    /// Transmissions are gone through in the order in which they left, and each is taken off the front once its fate is
    /// known. The first whose fate is open ends the search: those behind it left later, so theirs is open too. That is why
    /// all calls together cost one step for each transmission.
    pub(crate) fn detect_lost(&mut self, now: Instant, loss_delay: Duration) -> LostPackets {
        let mut lost = LostPackets::default();
        // Found anew below, if there is still a transmission that was overtaken and has time left.
        self.loss_time = None;
        while let Some(&seq_nr) = self.transmissions.front() {
            let transmission = self.first_transmission;
            let (largest_acked, reordering, highest) = (self.largest_acked, self.reordering, self.highest_reported);
            let packet = self.get_mut(seq_nr);
            // Otherwise the transmission's fate is known: its packet was acknowledged, taken for lost, or sent again, in
            // which case a later transmission stands for it.
            if let Some(packet) =
                packet.filter(|packet| packet.transmission == transmission && packet.state == PacketState::InFlight)
            {
                // Nothing that left after it has arrived, so its acknowledgement may be on its way. And of a number above
                // all that the peer reported on, the peer's silence says nothing: one selective acknowledgement does not
                // always reach to the last packet.
                if transmission >= largest_acked || seq_nr > highest {
                    break;
                }
                // It was overtaken. The carrier may reorder, so it is lost only when enough packets have overtaken it,
                // or when its time is up. Until then a timer has to watch it, as nothing more may arrive.
                let lost_at = packet.sent_at + loss_delay;
                if transmission + reordering > largest_acked && lost_at > now {
                    self.loss_time = Some(lost_at);
                    break;
                }
                // Remembered, so that an acknowledgement which comes after all shows that patience was too short.
                packet.overtaken = true;
                self.lose(seq_nr);
                lost.packets += 1;
                lost.newest = transmission;
            }
            self.transmissions.pop_front();
            self.first_transmission += 1;
        }
        lost
    }

    /// Takes a bare acknowledgement of what was acknowledged before; returns what is lost by it.
    pub(crate) fn handle_duplicate_ack(&mut self) -> LostPackets {
        let Some(first) = self.packets.front() else { return LostPackets::default() };
        self.duplicate_acks += 1;
        if self.duplicate_acks != DUPLICATE_ACKS || first.state != PacketState::InFlight {
            return LostPackets::default();
        }
        let newest = first.transmission;
        self.lose(self.first);
        LostPackets { packets: 1, newest }
    }

    /// Has the first and the last packet sent again, without holding them for lost: their acknowledgements tell what
    /// became of the rest.
    pub(crate) fn probe(&mut self) {
        self.lose(self.first);
        let last_in_flight = self.packets.iter().rposition(|packet| packet.state == PacketState::InFlight);
        if let Some(index) = last_in_flight {
            self.lose(self.first.add(index as u64));
        }
    }

    /// Takes everything in flight for lost.
    pub(crate) fn lose_all(&mut self) {
        self.lost.clear();
        for (index, packet) in self.packets.iter_mut().enumerate() {
            if packet.state != PacketState::Acked {
                packet.state = PacketState::Lost;
                packet.overtaken = false;
                self.lost.push_back(self.first.add(index as u64));
            }
        }
        self.bytes = 0;
        self.loss_time = None;
        self.first_transmission = self.next_transmission();
        self.transmissions.clear();
    }

    fn lose(&mut self, seq_nr: SeqNr) {
        let Some(packet) = self.get_mut(seq_nr).filter(|packet| packet.state == PacketState::InFlight) else { return };
        packet.state = PacketState::Lost;
        let size = packet.size();
        self.bytes -= size;
        self.lost.push_back(seq_nr);
    }

    fn get_mut(&mut self, seq_nr: SeqNr) -> Option<&mut SentPacket> {
        seq_nr.since(self.first).and_then(|index| self.packets.get_mut(index))
    }

    /// Gives back the memory that a burst took, once nothing is in flight.
    fn forget_burst(&mut self) {
        const KEPT: usize = 32;
        self.first_transmission = self.next_transmission();
        self.transmissions.clear();
        self.lost.clear();
        self.loss_time = None;
        if self.packets.capacity() > KEPT {
            self.packets.shrink_to(KEPT);
            self.transmissions.shrink_to(KEPT);
            self.lost.shrink_to(KEPT);
        }
    }
}

#[cfg(test)]
mod tests;
