//! `BlockHeaderWithProof`: the value of a header's content keys.

use bytes::Bytes;
use ssz::{Decode, Encode};
use ssz_derive::{Decode, Encode};

use super::{DecodedHeader, HeaderError, HeaderProof};
use crate::{ChainSpec, limits::MAX_HEADER_WITH_PROOF_LENGTH};

/// A header and the proof that it belongs to the chain, both well-formed, neither checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderWithProof {
    /// The header.
    pub header: DecodedHeader,
    /// Its proof.
    pub proof: HeaderProof,
}

/// `Container(header: ByteList[MAX_HEADER_LENGTH], proof: ByteList[MAX_HEADER_PROOF_LENGTH])`
#[derive(Encode, Decode)]
struct BlockHeaderWithProof {
    header: Vec<u8>,
    proof: Vec<u8>,
}

impl HeaderWithProof {
    /// Decodes `SSZ.serialize(block_header_with_proof)`. The kind of proof is the one that the header needs on `chain`.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] says which rule the bytes break.
    pub fn decode(value: &[u8], chain: &ChainSpec) -> Result<Self, HeaderError> {
        if value.len() > MAX_HEADER_WITH_PROOF_LENGTH {
            return Err(HeaderError::HeaderWithProofTooLong { length: value.len() });
        }
        let container =
            BlockHeaderWithProof::from_ssz_bytes(value).map_err(|error| HeaderError::Ssz(format!("{error:?}")))?;
        let header = DecodedHeader::decode(container.header.into())?;
        let kind = chain.proof_kind(header.number(), header.header().timestamp)?;
        Ok(Self { proof: HeaderProof::decode(kind, &container.proof)?, header })
    }

    /// `SSZ.serialize(block_header_with_proof)`
    pub fn encode(&self) -> Bytes {
        let container =
            BlockHeaderWithProof { header: self.header.rlp().to_vec(), proof: self.proof.encode().to_vec() };
        container.as_ssz_bytes().into()
    }
}
