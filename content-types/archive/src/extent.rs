//! Which bytes of a file hold the records of consecutive blocks, so that they can be read in one go and front to back.

use std::ops::{Range, RangeInclusive};

use crate::archive::Archive;
use crate::component::{Component, Format};
use crate::error::{ArchiveError, ArchiveRule};
use crate::index::ERA1_ORDER;

/// The bytes of consecutive blocks' records, as far as the index tells: nothing of the records is read, but for the
/// archive's last block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The components of each block in the order of their records: the one that was asked for in an ere file, all of
    /// them in an era1 file, which holds block after block.
    pub components: Vec<Component>,
    /// Number of the first block.
    pub first: u64,
    /// Offset of each block's first record, ascending, in bytes.
    pub starts: Vec<u64>,
    /// Offset behind the last block's last record, in bytes: where the next block's begin, if the archive holds it.
    pub end: u64,
}

impl Extent {
    /// The bytes from the first record to the end of the last.
    pub fn bytes(&self) -> Range<u64> {
        self.starts.first().copied().unwrap_or(self.end)..self.end
    }
}

impl Archive {
    /// Where the records of `component` lie for all of `blocks`.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::OutOfRange`] and [`ArchiveRule::Missing`] when the archive does not hold them, [`ArchiveRule::Index`] when the index
    /// does not have them follow each other, and what reading the index brings.
    pub fn extent(&self, component: Component, blocks: RangeInclusive<u64>) -> Result<Extent, ArchiveError> {
        let place = || self.place().record(component.record_type(self.format()));
        let (first, last) = (*blocks.start(), *blocks.end());
        let held = self.blocks();
        if first > last || !held.contains(&first) || !held.contains(&last) {
            return Err(place().broken(ArchiveRule::OutOfRange(held)));
        }
        let components = match self.format() {
            Format::Era1 => ERA1_ORDER.to_vec(),
            Format::Ere => vec![component],
        };
        if !self.components().has(component) || !components.contains(&component) {
            return Err(place().block(first).broken(ArchiveRule::Missing(component)));
        }
        let start_of = components.first().copied().unwrap_or(component);
        let offset = |number| {
            let offset = self.index().record_offset(self.records(), number, start_of);
            offset.map_err(|rule| place().block(number).broken(rule))
        };
        let starts = blocks.clone().map(offset).collect::<Result<Vec<_>, _>>()?;
        // The next block's first record tells without a look at the last one of this range.
        let next = last.checked_add(1).filter(|next| held.contains(next));
        let end = match next.map(offset).transpose() {
            Ok(Some(end)) => end,
            _ => {
                let last_of = components.last().copied().unwrap_or(component);
                let at = self.locate(last, last_of).map_err(|rule| place().block(last).broken(rule))?;
                at.offset + at.header.record_len()
            }
        };
        let next = starts.iter().skip(1).copied().chain([end]);
        if let Some((_, number)) = starts.iter().zip(next).zip(blocks).find(|((start, next), _)| *start >= next) {
            let rule = ArchiveRule::Index("it does not have the records of consecutive blocks follow each other");
            return Err(place().block(number).broken(rule));
        }
        Ok(Extent { components, first, starts, end })
    }
}
