//! What came from the peer: put in order, held for the reader, within the receive buffer.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::{
    SelectiveAck,
    seq::{SeqNr, SeqSet, WINDOW_PACKETS},
};

/// A payload shorter than this is copied behind its predecessors: kept as it is, it would hold a whole datagram's
/// memory for a few bytes.
const COPIED_BELOW: usize = 512;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketInserted {
    /// It was the next.
    InOrder,
    /// It was the next, and packets behind it had been waiting.
    FilledGap,
    /// One before it is missing.
    Early,
    /// It was here already.
    Duplicate,
    /// There is no room for it.
    NoRoom,
    /// It lies behind the end of the stream, or would move the end.
    BeyondEnd,
}

#[derive(Debug)]
pub(crate) struct Reassembly {
    /// Number of the next packet in order.
    next: SeqNr,
    ready: VecDeque<Bytes>,
    /// Short payloads, behind `ready`.
    ready_tail: BytesMut,
    ready_bytes: usize,
    /// `early[i]` is the packet `next + 1 + i`; the last is never empty.
    early: VecDeque<Option<Bytes>>,
    early_bytes: usize,
    present: SeqSet,
    fin: Option<SeqNr>,
    capacity: usize,
    /// The reader is gone: payloads are thrown away.
    discard: bool,
}

impl Reassembly {
    pub(crate) fn new(next: SeqNr, capacity: usize) -> Self {
        Self {
            next,
            ready: VecDeque::new(),
            ready_tail: BytesMut::new(),
            ready_bytes: 0,
            early: VecDeque::new(),
            early_bytes: 0,
            present: SeqSet::new(),
            fin: None,
            capacity,
            discard: false,
        }
    }

    /// Number of the last packet that arrived in order.
    pub(crate) fn ack_nr(&self) -> SeqNr {
        self.next.previous()
    }

    /// Whether `seq_nr` lies no farther ahead than a peer may send.
    pub(crate) fn is_within_window(&self, seq_nr: SeqNr) -> bool {
        seq_nr <= self.next.add(WINDOW_PACKETS as u64)
    }

