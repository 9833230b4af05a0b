//! The layout of a file: every byte belongs to a record, the records are those of the format in its order, and every
//! slot of the index points at its record.

use crate::archive::Archive;
use crate::component::{ACCUMULATOR_LEN, Component, Format};
use crate::e2store::{RECORD_HEADER_LEN, RecordHeader, RecordType, Records};
use crate::error::{ArchiveError, ArchivePlace, ArchiveRule, Mismatch};
use crate::index::{BlockSlots, IndexRecord, Located, Offsets, SLOT_LEN};

/// Records in a gap that are reported one by one, before the gap counts as damage.
const MAX_GAP_RECORDS: usize = 64;

/// Bytes read at once: a few dozen records of early blocks, and not much more than a record's header of full ones.
const WINDOW: usize = 1 << 12;

/// Where each component of each block lies, as far as it was found.
pub(super) type Positions = Vec<[Option<Located>; Component::COUNT]>;

pub(super) struct Layout {
    pub(super) positions: Positions,
    pub(super) findings: Vec<ArchiveError>,
}

/// Walks over the records of an archive.
pub(super) fn check(archive: &Archive) -> Layout {
    let index = archive.index();
    let ahead = archive.records().read_ahead(WINDOW);
    let mut walk = Walk {
        archive,
        records: Records::new(&ahead, archive.file_len()),
        targets: Vec::new(),
        cursor: Some(RECORD_HEADER_LEN),
        previous: None,
        layout: Layout { positions: vec![[None; Component::COUNT]; index.count as usize], findings: Vec::new() },
    };
    walk.version();
    match &index.slots {
        BlockSlots::InFile(record) => walk.file(record),
        BlockSlots::Rebuilt(blocks) => walk.rebuilt(blocks),
    }
    walk.layout
}

/// A record's header as it lies there, whatever its reserved bytes are.
struct Raw {
    header: RecordHeader,
    reserved: [u8; 2],
}

struct Walk<'a> {
    archive: &'a Archive,
    records: Records<'a>,
    /// Where the slots of the file's index point.
    targets: Vec<Offsets>,
    /// Where the next record should begin; `None` after damage, until the index tells.
    cursor: Option<u64>,
    /// The record that ended at the cursor.
    previous: Option<(ArchivePlace, Located)>,
    layout: Layout,
}

