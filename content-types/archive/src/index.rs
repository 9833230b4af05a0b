//! Where the records of each block lie.
//!
//! The index at the end of a file is used where it lies: a lookup reads one slot, so an open archive takes a few
//! hundred bytes of memory however many blocks it holds. Only where that index cannot be relied on is one rebuilt in memory
//! from the records ([`crate::whereabouts`]).
//!
//! Which component a slot of an ere index stands for is told by the type of the record that it points to: writers
//! differ in the order of proof and difficulty, and four slots may be either.

use std::ops::{Range, RangeInclusive};

use crate::component::{ACCUMULATOR_LEN, Component, Components, Format, MAX_BLOCKS};
use crate::e2store::{RECORD_HEADER_LEN, RecordHeader, RecordType, Records};
use crate::error::ArchiveRule;

/// Bytes of a slot, of the starting number, and of each count.
pub(crate) const SLOT_LEN: u64 = 8;
/// Slots of one block in an ere index.
const SLOTS_PER_BLOCK: RangeInclusive<u64> = 2..=Component::COUNT as u64;
/// Bytes of slots that are read at once, at most: those of a file's blocks, and as many again.
const SLOTS_AT_ONCE: u64 = 2 * MAX_BLOCKS * SLOT_LEN * Component::COUNT as u64;
/// Components of an era1 block, in the order of their records.
pub(crate) const ERA1_ORDER: [Component; 4] =
    [Component::Header, Component::Body, Component::Receipts, Component::TotalDifficulty];

/// Offsets of one block's records by [`Component::slot`]; 0, where the version record lies, for none.
pub(crate) type Offsets = [u64; Component::COUNT];

/// The index of one archive.
#[derive(Debug)]
pub(crate) struct ArchiveIndex {
    pub(crate) format: Format,
    pub(crate) start: u64,
    pub(crate) count: u64,
    pub(crate) components: Components,
    /// Offset of the accumulator record, if there is one.
    pub(crate) accumulator: Option<u64>,
    pub(crate) slots: BlockSlots,
}

/// Where the records of each block are looked up.
#[derive(Debug)]
pub(crate) enum BlockSlots {
    /// In the file's index record.
    InFile(IndexRecord),
    /// In memory, one entry for each block.
    Rebuilt(Box<[Offsets]>),
}

/// The index record of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexRecord {
    /// Offset of the record. Slots are relative to it.
    pub(crate) offset: u64,
    /// Slots of one block.
    pub(crate) width: u64,
    /// What the slots of one block stand for; the first `width` are set.
    pub(crate) order: [Option<Component>; Component::COUNT],
}

impl IndexRecord {
    /// The offset that slot `position` of the block `nth` in the file points to.
    pub(crate) fn read_slot(&self, records: Records<'_>, nth: u64, position: u64) -> Result<u64, ArchiveRule> {
        let slot = self.offset + RECORD_HEADER_LEN + SLOT_LEN * (1 + nth * self.width + position);
        self.resolve(i64::from_le_bytes(records.array(slot)?))
    }

    /// The offsets of a component's records of consecutive blocks and of the one behind them, which the file has to hold, in one read.
    pub(crate) fn read_slots_of(
        &self,
        records: Records<'_>,
        nths: Range<u64>,
        component: Component,
    ) -> Result<Vec<u64>, ArchiveRule> {
        let position = self.order.iter().position(|slot| *slot == Some(component));
        let position = position.ok_or(ArchiveRule::Missing(component))?;
        let block = SLOT_LEN * self.width;
        let first = self.offset + RECORD_HEADER_LEN + SLOT_LEN + nths.start * block;
        let length = (nths.end.saturating_sub(nths.start) + 1) * block;
        let slots = records.bytes(first, length, SLOTS_AT_ONCE)?;
        let numbers = slots.as_chunks::<{ SLOT_LEN as usize }>().0.chunks_exact(self.width as usize);
        numbers
            .filter_map(|of_block| of_block.get(position))
            .map(|slot| self.resolve(i64::from_le_bytes(*slot)))
            .collect()
    }

    /// The offset that a slot's value stands for.
    pub(crate) fn resolve(&self, relative: i64) -> Result<u64, ArchiveRule> {
        let target = self.offset.checked_add_signed(relative);
        target.filter(|target| *target < self.offset).ok_or(ArchiveRule::Index("a slot points outside the records"))
    }
}

/// A record that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) offset: u64,
    pub(crate) header: RecordHeader,
}

