//! Blocks of an archive, read and checked, as the pieces of content that the sub-networks have of them.

use std::collections::HashMap;
use std::ops::Range;

use cairn_archive::{Archive, ArchiveError, ArchiveRule, Component};
use content_types::ProvedHeader;

use super::refused::RefusedBlocks;
use super::serving::ServedBy;
use super::shelf::Served;
use crate::pipeline::{Pipeline, RawBlock, RawHeader, Refusal};
use crate::verified::VerifiedContent;
use crate::workers::Workers;

/// Bytes of bodies and receipts that are read for one batch; the block that passes it is the last. What is made of a block for
/// both sub-networks is twice that, and a few batches are prepared at a time.
const RUN_BYTES: usize = 4 << 20;

/// The pieces made of a batch of blocks.
#[derive(Default)]
pub(super) struct Prepared {
    /// The blocks of the batch that were not read, because those before were so large.
    pub(super) rest: Range<u64>,
    /// Who serves it; if all do that could take it, nothing was read.
    pub(super) served_by: ServedBy,
    pub(super) contents: Vec<VerifiedContent>,
    /// What is damaged or does not prove true.
    pub(super) refused: RefusedBlocks,
    /// What may be offered another time.
    pub(super) waiting: RefusedBlocks,
    /// The blocks of `waiting`.
    pub(super) left: Vec<Range<u64>>,
}

/// Why a block of an archive is not offered.
#[derive(Debug, thiserror::Error)]
enum BlockProblem {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("block {number}: the archive has no proof of its header, and no other header that was found proves it")]
    Unproved { number: u64 },
    #[error("block {number}: {source}")]
    Refused { number: u64, source: Refusal },
}

impl BlockProblem {
    /// Whether the same file may give the block another time, so that it is to be tried again. What is damaged stays so
    /// until the file is written to.
    fn may_pass(&self) -> bool {
        match self {
            Self::Archive(error) => match &error.rule {
                ArchiveRule::Io(source) => source.kind() != std::io::ErrorKind::UnexpectedEof,
                ArchiveRule::Vanished => true,
                _ => false,
            },
            Self::Unproved { .. } => true,
            Self::Refused { source, .. } => !source.is_invalid(),
        }
    }
}

/// Reads and checks consecutive blocks.
pub(super) async fn batch(pipeline: Pipeline, workers: Workers, served: Served, numbers: Range<u64>) -> Prepared {
    let mut prepared = Prepared::default();
    let read = match read_batch(&workers, served, numbers.clone()).await {
        Ok(read) => read,
        Err(problem) => {
            numbers.for_each(|number| prepared.note(number, &problem));
            return prepared;
        }
    };
    prepared.rest = numbers.start.saturating_add(read.len() as u64)..numbers.end;
    for (number, block) in numbers.zip(read) {
        let contents = match block {
            Ok(block) => {
                let checked = pipeline.validate_block(block).await;
                checked.map_err(|source| BlockProblem::Refused { number, source })
            }
            Err(problem) => Err(problem),
        };
        match contents {
            Ok(contents) => prepared.contents.extend(contents),
            Err(problem) => prepared.note(number, &problem),
        }
    }
    prepared
}

impl Prepared {
    fn note(&mut self, number: u64, problem: &BlockProblem) {
        if !problem.may_pass() {
            return self.refused.note(number, problem);
        }
        self.waiting.note(number, problem);
        match self.left.last_mut() {
            Some(last) if last.end == number => last.end = number.saturating_add(1),
            _ => self.left.push(number..number.saturating_add(1)),
        }
    }
}

/// Reads consecutive blocks through one open file.
async fn read_batch(
    workers: &Workers,
    served: Served,
    numbers: Range<u64>,
) -> Result<Vec<Result<RawBlock, BlockProblem>>, BlockProblem> {
    let first = numbers.start;
    let read = workers.read(move || {
        let archive = served.archive.pinned()?;
        let is_bare = served.lineage.is_some();
        let proved = served.lineage.map(|lineage| lineage.headers(numbers.clone())).unwrap_or_default();
        let mut proved: HashMap<u64, ProvedHeader> =
            proved.into_iter().map(|header| (header.number(), header)).collect();
        let mut read = |number| match (read_block(&archive, number, proved.remove(&number)), is_bare) {
            (Err(BlockProblem::Archive(error)), true)
                if matches!(error.rule, ArchiveRule::Missing(Component::Proof)) =>
            {
                Err(BlockProblem::Unproved { number })
            }
            (read, _) => read,
        };
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        for number in numbers {
            let block = read(number);
            bytes += block.as_ref().map_or(0, len);
            blocks.push(block);
            if bytes >= RUN_BYTES {
                break;
            }
        }
        Ok(blocks)
    });
    read.await.map_err(|stopping| BlockProblem::Refused { number: first, source: stopping.into() })?
}

/// Bytes of a block's body and receipts.
fn len(block: &RawBlock) -> usize {
    block.body.len() + block.receipts.as_ref().map_or(0, |receipts| receipts.bytes.len())
}

fn read_block(archive: &Archive, number: u64, proved: Option<ProvedHeader>) -> Result<RawBlock, BlockProblem> {
    let header = match proved {
        Some(header) => RawHeader::Proved(Box::new(header)),
        None => RawHeader::WithProof(archive.header_with_proof(number)?.encode()),
    };
    Ok(RawBlock { number, header, body: archive.body(number)?, receipts: archive.receipts(number)? })
}
