//! The journal of a spool that outlives its process: what was put, and where it lies.
//!
//! A head that names the plan, then entries of fixed length, each with a checksum of its own and one of the record that it
//! stands for. Records are written before their entries. After a power cut the disk may have the entry without the record,
//! so on resuming an entry counts if both checksums are right, and for no other reason. A record that was copied from the
//! spool into its place has two entries.
//!
//! Entries that do not count stay in the journal: nothing is written anew, so there is no moment at which a kill could
//! cost the others. What is put later may come to lie where their records were meant to be. Then they fail their checksum
//! still; or else the bytes are the same, and they are right about them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::component::{Component, Format};
use crate::write::file;
use crate::write::plan::Plan;

/// The first bytes of a journal.
const MAGIC: &[u8; 8] = b"cairnjnl";
/// Version of the journal's layout. A journal of another is begun anew, and its spool with it.
const VERSION: u32 = 2;
/// Bytes of an entry.
pub(crate) const ENTRY_LEN: usize = 28;
/// Attempts to lock a journal that others create and remove at the same time.
const MAX_ATTEMPTS: u32 = 100;

/// The head of the journal of a plan. Journals of equal heads are of the same plan and layout.
pub(crate) fn head(plan: &Plan) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.push(format_tag(plan.format));
    head.push(component_bits(plan));
    head.extend_from_slice(&plan.blocks.start().to_le_bytes());
    head.extend_from_slice(&plan.blocks.end().to_le_bytes());
    head.extend_from_slice(&(plan.network.len() as u64).to_le_bytes());
    head.extend_from_slice(plan.network.as_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    head
}

fn format_tag(format: Format) -> u8 {
    match format {
        Format::Era1 => 1,
        Format::Ere => 2,
    }
}

fn component_bits(plan: &Plan) -> u8 {
    plan.components.iter().fold(0, |bits, component| bits | 1 << component.slot())
}

/// The file that a record lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Region {
    /// The spool, where records wait.
    Spool,
    /// The archive that is being written.
    Target,
}

/// A record that was put, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalEntry {
    /// The block's position in the plan.
    pub(crate) nth: u32,
    pub(crate) component: Component,
    pub(crate) region: Region,
    /// Where the record's header lies, with the data behind it.
    pub(crate) offset: u64,
    /// Bytes of the data.
    pub(crate) length: u32,
    /// CRC-32C of header and data.
    pub(crate) checksum: u32,
}

impl JournalEntry {
    /// The entry's bytes in a journal with this head.
    pub(crate) fn encode(self, head: &[u8]) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        let fields = [
            &self.nth.to_le_bytes()[..],
            &[self.component.slot() as u8, self.region as u8, 0, 0],
            &self.offset.to_le_bytes(),
            &self.length.to_le_bytes(),
            &self.checksum.to_le_bytes(),
        ];
        let mut rest = &mut bytes[..];
        for field in fields {
            if let Some((place, behind)) = std::mem::take(&mut rest).split_at_mut_checked(field.len()) {
                place.copy_from_slice(field);
                rest = behind;
            }
        }
        let (fields, checksum) = bytes.split_at_mut(ENTRY_LEN - 4);
        checksum.copy_from_slice(&own_checksum(head, fields).to_le_bytes());
        bytes
    }

    /// Reads an entry, unless it was cut, damaged, or made for another plan.
    pub(crate) fn decode(bytes: &[u8; ENTRY_LEN], head: &[u8]) -> Option<Self> {
        let (fields, checksum) = bytes.split_last_chunk()?;
        if u32::from_le_bytes(*checksum) != own_checksum(head, fields) {
            return None;
        }
        let (nth, fields) = fields.split_first_chunk()?;
        let ([slot, region, 0, 0], fields) = fields.split_first_chunk()? else { return None };
        let (offset, fields) = fields.split_first_chunk()?;
        let (length, fields) = fields.split_first_chunk()?;
        Some(Self {
            nth: u32::from_le_bytes(*nth),
            component: *Component::ALL.get(usize::from(*slot))?,
            region: *[Region::Spool, Region::Target].get(usize::from(*region))?,
            offset: u64::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            checksum: u32::from_le_bytes(fields.try_into().ok()?),
        })
    }
}

