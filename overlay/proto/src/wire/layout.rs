//! SSZ shapes that the messages share: byte strings and lists of them as [`Bytes`].
//!
//! Decoded strings are copies. A key of nine bytes that outlives its packet would otherwise keep the whole packet in
//! memory.

use bytes::Bytes;
use ssz::{BYTES_PER_LENGTH_OFFSET, Decode, DecodeError, Encode};

/// An SSZ `ByteList`; its limit is checked by the message it stands in.
pub(super) struct ByteString(pub(super) Bytes);

impl Decode for ByteString {
    fn is_ssz_fixed_len() -> bool {
        false
    }

    fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }
}

/// An SSZ `List[ByteList]`; its limits are checked by the message it stands in.
pub(super) struct ByteStrings(pub(super) Vec<Bytes>);

impl Decode for ByteStrings {
    fn is_ssz_fixed_len() -> bool {
        false
    }

    fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let items: Vec<ByteString> = ssz::decode_list_of_variable_length_items(bytes, None)?;
        Ok(Self(items.into_iter().map(|item| item.0).collect()))
    }
}

/// Borrowed form of [`ByteString`], for encoding.
pub(super) struct AsByteString<'a>(pub(super) &'a [u8]);

impl Encode for AsByteString<'_> {
    fn is_ssz_fixed_len() -> bool {
        false
    }

    fn ssz_append(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(self.0);
    }

    fn ssz_bytes_len(&self) -> usize {
        self.0.len()
    }
}

/// Borrowed form of [`ByteStrings`], for encoding.
pub(super) struct AsByteStrings<'a>(pub(super) &'a [Bytes]);

impl Encode for AsByteStrings<'_> {
    fn is_ssz_fixed_len() -> bool {
        false
    }

    fn ssz_append(&self, buf: &mut Vec<u8>) {
        let mut encoder = ssz::SszEncoder::container(buf, self.0.len() * BYTES_PER_LENGTH_OFFSET);
        for item in self.0 {
            encoder.append(&AsByteString(item));
        }
        encoder.finalize();
    }

    fn ssz_bytes_len(&self) -> usize {
        self.0.iter().map(|item| item.len() + BYTES_PER_LENGTH_OFFSET).sum()
    }
}
