//! The one verifier: headers by their proofs, bodies and receipts by the header that commits to them.
//!
//! Whoever takes bytes from outside (the pipeline of the overlays, the swarm, archives that are served or verified) asks here.
//! What it gets of a header, a body or receipts is a type that nothing else makes. [`Examined`] promises less: it is what a
//! sub-network says of a value of its own, which is as good as that sub-network's code, until [`Examined::check`] has held it against
//! a header. A refusal says whose fault it is, so that no two callers decide that differently: a peer is charged for
//! [`Fault::Sender`], suspected for [`Fault::Lists`], and has nothing to do with [`Fault::Own`].

use std::error::Error;
use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::B256;
use bytes::Bytes;

use crate::{
    BlockId, HeaderError, HeaderVerifier, HeaderWithProof, ProvedHeader,
    block::{
        BodyEncoding, BodyRoots, ReceiptsEncoding, ReceiptsRoots, transcode,
        validate::{self, BodyError, ReceiptsError},
    },
    layout::LayoutError,
    trie::ProofError,
};

/// Whose fault it is that something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sender's: no list, and no other node, would call it right.
    Sender,
    /// Nobody's that is known: the trust lists that are here do not reach. A sender may lie about how late a block is, so a
    /// header of which its number tells that the lists reach it is the sender's fault after all.
    Lists,
    /// This program's own: it asked for something that cannot be judged so. Nobody else bears it.
    Own,
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
    /// The value is too short to say what it takes to judge it.
    #[error("a value of {actual} bytes under a key that takes {needed} at least")]
    TooShort {
        /// Bytes that there are.
        actual: usize,
        /// Bytes that it takes.
        needed: usize,
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
    /// A container whose parts do not lie in it as its type says.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A part of the state is another than its key says, or its proof leads elsewhere.
    #[error(transparent)]
    StateProof(#[from] ProofError),
    /// The proof leads to another state than that of the header.
    #[error("a proof of the state {actual}, where the header has {expected}")]
    State {
        /// The header's state root.
        expected: B256,
        /// Where the proof leads.
        actual: B256,
    },
    /// A rule that the sub-network has of its own.
    #[error(transparent)]
    Rule(#[from] BrokenRule),
    /// A key whose value has a proof of its own, or needs the head of the chain, taken for one that a header proves: a mistake of this
    /// program, whatever the value is.
    #[error("no header proves a value under such a key")]
    NotExamined,
}

/// What a sub-network says of a value that breaks a rule of its own: only the sub-network knows which rules it has, so that its error is
/// kept as it is.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct BrokenRule(Arc<dyn Error + Send + Sync>);

impl BrokenRule {
    /// A rule that the sender of the value has broken.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// The sub-network's own error, for who knows which sub-network it is.
    pub fn downcast_ref<T: Error + 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

/// Two that say the same are the same.
impl PartialEq for BrokenRule {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for BrokenRule {}

impl Unverified {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Header(error) => error.fault(),
            Self::TooLong { .. }
            | Self::TooShort { .. }
            | Self::OtherBlock(_)
            | Self::Body(_)
            | Self::Receipts(_)
            | Self::Layout(_)
            | Self::StateProof(_)
            | Self::State { .. }
            | Self::Rule(_) => Fault::Sender,
            Self::NotExamined => Fault::Own,
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

/// Checks that a value is not longer than its key allows, which is `limit` bytes.
///
/// # Errors
///
/// [`Unverified::TooLong`].
pub const fn length(limit: usize, value: &[u8]) -> Result<(), Unverified> {
    if value.len() > limit {
        return Err(Unverified::TooLong { actual: value.len(), limit });
    }
    Ok(())
}

/// A value that was looked at by itself, and what a header has to say for it to be right: what is malformed is refused before
/// anybody is asked for the header.
#[derive(Debug, Clone)]
pub struct Examined {
    claims: Claims,
    stored: Bytes,
}

/// What has to be true of a header.
#[derive(Debug, Clone)]
enum Claims {
    Body(BodyRoots),
    Receipts(ReceiptsRoots),
    StateRoot(B256),
    /// The key commits to the value, whatever a header says.
    Nothing,
}

impl Examined {
    /// Walks through a body.
    ///
    /// # Errors
    ///
    /// [`Unverified::Body`] when it does not follow its encoding.
    pub fn body(encoding: BodyEncoding, value: Bytes) -> Result<Self, Unverified> {
        let roots = BodyRoots::compute(encoding, &value).map_err(BodyError::from)?;
        Ok(Self { claims: Claims::Body(roots), stored: value })
    }

    /// Walks through receipts.
    ///
    /// # Errors
    ///
    /// [`Unverified::Receipts`] when they do not follow their encoding.
    pub fn receipts(encoding: ReceiptsEncoding, value: Bytes) -> Result<Self, Unverified> {
        let roots = ReceiptsRoots::compute(encoding, &value).map_err(ReceiptsError::from)?;
        Ok(Self { claims: Claims::Receipts(roots), stored: value })
    }

    /// Something that a proof, which was walked through, leads from to this state root; of which `stored` is kept.
    pub const fn of_state(root: B256, stored: Bytes) -> Self {
        Self { claims: Claims::StateRoot(root), stored }
    }

    /// Something to which its key commits, as was checked.
    pub const fn by_key(stored: Bytes) -> Self {
        Self { claims: Claims::Nothing, stored }
    }

    /// Checks that `header` says so, and gives the value as it is stored. `None` is no header, for what needs none.
    ///
    /// # Errors
    ///
    /// [`Unverified`] names the root that is another.
    pub fn check(self, header: Option<&Header>) -> Result<Bytes, Unverified> {
        match (&self.claims, header) {
            (Claims::Nothing, _) => {}
            (Claims::Body(roots), Some(header)) => validate::body_roots(header, roots)?,
            (Claims::Receipts(roots), Some(header)) => validate::receipts_roots(header, roots)?,
            (Claims::StateRoot(root), Some(header)) if header.state_root == *root => {}
            (Claims::StateRoot(actual), Some(header)) => {
                return Err(Unverified::State { expected: header.state_root, actual: *actual });
            }
            (_, None) => return Err(Unverified::NotExamined),
        }
        Ok(self.stored)
    }
}
