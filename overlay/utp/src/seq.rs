//! Sequence numbers, and a set of them.
//!
//! On the wire a number has 16 bits and wraps; here it is unwrapped to 64, so that everything else may compare and
//! subtract. Unwrapping is exact as long as two numbers in use at the same time are less than 32,768 apart, which
//! [`WINDOW_PACKETS`] sees to.

use crate::MAX_SELECTIVE_ACK_LEN;

/// Packets that may be in flight, and that the receiver keeps beyond a missing one: as many as a selective
/// acknowledgement can report, so that the fate of each is known.
pub(crate) const WINDOW_PACKETS: usize = MAX_SELECTIVE_ACK_LEN * 8;

/// A sequence number, unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeqNr(u64);

impl SeqNr {
    /// The first number of a stream. One lap of room is left below for numbers before it.
    pub(crate) fn first(wire: u16) -> Self {
        Self(1 << 16 | u64::from(wire))
    }

    /// The number as it is sent.
    pub(crate) fn wire(self) -> u16 {
        self.0 as u16
    }

    /// The number nearest to this one that is `wire` when sent.
    pub(crate) fn nearest(self, wire: u16) -> Self {
        let difference = wire.wrapping_sub(self.wire()) as i16;
        Self(self.0.wrapping_add_signed(difference.into()))
    }

    /// The number `count` places on.
    pub(crate) fn add(self, count: u64) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The number before this one.
    pub(crate) fn previous(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// How many places this number lies behind `earlier`; `None` when it lies before it.
    pub(crate) fn since(self, earlier: Self) -> Option<usize> {
        self.0.checked_sub(earlier.0).and_then(|distance| usize::try_from(distance).ok())
    }
}

/// A set of numbers that lie less than [`SeqSet::SPAN`] apart, one bit each.
#[derive(Clone, Debug)]
pub(crate) struct SeqSet {
    words: [u64; Self::WORDS],
}

impl SeqSet {
    const WORDS: usize = 32;
    const SPAN: usize = Self::WORDS * u64::BITS as usize;

    pub(crate) fn new() -> Self {
        const { assert!(WINDOW_PACKETS + 2 <= Self::SPAN) };
        Self { words: [0; Self::WORDS] }
    }

    pub(crate) fn insert(&mut self, seq_nr: SeqNr) {
        let (word, bit) = Self::place(seq_nr);
        self.words[word] |= 1 << bit;
    }

    pub(crate) fn remove(&mut self, seq_nr: SeqNr) {
        let (word, bit) = Self::place(seq_nr);
        self.words[word] &= !(1 << bit);
    }

    /// Which of the 32 numbers from `first` on are in the set, the least significant bit standing for `first`.
    pub(crate) fn window(&self, first: SeqNr) -> u32 {
        let (word, bit) = Self::place(first);
        let low = self.words[word] >> bit;
        let high = self.words[(word + 1) % Self::WORDS].checked_shl(u64::BITS - bit).unwrap_or(0);
        (low | high) as u32
    }

    fn place(seq_nr: SeqNr) -> (usize, u32) {
        let index = seq_nr.0 as usize % Self::SPAN;
        (index / u64::BITS as usize, (index % u64::BITS as usize) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_unwrap_to_the_nearest_lap() {
        let first = SeqNr::first(0);
        assert_eq!(first.nearest(u16::MAX), first.previous());
        let far = first.add(3 * 65_536 - 2);
        assert_eq!(far.wire(), u16::MAX - 1);
        assert_eq!(far.nearest(3), far.add(5));
        assert_eq!(far.nearest(3).wire(), 3);
        assert_eq!(far.nearest(3).since(far), Some(5));
        assert_eq!(far.since(far.nearest(3)), None);
    }

    #[test]
    fn a_set_shows_32_numbers_from_any_place() {
        let base = SeqNr::first(65_500);
        for offset in 0..SeqSet::SPAN as u64 {
            let mut set = SeqSet::new();
            for place in [0, 1, 7, 31, 32] {
                set.insert(base.add(offset + place));
            }
            assert_eq!(set.window(base.add(offset)), 1 << 31 | 1 << 7 | 0b11);
            set.remove(base.add(offset + 1));
            assert_eq!(set.window(base.add(offset + 1)), 1 << 31 | 1 << 30 | 1 << 6);
        }
    }
}
