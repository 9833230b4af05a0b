//! Why a value was not let in: the rule it breaks, or what was missing to judge it.

use alloy_primitives::B256;
use content_types::HeaderError;
use content_types::block::validate::{BodyError, ReceiptsError};

use crate::headers::{BlockId, HeaderUnavailable};
use crate::workers::Stopping;

/// Why a value was not let in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The value is longer than its type allows.
    #[error("a value of {actual} bytes under a key that allows {limit}")]
    TooLong {
        /// Bytes that there are.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The header or its proof breaks a rule.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A good header, but of another block.
    #[error("the key stands for {expected}, the value is block {number} with the hash {hash}")]
    OtherBlock {
        /// What the key stands for.
        expected: BlockId,
        /// The header's number.
        number: u64,
        /// The header's hash.
        hash: B256,
    },
    /// The body is not that of the header.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The receipts are not those of the header.
    #[error(transparent)]
    Receipts(#[from] ReceiptsError),
    /// A body or a receipt list was to be checked, and the key is that of a header.
    #[error("the key is that of a header, which needs its own proof")]
    NotBlockData,
    /// The header that the value belongs to is not to be had now.
    #[error(transparent)]
    NoHeader(#[from] HeaderUnavailable),
    /// No header of this block can be proved with the trust lists that are here, so that nobody was asked for one.
    #[error("no header of {0} can be proved with the trust lists that are here")]
    BeyondTrust(BlockId),
    /// Too much that peers offered waits for its headers already.
    #[error("too much content waits for its headers")]
    Busy,
    /// Ephemeral headers follow from the hash of a recent block, and nobody tells this node one.
    #[error("ephemeral headers can't be checked without knowing the head of the chain")]
    NeedsHead,
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl Refusal {
    /// Whether the value is wrong, rather than only impossible to judge here and now.
    pub fn is_invalid(&self) -> bool {
        match self {
            Self::Header(error) => !matches!(
                error,
                HeaderError::ListMissing { .. } | HeaderError::BeyondList { .. } | HeaderError::NoProofKind { .. }
            ),
            Self::TooLong { .. } | Self::OtherBlock { .. } | Self::Body(_) | Self::Receipts(_) | Self::NotBlockData => {
                true
            }
            Self::NoHeader(_) | Self::BeyondTrust(_) | Self::Busy | Self::NeedsHead | Self::Stopping(_) => false,
        }
    }

    /// The outcome's name in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Header(_) if !self.is_invalid() => "header_beyond_trust",
            Self::Header(_) => "invalid_header",
            Self::OtherBlock { .. } => "other_block",
            Self::Body(BodyError::Malformed(_)) | Self::Receipts(ReceiptsError::Malformed(_)) => "malformed",
            Self::Body(_) => "other_body",
            Self::Receipts(_) => "other_receipts",
            Self::NotBlockData => "not_block_data",
            Self::BeyondTrust(_) => "header_beyond_trust",
            Self::NoHeader(_) => "no_header",
            Self::Busy => "busy",
            Self::NeedsHead => "needs_head",
            Self::Stopping(_) => "stopping",
        }
    }
}

impl From<Refusal> for overlay::service::Rejection {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.to_string();
        match refusal {
            _ if refusal.is_invalid() => Self::Invalid(reason),
            // What time a header claims, and so which list it needs, was written by whoever sends it.
            Refusal::Header(_) => Self::Doubtful(reason),
            _ => Self::Unverifiable(reason),
        }
    }
}
