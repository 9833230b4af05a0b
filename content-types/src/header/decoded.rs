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
    /// [`HeaderError`] when the bytes are too long, no header, followed by others, or not the only encoding of what they
    /// decode to.
    pub fn decode(rlp: Bytes) -> Result<Self, HeaderError> {
        if rlp.len() > MAX_HEADER_LENGTH {
            return Err(HeaderError::HeaderTooLong { length: rlp.len() });
        }
        let mut rest = rlp.as_ref();
        let header = Header::decode(&mut rest)?;
        if !rest.is_empty() {
            return Err(HeaderError::TrailingBytes { count: rest.len() });
        }
        // A decoder that is more tolerant than the encoding allows would leave fields that don't have the bytes' hash.
        if alloy_rlp::encode(&header) != rlp {
            return Err(HeaderError::NotCanonical);
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
