//! Records on their way into the file. One whose turn it is, because all records in front of it are in their places, is
//! written straight to its own; the others wait in a spool until it is theirs.
//!
//! Where a record lies in the file follows from the lengths of those in front of it, so records that come in the order of
//! the file are written once, and others twice. Copying by the system's own means (`copy_file_range`) was found to be no
//! faster: file systems that could share the blocks of two files want them aligned, and records are not.
//!
//! Both files lie under temporary names or none, or have a journal that outlives the process; in memory is where each
//! record lies, less than a megabyte for a whole era.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::file::{self, TemporaryFile};
use super::journal::{JournalEntry, Paths, Region};
use super::plan::Plan;
use super::tail::Tail;
use crate::component::Component;
use crate::e2store::{RECORD_HEADER_LEN, RecordHeader, RecordType};

/// Bytes of journal entries collected before they are written: a flush does that in general, long before.
const MAX_PENDING_ENTRIES: usize = 1 << 16;
/// About how many bytes are copied into their places at a time: more than are put, so that copying catches up, and few
/// enough for no `put` to take long.
const STEP_LEN: u64 = 1 << 20;

/// Where a record lies, header and data.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordSpan {
    pub(super) region: Region,
    pub(super) offset: u64,
    /// Bytes of its data.
    pub(super) length: u32,
}

/// The records of one archive.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(super) plan: Plan,
    /// Records that wait for their turn.
    pub(super) spooled: Tail,
    /// The file as far as it is written.
    pub(super) target: Tail,
    name: TemporaryFile,
    /// How many records are in their places.
    pub(super) placed: usize,
    /// Bytes of the data of all records that are here, and of those that are in their places.
    len: u64,
    placed_len: u64,
    spans: Vec<[Option<RecordSpan>; Component::COUNT]>,
    pub(super) kept: Option<SpoolKeeper>,
}

/// What makes a spool outlive its process.
#[derive(Debug)]
pub(super) struct SpoolKeeper {
    pub(super) paths: Paths,
    pub(super) head: Vec<u8>,
    pub(super) journal: Tail,
    /// Whether the files' names are on the disk.
    pub(super) is_listed: bool,
}

impl Spool {
    /// A spool for a plan of `blocks` blocks on the disk of `dir`, gone when it is closed.
    pub(crate) fn create(dir: &Path, plan: &Plan, blocks: usize) -> io::Result<Self> {
        Self::new(plan, blocks, file::unnamed(dir)?, TemporaryFile::create(dir)?)
    }

    pub(super) fn new(plan: &Plan, blocks: usize, spooled: File, name: TemporaryFile) -> io::Result<Self> {
        let mut target = Tail::new(name.file().try_clone()?, 0);
        target.append(&[&RecordHeader::new(RecordType::VERSION, 0).encode()])?;
        let spans = vec![[None; Component::COUNT]; blocks];
        let spooled = Tail::new(spooled, 0);
        Ok(Self { plan: plan.clone(), spooled, target, name, placed: 0, len: 0, placed_len: 0, spans, kept: None })
    }

    pub(crate) fn holds(&self, nth: usize, component: Component) -> bool {
        self.span(nth, component).is_some()
    }

    /// Bytes of the data of all records that are here.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the data of the records that are in their places.
    pub(crate) fn placed_len(&self) -> u64 {
        self.placed_len
    }

    /// The record whose turn it is.
    pub(super) fn next(&self) -> Option<(usize, Component)> {
        self.plan.record(self.spans.len(), self.placed)
    }

    /// Keeps a record of the `nth` block. If it fails, everything is as it was.
    pub(crate) fn put(&mut self, nth: usize, component: Component, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if nth >= self.spans.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let region = if self.next() == Some((nth, component)) { Region::Target } else { Region::Spool };
        let header = RecordHeader::new(component.record_type(self.plan.format), length).encode();
        self.keep(nth, component, region, &[&header, data])?;
        // What cannot be copied now lies in the spool, and can be later.
        let _ = self.place_some();
        Ok(())
    }

    /// Copies some of the records into their places whose turn it is, and tells whether there were any.
    pub(crate) fn place_some(&mut self) -> io::Result<bool> {
        let mut record = Vec::new();
        let mut copied = 0;
        while copied < STEP_LEN
            && let Some((nth, component)) = self.next()
            && let Some(span) = self.span(nth, component)
        {
            record.resize(RECORD_HEADER_LEN as usize + span.length as usize, 0);
            self.spooled.read(&mut record, span.offset)?;
            self.keep(nth, component, Region::Target, &[&record])?;
            copied += record.len() as u64;
        }
        Ok(copied > 0)
    }

