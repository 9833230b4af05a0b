//! Blocks out of era files, era1 or ere, in the order of their numbers.

use std::ops::RangeInclusive;

use cairn_archive::{Archive, ArchiveError};

use crate::block::{Block, BlockError};

/// A block that cannot be had from an archive.
#[derive(Debug, thiserror::Error)]
pub enum EraError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What it has is no block.
    #[error("{archive}: block {number}: {source}")]
    Block {
        /// The archive's name.
        archive: String,
        /// The block's number.
        number: u64,
        /// What is wrong.
        source: BlockError,
    },
}

/// A block that has its turn and is in none of the archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block {0} is in none of the archives")]
pub struct MissingBlock(pub u64);

/// Which blocks are taken from which archive: each once, without a gap.
#[derive(Clone)]
pub struct EraPlan {
    first: u64,
    parts: Vec<(Archive, RangeInclusive<u64>)>,
}

impl EraPlan {
    /// The blocks from `first` to `last`, or to the youngest that there is. The archives may come in any order, have blocks in
    /// common, and have others.
    ///
    /// # Errors
    ///
    /// [`MissingBlock`].
    pub fn new(mut archives: Vec<Archive>, first: u64, last: Option<u64>) -> Result<Self, MissingBlock> {
        archives.sort_by_key(|archive| *archive.blocks().start());
        let youngest = archives.iter().map(|archive| *archive.blocks().end()).max();
        let mut plan = Self { first, parts: Vec::new() };
        let Some(last) = last.or(youngest) else { return Ok(plan) };
        for archive in archives {
            let (blocks, next) = (archive.blocks(), plan.end());
            if next <= last && *blocks.start() <= next && next <= *blocks.end() {
                plan.parts.push((archive, next..=last.min(*blocks.end())));
            }
        }
        if plan.end() <= last { Err(MissingBlock(plan.end())) } else { Ok(plan) }
    }

    /// The last block; `None` if there are none.
    pub fn last(&self) -> Option<u64> {
        self.parts.last().map(|(_, blocks)| *blocks.end())
    }

    /// The block behind the last one.
    fn end(&self) -> u64 {
        self.last().map_or(self.first, |last| last.saturating_add(1))
    }

    /// The blocks. Nothing is proved here: the archives are ones that were verified.
    pub fn blocks(self) -> impl Iterator<Item = Result<Block, EraError>> + Send {
        self.parts.into_iter().flat_map(|(archive, numbers)| {
            // One open file serves all its blocks, or each opens it.
            let archive = archive.pinned().unwrap_or(archive);
            numbers.map(move |number| block(&archive, number))
        })
    }
}

fn block(archive: &Archive, number: u64) -> Result<Block, EraError> {
    let header = archive.decoded_header(number)?;
    let body = archive.body(number)?;
    Block::new(&header, &body).map_err(|source| EraError::Block { archive: archive.name().to_owned(), number, source })
}
