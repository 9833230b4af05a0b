//! Why a value was not let in: the rule it breaks, or what was missing to judge it.

use content_types::block::validate::{BodyError, ReceiptsError};
use content_types::layout::LayoutError;
use content_types::verify::{Fault, Unverified};

use crate::headers::{BlockId, HeaderUnavailable};
use crate::workers::Stopping;

/// Why a value was not let in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The value is not what the key stands for, or cannot be told to be.
    #[error(transparent)]
    Content(#[from] Unverified),
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
            Self::Content(unverified) => unverified.fault() == Fault::Sender,
            Self::NoHeader(_) | Self::BeyondTrust(_) | Self::Busy | Self::NeedsHead | Self::Stopping(_) => false,
        }
    }

    /// The outcome's name in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Content(unverified) => match unverified {
                Unverified::TooLong { .. } | Unverified::Layout(LayoutError::TooLong { .. }) => "too_long",
                Unverified::TooShort { .. } => "too_short",
                Unverified::Header(error) if error.fault() == Fault::Lists => "header_beyond_trust",
                Unverified::Header(_) => "invalid_header",
                Unverified::OtherBlock(_) => "other_block",
                Unverified::Body(BodyError::Malformed(_)) | Unverified::Receipts(ReceiptsError::Malformed(_)) => {
                    "malformed"
                }
                Unverified::Body(_) => "other_body",
                Unverified::Receipts(_) => "other_receipts",
                Unverified::Layout(_) => "malformed",
                Unverified::StateProof(_) => "invalid_state_proof",
                Unverified::State { .. } => "other_state",
                Unverified::Rule(_) => "broken_rule",
                Unverified::NotExamined => "not_block_data",
            },
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
        let fault = match &refusal {
            Refusal::Content(unverified) => unverified.fault(),
            _ => Fault::Own,
        };
        match fault {
            Fault::Sender => Self::Invalid(refusal.into()),
            // What time a header claims, and so which list it needs, was written by whoever sends it.
            Fault::Lists => Self::Doubtful(refusal.into()),
            Fault::Own => Self::Unverifiable(refusal.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use content_types::HeaderError;
    use content_types::trust::TrustListKind;
    use overlay::service::Rejection;

    use super::*;

    #[test]
    fn a_peer_bears_what_it_sent_and_nothing_else() {
        let rejection = |unverified: Unverified| Rejection::from(Refusal::from(unverified));
        assert!(matches!(rejection(Unverified::TooShort { actual: 1, needed: 2 }), Rejection::Invalid(_)));
        let unknown = HeaderError::ListMissing { number: 5, list: TrustListKind::HistoricalRoots };
        assert!(matches!(rejection(unknown.into()), Rejection::Doubtful(_)));
        assert!(matches!(rejection(Unverified::NotExamined), Rejection::Unverifiable(_)));
        assert!(!Refusal::from(Unverified::NotExamined).is_invalid());
        assert!(matches!(Rejection::from(Refusal::Busy), Rejection::Unverifiable(_)));
    }

    #[test]
    fn what_is_behind_a_rejection_is_said_once_and_found_as_what_it_is() {
        let short = Unverified::TooShort { actual: 1, needed: 2 };
        let rejection = Rejection::from(Refusal::from(short.clone()));
        assert_eq!(rejection.to_string(), format!("invalid content: {short}"));
        let refusal = rejection.source().and_then(|cause| cause.downcast_ref::<Refusal>());
        assert!(matches!(refusal, Some(Refusal::Content(why)) if *why == short), "{refusal:?}");
    }
}
