//! What the store reads from its index: counters, positions, pages of entries. The index may have any values, and any keys
//! beside its own; the store is opened with it, read, written and closed.

#![no_main]

use std::{
    collections::BTreeMap,
    fs,
    ops::{Bound, ControlFlow},
    path::Path,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use cairn_store::{Batch, Budgets, Index, IndexEngine, IndexError, Item, KeyOrder, Store, StoreConfig, Visit};
use content_types::SubNetwork;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const NETWORK: SubNetwork = SubNetwork::LegacyHistory;
const ITEMS: u8 = 100;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

static ENTRIES: Mutex<Entries> = Mutex::new(Entries::new());

fn entries() -> MutexGuard<'static, Entries> {
    ENTRIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An index in memory.
struct Memory;

impl IndexEngine for Memory {
    fn open(_: &Path, _: u64) -> Result<Box<dyn Index>, IndexError> {
        Ok(Box::new(Memory))
    }
}

impl Index for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(entries().get(key).cloned())
    }

    fn apply(&self, batch: Batch) -> Result<(), IndexError> {
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => entries().insert(key, value),
                None => entries().remove(&key),
            };
        }
        Ok(())
    }

    fn scan(&self, first: &[u8], last: &[u8], order: KeyOrder, visit: Visit<'_>) -> Result<(), IndexError> {
        if first > last {
            return Ok(());
        }
        let bounds = (Bound::Included(first), Bound::Included(last));
        let mut found: Vec<_> =
            entries().range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone())).collect();
        if order == KeyOrder::Falling {
            found.reverse();
        }
        let _: ControlFlow<()> = found.iter().try_for_each(|(key, value)| visit(key, value));
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

fn item(number: u8) -> Item {
    let key = Bytes::copy_from_slice(&[number; 33]);
    Item { network: NETWORK, id: [number; 32].into(), key, value: vec![number; 500].into() }
}

fn open(dir: &Path) -> Option<Store> {
    let budgets = Budgets::NONE.with(NETWORK, 40_000);
    let config = StoreConfig { disk_reserve: 0, ..StoreConfig::new(dir, [7; 32].into(), budgets) };
    Store::open_with::<Memory>(config, Box::new(|_| ())).ok()
}

/// A store with some items, and what its index has.
fn filled() -> &'static (TempDir, Entries) {
    static FILLED: OnceLock<(TempDir, Entries)> = OnceLock::new();
    FILLED.get_or_init(|| {
        let dir = TempDir::new().expect("a folder");
        let store = open(dir.path()).expect("an empty store");
        store.put_batch((0..ITEMS).map(item).collect()).expect("items");
        store.close().expect("a checkpoint");
        (dir, entries().clone())
    })
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry.as_ref().map_err(|error| std::io::Error::from(error.kind()))?, to);
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?
        } else {
            fs::copy(entry.path(), target).map(drop)?
        }
    }
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let (source, before) = filled();
    let mut changed = before.clone();
    // Changes: which entry, how many bytes, the bytes; or a new entry whose key they begin with.
    let mut rest = bytes;
    while let Some(([which, len], after)) = rest.split_first_chunk() {
        let (value, after) = after.split_at((*len as usize).min(after.len()));
        rest = after;
        match changed.values_mut().nth(usize::from(*which)) {
            Some(old) => *old = value.to_vec(),
            None => {
                let (key, value) = value.split_at(value.len().min(19));
                changed.insert(key.to_vec(), value.to_vec());
            }
        }
    }
    *entries() = changed;
    let dir = TempDir::new().expect("a folder");
    copy(source.path(), dir.path()).expect("a copy");
    let Some(store) = open(dir.path()) else { return };
    for number in (0..ITEMS).step_by(7) {
        let found = store.get_by_id(NETWORK, &[number; 32].into());
        assert!(found.is_err() || found.is_ok_and(|found| found.is_none_or(|value| value == item(number).value)));
    }
    let _ = store.put_batch(vec![item(ITEMS), item(0)]);
    let _ = store.close();
});