fn own_checksum(head: &[u8], fields: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), fields)
}

/// The hidden files of a plan.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) dir: PathBuf,
    pub(crate) spool: PathBuf,
    pub(crate) journal: PathBuf,
    /// The archive while it is being written.
    pub(crate) target: PathBuf,
}

impl Paths {
    /// Plans that differ in anything have other files.
    pub(crate) fn of(dir: &Path, plan: &Plan) -> Self {
        let format = match plan.format {
            Format::Era1 => "era1",
            Format::Ere => "ere",
        };
        let (first, last) = (plan.blocks.start(), plan.blocks.end());
        let (era, bits) = (plan.era(), component_bits(plan));
        let stem = format!(".cairn-{}-{era:05}-{first}-{last}-{format}{bits:02x}", plan.network);
        let path = |suffix: &str| dir.join(format!("{stem}.{suffix}"));
        Self { dir: dir.to_owned(), spool: path("spool"), journal: path("journal"), target: path("tmp") }
    }

    /// Bytes of the longer of the two files that hold what was put; 0 where there is none.
    pub(crate) fn spooled_bytes(&self) -> u64 {
        let length =
            |path| std::fs::symlink_metadata(path).map_or(0, |there| if there.is_file() { there.len() } else { 0 });
        length(&self.target).max(length(&self.spool))
    }

    /// Opens the journal, made if there is none, and keeps every other writer away from it until it is closed. `None`
    /// when another has it.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        for _ in 0..MAX_ATTEMPTS {
            let file = file::open_own(&self.journal)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
            // Whoever had the lock before may have removed the file between opening and locking it here.
            let ours = file.metadata()?;
            match std::fs::metadata(&self.journal) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(Some(file)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(crate) fn open_spool(&self) -> io::Result<File> {
        file::open_own(&self.spool)
    }

    /// Removes them all, while the journal is locked: it goes last.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for path in [&self.target, &self.spool, &self.journal] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_round_trip_and_no_other_bytes_are_one(
            nth: u32, slot in 0..Component::COUNT, is_placed: bool, offset: u64, length: u32, checksum: u32, at in 0..ENTRY_LEN, flip in 1..=255_u8,
        ) {
            let head = head(&Plan::era1("private", 0..=3));
            let region = if is_placed { Region::Target } else { Region::Spool };
            let entry = JournalEntry { nth, component: Component::ALL[slot], region, offset, length, checksum };
            let mut bytes = entry.encode(&head);
            prop_assert_eq!(JournalEntry::decode(&bytes, &head), Some(entry));
            prop_assert_eq!(JournalEntry::decode(&bytes, b"of another plan"), None);
            bytes[at] ^= flip;
            prop_assert_eq!(JournalEntry::decode(&bytes, &head), None);
        }
    }

    #[test]
    fn plans_that_differ_have_other_files_and_heads() {
        let plans = [
            Plan::era1("private", 0..=3),
            Plan::era1("private", 0..=4),
            Plan::era1("private", 1..=3),
            Plan::era1("public", 0..=3),
            Plan::ere("private", 0..=3, Default::default()),
            Plan::ere("private", 0..=3, [Component::Proof].into_iter().collect()),
        ];
        let dir = Path::new("/dir");
        for (at, plan) in plans.iter().enumerate() {
            for other in &plans[..at] {
                assert_ne!(head(plan), head(other));
                assert_ne!(Paths::of(dir, plan).journal, Paths::of(dir, other).journal);
            }
        }
    }

    #[test]
    fn a_journal_has_one_owner_and_a_removed_one_none() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::of(dir.path(), &Plan::era1("private", 0..=3));
        let first = paths.lock().unwrap().unwrap();
        assert!(paths.lock().unwrap().is_none());
        drop(first);
        let second = paths.lock().unwrap().unwrap();
        paths.remove().unwrap();
        let third = paths.lock().unwrap().unwrap();
        assert_ne!(second.metadata().unwrap().ino(), third.metadata().unwrap().ino());
    }
}
