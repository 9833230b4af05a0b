//! Sets of the blocks of one run.

use crate::geometry::{Part, RUN_BLOCKS};

const WORDS: usize = 4;
const _: () = assert!(RUN_BLOCKS == 64 * WORDS as u64, "a place in a run is a u8");

/// A set of blocks of one run, by their place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks([u64; WORDS]);

impl Blocks {
    pub(super) const NONE: Self = Self([0; WORDS]);
    pub(super) const ALL: Self = Self([u64::MAX; WORDS]);

    /// A block's place in its run.
    pub(super) const fn place(number: u64) -> u8 {
        (number % RUN_BLOCKS) as u8
    }

    /// The blocks of a part.
    pub(super) fn of(part: Part) -> Self {
        let first = u16::from(Self::place(part.first));
        Self::below(first.saturating_add(part.count)).minus(Self::below(first))
    }

    /// The blocks before a place.
    fn below(end: u16) -> Self {
        let word = |index: u16| match end.saturating_sub(index * 64) {
            0 => 0,
            bits if bits >= 64 => u64::MAX,
            bits => (1 << bits) - 1,
        };
        Self([word(0), word(1), word(2), word(3)])
    }

    pub(super) const fn contains(&self, place: u8) -> bool {
        self.0[(place >> 6) as usize] >> (place & 63) & 1 == 1
    }

    pub(super) fn insert(&mut self, place: u8) {
        self.0[usize::from(place >> 6)] |= 1 << (place & 63);
    }

    /// Takes a block out; whether it was there.
    pub(super) fn remove(&mut self, place: u8) -> bool {
        let was_there = self.contains(place);
        self.0[usize::from(place >> 6)] &= !(1 << (place & 63));
        was_there
    }

    fn zip(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([join(a, e), join(b, f), join(c, g), join(d, h)])
    }

    pub(super) fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// The first block's place.
    pub(super) fn first(&self) -> Option<u8> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some((word as u8) << 6 | self.0.get(word)?.trailing_zeros() as u8)
    }

    /// The first blocks that follow one another without a gap: the first one's place, and how many, at most `most`.
    pub(super) fn first_stretch(&self, most: u16) -> Option<(u8, u16)> {
        let first = self.first()?;
        let gap = Self::ALL.minus(*self).minus(Self::below(u16::from(first))).first();
        let end = gap.map_or(RUN_BLOCKS as u16, u16::from);
        Some((first, (end - u16::from(first)).min(most.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::geometry::Component;

    fn blocks(places: &BTreeSet<u8>) -> Blocks {
        let mut blocks = Blocks::NONE;
        places.iter().for_each(|place| blocks.insert(*place));
        blocks
    }

    proptest! {
        #[test]
        fn are_a_set(mut a: BTreeSet<u8>, b: BTreeSet<u8>, place: u8, most in 1..300_u16) {
            let (mut x, y) = (blocks(&a), blocks(&b));
            prop_assert_eq!(x.and(y), blocks(&a.intersection(&b).copied().collect()));
            prop_assert_eq!(x.or(y), blocks(&a.union(&b).copied().collect()));
            prop_assert_eq!(x.minus(y), blocks(&a.difference(&b).copied().collect()));
            prop_assert_eq!((x.len() as usize, x.is_empty()), (a.len(), a.is_empty()));
            prop_assert_eq!(x.first(), a.first().copied());
            prop_assert_eq!(x.contains(place), a.contains(&place));
            prop_assert_eq!(x.remove(place), a.remove(&place));
            let stretch = a.first().map(|first| {
                let end = (*first..=255).find(|place| !a.contains(place)).map_or(256, u16::from);
                (*first, (end - u16::from(*first)).min(most))
            });
            prop_assert_eq!(x.first_stretch(most), stretch);
        }

        #[test]
        fn of_a_part_are_its_blocks(first in 0..256_u64, len in 1..=256_u64) {
            let range = first..(first + len).min(256);
            let part = Part::new(Component::Bodies, 512 + range.start..512 + range.end).unwrap();
            prop_assert_eq!(Blocks::of(part), blocks(&range.map(|place| place as u8).collect()));
        }
    }
}
