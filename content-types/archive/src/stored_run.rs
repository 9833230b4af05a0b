//! Records of consecutive blocks as they lie in the file, in two reads: one of their places, one of all their bytes.
//!
//! Who serves a range asks for a component of many blocks in a row, and in an ere file those lie in a row. Reading each by itself would
//! take three reads a block.

use std::ops::Range;

use bytes::Bytes;

use crate::archive::Archive;
use crate::component::{Component, Format};
use crate::e2store::{RECORD_HEADER_LEN, RecordHeader};
use crate::error::ArchiveError;
use crate::index::BlockSlots;

/// Blocks whose places are read at once: those of a run.
const BLOCKS_AT_ONCE: u64 = 256;

impl Archive {
    /// The data of a component's records as they lie in the file, see [`Archive::stored`], for consecutive blocks from the first one of
    /// `blocks` on: as many as come to `max_bytes`, and one at least. There may be fewer: where records do not lie in a row, as in an era1
    /// file, one; and 256 at most. Empty where the archive's profile lacks the component.
    ///
    /// # Errors
    ///
    /// As [`Archive::stored`], for the first of the blocks.
    pub fn stored_run(
        &self,
        component: Component,
        blocks: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, ArchiveError> {
        match self.run_in_a_row(component, &blocks, max_bytes) {
            Some(run) => Ok(run),
            // Whatever was unusual shows with the first record.
            None => Ok(self.stored(blocks.start, component)?.into_iter().collect()),
        }
    }

    /// `None` for whatever is unusual.
    fn run_in_a_row(&self, component: Component, blocks: &Range<u64>, max_bytes: usize) -> Option<Vec<Bytes>> {
        let BlockSlots::InFile(record) = &self.index().slots else { return None };
        let held = self.blocks();
        if self.format() != Format::Ere || !held.contains(&blocks.start) {
            return None;
        }
        // Where the next record begins is where one ends, so the last one of the archive is read by itself.
        let end = blocks.end.min(blocks.start.saturating_add(BLOCKS_AT_ONCE)).min(*held.end());
        let nths = (blocks.start - held.start())..(end.checked_sub(*held.start())?);
        let starts = record.read_slots_of(self.records(), nths, component).ok()?;
        let (first, mut last) = (*starts.first()?, 0);
        let kind = component.record_type(self.format());
        let limit = RECORD_HEADER_LEN.saturating_add(component.stored_limit());
        let mut lengths = Vec::with_capacity(starts.len());
        let mut bytes = 0_u64;
        for (start, next) in starts.iter().zip(starts.iter().skip(1)) {
            let length = next.checked_sub(*start).filter(|length| (RECORD_HEADER_LEN..=limit).contains(length));
            let Some(length) = length else { break };
            lengths.push(usize::try_from(length).ok()?);
            last = *next;
            bytes += length - RECORD_HEADER_LEN;
            if bytes >= max_bytes as u64 {
                break;
            }
        }
        let length = last.checked_sub(first)?;
        let all = Bytes::from(self.records().bytes(first, length, length).ok()?);
        let (mut run, mut at) = (Vec::with_capacity(lengths.len()), 0);
        for length in lengths {
            let whole = all.slice(at..at + length);
            at += length;
            let (header, _) = RecordHeader::parse(*whole.first_chunk()?);
            if header.kind != kind || header.record_len() != length as u64 {
                break;
            }
            run.push(whole.slice(RECORD_HEADER_LEN as usize..));
        }
        Some(run).filter(|run| !run.is_empty())
    }
}
