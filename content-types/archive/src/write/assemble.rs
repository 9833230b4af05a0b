//! The end of writing: what was given is checked as a whole, and what waited for its turn is copied into its place.

use std::path::PathBuf;

use alloy_primitives::B256;
use content_types::header::{EpochRecord, HeaderRecord};

use super::ArchiveWriter;
use crate::component::{Component, Format, MAX_BLOCKS};
use crate::e2store::RecordType;
use crate::error::{ArchiveError, ArchiveRule, Mismatch};
use crate::name::ArchiveName;

impl ArchiveWriter {
    /// Writes the file, and returns its path. Its name follows from its content; a file of that name is replaced. Where it
    /// fails, what was given to a writer made by [`ArchiveWriter::resume`] is still there to be resumed.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::Missing`] when a component of a block has not been given, [`ArchiveRule::ParentHash`] and
    /// [`ArchiveRule::TotalDifficulty`] when the blocks do not make up a chain, [`ArchiveRule::Unwritable`] when the format does not
    /// allow the blocks, [`ArchiveRule::Io`].
    pub fn finish(self) -> Result<PathBuf, ArchiveError> {
        self.finish_with(|_, _| {})
    }

    /// [`ArchiveWriter::finish`], telling now and then how many bytes of how many are in their places.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::finish`].
    pub fn finish_with(mut self, mut progress: impl FnMut(u64, u64)) -> Result<PathBuf, ArchiveError> {
        self.write(None, &mut progress)
    }

    /// [`ArchiveWriter::finish`] under a name of the caller's, in the same folder: no other file there is touched.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::finish`].
    pub fn finish_as(mut self, name: &str) -> Result<PathBuf, ArchiveError> {
        self.write(Some(name), &mut |_, _| {})
    }

    /// The name that the file gets by its content, once everything was given.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::finish`].
    pub fn proper_name(&self) -> Result<String, ArchiveError> {
        self.check_complete()?;
        Ok(self.file_name(self.accumulator()?).to_string())
    }

    fn write(&mut self, name: Option<&str>, progress: &mut dyn FnMut(u64, u64)) -> Result<PathBuf, ArchiveError> {
        self.check_complete()?;
        self.check_chain()?;
        let accumulator = self.accumulator()?;
        let name = name.map_or_else(|| self.file_name(accumulator).to_string(), str::to_owned);
        let place = self.place();
        self.write_file(accumulator, &name, progress).map_err(|error| place.broken(error))
    }

    fn check_complete(&self) -> Result<(), ArchiveError> {
        for component in self.plan.components.iter() {
            if let Some(range) = self.missing(component).first() {
                return Err(self.place_of(*range.start(), component).broken(ArchiveRule::Missing(component)));
            }
        }
        Ok(())
    }

    fn check_chain(&self) -> Result<(), ArchiveError> {
        for ((number, facts), next) in self.plan.blocks().zip(&self.facts).zip(self.facts.iter().skip(1)) {
            if next.parent_hash != facts.hash {
                let rule = ArchiveRule::ParentHash(Mismatch::new(facts.hash, next.parent_hash));
                return Err(self.place_of(number, Component::Header).broken(rule));
            }
            let expected = facts.total_difficulty.wrapping_add(next.difficulty);
            if self.plan.components.has(Component::TotalDifficulty) && next.total_difficulty != expected {
                let rule = ArchiveRule::TotalDifficulty(Mismatch::new(expected, next.total_difficulty));
                return Err(self.place_of(number + 1, Component::TotalDifficulty).broken(rule));
            }
        }
        Ok(())
    }

    /// The root over the blocks before the merge: always in an era1 file, in an ere file if it can be told and is that
    /// of the epoch.
    fn accumulator(&self) -> Result<Option<B256>, ArchiveError> {
        let unwritable = |reason| self.place().broken(ArchiveRule::Unwritable(reason));
        let before_merge = self.facts.iter().take_while(|facts| !facts.difficulty.is_zero());
        let records: Vec<HeaderRecord> = before_merge
            .map(|facts| HeaderRecord { block_hash: facts.hash, total_difficulty: facts.total_difficulty })
            .collect();
        let has_difficulty = self.plan.components.has(Component::TotalDifficulty);
        if has_difficulty && records.is_empty() {
            return Err(unwritable("total difficulty belongs into files that start before the merge"));
        }
        let (start, end) = (*self.plan.blocks.start(), *self.plan.blocks.end());
        let ends_epoch = records.len() < self.facts.len() || (end + 1).is_multiple_of(MAX_BLOCKS);
        match self.plan.format {
            Format::Era1 if records.len() < self.facts.len() => {
                return Err(unwritable("an era1 file holds blocks before the merge only"));
            }
            Format::Ere if !(has_difficulty && start.is_multiple_of(MAX_BLOCKS) && ends_epoch) => return Ok(None),
            _ => {}
        }
        let record = EpochRecord::new(records).map_err(|_| unwritable("it holds more than 8192 blocks"))?;
        Ok(Some(record.into_tree().root()))
    }

    fn file_name(&self, accumulator: Option<B256>) -> ArchiveName {
        let last_hash = self.facts.last().map(|facts| facts.hash).unwrap_or_default();
        let root = if self.plan.format == Format::Era1 { accumulator.unwrap_or_default() } else { last_hash };
        let [a, b, c, d, ..] = root.0;
        ArchiveName::new(&self.plan.network, self.plan.era(), [a, b, c, d], self.plan.format, self.plan.components)
    }

    fn write_file(
        &mut self,
        accumulator: Option<B256>,
        name: &str,
        progress: &mut dyn FnMut(u64, u64),
    ) -> std::io::Result<PathBuf> {
        while self.spool.place_some()? {
            progress(self.spool.placed_len(), self.spool.len());
        }
        progress(self.spool.placed_len(), self.spool.len());
        if let Some(root) = accumulator {
            self.spool.end_with(RecordType::ACCUMULATOR, root.as_slice())?;
        }
        let (kind, index) = self.index_record(self.spool.end())?;
        self.spool.end_with(kind, &index)?;
        self.spool.publish(name)
    }

    /// The index record that lies at `position`.
    fn index_record(&self, position: u64) -> std::io::Result<(RecordType, Vec<u8>)> {
        let (kind, slots) = match self.plan.format {
            Format::Era1 => (RecordType::BLOCK_INDEX, vec![Component::Header]),
            Format::Ere => (RecordType::DYNAMIC_BLOCK_INDEX, self.plan.components.iter().collect()),
        };
        let mut index = self.plan.blocks.start().to_le_bytes().to_vec();
        for nth in 0..self.facts.len() {
            for component in &slots {
                let offset = self.spool.offset(nth, *component).ok_or(std::io::ErrorKind::NotFound)?;
                // Two's complement makes the difference negative, as the format wants it.
                index.extend_from_slice(&offset.wrapping_sub(position).to_le_bytes());
            }
        }
        if self.plan.format == Format::Ere {
            index.extend_from_slice(&(slots.len() as u64).to_le_bytes());
        }
        index.extend_from_slice(&(self.facts.len() as u64).to_le_bytes());
        Ok((kind, index))
    }
}