impl ArchiveIndex {
    /// Reads the index at the end of a file, as far as one needs it to look up blocks.
    pub(crate) fn read(records: Records<'_>) -> Result<Self, ArchiveRule> {
        let number_from_end = |nth: u64| -> Result<u64, ArchiveRule> {
            let offset =
                records.len().checked_sub(nth * SLOT_LEN).ok_or(ArchiveRule::Index("the file is too short"))?;
            Ok(u64::from_le_bytes(records.array(offset)?))
        };
        let count = number_from_end(1)?;
        if !(1..=MAX_BLOCKS).contains(&count) {
            return Err(ArchiveRule::Index("its count of blocks is not within 1 and 8192"));
        }
        if let Some(offset) = index_offset(records, RecordType::BLOCK_INDEX, 2 + count) {
            let order = [Some(Component::Header), None, None, None, None];
            let record = IndexRecord { offset, width: 1, order };
            return Self::new(records, Format::Era1, record, count, ERA1_ORDER.into_iter().collect());
        }
        let width = number_from_end(2)?;
        if !SLOTS_PER_BLOCK.contains(&width) {
            return Err(ArchiveRule::Index("its count of components is not within 2 and 5"));
        }
        let offset = index_offset(records, RecordType::DYNAMIC_BLOCK_INDEX, 3 + count * width)
            .ok_or(ArchiveRule::Index("its lengths contradict each other"))?;
        let mut record = IndexRecord { offset, width, order: [None; Component::COUNT] };
        for position in 0..width {
            let component = component_of_slot(records, &record, count, position)?;
            if record.order.contains(&Some(component)) {
                return Err(ArchiveRule::Index("two slots of a block point to the same component"));
            }
            record.order[position as usize] = Some(component);
        }
        Self::new(records, Format::Ere, record, count, record.order.into_iter().flatten().collect())
    }

    fn new(
        records: Records<'_>,
        format: Format,
        record: IndexRecord,
        count: u64,
        components: Components,
    ) -> Result<Self, ArchiveRule> {
        if !(components.has(Component::Header) && components.has(Component::Body)) {
            return Err(ArchiveRule::Index("it lacks headers or bodies"));
        }
        let start = u64::from_le_bytes(records.array(record.offset + RECORD_HEADER_LEN)?);
        if start.checked_add(count).is_none() {
            return Err(ArchiveRule::Index("its block numbers are over 64 bits"));
        }
        let accumulator = record
            .offset
            .checked_sub(RECORD_HEADER_LEN + u64::from(ACCUMULATOR_LEN))
            .filter(|offset| records.header_of(*offset, RecordType::ACCUMULATOR).is_ok());
        Ok(Self { format, start, count, components, accumulator, slots: BlockSlots::InFile(record) })
    }

    pub(crate) fn blocks(&self) -> RangeInclusive<u64> {
        self.start..=self.start + (self.count - 1)
    }

    /// The record of a component of block `number`, which the archive's blocks contain.
    pub(crate) fn locate(
        &self,
        records: Records<'_>,
        number: u64,
        component: Component,
    ) -> Result<Located, ArchiveRule> {
        let offset = self.record_offset(records, number, component)?;
        Ok(Located { offset, header: records.header_of(offset, component.record_type(self.format))? })
    }

    /// Where that record starts, as far as the index and the records before it in its block tell.
    pub(crate) fn record_offset(
        &self,
        records: Records<'_>,
        number: u64,
        component: Component,
    ) -> Result<u64, ArchiveRule> {
        let nth = number - self.start;
        match &self.slots {
            BlockSlots::Rebuilt(blocks) => {
                let offset = blocks.get(nth as usize).map_or(0, |offsets| offsets[component.slot()]);
                if offset == 0 { Err(ArchiveRule::Missing(component)) } else { Ok(offset) }
            }
            BlockSlots::InFile(record) if self.format == Format::Era1 => {
                let mut offset = record.read_slot(records, nth, 0)?;
                for before in ERA1_ORDER.into_iter().take_while(|before| *before != component) {
                    offset += records.header_of(offset, before.record_type(Format::Era1))?.record_len();
                }
                if component == Component::Proof { Err(ArchiveRule::Missing(component)) } else { Ok(offset) }
            }
            BlockSlots::InFile(record) => {
                let position = record.order.iter().position(|slot| *slot == Some(component));
                let position = position.ok_or(ArchiveRule::Missing(component))?;
                record.read_slot(records, nth, position as u64)
            }
        }
    }
}

/// The offset of an index record of type `kind` that holds `numbers` numbers and ends the file.
fn index_offset(records: Records<'_>, kind: RecordType, numbers: u64) -> Option<u64> {
    let length = numbers * SLOT_LEN;
    let offset = records.len().checked_sub(RECORD_HEADER_LEN + length)?;
    let header = records.header_of(offset, kind).ok()?;
    (u64::from(header.length) == length).then_some(offset)
}

/// The positions of a few of `count` blocks, the first and the last among them, by which an index is judged.
pub(crate) fn probes(count: u64) -> [u64; 4] {
    [0, count / 3, count - count / 3 - 1, count - 1]
}

/// What a slot of each block stands for: the component that most of a few blocks have there, of which one or the other
/// may be damaged.
fn component_of_slot(
    records: Records<'_>,
    record: &IndexRecord,
    count: u64,
    position: u64,
) -> Result<Component, ArchiveRule> {
    let mut votes = [0; Component::COUNT];
    for nth in probes(count) {
        let header = record.read_slot(records, nth, position).and_then(|offset| records.header(offset));
        if let Some(component) = header.ok().and_then(|header| Component::of_record(header.kind, Format::Ere)) {
            votes[component.slot()] += 1;
        }
    }
    let most = Component::ALL.into_iter().max_by_key(|component| votes[component.slot()]);
    most.filter(|component| votes[component.slot()] > 0)
        .ok_or(ArchiveRule::Index("a slot points to no component of a block"))
}
