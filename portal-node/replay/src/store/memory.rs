//! A store that forgets everything with the process: for tests, and for chains that are replayed in minutes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Reached, Snapshot, Store, StoreError, Table, WriteBatch};

type Tables = [Arc<BTreeMap<Vec<u8>, Vec<u8>>>; Table::ALL.len()];

/// Tables in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(RwLock<Content>);

#[derive(Debug, Clone, Default)]
struct Content {
    tables: Tables,
    reached: Option<Reached>,
}

/// The tables of a [`MemoryStore`] as they were.
#[derive(Debug)]
pub struct MemorySnapshot(Content);

impl MemoryStore {
    /// How many keys a table has.
    pub fn len(&self, table: Table) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).tables[table.index()].len()
    }
}

impl Store for MemoryStore {
    type Snapshot = MemorySnapshot;

    fn snapshot(&self) -> Result<Self::Snapshot, StoreError> {
        Ok(MemorySnapshot(self.0.read().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    fn commit(&self, batch: &WriteBatch, reached: Reached) -> Result<(), StoreError> {
        let mut content = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (table, writes) in content.tables.iter_mut().zip(&batch.tables) {
            let table = Arc::make_mut(table);
            for (key, value) in writes {
                match value {
                    Some(value) => table.insert(key.clone(), value.clone()),
                    None => table.remove(key),
                };
            }
        }
        for table in [Table::Slots, Table::Nodes] {
            let table = Arc::make_mut(&mut content.tables[table.index()]);
            for prefix in &batch.dropped {
                table.retain(|key, _| !key.starts_with(prefix));
            }
        }
        content.reached = Some(reached);
        Ok(())
    }
}

impl Snapshot for MemorySnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.tables[table.index()].get(key).cloned())
    }

    fn reached(&self) -> Option<Reached> {
        self.0.reached
    }
}
