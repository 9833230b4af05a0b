//! Headers near the head of the chain: no proof reaches them yet, so they are checked by following parent hashes from a
//! hash that the caller knows from elsewhere ("Ephemeral Block Headers" of the specification).

use alloy_primitives::B256;
use bytes::Bytes;
use ssz::{Decode, Encode};
use ssz_derive::{Decode, Encode};

use crate::{
    header::{DecodedHeader, HeaderError},
    limits::{
        MAX_EPHEMERAL_HEADER_PAYLOAD, MAX_EPHEMERAL_HEADERS_LENGTH, MAX_HEADER_LENGTH, MAX_OFFERED_HEADER_LENGTH,
    },
};

/// Ephemeral headers that break a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EphemeralError {
    /// The value is too long to be looked at.
    #[error("{actual} bytes of ephemeral headers, more than the {limit} allowed")]
    TooLong {
        /// Bytes that there are.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The value is not the SSZ encoding of its type.
    #[error("malformed SSZ: {0}")]
    Ssz(String),
    /// More headers than one answer may hold.
    #[error("more than {MAX_EPHEMERAL_HEADER_PAYLOAD} headers")]
    TooManyHeaders,
    /// More headers than were asked for.
    #[error("{actual} headers where at most {asked} were asked for")]
    MoreThanAsked {
        /// Headers that came.
        actual: usize,
        /// Headers that were asked for.
        asked: usize,
    },
    /// A header of the list is malformed.
    #[error("header {position}: {source}")]
    Header {
        /// Place in the list, counted from 0.
        position: usize,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// A header does not have the hash that the key, or the header before it, names.
    #[error("header {position} has the hash {actual}, expected {expected}")]
    NotLinked {
        /// Place in the list, counted from 0.
        position: usize,
        /// The hash in the content key for the first header, the parent hash in the header before it for others.
        expected: B256,
        /// The header's own hash.
        actual: B256,
    },
}

/// The value of a `FINDCONTENT` for ephemeral headers: RLP-encoded headers in descending order. Empty when the answering
/// peer has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EphemeralHeaders(Vec<Vec<u8>>);

impl EphemeralHeaders {
    /// A value made of RLP-encoded headers, the newest first.
    ///
    /// # Errors
    ///
    /// [`EphemeralError`] when there are too many or one is too long.
    pub fn new(headers: Vec<Vec<u8>>) -> Result<Self, EphemeralError> {
        if headers.len() > MAX_EPHEMERAL_HEADER_PAYLOAD {
            return Err(EphemeralError::TooManyHeaders);
        }
        match headers.iter().enumerate().find(|(_, header)| header.len() > MAX_HEADER_LENGTH) {
            Some((position, header)) => {
                let source = HeaderError::HeaderTooLong { length: header.len() };
                Err(EphemeralError::Header { position, source })
            }
            None => Ok(Self(headers)),
        }
    }

    /// Decodes `SSZ.serialize(ephemeral_header_payload)`.
    ///
    /// # Errors
    ///
    /// [`EphemeralError`] when the bytes are malformed or exceed a limit.
    pub fn decode(value: &[u8]) -> Result<Self, EphemeralError> {
        check_length(value, MAX_EPHEMERAL_HEADERS_LENGTH)?;
        let headers = ssz::decode_list_of_variable_length_items(value, Some(MAX_EPHEMERAL_HEADER_PAYLOAD))
            .map_err(|error| EphemeralError::Ssz(format!("{error:?}")))?;
        Self::new(headers)
    }

    /// `SSZ.serialize(ephemeral_header_payload)`.
    pub fn encode(&self) -> Bytes {
        self.0.as_ssz_bytes().into()
    }

    /// The RLP-encoded headers, the newest first, unchecked.
    pub fn headers(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Checks the headers against the content key they were asked for with: the first has the hash `block_hash`, each
    /// other is its predecessor's parent, and at most `ancestor_count` follow the first. They are as trustworthy as
    /// `block_hash` is.
    ///
    /// # Errors
    ///
    /// [`EphemeralError`] names the first header that breaks a rule.
    pub fn verify(&self, block_hash: B256, ancestor_count: u8) -> Result<Vec<DecodedHeader>, EphemeralError> {
        let asked = usize::from(ancestor_count) + 1;
        if self.0.len() > asked {
            return Err(EphemeralError::MoreThanAsked { actual: self.0.len(), asked });
        }
        let mut expected = block_hash;
        let mut verified = Vec::with_capacity(self.0.len());
        for (position, header) in self.0.iter().enumerate() {
            let header = linked(position, header, expected)?;
            expected = header.header().parent_hash;
            verified.push(header);
        }
        Ok(verified)
    }
}

/// The value of an `OFFER` of one ephemeral header.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OfferedHeader {
    header: Vec<u8>,
}

impl OfferedHeader {
    /// A value made of an RLP-encoded header.
    ///
    /// # Errors
    ///
    /// [`EphemeralError::Header`] when it is too long.
    pub fn new(header: Vec<u8>) -> Result<Self, EphemeralError> {
        if header.len() > MAX_HEADER_LENGTH {
            let source = HeaderError::HeaderTooLong { length: header.len() };
            return Err(EphemeralError::Header { position: 0, source });
        }
        Ok(Self { header })
    }

    /// Decodes `SSZ.serialize(offer_ephemeral_header)`.
    ///
    /// # Errors
    ///
    /// [`EphemeralError`] when the bytes are malformed or exceed a limit.
    pub fn decode(value: &[u8]) -> Result<Self, EphemeralError> {
        check_length(value, MAX_OFFERED_HEADER_LENGTH)?;
        Self::from_ssz_bytes(value).map_err(|error| EphemeralError::Ssz(format!("{error:?}")))
    }

    /// `SSZ.serialize(offer_ephemeral_header)`.
    pub fn encode(&self) -> Bytes {
        self.as_ssz_bytes().into()
    }

    /// The RLP-encoded header, unchecked.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Checks the header against the hash in the content key. It is as trustworthy as that hash is.
    ///
    /// # Errors
    ///
    /// [`EphemeralError`] when the header is malformed or has another hash.
    pub fn verify(&self, block_hash: B256) -> Result<DecodedHeader, EphemeralError> {
        linked(0, &self.header, block_hash)
    }
}

fn check_length(value: &[u8], limit: usize) -> Result<(), EphemeralError> {
    if value.len() > limit { Err(EphemeralError::TooLong { actual: value.len(), limit }) } else { Ok(()) }
}

fn linked(position: usize, header: &[u8], expected: B256) -> Result<DecodedHeader, EphemeralError> {
    let header = DecodedHeader::decode(Bytes::copy_from_slice(header))
        .map_err(|source| EphemeralError::Header { position, source })?;
    if header.hash() != expected {
        return Err(EphemeralError::NotLinked { position, expected, actual: header.hash() });
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_headers_is_bounded() {
        let full = EphemeralHeaders::new(vec![vec![1]; 256]).unwrap();
        assert_eq!(EphemeralHeaders::decode(&full.encode()), Ok(full));
        assert_eq!(EphemeralHeaders::new(vec![vec![1]; 257]), Err(EphemeralError::TooManyHeaders));
        let encoded = vec![vec![1_u8]; 257].as_ssz_bytes();
        assert!(matches!(EphemeralHeaders::decode(&encoded), Err(EphemeralError::Ssz(_))));
    }

    #[test]
    fn lengths_are_bounded() {
        let source = HeaderError::HeaderTooLong { length: MAX_HEADER_LENGTH + 1 };
        let headers = EphemeralHeaders::new(vec![vec![0; MAX_HEADER_LENGTH], vec![0; MAX_HEADER_LENGTH + 1]]);
        assert_eq!(headers, Err(EphemeralError::Header { position: 1, source: source.clone() }));
        let offered = OfferedHeader::new(vec![0; MAX_HEADER_LENGTH + 1]);
        assert_eq!(offered, Err(EphemeralError::Header { position: 0, source }));

        let (actual, limit) = (MAX_EPHEMERAL_HEADERS_LENGTH + 1, MAX_EPHEMERAL_HEADERS_LENGTH);
        assert_eq!(EphemeralHeaders::decode(&vec![0; actual]), Err(EphemeralError::TooLong { actual, limit }));
        let (actual, limit) = (MAX_OFFERED_HEADER_LENGTH + 1, MAX_OFFERED_HEADER_LENGTH);
        assert_eq!(OfferedHeader::decode(&vec![0; actual]), Err(EphemeralError::TooLong { actual, limit }));
    }
}
