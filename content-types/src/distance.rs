//! The XOR metric of the Portal wire protocol: distances, and radii, which are distances too.

use std::{fmt, ops::BitXor};

use alloy_primitives::hex;

/// A distance in the key space: the XOR of two identifiers as a 256-bit integer. Also a radius: a node is interested
/// in everything whose distance from it is at most its radius.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; 32]);

impl Distance {
    /// No distance at all.
    pub const ZERO: Self = Self([0; 32]);
    /// The largest distance; as a radius, the whole key space.
    pub const MAX: Self = Self([0xff; 32]);

    pub(crate) fn between(a: &[u8; 32], b: &[u8; 32]) -> Self {
        Self(std::array::from_fn(|i| a[i].bitxor(b[i])))
    }

    /// Two to the power of `exponent`.
    pub fn from_log2(exponent: u8) -> Self {
        let mut bytes = [0; 32];
        bytes[31 - usize::from(exponent / 8)] = 1 << (exponent % 8);
        Self(bytes)
    }

    /// The position of the highest bit that is set, counted from the lowest; `None` for [`Distance::ZERO`].
    ///
    /// The logarithmic distance of discv5 and of routing tables is this plus one.
    pub fn log2(&self) -> Option<u8> {
        let leading = self.0.iter().position(|byte| *byte != 0)?;
        let below = 8 * (31 - leading) as u32 + 7 - self.0[leading].leading_zeros();
        u8::try_from(below).ok()
    }

    /// The integer as 32 big-endian bytes.
    pub const fn to_be_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The integer that 32 big-endian bytes stand for.
    pub const fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The integer as 32 little-endian bytes, the SSZ encoding of a `uint256`.
    pub fn to_le_bytes(self) -> [u8; 32] {
        let mut bytes = self.0;
        bytes.reverse();
        bytes
    }

    /// The integer that 32 little-endian bytes stand for.
    pub fn from_le_bytes(mut bytes: [u8; 32]) -> Self {
        bytes.reverse();
        Self(bytes)
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ContentId, NodeId};

    #[test]
    fn logarithms() {
        assert_eq!(Distance::ZERO.log2(), None);
        assert_eq!(Distance::MAX.log2(), Some(255));
        for exponent in 0..=255 {
            assert_eq!(Distance::from_log2(exponent).log2(), Some(exponent));
        }
        assert_eq!(Distance::from_log2(8).to_be_bytes()[30], 1);
        assert_eq!(Distance::from_log2(8).to_le_bytes()[1], 1);
    }

    proptest! {
        #[test]
        fn xor_is_a_metric(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let (a, b, c) = (NodeId::from(a), NodeId::from(b), NodeId::from(c));
            prop_assert_eq!(a.distance_to_node(&a), Distance::ZERO);
            prop_assert_eq!(a.distance_to_node(&b), b.distance_to_node(&a));
            prop_assert_eq!(a.distance(&ContentId::from(<[u8; 32]>::from(b))), a.distance_to_node(&b));
            // At most one point lies at a given distance, so equal distances mean equal points.
            prop_assert_eq!(a.distance_to_node(&b) == a.distance_to_node(&c), b == c);
        }

        #[test]
        fn byte_orders_round_trip(bytes: [u8; 32]) {
            let distance = Distance::from_be_bytes(bytes);
            prop_assert_eq!(Distance::from_le_bytes(distance.to_le_bytes()), distance);
            prop_assert_eq!(distance.to_be_bytes(), bytes);
        }
    }
}
