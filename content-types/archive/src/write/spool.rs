//! Records in the order in which they came, until they are written in the order of the file.
//!
//! The records lie in a file without a name, or in one with a journal that outlives the process; in memory is where each
//! of them lies, half a megabyte for a whole era.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::file::{self, TemporaryFile};
use super::journal::{self, ENTRY_LEN, Entry, Paths};
use super::plan::Plan;
use super::tail::Tail;
use crate::component::Component;
use crate::source::ReadAt;

/// Bytes of journal entries collected before they are written: a flush does that in general, long before.
const MAX_PENDING_ENTRIES: usize = 1 << 16;
/// Bytes read at a time where only their checksum is of interest.
const PIECE_LEN: usize = 1 << 16;

/// Where a record's data lies in the spool.
#[derive(Debug, Clone, Copy)]
struct Span {
    offset: u64,
    length: u32,
}

/// The spool of one archive.
#[derive(Debug)]
pub(crate) struct Spool {
    data: Tail,
    /// Bytes of the records that it holds.
    len: u64,
    spans: Vec<[Option<Span>; Component::COUNT]>,
    kept: Option<Kept>,
}

/// What makes a spool outlive its process.
#[derive(Debug)]
struct Kept {
    paths: Paths,
    head: Vec<u8>,
    journal: Tail,
    /// Whether the files' names are on the disk.
    is_listed: bool,
}

impl Spool {
    /// A spool for `blocks` blocks on the disk of `dir`, gone when it is closed.
    pub(crate) fn create(dir: &Path, blocks: usize) -> io::Result<Self> {
        Ok(Self::new(Tail::new(file::unnamed(dir)?, 0), blocks, None))
    }

    fn new(data: Tail, blocks: usize, kept: Option<Kept>) -> Self {
        Self { data, len: 0, spans: vec![[None; Component::COUNT]; blocks], kept }
    }

    /// The spool of `plan` in `dir` with what was put into it before, or an empty one. `None` when another writer has it.
    /// `accept` is shown the headers and total difficulties that are there, and may refuse them.
    pub(crate) fn resume(
        dir: &Path,
        plan: &Plan,
        blocks: usize,
        mut accept: impl FnMut(usize, Component, &[u8]) -> bool,
    ) -> io::Result<Option<Self>> {
        let paths = Paths::of(dir, plan);
        let Some(journal) = paths.lock()? else { return Ok(None) };
        let data = paths.open_spool()?;
        let head = journal::head(plan);
        let data_len = data.metadata()?.len();
        let mut spool = Self::new(Tail::new(data, 0), blocks, None);
        let (mut data_end, mut journal_end) = (0, 0);
        if starts_with(&journal, &head)? {
            journal_end = head.len() as u64;
            let mut entries = BufReader::with_capacity(PIECE_LEN, &journal);
            entries.seek(SeekFrom::Start(journal_end))?;
            while let Some(entry) = next_entry(&mut entries, &head)? {
                journal_end += ENTRY_LEN as u64;
                let free =
                    spool.spans.get(entry.nth as usize).is_some_and(|spans| spans[entry.component.slot()].is_none());
                let lies_behind =
                    entry.offset >= data_end && entry.offset.saturating_add(entry.length.into()) <= data_len;
                let belongs = plan.components.has(entry.component) && free && lies_behind;
                if belongs && is_sound(&spool.data.file, &entry, &mut accept)? {
                    spool.note(entry);
                    data_end = entry.offset + u64::from(entry.length);
                }
            }
        }
        spool.data.cut(data_end)?;
        let mut journal = Tail::new(journal, 0);
        journal.cut(journal_end)?;
        if journal_end == 0 {
            journal.append(&head)?;
            journal.flush()?;
        }
        spool.kept = Some(Kept { paths, head, journal, is_listed: false });
        Ok(Some(spool))
    }

    pub(crate) fn holds(&self, nth: usize, component: Component) -> bool {
        self.span(nth, component).is_some()
    }

