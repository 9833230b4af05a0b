//! Blocks out of era files, in the order of their numbers.

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

/// The blocks of consecutive archives from `from` on. Nothing is proved here: the archives are ones that were verified.
pub fn blocks(
    archives: impl IntoIterator<Item = Archive, IntoIter: Send>,
    from: u64,
) -> impl Iterator<Item = Result<Block, EraError>> + Send {
    archives.into_iter().flat_map(move |archive| {
        let numbers = numbers_from(archive.blocks(), from);
        // One open file serves all its blocks, or each opens it.
        let archive = archive.pinned().unwrap_or(archive);
        numbers.map(move |number| block(&archive, number))
    })
}

fn numbers_from(held: RangeInclusive<u64>, from: u64) -> RangeInclusive<u64> {
    from.max(*held.start())..=*held.end()
}

fn block(archive: &Archive, number: u64) -> Result<Block, EraError> {
    let header = archive.decoded_header(number)?;
    let body = archive.body(number)?;
    Block::new(&header, &body).map_err(|source| EraError::Block { archive: archive.name().to_owned(), number, source })
}
