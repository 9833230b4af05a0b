//! A whole block out of an archive as every piece of content that the sub-networks have of it. Each part is checked once,
//! in the encoding that it is in; its form in another encoding follows from it and needs no check of its own.

use bytes::Bytes;
use cairn_archive::Receipts;
use content_types::block::{BodyEncoding, ReceiptsEncoding};
use content_types::verify::{self, Roots, Unverified};
use content_types::{ContentKey, HeaderVerifier, ProvedHeader, history, legacy_history};

use super::{Needs, Pipeline, Refusal, VerifiedContent, kind};
use crate::headers::BlockId;

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
type Refused = (&'static str, Refusal);

impl Pipeline {
    /// Checks a block and gives every piece of content that is made of it, the headers first.
    ///
    /// # Errors
    /// [`Refusal`] of the first part that is wrong, or cannot be judged.
    pub(crate) async fn validate_block(&self, block: RawBlock) -> Result<Vec<VerifiedContent>, Refusal> {
        let verifier = self.trust.verifier();
        let checked = self.workers.cpu(move || check(&verifier, block)).await?;
        if let Ok(contents) = &checked {
            contents.iter().for_each(|content| self.metrics.validated(kind(content.key()), "valid"));
        }
        checked.map_err(|(kind, refusal)| {
            self.metrics.validated(kind, refusal.label());
            refusal
        })
    }

    /// Checks the header of a block by its proof, and gives it under both of its keys. Blocks.
    ///
    /// # Errors
    /// [`Refusal`] names the rule that was broken, or what was missing to judge.
    pub(crate) fn validate_header(&self, number: u64, encoded: &Bytes) -> Result<[VerifiedContent; 2], Refusal> {
        let by_number = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(number));
        let checked = verify::length(&by_number, encoded)
            .and_then(|()| verify::header(&self.trust.verifier(), &BlockId::Number(number), encoded))
            .map_err(Refusal::from);
        self.metrics.validated(kind(&by_number), checked.as_ref().map_or_else(Refusal::label, |_| "valid"));
        let header = checked?;
        self.headers.remember(header.clone());
        let by_hash = ContentKey::from(legacy_history::ContentKey::HeaderByHash(header.hash()));
        Ok([by_number, by_hash].map(|key| VerifiedContent { key, value: encoded.clone(), header: header.clone() }))
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
            let Needs::Header(id) = Needs::of(&key) else { return Err(Refusal::NotBlockData) };
            verify::length(&key, &value)?;
            id.check(header.number(), header.hash()).map_err(Unverified::from)?;
            let roots = Roots::compute(&key, &value).ok_or(Refusal::NotBlockData)??;
            Ok(roots.check(header.header())?)
        };
        let checked = check();
        self.metrics.validated(kind(&key), checked.as_ref().map_or_else(Refusal::label, |()| "valid"));
        checked.map(|()| VerifiedContent { key, value, header: header.clone() })
    }
}

fn check(verifier: &HeaderVerifier, block: RawBlock) -> Result<Vec<VerifiedContent>, Refused> {
    let RawBlock { number, header, body, receipts } = block;
    let by_number = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(number));
    let refused = |refusal: Unverified| (kind(&by_number), refusal.into());
    let (header, encoded) = match header {
        RawHeader::WithProof(encoded) => {
            verify::length(&by_number, &encoded).map_err(refused)?;
            (verify::header(verifier, &BlockId::Number(number), &encoded).map_err(refused)?, Some(encoded))
        }
        RawHeader::Proved(header) => {
            BlockId::Number(number).check(header.number(), header.hash()).map_err(|other| refused(other.into()))?;
            (*header, None)
        }
    };
    let hash = header.hash();
    let by_hash = ContentKey::from(legacy_history::ContentKey::HeaderByHash(hash));
    let headers = encoded.into_iter().flat_map(|encoded| [(by_number, encoded.clone()), (by_hash, encoded)]);
    let mut pieces: Vec<(ContentKey, Bytes)> = headers.collect();

    let [plain, ssz] = body_keys(number, hash);
    let [in_rlp, in_ssz] = check_body(&header, body).map_err(|error| (kind(&plain), error.into()))?;
    pieces.extend([(plain, in_rlp), (ssz, in_ssz)]);
    if let Some(receipts) = receipts {
        let [slim, ssz] = receipts_keys(number, hash);
        let [in_slim, in_ssz] = check_receipts(&header, receipts).map_err(|error| (kind(&slim), error.into()))?;
        pieces.extend([(slim, in_slim), (ssz, in_ssz)]);
    }
    let verified = |(key, value): (ContentKey, Bytes)| match verify::length(&key, &value) {
        Ok(()) => Ok(VerifiedContent { key, value, header: header.clone() }),
        Err(refusal) => Err((kind(&key), refusal.into())),
    };
    pieces.into_iter().map(verified).collect()
}

fn body_keys(number: u64, hash: alloy_primitives::B256) -> [ContentKey; 2] {
    [history::ContentKey::BlockBody { number }.into(), legacy_history::ContentKey::Body(hash).into()]
}

fn receipts_keys(number: u64, hash: alloy_primitives::B256) -> [ContentKey; 2] {
    [history::ContentKey::BlockReceipts { number }.into(), legacy_history::ContentKey::Receipts(hash).into()]
}

/// A body in the encodings of both history networks.
fn check_body(header: &ProvedHeader, body: Bytes) -> Result<[Bytes; 2], Unverified> {
    let body = verify::body(header.header(), BodyEncoding::Rlp, body)?;
    Ok([body.encoded(BodyEncoding::Rlp)?, body.encoded(BodyEncoding::Ssz)?])
}

/// Receipts in the encodings of both history networks.
fn check_receipts(header: &ProvedHeader, Receipts { encoding, bytes }: Receipts) -> Result<[Bytes; 2], Unverified> {
    let receipts = verify::receipts(header.header(), encoding, bytes)?;
    Ok([receipts.encoded(ReceiptsEncoding::Slim)?, receipts.encoded(ReceiptsEncoding::Ssz)?])
}

#[cfg(test)]
mod tests {
    use cairn_synthetic::Block;

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
                let alone = pipeline.validate(*content.key(), content.value().clone()).await.unwrap();
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