    /// Adds a record, its header included, to one of the files.
    pub(super) fn keep(
        &mut self,
        nth: usize,
        component: Component,
        region: Region,
        record: &[&[u8]],
    ) -> io::Result<()> {
        if self.kept.as_ref().is_some_and(|kept| kept.journal.pending() >= MAX_PENDING_ENTRIES) {
            self.flush()?;
        }
        let total: u64 = record.iter().map(|part| part.len() as u64).sum();
        let length = u32::try_from(total.saturating_sub(RECORD_HEADER_LEN)).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let position = u32::try_from(nth).map_err(|_| io::ErrorKind::InvalidInput)?;
        let tail = match region {
            Region::Spool => &mut self.spooled,
            Region::Target => &mut self.target,
        };
        let offset = tail.append(record)?;
        if let Some(kept) = &mut self.kept {
            let checksum = record.iter().fold(0, |checksum, part| crc32c::crc32c_append(checksum, part));
            let entry = JournalEntry { nth: position, component, region, offset, length, checksum };
            // There is room among what is pending, so nothing is written in front of the data here.
            kept.journal.append(&[&entry.encode(&kept.head)])?;
        }
        self.note(nth, component, RecordSpan { region, offset, length });
        Ok(())
    }

    /// Remembers where a record lies. In the target that is the place of the one whose turn it is.
    pub(super) fn note(&mut self, nth: usize, component: Component, span: RecordSpan) {
        let Some(known) = self.spans.get_mut(nth).map(|spans| &mut spans[component.slot()]) else { return };
        let before = known.replace(span).map_or(0, |known| u64::from(known.length));
        self.len = self.len.saturating_sub(before) + u64::from(span.length);
        if span.region == Region::Target {
            self.placed += 1;
            self.placed_len += u64::from(span.length);
        }
    }