    /// Bytes of the records that the spool holds.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Keeps the data of a record of the `nth` block. If it fails, the spool is as it was.
    pub(crate) fn put(&mut self, nth: usize, component: Component, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let position = u32::try_from(nth).map_err(|_| io::ErrorKind::InvalidInput)?;
        if nth >= self.spans.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.kept.as_ref().is_some_and(|kept| kept.journal.pending() >= MAX_PENDING_ENTRIES) {
            self.flush()?;
        }
        let offset = self.data.append(data)?;
        let checksum = if self.kept.is_some() { crc32c::crc32c(data) } else { 0 };
        let entry = Entry { nth: position, component, offset, length, checksum };
        if let Some(kept) = &mut self.kept {
            // There is room among what is pending, so nothing is written in front of the data here.
            kept.journal.append(&entry.encode(&kept.head))?;
        }
        self.note(entry);
        Ok(())
    }

    fn note(&mut self, entry: Entry) {
        if let Some(spans) = self.spans.get_mut(entry.nth as usize) {
            spans[entry.component.slot()] = Some(Span { offset: entry.offset, length: entry.length });
            self.len += u64::from(entry.length);
        }
    }

    /// Hands everything to the operating system, data first: what was put outlives the process.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.data.flush()?;
        self.kept.as_mut().map_or(Ok(()), |kept| kept.journal.flush())
    }

    /// Brings everything to the disk, data first: what was put outlives a power cut.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.data.flush()?;
        let Some(kept) = &mut self.kept else { return Ok(()) };
        self.data.file.sync_data()?;
        kept.journal.flush()?;
        kept.journal.file.sync_data()?;
        if !kept.is_listed {
            File::open(&kept.paths.dir)?.sync_all()?;
            kept.is_listed = true;
        }
        Ok(())
    }

    /// A file for what the spool's records are copied into.
    pub(crate) fn target(&self, dir: &Path) -> io::Result<TemporaryFile> {
        self.kept.as_ref().map_or_else(|| TemporaryFile::create(dir), |kept| TemporaryFile::replace(&kept.paths.target))
    }

    /// Removes the files that would outlive the process.
    pub(crate) fn discard(&mut self) -> io::Result<()> {
        // From here on there is nothing to keep, so dropping the spool writes nothing either.
        self.kept.take().map_or(Ok(()), |kept| kept.paths.remove())
    }

    /// Replaces what `data` holds by a record's data.
    pub(crate) fn get(&self, nth: usize, component: Component, data: &mut Vec<u8>) -> io::Result<()> {
        let span = self.span(nth, component).ok_or(io::ErrorKind::NotFound)?;
        data.resize(span.length as usize, 0);
        self.data.read(data, span.offset)
    }

    fn span(&self, nth: usize, component: Component) -> Option<Span> {
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

fn starts_with(file: &File, head: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; head.len()];
    match ReadAt::read_exact_at(file, &mut found, 0) {
        Ok(()) => Ok(found == head),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The next entry, or `None` where the journal ends or was torn.
fn next_entry(entries: &mut impl Read, head: &[u8]) -> io::Result<Option<Entry>> {
    let mut bytes = [0; ENTRY_LEN];
    match entries.read_exact(&mut bytes) {
        Ok(()) => Ok(Entry::decode(&bytes, head)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the data of an entry is what was put there.
fn is_sound(data: &File, entry: &Entry, accept: &mut impl FnMut(usize, Component, &[u8]) -> bool) -> io::Result<bool> {
    if u64::from(entry.length) > entry.component.stored_limit() {
        return Ok(false);
    }
    let is_small = matches!(entry.component, Component::Header | Component::TotalDifficulty);
    let mut piece = vec![0; if is_small { entry.length as usize } else { PIECE_LEN.min(entry.length as usize) }];
    let (mut offset, mut left) = (entry.offset, entry.length as usize);
    let mut checksum = 0;
    while left > 0 {
        piece.truncate(left);
        ReadAt::read_exact_at(data, &mut piece, offset)?;
        checksum = crc32c::crc32c_append(checksum, &piece);
        offset += piece.len() as u64;
        left -= piece.len();
    }
    Ok(checksum == entry.checksum && (!is_small || accept(entry.nth as usize, entry.component, &piece)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let file = std::mem::replace(&mut spool.data.file, full);
        for _ in 0..2 {
            assert_eq!(spool.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
            let put = spool.put(2, Component::Body, &[7; MORE_THAN_IS_COLLECTED]);
            assert_eq!(put.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert!(!spool.holds(2, Component::Body));
        }
        spool.data.file = file;
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
        std::os::unix::fs::FileExt::write_all_at(&data, &[0; 100], 100).unwrap();
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
}
