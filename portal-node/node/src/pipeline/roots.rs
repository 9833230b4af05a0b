//! What a header commits to of a body or a receipt list, computed from the value alone: what is malformed is refused
//! before anybody is asked for the header.

use alloy_consensus::Header;
use content_types::block::{BodyEncoding, BodyRoots, ReceiptsEncoding, ReceiptsRoots, validate};
use content_types::{ContentKey, history, legacy_history};

use super::Refusal;

/// The roots of a body or a receipt list.
pub(super) enum Roots {
    Body(BodyRoots),
    Receipts(ReceiptsRoots),
}

impl Roots {
    /// Walks through a value in the encoding of its key.
    ///
    /// # Errors
    /// [`Refusal`] when it does not follow that encoding, or the key is none of a body or receipts.
    pub(super) fn compute(key: &ContentKey, value: &[u8]) -> Result<Self, Refusal> {
        match key {
            ContentKey::History(history::ContentKey::BlockBody { .. }) => Self::of_body(BodyEncoding::Rlp, value),
            ContentKey::History(history::ContentKey::BlockReceipts { .. }) => {
                Self::of_receipts(ReceiptsEncoding::Slim, value)
            }
            ContentKey::LegacyHistory(legacy_history::ContentKey::Body(_)) => Self::of_body(BodyEncoding::Ssz, value),
            ContentKey::LegacyHistory(legacy_history::ContentKey::Receipts(_)) => {
                Self::of_receipts(ReceiptsEncoding::Ssz, value)
            }
            ContentKey::LegacyHistory(_) => Err(Refusal::NotBlockData),
        }
    }

    fn of_body(encoding: BodyEncoding, value: &[u8]) -> Result<Self, Refusal> {
        BodyRoots::compute(encoding, value).map(Self::Body).map_err(|malformed| Refusal::Body(malformed.into()))
    }

    fn of_receipts(encoding: ReceiptsEncoding, value: &[u8]) -> Result<Self, Refusal> {
        ReceiptsRoots::compute(encoding, value)
            .map(Self::Receipts)
            .map_err(|malformed| Refusal::Receipts(malformed.into()))
    }

    /// Checks that they are those in `header`.
    ///
    /// # Errors
    /// [`Refusal`] names the root that is another.
    pub(super) fn check(&self, header: &Header) -> Result<(), Refusal> {
        match self {
            Self::Body(roots) => Ok(validate::body_roots(header, roots)?),
            Self::Receipts(roots) => Ok(validate::receipts_roots(header, roots)?),
        }
    }
}
