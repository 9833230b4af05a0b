//! The volumes' files: listing, opening, reading, cutting, punching and deleting. Writing is the [`writer`](crate::writer)'s.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustix::{
    buffer::spare_capacity,
    fs::{Advice, FallocateFlags},
    io::Errno,
};

use crate::{
    error::StoreError,
    index::RecordLocation,
    record::{
        MAX_KEY_LEN, MAX_VALUE_LEN, Marker, Place, RECORD_HEADER_LEN, RecordError, VOLUME_HEADER_LEN, VolumeHeader,
        VolumeRecordHeader,
    },
};

/// Volume files that are held open at the same time. Opening one again costs some microseconds.
const MAX_OPEN_FILES: usize = 256;
/// Bytes of `st_blocks`' unit, whatever the file system's block size is.
const STAT_BLOCK: u64 = 512;
/// Bytes of the unit in which a hole can be punched.
const PUNCH_BLOCK: u64 = 4096;

/// Bytes of a record at most.
const MAX_RECORD_LEN: usize = RECORD_HEADER_LEN + MAX_KEY_LEN + MAX_VALUE_LEN;

const EXTENSION: &str = "volume";
const DAMAGED_EXTENSION: &str = "damaged";

/// The directory of the volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    dir: PathBuf,
    open: Mutex<HashMap<u32, Arc<File>>>,
    /// Bytes that sealed volumes took when they were last measured, unless a hole was punched since.
    allocated: Mutex<HashMap<u32, u64>>,
}

impl Volumes {
    pub(crate) fn new(dir: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        Ok(Self { dir, open: Mutex::default(), allocated: Mutex::default() })
    }

