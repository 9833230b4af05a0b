//! The one verifier: headers by their proofs, bodies and receipts by the header that commits to them.
//!
//! Whoever takes bytes from outside (the pipeline of the overlays, the swarm, archives that are served or verified) asks here,
//! and what it gets is a type that nothing else makes. A refusal says whose fault it is, so that no two callers decide that
//! differently: a peer is charged for [`Fault::Sender`] and for nothing else.

use alloy_consensus::Header;
use bytes::Bytes;

use crate::{
    BlockId, ContentKey, HeaderError, HeaderVerifier, HeaderWithProof, ProvedHeader,
    block::{
        BodyEncoding, BodyRoots, Malformed, ReceiptsEncoding, ReceiptsRoots, transcode,
        validate::{self, BodyError, ReceiptsError},
    },
    history, legacy_history,
};

/// Whose fault it is that something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sender's: no list, and no other node, would call it right.
    Sender,
    /// Nobody's that is known: the trust lists that are here do not reach. A sender may lie about how late a block is, so a
    /// header of which its number tells that the lists reach it is the sender's fault after all.
    Lists,
}

/// Why something is not what it should be, or cannot be told to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// The value is longer than its type allows.
    #[error("a value of {actual} bytes under a key that allows {limit}")]
    TooLong {
        /// Bytes that there are.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The header or its proof breaks a rule, or leads beyond the lists.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A header, but of another block.
    #[error(transparent)]
    OtherBlock(#[from] crate::block_id::OtherBlock),
    /// The body is not that of the header.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The receipts are not those of the header.
    #[error(transparent)]
    Receipts(#[from] ReceiptsError),
}

impl Unverified {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Header(error) => error.fault(),
            Self::TooLong { .. } | Self::OtherBlock(_) | Self::Body(_) | Self::Receipts(_) => Fault::Sender,
        }
    }
}

impl HeaderError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::ListMissing { .. } | Self::BeyondList { .. } | Self::NoProofKind { .. } => Fault::Lists,
            _ => Fault::Sender,
        }
    }
}

/// A body that belongs to a header. Only [`body`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBody {
    encoding: BodyEncoding,
    bytes: Bytes,
}

impl VerifiedBody {
    /// As it came.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// In another encoding. What follows from a body that was checked needs no check of its own.
    ///
    /// # Errors
    ///
    /// [`BodyError::Malformed`] where the encoding cannot express it; none of the two that there are.
    pub fn encoded(&self, encoding: BodyEncoding) -> Result<Bytes, BodyError> {
        if self.encoding == encoding {
            return Ok(self.bytes.clone());
        }
        Ok(transcode::body(self.encoding, encoding, &self.bytes)?.into())
    }
}

/// Receipts that belong to a header. Only [`receipts`] makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipts {
    encoding: ReceiptsEncoding,
    bytes: Bytes,
}

impl VerifiedReceipts {
    /// As they came.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// In another encoding. What follows from receipts that were checked needs no check of its own.
    ///
    /// # Errors
    ///
    /// [`ReceiptsError::Malformed`] where the encoding cannot express it; none of those that there are.
    pub fn encoded(&self, encoding: ReceiptsEncoding) -> Result<Bytes, ReceiptsError> {
        if self.encoding == encoding {
            return Ok(self.bytes.clone());
        }
        Ok(transcode::receipts(self.encoding, encoding, &self.bytes)?.into())
    }
}

/// Checks that a `BlockHeaderWithProof` is that of the block that was meant, and then its proof: what is not even that block
/// is wrong, whether or not it could be proved here.
///
/// # Errors
///
/// [`Unverified`] says what is wrong, and [`Unverified::fault`] whose fault it is.
pub fn header(verifier: &HeaderVerifier, id: &BlockId, encoded: &[u8]) -> Result<ProvedHeader, Unverified> {
    let HeaderWithProof { header, proof } = HeaderWithProof::decode(encoded, verifier.chain())?;
    id.check(header.number(), header.hash())?;
    Ok(verifier.prove(header, &proof)?)
}

/// Checks that a body is that of `header`: transactions root, ommers hash, withdrawals root or its absence.
///
/// # Errors
///
/// [`Unverified::Body`].
pub fn body(header: &Header, encoding: BodyEncoding, bytes: Bytes) -> Result<VerifiedBody, Unverified> {
    validate::body(header, encoding, &bytes)?;
    Ok(VerifiedBody { encoding, bytes })
}

/// Checks that receipts are those of `header`: receipts root and logs bloom.
///
/// # Errors
///
/// [`Unverified::Receipts`].
pub fn receipts(header: &Header, encoding: ReceiptsEncoding, bytes: Bytes) -> Result<VerifiedReceipts, Unverified> {
    validate::receipts(header, encoding, &bytes)?;
    Ok(VerifiedReceipts { encoding, bytes })
}

/// Checks that a value is not longer than its key allows.
///
/// # Errors
///
/// [`Unverified::TooLong`].
pub fn length(key: &ContentKey, value: &[u8]) -> Result<(), Unverified> {
    let limit = key.max_value_len();
    if value.len() > limit {
        return Err(Unverified::TooLong { actual: value.len(), limit });
    }
    Ok(())
}

/// What a header commits to of a body or a receipt list, computed from the value alone: what is malformed is refused before
/// anybody is asked for the header.
#[derive(Debug, Clone)]
pub enum Roots {
    /// Of a body.
    Body(BodyRoots),
    /// Of receipts.
    Receipts(ReceiptsRoots),
}

impl Roots {
    /// Walks through a value in the encoding of its key; `None` if the key is none of a body or receipts.
    ///
    /// # Errors
    ///
    /// [`Unverified`] when it does not follow that encoding.
    pub fn compute(key: &ContentKey, value: &[u8]) -> Option<Result<Self, Unverified>> {
        let of_body = |encoding| {
            let roots = BodyRoots::compute(encoding, value);
            roots.map(Self::Body).map_err(|malformed: Malformed| BodyError::from(malformed).into())
        };
        let of_receipts = |encoding| {
            let roots = ReceiptsRoots::compute(encoding, value);
            roots.map(Self::Receipts).map_err(|malformed: Malformed| ReceiptsError::from(malformed).into())
        };
        Some(match key {
            ContentKey::History(history::ContentKey::BlockBody { .. }) => of_body(BodyEncoding::Rlp),
            ContentKey::History(history::ContentKey::BlockReceipts { .. }) => of_receipts(ReceiptsEncoding::Slim),
            ContentKey::LegacyHistory(legacy_history::ContentKey::Body(_)) => of_body(BodyEncoding::Ssz),
            ContentKey::LegacyHistory(legacy_history::ContentKey::Receipts(_)) => of_receipts(ReceiptsEncoding::Ssz),
            ContentKey::LegacyHistory(_) => return None,
        })
    }

    /// Checks that they are those in `header`.
    ///
    /// # Errors
    ///
    /// [`Unverified`] names the root that is another.
    pub fn check(&self, header: &Header) -> Result<(), Unverified> {
        match self {
            Self::Body(roots) => Ok(validate::body_roots(header, roots)?),
            Self::Receipts(roots) => Ok(validate::receipts_roots(header, roots)?),
        }
    }
}