    /// Whether packets wait for one that is missing.
    pub(crate) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// Whether the peer's FIN and everything before it have arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.fin.is_some_and(|fin| fin < self.next)
    }

    /// Bytes that there is room for.
    pub(crate) fn window(&self) -> usize {
        self.capacity.saturating_sub(self.ready_bytes)
    }

    pub(crate) fn readable(&self) -> usize {
        self.ready_bytes
    }

    /// Takes a packet that carries `payload` and, if `fin`, ends the stream. Returns what became of it and how many
    /// bytes it put in order.
    pub(crate) fn insert(&mut self, seq_nr: SeqNr, payload: Bytes, fin: bool) -> (PacketInserted, usize) {
        let Some(distance) = seq_nr.since(self.next) else { return (PacketInserted::Duplicate, 0) };
        let moves_end = if fin {
            self.fin.is_some_and(|known| known != seq_nr) || distance < self.early.len()
        } else {
            self.fin.is_some_and(|known| seq_nr >= known)
        };
        if moves_end {
            let repeated_fin = fin && self.fin == Some(seq_nr);
            return (if repeated_fin { PacketInserted::Duplicate } else { PacketInserted::BeyondEnd }, 0);
        }
        if distance > 0 {
            return (self.insert_early(seq_nr, distance - 1, payload, fin), 0);
        }
        // What waits behind the gap is not counted here: it must never keep out the packet it waits for.
        if !self.discard && self.ready_bytes + payload.len() > self.capacity {
            return (PacketInserted::NoRoom, 0);
        }
        if fin {
            self.fin = Some(seq_nr);
        }
        let mut in_order = payload.len();
        self.push_ready(payload);
        self.next = self.next.add(1);
        if self.early.is_empty() {
            return (PacketInserted::InOrder, in_order);
        }
        while let Some(Some(payload)) = self.early.pop_front() {
            self.present.remove(self.next);
            self.next = self.next.add(1);
            self.early_bytes -= payload.len();
            in_order += payload.len();
            self.push_ready(payload);
        }
        if self.early.is_empty() {
            self.early.shrink_to(0);
        }
        (PacketInserted::FilledGap, in_order)
    }

    fn insert_early(&mut self, seq_nr: SeqNr, index: usize, payload: Bytes, fin: bool) -> PacketInserted {
        if self.early.get(index).is_some_and(Option::is_some) {
            return PacketInserted::Duplicate;
        }
        let no_room = !self.discard && self.ready_bytes + self.early_bytes + payload.len() > self.capacity;
        if no_room || index >= WINDOW_PACKETS {
            return PacketInserted::NoRoom;
        }
        if fin {
            self.fin = Some(seq_nr);
        }
        if self.early.len() <= index {
            self.early.resize(index + 1, None);
        }
        let payload = match payload.len() {
            _ if self.discard => Bytes::new(),
            // Else little of a payload could keep much of a packet that nobody counts.
            len if len < COPIED_BELOW => Bytes::copy_from_slice(&payload),
            _ => payload,
        };
        self.early_bytes += payload.len();
        self.early[index] = Some(payload);
        self.present.insert(seq_nr);
        PacketInserted::Early
    }

    fn push_ready(&mut self, payload: Bytes) {
        if payload.is_empty() || self.discard {
            return;
        }
        self.ready_bytes += payload.len();
        if payload.len() < COPIED_BELOW {
            self.ready_tail.extend_from_slice(&payload);
            return;
        }
        if !self.ready_tail.is_empty() {
            self.ready.push_back(self.ready_tail.split().freeze());
        }
        self.ready.push_back(payload);
    }

    /// What arrived behind the first missing packet, in at most `max_len` bytes; `None` if nothing did.
    pub(crate) fn selective_ack(&self, max_len: usize) -> Option<SelectiveAck> {
        let words = self.early.len().div_ceil(32).min(max_len / 4);
        let first = self.next.add(1);
        let mask = (0..words).flat_map(|word| self.present.window(first.add(32 * word as u64)).to_le_bytes());
        SelectiveAck::new(mask.collect()).ok()
    }

    /// The next bytes in order, at most `max`.
    pub(crate) fn read(&mut self, max: usize) -> Option<Bytes> {
        if self.ready_bytes == 0 || max == 0 {
            return None;
        }
        let chunk = match self.ready.front_mut() {
            Some(front) if front.len() > max => front.split_to(max),
            Some(_) => self.ready.pop_front()?,
            None => self.ready_tail.split_to(self.ready_tail.len().min(max)).freeze(),
        };
        self.ready_bytes -= chunk.len();
        Some(chunk)
    }

    /// Throws away what is here and what will come.
    pub(crate) fn discard(&mut self) {
        self.discard = true;
        self.ready = VecDeque::new();
        self.ready_tail = BytesMut::new();
        self.ready_bytes = 0;
        self.early.iter_mut().flatten().for_each(Bytes::clear);
        self.early_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(number: usize, len: usize) -> Bytes {
        vec![number as u8; len].into()
    }

    fn read_all(reassembly: &mut Reassembly) -> Vec<u8> {
        std::iter::from_fn(|| reassembly.read(100)).flatten().collect()
    }

    #[test]
    fn a_selective_ack_shows_what_arrived_beyond_the_gap() {
        let first = SeqNr::first(u16::MAX);
        let mut reassembly = Reassembly::new(first, 1 << 20);
        assert_eq!(reassembly.selective_ack(252), None);
        for ahead in [1, 3, 32, 33] {
            assert_eq!(reassembly.insert(first.add(ahead), payload(0, 10), false).0, PacketInserted::Early);
        }
        let whole = reassembly.selective_ack(252).unwrap();
        assert_eq!(whole.as_bytes(), [0b101, 0, 0, 0x80, 1, 0, 0, 0]);
        assert_eq!(reassembly.selective_ack(4).unwrap().as_bytes(), [0b101, 0, 0, 0x80]);
    }

    #[test]
    fn the_missing_packet_is_taken_however_much_waits_behind_it() {
        let first = SeqNr::first(0);
        let mut reassembly = Reassembly::new(first, 1_000);
        assert_eq!(reassembly.insert(first.add(1), payload(1, 600), false).0, PacketInserted::Early);
        assert_eq!(reassembly.insert(first.add(2), payload(2, 600), false).0, PacketInserted::NoRoom);
        assert_eq!(reassembly.insert(first, payload(0, 1_000), false), (PacketInserted::FilledGap, 1_600));
        assert_eq!(reassembly.window(), 0);
        assert_eq!(reassembly.insert(first.add(2), payload(2, 1), false).0, PacketInserted::NoRoom);
        read_all(&mut reassembly);
        assert_eq!(reassembly.insert(first.add(2), payload(2, 1), false).0, PacketInserted::InOrder);
    }

    #[test]
    fn a_little_payload_keeps_no_packet() {
        let first = SeqNr::first(7);
        let mut reassembly = Reassembly::new(first, 1_000);
        let packet = payload(0, 1_200);
        for ahead in [1, 0] {
            reassembly.insert(first.add(ahead), packet.slice(..COPIED_BELOW - 1), false);
            assert!(packet.is_unique());
        }
    }

    #[test]
    fn nothing_lies_behind_the_end() {
        let first = SeqNr::first(7);
        let mut reassembly = Reassembly::new(first, 1_000);
        assert_eq!(reassembly.insert(first.add(2), Bytes::new(), true).0, PacketInserted::Early);
        assert_eq!(reassembly.insert(first.add(3), payload(3, 1), false).0, PacketInserted::BeyondEnd);
        assert_eq!(reassembly.insert(first.add(3), Bytes::new(), true).0, PacketInserted::BeyondEnd);
        assert_eq!(reassembly.insert(first.add(1), Bytes::new(), true).0, PacketInserted::BeyondEnd);
        assert_eq!(reassembly.insert(first.add(1), payload(1, 1), false).0, PacketInserted::Early);
        assert!(!reassembly.is_complete());
        assert_eq!(reassembly.insert(first, payload(0, 1), false).0, PacketInserted::FilledGap);
        assert!(reassembly.is_complete());
        assert_eq!(reassembly.insert(first.add(2), Bytes::new(), true).0, PacketInserted::Duplicate);
        assert_eq!(read_all(&mut reassembly), [0, 1]);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_stream(
            start in any::<u16>(),
            lens in proptest::collection::vec(0..1_200_usize, 1..100),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..400),
        ) {
            let first = SeqNr::first(start);
            let mut reassembly = Reassembly::new(first, 1 << 20);
            let numbers = order.iter().map(|index| index.index(lens.len())).chain(0..lens.len());
            for number in numbers {
                let last = number + 1 == lens.len();
                reassembly.insert(first.add(number as u64), payload(number, lens[number]), last);
            }
            prop_assert!(reassembly.is_complete() && !reassembly.has_gap());
            let expected: Vec<u8> = lens.iter().enumerate().flat_map(|(number, len)| payload(number, *len)).collect();
            prop_assert_eq!(reassembly.readable(), expected.len());
            prop_assert_eq!(read_all(&mut reassembly), expected);
        }
    }
}
