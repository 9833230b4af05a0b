//! Keeps the index small. An engine like sled takes more and more room the more its entries change, up to twenty times what
//! they need; copied into a fresh one they take a hundred bytes each.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    archives::AddedArchives, core::Core, error::StoreError, index::archived, recovery::next_engine, signal::Signal,
};

/// Bytes that an index may take in any case.
const ALLOWED: u64 = 8 << 20;
/// Bytes that it may take for each entry, and for each hash of an archive's blocks.
const ALLOWED_PER_ENTRY: u64 = 256;
/// How many times the room of a fresh one it may take. Should entries need more than is allowed for, it is not renewed
/// without end.
const ALLOWED_GROWTH: u64 = 2;
/// Pause between looks whether the old index is still being read.
const READ_PAUSE: Duration = Duration::from_millis(1);
/// Time after which it is tried again when it failed: the disk may be full, and the old index does.
const RETRY_AFTER: Duration = Duration::from_secs(600);
/// Bytes of `st_blocks`' unit.
const STAT_BLOCK: u64 = 512;

/// Watches over the size of the index.
pub(crate) struct Renewal {
    core: Arc<Core>,
    archives: Arc<AddedArchives>,
    /// Bytes that the index took when it was fresh.
    fresh: u64,
    /// When it may be tried again after a failure.
    not_before: Option<Instant>,
}

impl Renewal {
    pub(crate) fn new(core: Arc<Core>, archives: Arc<AddedArchives>) -> Self {
        Self { core, archives, fresh: 0, not_before: None }
    }

    /// Renews the index if it has grown too large.
    pub(crate) fn step(&mut self, signal: &Signal) -> Result<bool, StoreError> {
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return Ok(false);
        }
        let core = &self.core;
        let dir = core.index_dir.lock().clone();
        let failed = |error| StoreError::io("measure", &dir)(error);
        let size = size(&dir).map_err(failed)?;
        let archived = self.archives.blocks();
        let hashes: u64 = archived.iter().map(|(_, blocks)| blocks.end() - blocks.start() + 1).sum();
        let entries: u64 = core.ledger.read().networks.iter().map(|usage| usage.items).sum::<u64>() + hashes;
        if size <= ALLOWED + entries * ALLOWED_PER_ENTRY || size <= self.fresh * ALLOWED_GROWTH {
            return Ok(false);
        }
        let fresh_dir = next_engine(&dir);
        remove(&fresh_dir)?;
        let fresh = (core.open_engine)(&fresh_dir, core.config.index_cache)?;
        let renewed = core.index.renew(fresh, &archived::keep(&archived), &|| signal.is_stopped());
        let old = match renewed {
            Ok(Some(old)) => old,
            Ok(None) => return Ok(false),
            Err(error) => {
                self.not_before = Some(Instant::now() + RETRY_AFTER);
                remove(&fresh_dir)?;
                return Err(error.into());
            }
        };
        *core.index_dir.lock() = fresh_dir.clone();
        // Reads that began before are soon done with it.
        while Arc::strong_count(&old) > 1 {
            thread::sleep(READ_PAUSE);
        }
        drop(old);
        remove(&dir)?;
        self.fresh = self::size(&fresh_dir).map_err(failed)?;
        tracing::info!(entries, before = size, after = self.fresh, "renewed the index");
        Ok(false)
    }
}

fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// Bytes that a directory's files take on the disk.
fn size(dir: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        size += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => self::size(&entry.path())?,
            Ok(metadata) => metadata.blocks() * STAT_BLOCK,
            // Engines delete files of their own while they work.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(size)
}
