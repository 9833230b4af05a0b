//! A spool found again: which of its records are whole, and where.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::file::TemporaryFile;
use super::journal::{self, ENTRY_LEN, JournalEntry, Paths, Region};
use super::plan::Plan;
use super::spool::{RecordSpan, Spool, SpoolKeeper};
use super::tail::Tail;
use crate::component::Component;
use crate::e2store::RECORD_HEADER_LEN;
use crate::source::ReadAt;

/// Bytes read at a time where only their checksum is of interest.
const PIECE_LEN: usize = 1 << 16;

impl JournalEntry {
    /// Offset behind the record.
    fn end(&self) -> u64 {
        self.offset.saturating_add(RECORD_HEADER_LEN).saturating_add(self.length.into())
    }
}

impl Spool {
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
        let head = journal::head(plan);
        let mut spool = Self::new(plan, blocks, paths.open_spool()?, TemporaryFile::keep(&paths.target)?)?;
        // Where the record whose turn it is has to lie: behind the version record at first.
        let mut target_end = spool.end();
        let (mut spool_end, mut journal_end) = (0, 0);
        let mut stranded = Vec::new();
        if starts_with(&journal, &head)? {
            journal_end = head.len() as u64;
            let mut entries = BufReader::with_capacity(PIECE_LEN, &journal);
            entries.seek(SeekFrom::Start(journal_end))?;
            let mut read = journal_end;
            while let Some(bytes) = next_entry(&mut entries)? {
                read += ENTRY_LEN as u64;
                // Each entry stands for itself. What a power cut left of others, in front of it or in the place of its
                // data, does not hold against it.
                let Some(entry) = JournalEntry::decode(&bytes, &head) else { continue };
                journal_end = read;
                let nth = entry.nth as usize;
                let is_next = spool.next() == Some((nth, entry.component));
                let is_placed = entry.region == Region::Target && is_next && entry.offset == target_end;
                let belongs = nth < blocks && plan.components.has(entry.component);
                if !belongs || !is_placed && spool.holds(nth, entry.component) {
                    continue;
                }
                let file = match entry.region {
                    Region::Spool => &spool.spooled.file,
                    Region::Target => &spool.target.file,
                };
                if !is_sound(file, &entry, &mut accept)? {
                    continue;
                }
                match entry.region {
                    Region::Spool => spool_end = spool_end.max(entry.end()),
                    Region::Target if is_placed => target_end = entry.end(),
                    // Something in front of it is lost.
                    Region::Target => {
                        stranded.push(entry);
                        continue;
                    }
                }
                let JournalEntry { component, region, offset, length, .. } = entry;
                spool.note(nth, component, RecordSpan { region, offset, length });
            }
        }
        spool.spooled.cut(spool_end)?;
        let mut journal = Tail::new(journal, 0);
        journal.cut(journal_end)?;
        if journal_end == 0 {
            journal.append(&[&head])?;
            journal.flush()?;
        }
        spool.kept = Some(SpoolKeeper { paths, head, journal, is_listed: false });
        spool.rescue(&stranded)?;
        spool.target.flush()?;
        spool.target.cut(target_end)?;
        Ok(Some(spool))
    }

    /// Copies records from places that are not theirs any more into the spool: they would be written over.
    fn rescue(&mut self, stranded: &[JournalEntry]) -> io::Result<()> {
        let mut record = Vec::new();
        let mut is_any = false;
        for entry in stranded {
            let nth = entry.nth as usize;
            if !self.holds(nth, entry.component) {
                record.resize(RECORD_HEADER_LEN as usize + entry.length as usize, 0);
                ReadAt::read_exact_at(&self.target.file, &mut record, entry.offset)?;
                self.keep(nth, entry.component, Region::Spool, &[&record])?;
                is_any = true;
            }
        }
        // They may have been on the disk before.
        if is_any { self.sync() } else { Ok(()) }
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

/// The bytes of the next entry, or `None` where no whole one follows.
fn next_entry(entries: &mut impl Read) -> io::Result<Option<[u8; ENTRY_LEN]>> {
    let mut bytes = [0; ENTRY_LEN];
    match entries.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the record of an entry is what was put there.
fn is_sound(
    file: &File,
    entry: &JournalEntry,
    accept: &mut impl FnMut(usize, Component, &[u8]) -> bool,
) -> io::Result<bool> {
    if u64::from(entry.length) > entry.component.stored_limit() || entry.end() > ReadAt::len(file)? {
        return Ok(false);
    }
    let is_small = matches!(entry.component, Component::Header | Component::TotalDifficulty);
    let mut left = RECORD_HEADER_LEN as usize + entry.length as usize;
    let mut piece = vec![0; if is_small { left } else { PIECE_LEN.min(left) }];
    let mut offset = entry.offset;
    let mut checksum = 0;
    while left > 0 {
        piece.truncate(left);
        ReadAt::read_exact_at(file, &mut piece, offset)?;
        checksum = crc32c::crc32c_append(checksum, &piece);
        offset += piece.len() as u64;
        left -= piece.len();
    }
    let data = piece.get(RECORD_HEADER_LEN as usize..).unwrap_or_default();
    Ok(checksum == entry.checksum && (!is_small || accept(entry.nth as usize, entry.component, data)))
}
