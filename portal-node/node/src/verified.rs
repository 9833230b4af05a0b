//! Content that was checked, as a type: the store, replies and users take nothing less. Each way to make one is a check, or
//! follows from one.

use bytes::Bytes;
use content_types::block::{BodyEncoding, ReceiptsEncoding};
use content_types::room::StoredForm;
use content_types::verify::{self, Examined, Unverified, VerifiedBody, VerifiedReceipts};
use content_types::{BlockId, ContentKey, Form, HeaderVerifier, ProvedHeader, history, legacy_history};

/// A value that was checked against its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedContent {
    key: ContentKey,
    value: Bytes,
    /// As it can be offered; `None` if all that is known is the form in which it is stored.
    offer: Option<Bytes>,
    /// `None` for what its key commits to, whatever block it belongs to.
    header: Option<ProvedHeader>,
}

impl VerifiedContent {
    /// A header with its proof, of the block that is meant and under a key that stands for that, and the header. Its length was
    /// checked. Hashes, so it is for a thread that may.
    ///
    /// # Errors
    /// [`Unverified`] says what is wrong, and whose fault it is.
    pub(crate) fn proved_header(
        verifier: &HeaderVerifier,
        key: ContentKey,
        form: Form,
        id: BlockId,
        value: Bytes,
    ) -> Result<(Self, ProvedHeader), Unverified> {
        let header = verify::header(verifier, &id, &value)?;
        let content = Self { key, offer: offer(&key, form, &value), value, header: Some(header.clone()) };
        Ok((content, header))
    }

    /// What was examined of `value`, and the header that proves it; none for what its key commits to.
    ///
    /// # Errors
    /// [`Unverified`] names the root that is another.
    pub(crate) fn examined(
        key: ContentKey,
        form: Form,
        value: Bytes,
        examined: Examined,
        header: Option<ProvedHeader>,
    ) -> Result<Self, Unverified> {
        let stored = examined.check(header.as_ref().map(ProvedHeader::header))?;
        Ok(Self { key, value: stored, offer: offer(&key, form, &value), header })
    }

    /// A header with its proof under both of its keys, by number first.
    ///
    /// # Errors
    /// [`Unverified`] says what is wrong, and whose fault it is.
    pub(crate) fn header_under_both_keys(
        verifier: &HeaderVerifier,
        id: BlockId,
        value: Bytes,
    ) -> Result<([Self; 2], ProvedHeader), Unverified> {
        check_length(&legacy_history::ContentKey::header(id).into(), Form::Offered, &value)?;
        let header = verify::header(verifier, &id, &value)?;
        let ids = [BlockId::Number(header.number()), BlockId::Hash(header.hash())];
        let contents = ids.map(|id| {
            let key = legacy_history::ContentKey::header(id).into();
            Self::same_in_both_forms(key, value.clone(), header.clone())
        });
        Ok((contents, header))
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
        check_length(&key, Form::Stored, &value)?;
        Ok(Self::same_in_both_forms(key, value, header.clone()))
    }

    fn same_in_both_forms(key: ContentKey, value: Bytes, header: ProvedHeader) -> Self {
        Self { key, offer: Some(value.clone()), value, header: Some(header) }
    }

    /// What it is.
    pub fn key(&self) -> &ContentKey {
        &self.key
    }

    /// The value as it is stored, and as FINDCONTENT gives it.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// The value as it is offered; `None` if only the form in which it is stored is known.
    pub fn offer(&self) -> Option<&Bytes> {
        self.offer.as_ref()
    }

    /// The header that the value belongs to, or is; `None` for what its key commits to.
    pub fn header(&self) -> Option<&ProvedHeader> {
        self.header.as_ref()
    }
}

/// A value as it is offered, if it can be told from the form in which it came: what is the same in both can.
fn offer(key: &ContentKey, form: Form, value: &Bytes) -> Option<Bytes> {
    let is_offer = form == Form::Offered || key.sub_network().spec().stored == StoredForm::AsOffered;
    is_offer.then(|| value.clone())
}

fn check_length(key: &ContentKey, form: Form, value: &[u8]) -> Result<(), Unverified> {
    verify::length(key.max_value_len(form), value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[test]
    fn a_proved_header_stays_under_the_key_that_it_came_under() {
        let Fixture { chain, dir: _dir, .. } = Fixture::new();
        let block = chain.block(5).unwrap();
        let (value, id) = (block.header_with_proof(), BlockId::Number(5));
        for key in [BlockId::Number(5), BlockId::Hash(block.header.hash())].map(legacy_history::ContentKey::header) {
            let key = ContentKey::from(key);
            let proved = VerifiedContent::proved_header(&chain.verifier(), key, Form::Stored, id, value.clone());
            let (content, header) = proved.unwrap();
            assert_eq!((content.key(), content.header()), (&key, Some(&header)));
            assert_eq!((content.value(), content.offer()), (&value, Some(&value)), "both forms are the same");
        }
    }
}
