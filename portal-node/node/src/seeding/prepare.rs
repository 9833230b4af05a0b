//! A block of an archive as the pieces of content that the sub-networks have of it, each through the pipeline.

use std::sync::Arc;

use bytes::Bytes;
use cairn_archive::{Archive, ArchiveError, Receipts, Rule};
use content_types::block::{BodyEncoding, Malformed, ReceiptsEncoding, transcode};
use content_types::{ContentKey, ProvedHeader, history, legacy_history};

use crate::pipeline::{Pipeline, Refusal, VerifiedContent};
use crate::workers::Workers;

/// Why a block of an archive is not offered.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlockProblem {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("block {number}: {source}")]
    Refused { number: u64, source: Refusal },
    #[error("block {number}: {source}")]
    Malformed { number: u64, source: Malformed },
}

impl BlockProblem {
    /// Whether the same file may give the block another time, so that it is to be tried again. What is damaged stays so
    /// until the file is written to.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Archive(error) => match &error.rule {
                Rule::Io(source) => source.kind() != std::io::ErrorKind::UnexpectedEof,
                Rule::Vanished => true,
                _ => false,
            },
            Self::Refused { source, .. } => !source.is_invalid(),
            Self::Malformed { .. } => false,
        }
    }
}

/// What an archive has of one block, unchecked.
pub(super) struct RawBlock {
    number: u64,
    header_with_proof: Bytes,
    body: Bytes,
    receipts: Option<Receipts>,
}

impl RawBlock {
    /// Reads a block. Blocks on the disk.
    pub(super) fn read(archive: &Archive, number: u64) -> Result<Self, BlockProblem> {
        Ok(Self {
            number,
            header_with_proof: archive.header_with_proof(number)?.encode(),
            body: archive.body(number)?,
            receipts: archive.receipts(number)?,
        })
    }
}

/// Checks a block and gives every piece of content that is made of it.
pub(super) async fn contents(
    pipeline: &Pipeline,
    workers: &Workers,
    block: RawBlock,
) -> Result<Vec<VerifiedContent>, BlockProblem> {
    let number = block.number;
    let refused = |source| BlockProblem::Refused { number, source };
    let key = legacy_history::ContentKey::HeaderByNumber(number).into();
    let by_number = pipeline.validate(key, block.header_with_proof.clone()).await.map_err(refused)?;
    let header = by_number.header().clone();
    let key = legacy_history::ContentKey::HeaderByHash(header.hash()).into();
    let by_hash = pipeline.validate(key, block.header_with_proof).await.map_err(refused)?;

    let parts = {
        let (header, body, receipts) = (header.clone(), block.body, block.receipts);
        workers
            .cpu(move || parts(&header, &body, receipts.as_ref()))
            .await
            .map_err(|stopping| refused(stopping.into()))?
            .map_err(|source| BlockProblem::Malformed { number, source })?
    };
    let mut contents = vec![by_number, by_hash];
    for (key, value) in parts {
        contents.push(pipeline.validate_under(header.clone(), key, value).await.map_err(refused)?);
    }
    Ok(contents)
}

/// Body and receipts in the encodings of both history networks.
fn parts(
    header: &ProvedHeader,
    body: &Bytes,
    receipts: Option<&Receipts>,
) -> Result<Vec<(ContentKey, Bytes)>, Malformed> {
    let (number, hash) = (header.number(), header.hash());
    let mut parts = vec![
        (history::ContentKey::BlockBody { number }.into(), body.clone()),
        (
            legacy_history::ContentKey::Body(hash).into(),
            transcode::body(BodyEncoding::Rlp, BodyEncoding::Ssz, body)?.into(),
        ),
    ];
    if let Some(Receipts { encoding, bytes }) = receipts {
        let encode = |to| -> Result<Bytes, Malformed> {
            if *encoding == to { Ok(bytes.clone()) } else { Ok(transcode::receipts(*encoding, to, bytes)?.into()) }
        };
        parts.push((history::ContentKey::BlockReceipts { number }.into(), encode(ReceiptsEncoding::Slim)?));
        parts.push((legacy_history::ContentKey::Receipts(hash).into(), encode(ReceiptsEncoding::Ssz)?));
    }
    Ok(parts)
}

/// Reads consecutive blocks through one open file.
///
/// # Errors
/// When the node stops, or the file cannot be opened at all.
pub(super) async fn read_run(
    workers: &Workers,
    archive: Arc<Archive>,
    numbers: std::ops::Range<u64>,
) -> Result<Vec<Result<RawBlock, BlockProblem>>, BlockProblem> {
    let first = numbers.start;
    let read = workers.read(move || {
        let pinned = archive.pinned()?;
        Ok(numbers.map(|number| RawBlock::read(&pinned, number)).collect())
    });
    read.await.map_err(|stopping| BlockProblem::Refused { number: first, source: stopping.into() })?
}
