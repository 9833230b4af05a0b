//! The default index engine: sled 0.34.

use std::{
    fs::File,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use super::{Batch, Index, IndexEngine, KeyOrder, Visit};
use crate::error::IndexError;

/// The file that sled's log is in.
const LOG_FILE: &str = "db";

/// The sled database as an index engine.
#[derive(Debug)]
pub struct SledEngine {
    db: sled::Db,
    log: File,
}

impl IndexEngine for SledEngine {
    fn open(dir: &Path, cache_bytes: u64) -> Result<Box<dyn Index>, IndexError> {
        // The store flushes when it needs a checkpoint; sled's own timer would only stall commits in between.
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None);
        // Some damage makes sled panic rather than return an error.
        let opened = panic::catch_unwind(AssertUnwindSafe(|| config.open()));
        let opened =
            opened.map_err(|_| IndexError::Engine { engine: "sled", message: "panicked on opening".into() })?;
        let db = opened.map_err(engine_error)?;
        let log = File::open(dir.join(LOG_FILE)).map_err(|error| engine_error(error.into()))?;
        Ok(Box::new(Self { db, log }))
    }
}

impl Index for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.db.get(key).map_err(engine_error)?.map(|value| value.to_vec()))
    }

    fn apply(&self, batch: Batch) -> Result<(), IndexError> {
        let changes = batch.into_changes();
        // A change by itself is as good as a batch of one. For a batch sled writes out what it has and locks everybody out.
        if let [(key, value)] = &changes[..] {
            let changed = match value {
                Some(value) => self.db.insert(key, &value[..]),
                None => self.db.remove(key),
            };
            return changed.map(drop).map_err(engine_error);
        }
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(engine_error)
    }

    fn scan(&self, first: &[u8], last: &[u8], order: KeyOrder, visit: Visit<'_>) -> Result<(), IndexError> {
        let mut range = self.db.range(first..=last);
        let mut next = || match order {
            KeyOrder::Rising => range.next(),
            KeyOrder::Falling => range.next_back(),
        };
        while let Some(entry) = next() {
            let (key, value) = entry.map_err(engine_error)?;
            if visit(&key, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.db.flush().map_err(engine_error)?;
        // Sled only sees to it that the bytes reach the disk, not that the file is known to have grown.
        self.log.sync_data().map_err(|error| engine_error(error.into()))
    }
}

fn engine_error(error: sled::Error) -> IndexError {
    match error {
        sled::Error::Io(source) => IndexError::Io { engine: "sled", source: source.into() },
        error => IndexError::Engine { engine: "sled", message: error.to_string() },
    }
}
