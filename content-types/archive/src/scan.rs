//! Rebuilds the index of a file whose own index is missing or damaged, by walking its records from the start as far as
//! they follow each other.
//!
//! Headers carry their number, so a header that is lost does not shift the blocks behind it. The other components of an
//! ere file carry none and are counted; what is read is checked against the header by whoever uses it.

use crate::component::{Component, Components, Format, MAX_BLOCKS};
use crate::content;
use crate::e2store::{RecordType, Records};
use crate::error::ArchiveRule;
use crate::index::{ArchiveIndex, BlockSlots, Offsets};

/// The most records that are walked over: those of a full era, and room for others.
const MAX_RECORDS: usize = MAX_BLOCKS as usize * Component::COUNT + 64;

/// A rebuilt index.
pub(crate) struct Scan {
    pub(crate) index: ArchiveIndex,
    /// The offset at which the records end before the file does, and why.
    pub(crate) stopped: Option<(u64, ArchiveRule)>,
}

/// Walks the records of a file.
pub(crate) fn rebuild(records: Records<'_>) -> Result<Scan, ArchiveRule> {
    let (found, stopped) = walk(records);
    let format = format_of(&found).ok_or(ArchiveRule::NotAnArchive)?;
    let mut blocks = BlockOffsets { records, start: None, offsets: Vec::new() };
    let mut counted = [0_usize; Component::COUNT];
    for &(kind, offset) in &found {
        let Some(component) = Component::of_record(kind, format) else { continue };
        let nth = match (component, format) {
            (Component::Header, _) => blocks.position_of_header(offset),
            (_, Format::Era1) => blocks.offsets.len().checked_sub(1),
            (_, Format::Ere) => {
                let next = &mut counted[component.slot()];
                *next += 1;
                Some(*next - 1)
            }
        };
        if let Some(slot) = nth.and_then(|nth| blocks.offsets.get_mut(nth)).map(|block| &mut block[component.slot()])
            && *slot == 0
        {
            *slot = offset;
        }
    }
    let count = blocks.offsets.len() as u64;
    let start = blocks.start.filter(|start| start.checked_add(count).is_some()).ok_or(ArchiveRule::NotAnArchive)?;
    let held = |component: &Component| blocks.offsets.iter().any(|block| block[component.slot()] != 0);
    let index = ArchiveIndex {
        format,
        start,
        count,
        components: Component::ALL.into_iter().filter(held).collect::<Components>(),
        accumulator: found.iter().find(|(kind, _)| *kind == RecordType::ACCUMULATOR).map(|(_, offset)| *offset),
        slots: BlockSlots::Rebuilt(blocks.offsets.into()),
    };
    Ok(Scan { index, stopped })
}

/// The type and the offset of each record.
type FoundRecords = Vec<(RecordType, u64)>;

fn walk(records: Records<'_>) -> (FoundRecords, Option<(u64, ArchiveRule)>) {
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < records.len() && found.len() < MAX_RECORDS {
        match records.header(offset) {
            Ok(header) => {
                found.push((header.kind, offset));
                offset += header.record_len();
            }
            Err(rule) => return (found, Some((offset, rule))),
        }
    }
    (found, None)
}

/// Records of ere alone, or two headers in a row, make an ere file; without any header there is no telling.
fn format_of(found: &FoundRecords) -> Option<Format> {
    let of_ere = [RecordType::SLIM_RECEIPTS, RecordType::PROOF, RecordType::DYNAMIC_BLOCK_INDEX];
    let is_header = |record: &(RecordType, u64)| record.0 == RecordType::HEADER;
    if !found.iter().any(is_header) {
        return None;
    }
    let ere =
        found.iter().any(|(kind, _)| of_ere.contains(kind)) || found.windows(2).any(|pair| pair.iter().all(is_header));
    Some(if ere { Format::Ere } else { Format::Era1 })
}

/// Where the components of each block lie, as far as the records were gone through.
struct BlockOffsets<'a> {
    records: Records<'a>,
    /// Number of the first block, as soon as one header told its own.
    start: Option<u64>,
    offsets: Vec<Offsets>,
}

impl BlockOffsets<'_> {
    /// Makes room for the block whose header is the next one in the file; `None` when the archive has no room for it.
    fn position_of_header(&mut self, offset: u64) -> Option<usize> {
        let next = self.offsets.len();
        let number = content::read_header(self.records, offset).ok().map(|header| header.number());
        if let Some(number) = number {
            self.start.get_or_insert(number.saturating_sub(next as u64));
        }
        let position = number
            .zip(self.start)
            .and_then(|(number, start)| usize::try_from(number.checked_sub(start)?).ok())
            .filter(|position| (next..MAX_BLOCKS as usize).contains(position))
            .unwrap_or(next);
        if position >= MAX_BLOCKS as usize {
            return None;
        }
        self.offsets.resize(position + 1, Offsets::default());
        Some(position)
    }
}