    /// Hands everything to the operating system, data first: what was put outlives the process.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.spooled.flush()?;
        self.target.flush()?;
        self.kept.as_mut().map_or(Ok(()), |kept| kept.journal.flush())
    }

    /// Brings everything to the disk, data first: what was put outlives a power cut.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.spooled.flush()?;
        self.target.flush()?;
        let Some(kept) = &mut self.kept else { return Ok(()) };
        self.spooled.file.sync_data()?;
        self.target.file.sync_data()?;
        kept.journal.flush()?;
        kept.journal.file.sync_data()?;
        if !kept.is_listed {
            File::open(&kept.paths.dir)?.sync_all()?;
            kept.is_listed = true;
        }
        Ok(())
    }

    /// Adds a record that belongs to no block behind those that do, which have to be in their places.
    pub(crate) fn end_with(&mut self, kind: RecordType, data: &[u8]) -> io::Result<()> {
        if self.next().is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let length = u32::try_from(data.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.target.append(&[&RecordHeader::new(kind, length).encode(), data]).map(drop)
    }

    /// Where the file ends so far.
    pub(crate) fn end(&self) -> u64 {
        self.target.position()
    }

    /// Where a record lies in the file, if it is in its place.
    pub(crate) fn offset(&self, nth: usize, component: Component) -> Option<u64> {
        self.span(nth, component).filter(|span| span.region == Region::Target).map(|span| span.offset)
    }

    /// Brings the file to the disk and under its name, and leaves nothing else.
    pub(crate) fn publish(&mut self, name: &str) -> io::Result<PathBuf> {
        self.target.flush()?;
        let path = self.name.publish(name)?;
        // What cannot be removed is only litter: the archive is there.
        let _ = self.discard();
        Ok(path)
    }

    /// Removes the files that would outlive the process.
    pub(crate) fn discard(&mut self) -> io::Result<()> {
        // From here on there is nothing to keep, so dropping the spool writes nothing either.
        self.kept.take().map_or(Ok(()), |kept| kept.paths.remove())
    }

    /// Replaces what `data` holds by a record's data.
    pub(crate) fn get(&self, nth: usize, component: Component, data: &mut Vec<u8>) -> io::Result<()> {
        let span = self.span(nth, component).ok_or(io::ErrorKind::NotFound)?;
        let tail = match span.region {
            Region::Spool => &self.spooled,
            Region::Target => &self.target,
        };
        data.resize(span.length as usize, 0);
        tail.read(data, span.offset + RECORD_HEADER_LEN)
    }

    fn span(&self, nth: usize, component: Component) -> Option<RecordSpan> {
        self.spans.get(nth).and_then(|spans| spans[component.slot()])
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.kept.is_some() {
            // What cannot be written was not promised to be kept.
            let _ = self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::journal::{self, ENTRY_LEN};

    const MORE_THAN_IS_COLLECTED: usize = 1 << 20;

    fn resume(dir: &Path) -> Spool {
        Spool::resume(dir, &Plan::era1("private", 0..=3), 4, |_, _, _| true).unwrap().unwrap()
    }

    #[test]
    fn a_full_disk_takes_nothing_of_what_was_put() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = resume(dir.path());
        spool.put(0, Component::Body, b"flushed").unwrap();
        spool.flush().unwrap();
        spool.put(1, Component::Body, b"only put").unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut spool.spooled.file, full);
        for _ in 0..2 {
            assert_eq!(spool.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
            let put = spool.put(2, Component::Body, &[7; MORE_THAN_IS_COLLECTED]);
            assert_eq!(put.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert!(!spool.holds(2, Component::Body));
        }
        spool.spooled.file = file;
        spool.put(2, Component::Body, &[7; MORE_THAN_IS_COLLECTED]).unwrap();
        drop(spool);

        let spool = resume(dir.path());
        for (nth, expected) in [(0, &b"flushed"[..]), (1, b"only put"), (2, &[7; MORE_THAN_IS_COLLECTED])] {
            let mut found = Vec::new();
            spool.get(nth, Component::Body, &mut found).unwrap();
            assert!(found == expected);
        }
    }

    #[test]
    fn an_entry_without_its_data_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = resume(dir.path());
        for nth in 0..3 {
            spool.put(nth, Component::Body, &[nth as u8; 100]).unwrap();
        }
        drop(spool);
        // The journal came to the disk, of the data only the length did.
        let data = Paths::of(dir.path(), &Plan::era1("private", 0..=3)).open_spool().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&data, &[0; 100], 108).unwrap();
        let mut spool = resume(dir.path());
        assert_eq!([0, 1, 2].map(|nth| spool.holds(nth, Component::Body)), [true, false, true]);
        spool.put(1, Component::Body, &[9; 50]).unwrap();
        drop(spool);
        let spool = resume(dir.path());
        assert_eq!([0, 1, 2].map(|nth| spool.holds(nth, Component::Body)), [true; 3]);
        let mut found = Vec::new();
        spool.get(1, Component::Body, &mut found).unwrap();
        assert_eq!(found, [9; 50]);
    }

    #[test]
    fn what_was_lost_once_hides_nothing_of_what_came_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = resume(dir.path());
        for (nth, data) in [&[1; 100][..], &[2; 100], &[7; 50]].into_iter().enumerate() {
            spool.put(nth, Component::Body, data).unwrap();
        }
        drop(spool);
        Paths::of(dir.path(), &Plan::era1("private", 0..=3)).open_spool().unwrap().set_len(108).unwrap();
        let mut spool = resume(dir.path());
        assert_eq!([0, 1, 2].map(|nth| spool.holds(nth, Component::Body)), [true, false, false]);
        spool.put(1, Component::Body, &[2; 90]).unwrap();
        // By chance the lost record of block 2 is there again, within other data: two bytes behind where those begin.
        let header = RecordHeader::new(Component::Body.record_type(crate::Format::Era1), 50).encode();
        let around = [&[0; 2][..], &header, &[7; 50], &[0; 10]].concat();
        spool.put(3, Component::Body, &around).unwrap();
        drop(spool);
        let spool = resume(dir.path());
        for (nth, expected) in [&[1; 100][..], &[2; 90], &[7; 50], &around].into_iter().enumerate() {
            let mut found = Vec::new();
            spool.get(nth, Component::Body, &mut found).unwrap();
            assert_eq!(found, expected, "block {nth}");
        }
    }

    #[test]
    fn a_damaged_entry_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = resume(dir.path());
        (0..4).for_each(|nth| spool.put(nth, Component::Body, &[nth as u8; 100]).unwrap());
        drop(spool);
        let plan = Plan::era1("private", 0..=3);
        let journal = Paths::of(dir.path(), &plan).lock().unwrap().unwrap();
        let at = journal::head(&plan).len() + ENTRY_LEN + 5;
        std::os::unix::fs::FileExt::write_all_at(&journal, &[0xff], at as u64).unwrap();
        drop(journal);
        for _ in 0..2 {
            let spool = resume(dir.path());
            let held = [0, 1, 2, 3].map(|nth| spool.holds(nth, Component::Body));
            assert_eq!(held, [true, false, true, true]);
        }
    }
}