impl Walk<'_> {
    fn version(&mut self) {
        let expected = RecordHeader::new(RecordType::VERSION, 0).encode();
        if self.records.array(0).ok() != Some(expected) {
            self.report(self.archive.place().record(RecordType::VERSION).offset(0), ArchiveRule::NoVersion);
        }
    }

    fn file(&mut self, record: &IndexRecord) {
        let index = self.archive.index();
        match self.read_targets(record) {
            Ok(targets) => self.targets = targets,
            Err(rule) => return self.report(self.archive.place().offset(record.offset), rule),
        }
        let count = index.count as usize;
        match index.format {
            Format::Era1 => {
                let order = [Component::Header, Component::Body, Component::Receipts, Component::TotalDifficulty];
                (0..count).for_each(|nth| order.into_iter().for_each(|component| self.expect(record, nth, component)));
            }
            Format::Ere => {
                // Writers differ in the order of proofs and difficulties: that of the first block counts.
                let mut order: Vec<Component> = index.components.iter().collect();
                order.sort_by_key(|component| self.targets[0][component.slot()]);
                order.into_iter().for_each(|component| (0..count).for_each(|nth| self.expect(record, nth, component)));
            }
        }
        self.tail(record.offset);
    }

    fn read_targets(&self, record: &IndexRecord) -> Result<Vec<Offsets>, ArchiveRule> {
        let count = self.archive.index().count;
        let length = count * record.width * SLOT_LEN;
        let slots = self.records.bytes(record.offset + RECORD_HEADER_LEN + SLOT_LEN, length, length)?;
        let (slots, _) = slots.as_chunks::<{ SLOT_LEN as usize }>();
        let mut targets = vec![Offsets::default(); count as usize];
        for (block, slots) in targets.iter_mut().zip(slots.chunks(record.width as usize)) {
            for (component, slot) in record.order.iter().flatten().zip(slots) {
                block[component.slot()] = record.offset.wrapping_add_signed(i64::from_le_bytes(*slot));
            }
        }
        Ok(targets)
    }

    /// Expects the record of `component` of the `nth` block next.
    fn expect(&mut self, record: &IndexRecord, nth: usize, component: Component) {
        let kind = component.record_type(self.archive.format());
        let place = self.archive.place().record(kind).block(self.archive.index().start + nth as u64);
        let target = record.order.contains(&Some(component)).then(|| self.targets[nth][component.slot()]);
        let of_kind = |raw: &Raw| raw.header.kind == kind;
        if let Some((cursor, raw)) = self.cursor.and_then(|at| Some((at, self.raw(at).filter(of_kind)?))) {
            if let Some(found) = target.filter(|target| *target != cursor) {
                self.report(place.clone().offset(cursor), ArchiveRule::IndexSlot { component, found });
            }
            return self.accept(place, nth, component, cursor, &raw);
        }
        if let Some((target, raw)) = target.and_then(|at| Some((at, self.raw(at).filter(of_kind)?))) {
            if let Some(cursor) = self.cursor {
                self.explain_gap(cursor, target);
            }
            return self.accept(place, nth, component, target, &raw);
        }
        let Some(offset) = self.cursor.or(target) else {
            return self.report(place, ArchiveRule::Missing(component));
        };
        if let Err(rule) = self.records.header_of(offset, kind) {
            self.report(place.clone().offset(offset), rule);
        }
        // Where only the type is wrong, the next record follows; where the length is, the index tells where to go on.
        let header = self.raw(offset).map(|raw| raw.header);
        self.cursor = header.map(|header| offset + header.record_len());
        self.previous = header.map(|header| (place, Located { offset, header }));
    }

    fn accept(&mut self, place: ArchivePlace, nth: usize, component: Component, offset: u64, raw: &Raw) {
        self.check_reserved(&place.clone().offset(offset), raw);
        let at = Located { offset, header: raw.header };
        self.layout.positions[nth][component.slot()] = Some(at);
        self.cursor = Some(offset + raw.header.record_len());
        self.previous = Some((place, at));
    }

    /// Reports what lies between the end of the previous record and the place where the next one was found.
    fn explain_gap(&mut self, from: u64, to: u64) {
        let mut at = from;
        let mut found = Vec::new();
        while at < to && found.len() < MAX_GAP_RECORDS {
            let Some(raw) = self.raw(at) else { break };
            found.push((at, raw.header));
            at += raw.header.record_len();
        }
        if at == to {
            for (offset, header) in found {
                self.unexpected(offset, header);
            }
        } else if let Some((place, at)) = self.previous.take() {
            let expected = to.saturating_sub(at.offset + RECORD_HEADER_LEN);
            let rule = ArchiveRule::Length(Mismatch::new(expected, u64::from(at.header.length)));
            self.report(place.offset(at.offset), rule);
        } else {
            self.report(self.archive.place().offset(from), ArchiveRule::Unexpected { length: to.saturating_sub(from) });
        }
    }

    /// What lies between the last block and the index at `end`: the accumulator, and nothing else.
    fn tail(&mut self, end: u64) {
        let mut has_accumulator = false;
        let mut cursor = self.cursor.or(self.archive.index().accumulator).unwrap_or(end);
        if cursor > end {
            self.explain_gap(cursor, end);
        }
        while cursor < end {
            let Some(raw) = self.raw(cursor).filter(|raw| cursor + raw.header.record_len() <= end) else {
                self.explain_gap(cursor, end);
                break;
            };
            let is_accumulator = raw.header.kind == RecordType::ACCUMULATOR && raw.header.length == ACCUMULATOR_LEN;
            if is_accumulator && !has_accumulator {
                has_accumulator = true;
                self.check_reserved(&self.archive.place().record(raw.header.kind).offset(cursor), &raw);
            } else {
                self.unexpected(cursor, raw.header);
            }
            cursor += raw.header.record_len();
        }
        if let Some(raw) = self.raw(end) {
            self.check_reserved(&self.archive.place().record(raw.header.kind).offset(end), &raw);
        }
        if self.archive.format() == Format::Era1 && !has_accumulator {
            self.report(self.archive.place().offset(end), ArchiveRule::NoAccumulator);
        }
    }

    /// Takes the records over that a scan has found, and reports what is missing.
    fn rebuilt(&mut self, blocks: &[Offsets]) {
        self.layout.findings.extend(self.archive.damage().cloned());
        for (positions, offsets) in self.layout.positions.iter_mut().zip(blocks) {
            for (position, offset) in positions.iter_mut().zip(offsets).filter(|(_, offset)| **offset != 0) {
                *position = self.records.header(*offset).ok().map(|header| Located { offset: *offset, header });
            }
        }
        for component in self.archive.components().iter() {
            let lacking = blocks.iter().zip(self.archive.blocks());
            let lacking = lacking.filter(|(offsets, _)| offsets[component.slot()] == 0).map(|(_, number)| number);
            for blocks in crate::ranges::of(lacking) {
                let kind = component.record_type(self.archive.format());
                let place = self.archive.place().record(kind).block(*blocks.start());
                self.report(place, ArchiveRule::MissingRange { component, blocks });
            }
        }
    }

    /// The header at `offset`, if it and its data lie within the file.
    fn raw(&self, offset: u64) -> Option<Raw> {
        let (header, reserved) = self.records.header_and_reserved(offset).ok()?;
        Some(Raw { header, reserved })
    }

    fn check_reserved(&mut self, place: &ArchivePlace, raw: &Raw) {
        if raw.reserved != [0, 0] {
            self.report(place.clone(), ArchiveRule::Reserved { found: raw.reserved });
        }
    }

    fn unexpected(&mut self, offset: u64, header: RecordHeader) {
        let place = self.archive.place().record(header.kind).offset(offset);
        self.report(place, ArchiveRule::Unexpected { length: u64::from(header.length) });
    }

    fn report(&mut self, place: ArchivePlace, rule: ArchiveRule) {
        self.layout.findings.push(place.broken(rule));
    }
}
