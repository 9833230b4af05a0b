//! A header decoded from exactly the bytes whose hash it has.

use alloy_consensus::Header;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::Decodable;
use bytes::Bytes;

use super::HeaderError;
use crate::limits::MAX_HEADER_LENGTH;

/// A well-formed header, its encoding and its hash. Nothing is known yet about whether it belongs to the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedHeader {
    hash: B256,
    header: Header,
    rlp: Bytes,
}

impl DecodedHeader {
    /// Decodes an RLP-encoded header and computes its hash.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] when the bytes are too long, no header in canonical RLP, or followed by others.
    pub fn decode(rlp: Bytes) -> Result<Self, HeaderError> {
        if rlp.len() > MAX_HEADER_LENGTH {
            return Err(HeaderError::HeaderTooLong { length: rlp.len() });
        }
        let mut rest = rlp.as_ref();
        let header = Header::decode(&mut rest)?;
        if !rest.is_empty() {
            return Err(HeaderError::TrailingBytes { count: rest.len() });
        }
        Ok(Self { hash: keccak256(&rlp), header, rlp })
    }

    /// The Keccak-256 hash of the encoding: the block hash.
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// The decoded fields.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The RLP encoding.
    pub const fn rlp(&self) -> &Bytes {
        &self.rlp
    }

    /// The block number.
    pub const fn number(&self) -> u64 {
        self.header.number
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;

    use super::*;

    fn encoded(header: &Header) -> Vec<u8> {
        alloy_rlp::encode(header)
    }

    #[test]
    fn only_the_canonical_encoding_decodes() {
        let header = Header { number: 5, difficulty: U256::from(7), ..Header::default() };
        let rlp = encoded(&header);
        let decoded = DecodedHeader::decode(rlp.clone().into()).unwrap();
        assert_eq!(decoded.header(), &header);
        assert_eq!(decoded.hash(), header.hash_slow());

        let trailing = [rlp.as_slice(), &[0x80, 0x80]].concat();
        assert_eq!(DecodedHeader::decode(trailing.into()), Err(HeaderError::TrailingBytes { count: 2 }));

        // The number 5 as 0x8105 instead of 0x05: one byte longer, inside the list as well.
        let number_at = rlp.windows(2).rposition(|pair| pair == [0x07, 0x05]).unwrap() + 1;
        let mut padded = rlp;
        padded.insert(number_at, 0x81);
        padded[2] += 1;
        assert!(matches!(DecodedHeader::decode(padded.into()), Err(HeaderError::Rlp(_))));
    }

    #[test]
    fn the_length_is_bounded() {
        let header = Header { extra_data: vec![1; MAX_HEADER_LENGTH].into(), ..Header::default() };
        let length = encoded(&header).len();
        assert_eq!(DecodedHeader::decode(encoded(&header).into()), Err(HeaderError::HeaderTooLong { length }));
    }
}
