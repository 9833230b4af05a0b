//! The way from the root of a trie to one of its nodes, a nibble a level (state network, "Paths (Nibbles)").

use std::fmt;

use alloy_primitives::{B256, hex};

/// Nibbles of a whole key, which is a hash: the longest way that there is.
pub const MAX_NIBBLES: usize = 2 * B256::len_bytes();

/// Bytes of the longest way, packed.
pub(crate) const MAX_PACKED: usize = 1 + MAX_NIBBLES / 2;

/// What is set in the first byte when the number of nibbles is odd; the first of them stands beside it.
const ODD: u8 = 0x10;

/// A way of at most [`MAX_NIBBLES`] nibbles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nibbles {
    /// A nibble in each byte; zero behind the end, so that equal ways are equal values.
    nibbles: [u8; MAX_NIBBLES],
    len: u8,
}

/// Bytes that are no packed way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NibblesError {
    /// Without the first byte it is not known how many there are.
    #[error("no byte says how many nibbles there are")]
    Empty,
    /// No key is so long.
    #[error("more than {MAX_NIBBLES} nibbles")]
    TooLong,
    /// The first byte is `0x00`, or `0x1n` with the first nibble.
    #[error("{0:#04x} does not say how many nibbles there are")]
    FirstByte(u8),
    /// A nibble is less than 16.
    #[error("{0} is no nibble")]
    NotANibble(u8),
}

impl Nibbles {
    /// The way to the root.
    pub const ROOT: Self = Self { nibbles: [0; MAX_NIBBLES], len: 0 };

    /// Nibbles, each in a byte.
    ///
    /// # Errors
    ///
    /// [`NibblesError`] when there are too many, or one is none.
    pub fn new(each: &[u8]) -> Result<Self, NibblesError> {
        let mut way = Self::ROOT;
        let Some(nibbles) = way.nibbles.get_mut(..each.len()) else { return Err(NibblesError::TooLong) };
        nibbles.copy_from_slice(each);
        way.len = each.len() as u8;
        match each.iter().find(|nibble| **nibble > 0x0f) {
            Some(none) => Err(NibblesError::NotANibble(*none)),
            None => Ok(way),
        }
    }

    /// The whole way to what lies under a hashed key.
    pub fn of_key(key: &B256) -> Self {
        let mut nibbles = [0; MAX_NIBBLES];
        for (pair, byte) in nibbles.chunks_exact_mut(2).zip(key) {
            pair.copy_from_slice(&[byte >> 4, byte & 0x0f]);
        }
        Self { nibbles, len: MAX_NIBBLES as u8 }
    }

    /// The packed form: two nibbles a byte, behind one that says whether their number is odd and then has the first.
    ///
    /// # Errors
    ///
    /// [`NibblesError`].
    pub fn unpack(packed: &[u8]) -> Result<Self, NibblesError> {
        let (&first, pairs) = packed.split_first().ok_or(NibblesError::Empty)?;
        let mut nibbles = Vec::with_capacity(MAX_NIBBLES);
        match first {
            0 => {}
            ODD..=0x1f => nibbles.push(first & 0x0f),
            _ => return Err(NibblesError::FirstByte(first)),
        }
        if packed.len() > MAX_PACKED {
            return Err(NibblesError::TooLong);
        }
        nibbles.extend(pairs.iter().flat_map(|pair| [pair >> 4, pair & 0x0f]));
        Self::new(&nibbles)
    }

    /// The packed form.
    pub fn pack(&self) -> Vec<u8> {
        let nibbles = self.as_slice();
        let (odd, pairs) = nibbles.split_at(nibbles.len() % 2);
        let first = odd.first().map_or(0, |nibble| ODD | nibble);
        let pairs = pairs.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble));
        std::iter::once(first).chain(pairs).collect()
    }

    /// A nibble in each byte.
    pub fn as_slice(&self) -> &[u8] {
        self.nibbles.get(..self.len()).unwrap_or_default()
    }

    /// The first `len` of them, or all.
    #[must_use]
    pub fn prefix(&self, len: usize) -> Self {
        let mut way = *self;
        way.len = len.min(self.len()) as u8;
        if let Some(behind) = way.nibbles.get_mut(len..) {
            behind.fill(0);
        }
        way
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it is the way to the root.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Display for Nibbles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|nibble| write!(f, "{nibble:x}"))
    }
}

impl fmt::Debug for Nibbles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nibbles({})", hex::encode(self.pack()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// state-network.md, "Paths (Nibbles)", Examples
    #[test]
    fn specification_examples() {
        for (nibbles, packed) in [
            (&[][..], &[0x00][..]),
            (&[0], &[0x10]),
            (&[1], &[0x11]),
            (&[0, 1], &[0x00, 0x01]),
            (&[1, 2, 0xa, 0xb], &[0x00, 0x12, 0xab]),
            (&[1, 2, 0xa, 0xb, 0xc], &[0x11, 0x2a, 0xbc]),
        ] {
            let way = Nibbles::new(nibbles).unwrap();
            assert_eq!(way.pack(), packed);
            assert_eq!(Nibbles::unpack(packed), Ok(way));
        }
    }

    #[test]
    fn what_is_no_way() {
        assert_eq!(Nibbles::unpack(&[]), Err(NibblesError::Empty));
        for first in [0x01, 0x0f, 0x20, 0xff] {
            assert_eq!(Nibbles::unpack(&[first, 0]), Err(NibblesError::FirstByte(first)));
        }
        assert_eq!(Nibbles::unpack(&[0; 33]).unwrap().len(), MAX_NIBBLES);
        let mut odd = [0; 33];
        odd[0] = ODD;
        assert_eq!(Nibbles::unpack(&odd), Err(NibblesError::TooLong), "one more than a key has");
        assert_eq!(Nibbles::unpack(&[0; 34]), Err(NibblesError::TooLong));
        assert_eq!(Nibbles::new(&[3, 16]), Err(NibblesError::NotANibble(16)));
    }

    proptest! {
        #[test]
        fn every_way_has_one_packed_form(packed in prop::collection::vec(any::<u8>(), 0..36)) {
            if let Ok(way) = Nibbles::unpack(&packed) {
                prop_assert_eq!(way.pack(), packed);
            }
        }
    }
}
