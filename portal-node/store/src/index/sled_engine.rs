//! The default index engine: sled 0.34.

use std::{
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use super::{Batch, Index, IndexEngine, Visit};
use crate::error::IndexError;

/// The sled database as an index engine.
#[derive(Debug)]
pub struct SledEngine(sled::Db);

impl IndexEngine for SledEngine {
    fn open(dir: &Path, cache_bytes: u64) -> Result<Box<dyn Index>, IndexError> {
        // The store flushes when it needs a checkpoint; sled's own timer would only stall commits in between.
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None);
        // Some damage makes sled panic rather than return an error.
        let opened = panic::catch_unwind(AssertUnwindSafe(|| config.open()));
        let opened =
            opened.map_err(|_| IndexError::Engine { engine: "sled", message: "panicked on opening".into() })?;
        Ok(Box::new(Self(opened.map_err(engine_error)?)))
    }
}

impl Index for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.0.get(key).map_err(engine_error)?.map(|value| value.to_vec()))
    }

    fn apply(&self, batch: Batch) -> Result<(), IndexError> {
        let changes = batch.into_changes();
        // A change by itself is as good as a batch of one, and ten times faster: it locks nobody out.
        if let [(key, value)] = &changes[..] {
            let changed = match value {
                Some(value) => self.0.insert(key, &value[..]),
                None => self.0.remove(key),
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
        self.0.apply_batch(batch).map_err(engine_error)
    }

    fn scan(&self, first: &[u8], last: &[u8], backwards: bool, visit: Visit<'_>) -> Result<(), IndexError> {
        let mut range = self.0.range(first..=last);
        while let Some(entry) = if backwards { range.next_back() } else { range.next() } {
            let (key, value) = entry.map_err(engine_error)?;
            if visit(&key, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.0.flush().map(drop).map_err(engine_error)
    }
}

fn engine_error(error: sled::Error) -> IndexError {
    IndexError::Engine { engine: "sled", message: error.to_string() }
}
