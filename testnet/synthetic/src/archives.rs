//! The chain as era1 and ere files, one era of 8,192 blocks in each.

use std::path::{Path, PathBuf};

use cairn_archive::{
    ArchiveError, Component, Components, Format, MAX_BLOCKS, Receipts,
    write::{ArchiveWriter, Plan},
};
use content_types::block::ReceiptsEncoding;

use crate::chain::SyntheticChain;

impl SyntheticChain {
    /// How many eras the chain has, the last one partly.
    pub fn eras(&self) -> u64 {
        self.config().blocks().div_ceil(MAX_BLOCKS)
    }

    /// Writes an era into the folder `dir`, block by block, and returns the file's path. Only eras whose blocks all come
    /// before the merge can be written as [`Format::Era1`].
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] when the folder can't be written to, the chain has no such era or the format has no place for it.
    pub fn write_archive(&self, era: u64, format: Format, dir: impl AsRef<Path>) -> Result<PathBuf, ArchiveError> {
        let config = self.config();
        let start = era.saturating_mul(MAX_BLOCKS);
        let end = start.saturating_add(MAX_BLOCKS).min(config.blocks());
        let blocks = start..=end.saturating_sub(1);
        let plan = match format {
            Format::Era1 => Plan::era1(self.spec().name(), blocks.clone()),
            Format::Ere => {
                let all: Components = Component::ALL.into_iter().collect();
                let is_mined = start < config.pre_merge_blocks;
                let components = if is_mined { all } else { all.without(Component::TotalDifficulty) };
                Plan::ere(self.spec().name(), blocks.clone(), components)
            }
        };
        let components = plan.components();
        let mut writer = ArchiveWriter::create(dir, plan)?;
        for block in blocks.map_while(|number| self.block(number)) {
            let number = block.number();
            writer.put_header(block.header.rlp())?;
            writer.put_body(number, &block.body)?;
            let receipts = Receipts { encoding: ReceiptsEncoding::Slim, bytes: block.receipts.clone() };
            writer.put_receipts(number, &receipts)?;
            if components.has(Component::TotalDifficulty) {
                writer.put_total_difficulty(number, block.total_difficulty)?;
            }
            if components.has(Component::Proof) {
                writer.put_proof(number, &block.proof)?;
            }
        }
        writer.finish()
    }

    /// Writes the whole chain into the folder `dir`: eras before the merge as era1, the others as ere. Returns the files'
    /// paths in the order of their eras.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] when the folder can't be written to.
    pub fn write_archives(&self, dir: impl AsRef<Path>) -> Result<Vec<PathBuf>, ArchiveError> {
        let format = |era: u64| {
            let end = ((era + 1) * MAX_BLOCKS).min(self.config().blocks());
            if end <= self.config().pre_merge_blocks { Format::Era1 } else { Format::Ere }
        };
        (0..self.eras()).map(|era| self.write_archive(era, format(era), &dir)).collect()
    }
}