    /// The volumes that there are, with the lengths of their files.
    pub(crate) fn list(&self) -> Result<BTreeMap<u32, u64>, StoreError> {
        let failed = || StoreError::io("list", &self.dir);
        let mut volumes = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            if let Some(number) = number_of(&entry.path()) {
                volumes.insert(number, entry.metadata().map_err(failed())?.len());
            }
        }
        Ok(volumes)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08}.{EXTENSION}"))
    }

    /// The file of a volume, for reading and writing.
    pub(crate) fn file(&self, number: u32) -> io::Result<Arc<File>> {
        if let Some(file) = self.open.lock().get(&number) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::options().read(true).write(true).open(self.path(number))?);
        self.keep_open(number, file.clone());
        Ok(file)
    }

    /// The file of a volume, for reading it from end to end.
    pub(crate) fn file_to_scan(&self, number: u32) -> io::Result<File> {
        File::open(self.path(number))
    }

    pub(crate) fn keep_open(&self, number: u32, file: Arc<File>) {
        // Records are read one here, one there: what lies behind one is not worth reading. Only advice.
        let _ = rustix::fs::fadvise(&*file, 0, None, Advice::Random);
        let mut open = self.open.lock();
        if open.len() >= MAX_OPEN_FILES {
            // Any one will do: which volume is read next is as good as random.
            let victim = open.keys().next().copied();
            victim.and_then(|number| open.remove(&number));
        }
        open.insert(number, file);
    }

    /// The record at `location`, whole.
    pub(crate) fn read(&self, location: &RecordLocation) -> io::Result<Vec<u8>> {
        let file = self.file(location.place.volume)?;
        let len = location.len as usize;
        // The index is only as trustworthy as the disk: don't reserve what no record can fill.
        if len > MAX_RECORD_LEN {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = u64::from(location.place.offset) + bytes.len() as u64;
            match rustix::io::pread(&*file, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    /// The header and the key of the record at a place, without its value.
    pub(crate) fn read_header(
        &self,
        volume: u32,
        offset: u32,
    ) -> io::Result<Result<(VolumeRecordHeader, Vec<u8>), RecordError>> {
        let file = self.file(volume)?;
        let mut bytes = [0; RECORD_HEADER_LEN + MAX_KEY_LEN];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], u64::from(offset) + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(VolumeRecordHeader::decode_unmarked(&bytes[..filled]).map(|(header, key)| (header, key.to_vec())))
    }

    /// A volume's header; when it is damaged, the marker of the first record takes its place.
    pub(crate) fn header(&self, number: u32) -> io::Result<Result<VolumeHeader, RecordError>> {
        let file = self.file(number)?;
        let mut bytes = [0; VOLUME_HEADER_LEN];
        let error = match file.read_exact_at(&mut bytes, 0).map(|()| VolumeHeader::decode(&bytes)) {
            Ok(Ok(header)) if header.number == number => return Ok(Ok(header)),
            Ok(Ok(_)) => RecordError::Field("number"),
            Ok(Err(error)) => error,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => RecordError::Short,
            Err(error) => return Err(error),
        };
        let mut marker = Marker::default();
        let first_record = self.read_header(number, VOLUME_HEADER_LEN as u32)?;
        if first_record.is_ok() {
            file.read_exact_at(&mut marker, VOLUME_HEADER_LEN as u64)?;
            return Ok(Ok(VolumeHeader { number, marker, previous_end: Place::NOWHERE }));
        }
        Ok(Err(error))
    }

    /// Cuts a volume off at `len`.
    pub(crate) fn truncate(&self, number: u32, len: u64) -> io::Result<()> {
        let file = self.file(number)?;
        file.set_len(len)?;
        file.sync_all()
    }

    /// Gives back to the file system what a dead record took.
    pub(crate) fn punch(&self, hole: &Hole) -> io::Result<()> {
        let file = self.file(hole.volume)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let punched = rustix::fs::fallocate(&*file, flags, hole.from, hole.len);
        self.allocated.lock().remove(&hole.volume);
        match punched {
            // Without holes, room comes back when the volume is rewritten.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that a volume takes on the disk, without its holes.
    pub(crate) fn allocated(&self, number: u32) -> io::Result<u64> {
        Ok(fs::metadata(self.path(number))?.blocks() * STAT_BLOCK)
    }

    /// Bytes that a volume takes on the disk to which nothing is appended any more, measured only if that may have changed:
    /// asking the file system for thousands of volumes time and again is work for the disk.
    pub(crate) fn allocated_sealed(&self, number: u32) -> io::Result<u64> {
        if let Some(allocated) = self.allocated.lock().get(&number) {
            return Ok(*allocated);
        }
        let allocated = self.allocated(number)?;
        self.allocated.lock().insert(number, allocated);
        Ok(allocated)
    }

    /// Deletes a volume.
    pub(crate) fn delete(&self, number: u32) -> io::Result<()> {
        // Freeing the blocks may take seconds; otherwise whoever happens to close the file last would wait for it.
        self.file(number)?.set_len(0)?;
        self.open.lock().remove(&number);
        self.allocated.lock().remove(&number);
        fs::remove_file(self.path(number))
    }

    /// Takes a volume that cannot be read out of the store, but leaves its file for somebody to look at.
    pub(crate) fn set_aside(&self, number: u32) -> io::Result<()> {
        self.open.lock().remove(&number);
        self.allocated.lock().remove(&number);
        let path = self.path(number);
        fs::rename(&path, path.with_extension(DAMAGED_EXTENSION))
    }
}

/// The whole blocks of a dead record, without its header, which the scan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) volume: u32,
    from: u64,
    pub(crate) len: u64,
}

impl Hole {
    /// `None` when there is no whole block in the record.
    pub(crate) fn of(dead: &RecordLocation) -> Option<Self> {
        let start = u64::from(dead.place.offset);
        let from = (start + (RECORD_HEADER_LEN + MAX_KEY_LEN) as u64).next_multiple_of(PUNCH_BLOCK);
        let end = (start + u64::from(dead.len)) / PUNCH_BLOCK * PUNCH_BLOCK;
        let len = end.checked_sub(from).filter(|len| *len > 0)?;
        Some(Self { volume: dead.place.volume, from, len })
    }
}

fn number_of(path: &Path) -> Option<u32> {
    if path.extension()? != EXTENSION {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}
