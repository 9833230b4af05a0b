//! Content that was checked, as a type: the store, replies and users take nothing less. Each way to make one is a check, or
//! follows from one.

use bytes::Bytes;
use content_types::block::{BodyEncoding, ReceiptsEncoding};
use content_types::verify::{self, Roots, Unverified, VerifiedBody, VerifiedReceipts};
use content_types::{BlockId, ContentKey, HeaderVerifier, ProvedHeader, history, legacy_history};

/// A value that was checked against its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedContent {
    key: ContentKey,
    value: Bytes,
    header: ProvedHeader,
}

impl VerifiedContent {
    /// A header with its proof, under the key of the block that is meant. Hashes, so it is for a thread that may.
    ///
    /// # Errors
    /// [`Unverified`] says what is wrong, and whose fault it is.
    pub(crate) fn header_with_proof(verifier: &HeaderVerifier, id: BlockId, value: Bytes) -> Result<Self, Unverified> {
        let key = ContentKey::from(id.header_key());
        verify::length(&key, &value)?;
        let header = verify::header(verifier, &id, &value)?;
        Ok(Self { key, value, header })
    }

    /// A body or receipts whose roots were computed of `value`, and the header that they belong to.
    ///
    /// # Errors
    /// [`Unverified`] names the root that is another.
    pub(crate) fn part(key: ContentKey, value: Bytes, roots: &Roots, header: ProvedHeader) -> Result<Self, Unverified> {
        roots.check(header.header())?;
        Ok(Self { key, value, header })
    }

    /// This header under both of its keys, by number first.
    pub(crate) fn under_both_keys(self) -> [Self; 2] {
        let Self { value, header, .. } = self;
        let keys = [
            legacy_history::ContentKey::HeaderByNumber(header.number()),
            legacy_history::ContentKey::HeaderByHash(header.hash()),
        ];
        keys.map(|key| Self { key: key.into(), value: value.clone(), header: header.clone() })
    }

    /// A body as both history networks have it.
    ///
    /// # Errors
    /// [`Unverified`] when it is too long for one of them.
    pub(crate) fn body(header: &ProvedHeader, body: &VerifiedBody) -> Result<[Self; 2], Unverified> {
        let plain = history::ContentKey::BlockBody { number: header.number() };
        let ssz = legacy_history::ContentKey::Body(header.hash());
        Ok([
            Self::derived(plain.into(), body.encoded(BodyEncoding::Rlp)?, header)?,
            Self::derived(ssz.into(), body.encoded(BodyEncoding::Ssz)?, header)?,
        ])
    }

    /// Receipts as both history networks have them.
    ///
    /// # Errors
    /// [`Unverified`] when they are too long for one of them.
    pub(crate) fn receipts(header: &ProvedHeader, receipts: &VerifiedReceipts) -> Result<[Self; 2], Unverified> {
        let slim = history::ContentKey::BlockReceipts { number: header.number() };
        let ssz = legacy_history::ContentKey::Receipts(header.hash());
        Ok([
            Self::derived(slim.into(), receipts.encoded(ReceiptsEncoding::Slim)?, header)?,
            Self::derived(ssz.into(), receipts.encoded(ReceiptsEncoding::Ssz)?, header)?,
        ])
    }

    /// What follows from a value that was checked.
    fn derived(key: ContentKey, value: Bytes, header: &ProvedHeader) -> Result<Self, Unverified> {
        verify::length(&key, &value)?;
        Ok(Self { key, value, header: header.clone() })
    }

    /// What it is.
    pub fn key(&self) -> &ContentKey {
        &self.key
    }

    /// The value in its wire encoding.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// The header that the value belongs to, or is.
    pub fn header(&self) -> &ProvedHeader {
        &self.header
    }
}
