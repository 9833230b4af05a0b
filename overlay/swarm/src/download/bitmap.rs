//! Sets of runs by their place in the list of wanted runs, so that "which of them is open, rare and held by this peer" is an
//! intersection of words.

/// A set of places below a bound.
#[derive(Clone, Debug, Default)]
pub(super) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    /// An empty set of places below `len`.
    pub(super) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)] }
    }

    pub(super) fn contains(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Puts a place in or takes it out; whether that changed anything. Places beyond the bound are in no set.
    pub(super) fn set(&mut self, at: usize, is_in: bool) -> bool {
        let Some(word) = self.words.get_mut(at / 64) else { return false };
        let before = *word;
        *word = before & !(1 << (at % 64)) | u64::from(is_in) << (at % 64);
        *word != before
    }

    /// The places in it, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let rest = |word: &u64| Some(word & word.wrapping_sub(1)).filter(|rest| *rest != 0);
            let words = std::iter::successors(Some(*word).filter(|word| *word != 0), rest);
            words.map(move |word| index * 64 + word.trailing_zeros() as usize)
        })
    }

    /// The first place from `from` on that is in all of the sets; behind the last one it goes on with the first.
    pub(super) fn first_common<const N: usize>(from: usize, sets: [&Self; N]) -> Option<usize> {
        let len = sets.iter().map(|set| set.words.len()).min().filter(|len| *len > 0)?;
        let (first, before) = (from / 64 % len, (1_u64 << (from % 64)) - 1);
        let common = |word: usize| sets.iter().fold(u64::MAX, |bits, set| bits & set.words.get(word).unwrap_or(&0));
        let found = |word: usize, bits: u64| (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize);
        let others = (first + 1..len).chain(0..first);
        found(first, common(first) & !before)
            .or_else(|| others.into_iter().find_map(|word| found(word, common(word))))
            .or_else(|| found(first, common(first) & before))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    const LEN: usize = 300;

    fn bitmap(places: &BTreeSet<usize>) -> Bitmap {
        let mut bitmap = Bitmap::new(LEN);
        places.iter().for_each(|place| assert!(bitmap.set(*place, true)));
        bitmap
    }

    proptest! {
        #[test]
        fn is_a_set(mut a in btree_set(0..LEN, 0..60), at in 0..LEN, is_in: bool) {
            let mut bits = bitmap(&a);
            prop_assert_eq!(bits.iter().collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(bits.contains(at), a.contains(&at));
            prop_assert_eq!(bits.set(at, is_in), if is_in { a.insert(at) } else { a.remove(&at) });
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), a.into_iter().collect::<Vec<_>>());
            prop_assert!(!bits.contains(1 << 20) && !bits.set(1 << 20, true));
        }

        #[test]
        fn finds_what_is_in_all(a in btree_set(0..LEN, 0..90), b in btree_set(0..LEN, 0..90), from in 0..LEN) {
            let both: Vec<_> = a.intersection(&b).copied().collect();
            let expected = both.iter().find(|at| **at >= from).or(both.first());
            prop_assert_eq!(Bitmap::first_common(from, [&bitmap(&a), &bitmap(&b)]), expected.copied());
        }
    }
}
