//! The store on disk: redb, one file. A batch is one write transaction, which is on disk whole or not at all.

use std::path::Path;
use std::{fs, io};

use alloy_rlp::Decodable as _;
use redb::{Database, ReadOnlyTable, ReadableDatabase as _, TableDefinition};

use super::{Reached, Snapshot, Store, StoreError, Table, WriteBatch};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The name of each of [`Table::ALL`].
const TABLES: [Definition; Table::ALL.len()] = [
    Definition::new("accounts"),
    Definition::new("slots"),
    Definition::new("codes"),
    Definition::new("nodes"),
    Definition::new("blocks"),
];

/// What is there once: how far the store is.
const META: Definition = Definition::new("meta");
const REACHED: &[u8] = b"reached";

/// What a file's name ends with while it is made.
const UNFINISHED: &str = ".unfinished";

/// A file with the tables.
#[derive(Debug)]
pub struct DiskStore(Database);

/// The tables of a [`DiskStore`] as they were.
pub struct DiskSnapshot {
    tables: Vec<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    reached: Option<Reached>,
}

impl DiskStore {
    /// Opens the file, or makes it. `cache` is what the database may hold in memory, in bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`]; another process that has the file open is one reason.
    pub fn open(path: impl AsRef<Path>, cache: usize) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.exists() {
            make(path)?;
        }
        Ok(Self(Database::builder().set_cache_size(cache).open(path).map_err(failed)?))
    }

    /// Moves what is in the file together and gives the rest back, which may be more than half of it: batches that touch most of
    /// the state leave as much free. Takes seconds for each 100 MB.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn compact(&mut self) -> Result<(), StoreError> {
        self.0.compact().map(drop).map_err(failed)
    }
}

/// Makes the file, with its tables, so that a snapshot finds them. A file that is half made is no database and would never be
/// opened again: it gets its name when it is whole.
fn make(path: &Path) -> Result<(), StoreError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let database = Database::create(&unfinished).map_err(failed)?;
    let transaction = database.begin_write().map_err(failed)?;
    for definition in TABLES.into_iter().chain([META]) {
        transaction.open_table(definition).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    drop(database);
    fs::rename(&unfinished, path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

impl Store for DiskStore {
    type Snapshot = DiskSnapshot;

    fn snapshot(&self) -> Result<Self::Snapshot, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let meta = transaction.open_table(META).map_err(failed)?;
        let reached = match meta.get(REACHED).map_err(failed)? {
            Some(bytes) => Some(Reached::decode(&mut bytes.value()).map_err(|_| StoreError::NoBlock)?),
            None => None,
        };
        let tables = TABLES.into_iter().map(|definition| transaction.open_table(definition).map_err(failed));
        Ok(DiskSnapshot { tables: tables.collect::<Result<_, _>>()?, reached })
    }

    fn commit(&self, batch: &WriteBatch, reached: Reached) -> Result<(), StoreError> {
        let mut transaction = self.0.begin_write().map_err(failed)?;
        // Which pages are free is written as well. Otherwise the whole file would be read to find out, after a crash.
        transaction.set_quick_repair(true);
        for (definition, writes) in TABLES.into_iter().zip(&batch.tables) {
            let mut table = transaction.open_table(definition).map_err(failed)?;
            for (key, value) in writes {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()).map_err(failed)?,
                    None => table.remove(key.as_slice()).map_err(failed)?,
                };
            }
        }
        for table in [Table::Slots, Table::Nodes] {
            let mut table = transaction.open_table(TABLES[table.index()]).map_err(failed)?;
            for prefix in &batch.dropped {
                let end = (u64::from_be_bytes(*prefix) + 1).to_be_bytes();
                table.retain_in(prefix.as_slice()..end.as_slice(), |_, _| false).map_err(failed)?;
            }
        }
        {
            let mut meta = transaction.open_table(META).map_err(failed)?;
            meta.insert(REACHED, alloy_rlp::encode(reached).as_slice()).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

impl Snapshot for DiskSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(table) = self.tables.get(table.index()) else { return Ok(None) };
        Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
    }

    fn reached(&self) -> Option<Reached> {
        self.reached
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}
