//! A whole block out of an archive as every piece of content that the sub-networks have of it. Each part is checked once,
//! in the encoding that it is in; its form in another encoding follows from it and needs no check of its own.

use bytes::Bytes;
use cairn_archive::Receipts;
use content_types::block::BodyEncoding;
use content_types::room::{Evidence, Key as _};
use content_types::verify::{self, Unverified};
use content_types::{BlockId, ContentKey, Form, HeaderVerifier, ProvedHeader, history, legacy_history};

use super::{Pipeline, Refusal};
use crate::verified::VerifiedContent;

/// A block, unchecked but for a header that was proved before.
pub(crate) struct RawBlock {
    pub(crate) number: u64,
    pub(crate) header: RawHeader,
    pub(crate) body: Bytes,
    pub(crate) receipts: Option<Receipts>,
}

/// What vouches for a block.
pub(crate) enum RawHeader {
    /// An encoded header with its proof, which are content too.
    WithProof(Bytes),
    /// A header that was proved some other way than by a proof that could be handed on.
    Proved(Box<ProvedHeader>),
}

/// A part of a block that is not let in, and the kind of content that it would have been.
type RefusedPart = (&'static str, Refusal);

impl Pipeline {
    /// Checks a block and gives every piece of content that is made of it, the headers first.
    ///
    /// # Errors
    /// [`Refusal`] of the first part that is wrong, or cannot be judged.
    pub(crate) async fn validate_block(&self, block: RawBlock) -> Result<Vec<VerifiedContent>, Refusal> {
        let verifier = self.trust.verifier();
        let checked = self.workers.cpu(move || check(&verifier, block)).await?;
        if let Ok(contents) = &checked {
            contents.iter().for_each(|content| self.metrics.validated(content.key().label(), "valid"));
        }
        checked.map_err(|(kind, refusal)| {
            self.metrics.validated(kind, refusal.label());
            refusal
        })
    }

    /// Checks the header of a block by its proof, and gives it, and under both of its keys. Blocks.
    ///
    /// # Errors
    /// [`Refusal`] names the rule that was broken, or what was missing to judge.
    pub(crate) fn validate_header(
        &self,
        number: u64,
        encoded: &Bytes,
    ) -> Result<([VerifiedContent; 2], ProvedHeader), Refusal> {
        let checked = VerifiedContent::header_under_both_keys(&self.trust.verifier(), number.into(), encoded.clone());
        let checked = checked.map_err(Refusal::from);
        let label = checked.as_ref().map_or_else(Refusal::label, |_| "valid");
        self.metrics.validated(legacy_history::ContentKey::HeaderByNumber(number).label(), label);
        let (contents, header) = checked?;
        self.headers.remember(header.clone());
        Ok((contents, header))
    }

    /// Checks a body or a receipt list against the header of its block. Blocks.
    ///
    /// # Errors
    /// [`Refusal`] names the rule that was broken.
    pub(crate) fn validate_part(
        &self,
        key: ContentKey,
        value: Bytes,
        header: &ProvedHeader,
    ) -> Result<VerifiedContent, Refusal> {
        let check = || {
            verify::length(key.max_value_len(Form::Stored), &value)?;
            let Evidence::Header(id) = key.evidence(Form::Stored, &value)? else {
                return Err(Unverified::NotExamined.into());
            };
            id.check(header.number(), header.hash()).map_err(Unverified::from)?;
            let examined = key.examine(Form::Stored, value.clone())?;
            Ok(VerifiedContent::examined(key, Form::Stored, value, examined, Some(header.clone()))?)
        };
        let checked: Result<_, Refusal> = check();
        self.metrics.validated(key.label(), checked.as_ref().map_or_else(Refusal::label, |_| "valid"));
        checked
    }
}

fn check(verifier: &HeaderVerifier, block: RawBlock) -> Result<Vec<VerifiedContent>, RefusedPart> {
    let RawBlock { number, header, body, receipts } = block;
    let id = BlockId::Number(number);
    let label = legacy_history::ContentKey::header(id).label();
    let refused = |unverified: Unverified| (label, unverified.into());
    let (header, mut contents) = match header {
        RawHeader::WithProof(encoded) => {
            let (contents, header) = VerifiedContent::header_under_both_keys(verifier, id, encoded).map_err(refused)?;
            (header, contents.to_vec())
        }
        RawHeader::Proved(header) => {
            id.check(header.number(), header.hash()).map_err(|other| refused(other.into()))?;
            (*header, Vec::new())
        }
    };
    let checked = verify::body(header.header(), BodyEncoding::Rlp, body);
    let bodies = checked.and_then(|body| VerifiedContent::body(&header, &body));
    let key = history::ContentKey::BlockBody { number };
    contents.extend(bodies.map_err(|error| (key.label(), error.into()))?);
    if let Some(Receipts { encoding, bytes }) = receipts {
        let checked = verify::receipts(header.header(), encoding, bytes);
        let receipts = checked.and_then(|receipts| VerifiedContent::receipts(&header, &receipts));
        let key = history::ContentKey::BlockReceipts { number };
        contents.extend(receipts.map_err(|error| (key.label(), error.into()))?);
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use cairn_synthetic::Block;
    use content_types::block::ReceiptsEncoding;

    use super::*;
    use crate::testing::Fixture;

    fn raw(block: &Block) -> RawBlock {
        RawBlock {
            number: block.number(),
            header: RawHeader::WithProof(block.header_with_proof()),
            body: block.body.clone(),
            receipts: Some(Receipts { encoding: ReceiptsEncoding::Slim, bytes: block.receipts.clone() }),
        }
    }

    #[tokio::test]
    async fn every_piece_of_a_block_is_the_one_that_is_let_in_under_its_key() {
        let Fixture { chain, dir: _dir, pipeline, .. } = Fixture::new();
        // One of each fork; receipts as era1 has them, too.
        for (number, encoding) in
            [(5, ReceiptsEncoding::Rlp), (50, ReceiptsEncoding::Slim), (90, ReceiptsEncoding::Slim)]
        {
            let block = chain.block(number).unwrap();
            let bytes = block.receipts_in(encoding).unwrap().into();
            let raw = RawBlock { receipts: Some(Receipts { encoding, bytes }), ..raw(&block) };
            let contents = pipeline.validate_block(raw).await.unwrap();
            assert_eq!(contents.len(), 6);
            for content in contents {
                let alone = pipeline.validate(*content.key(), Form::Offered, content.value().clone()).await.unwrap();
                assert_eq!(alone, content);
            }
        }
    }

    #[tokio::test]
    async fn parts_of_another_block_are_refused() {
        let Fixture { chain, dir: _dir, pipeline, .. } = Fixture::new();
        let [block, other] = [50, 51].map(|number| chain.block(number).unwrap());
        let proved = Box::new(chain.verifier().verify(&other.header_with_proof()).unwrap());
        let refusal = pipeline.validate_block(RawBlock { body: other.body.clone(), ..raw(&block) }).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Content(Unverified::Body(_))), "{refusal}");
        let receipts = raw(&other).receipts;
        let refusal = pipeline.validate_block(RawBlock { receipts, ..raw(&block) }).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Content(Unverified::Receipts(_))), "{refusal}");
        for header in [RawHeader::Proved(proved), raw(&other).header] {
            let refusal = pipeline.validate_block(RawBlock { header, ..raw(&block) }).await.unwrap_err();
            assert!(matches!(refusal, Refusal::Content(Unverified::OtherBlock(_))), "{refusal}");
        }
        let mut forged = block.header_with_proof().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        let header = RawHeader::WithProof(forged.into());
        let refusal = pipeline.validate_block(RawBlock { header, ..raw(&block) }).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Content(Unverified::Header(_))), "{refusal}");
    }
}
