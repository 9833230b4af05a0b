//! Unsigned LEB128 of at most 32 bits: the length before each item of a content stream.

/// Longest encoding of a `u32`, bytes.
pub const MAX_VARINT_BYTES: usize = 5;

/// The encoding of one number, held without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Varint {
    bytes: [u8; MAX_VARINT_BYTES],
    len: u8,
}

impl Varint {
    /// Encodes `value` in as few bytes as it needs.
    pub fn new(mut value: u32) -> Self {
        let mut varint = Self { bytes: [0; MAX_VARINT_BYTES], len: 0 };
        for byte in &mut varint.bytes {
            varint.len += 1;
            *byte = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                break;
            }
            *byte |= 0x80;
        }
        varint
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Reads a varint byte by byte, so that it may be split over any number of chunks.
#[derive(Debug, Clone, Default)]
pub struct VarintReader {
    value: u32,
    bytes: u32,
}

/// The number does not end within five bytes or passes `u32::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VarintOverflow;

impl VarintReader {
    /// Takes the next byte; `Some` with the value when it was the last one.
    ///
    /// # Errors
    ///
    /// [`VarintOverflow`].
    pub fn push(&mut self, byte: u8) -> Result<Option<u32>, VarintOverflow> {
        let bits = u32::from(byte & 0x7f);
        let shift = 7 * self.bytes;
        // The fifth byte has room for the top four bits of a u32 and must be the last.
        if shift == 28 && (bits > 0x0f || byte & 0x80 != 0) {
            return Err(VarintOverflow);
        }
        self.value |= bits << shift;
        self.bytes += 1;
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        let value = self.value;
        *self = Self::default();
        Ok(Some(value))
    }

    /// Whether a number has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Option<u32>, VarintOverflow> {
        let mut reader = VarintReader::default();
        for (at, &byte) in bytes.iter().enumerate() {
            if let Some(value) = reader.push(byte)? {
                assert_eq!(at + 1, bytes.len(), "ended early");
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    #[test]
    fn encodings_of_leb128() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (624_485, &[0xe5, 0x8e, 0x26]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            assert_eq!(Varint::new(value).as_bytes(), bytes);
            assert_eq!(read(bytes), Ok(Some(value)));
        }
    }

    #[test]
    fn numbers_above_u32_are_refused() {
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintOverflow));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(VarintOverflow));
    }

    proptest! {
        #[test]
        fn round_trip(value: u32) {
            prop_assert_eq!(read(Varint::new(value).as_bytes()), Ok(Some(value)));
        }
    }
}
