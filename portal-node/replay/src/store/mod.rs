//! Where a replayed state lies: five tables of bytes, and one step from block to block that is whole or not there.
//!
//! [`Store`] is all that is asked of a database. [`MemoryStore`] forgets everything, [`DiskStore`] is redb.

mod disk;
mod memory;

pub use disk::DiskStore;
pub use memory::MemoryStore;

use alloy_primitives::B256;
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// The tables. Keys and values are bytes; what they mean is said in `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Accounts, by the hash of their address.
    Accounts,
    /// Slots, by trie and hash of their number.
    Slots,
    /// Code, by its hash.
    Codes,
    /// Branches of tries, by trie and path.
    Nodes,
    /// Hashes of the youngest blocks, by their number modulo 256.
    Blocks,
}

impl Table {
    /// Every table, in the order of [`Table::index`].
    pub const ALL: [Self; 5] = [Self::Accounts, Self::Slots, Self::Codes, Self::Nodes, Self::Blocks];

    /// The table's place in [`Table::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How far a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Reached {
    /// The last block whose state is there.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The root of its state, which was checked.
    pub state_root: B256,
    /// Tries that have been numbered so far.
    pub tries: u64,
}

/// A key, and what it is to have; `None` takes it away.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

/// What is written in one go.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// For each table of [`Table::ALL`], sorted by key, each key once.
    pub tables: [Vec<Write>; Table::ALL.len()],
    /// Prefixes of keys that go from [`Table::Slots`] and [`Table::Nodes`], after everything else was written.
    pub dropped: Vec<[u8; 8]>,
}

/// A store that failed, or is damaged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database of the state: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A value is not what the table has.
    #[error("a damaged value in the table {0:?}")]
    Damaged(Table),
    /// What says how far the store is cannot be read.
    #[error("the state's database does not say which block it has reached")]
    NoBlock,
}

/// A store as it is after a commit, whatever is written later.
pub trait Snapshot: Send {
    /// What a table has under a key.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// How far the store is; `None` while nothing was written.
    fn reached(&self) -> Option<Reached>;
}

/// A store. It is written by one thread at a time, and read by any.
pub trait Store: Send + Sync {
    /// What [`Store::snapshot`] gives.
    type Snapshot: Snapshot;

    /// What was written up to now.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn snapshot(&self) -> Result<Self::Snapshot, StoreError>;

    /// Writes all of `batch` and how far the store is then. However the process ends, both are there afterwards or neither.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn commit(&self, batch: &WriteBatch, reached: Reached) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACHED: Reached = Reached { number: 7, hash: B256::ZERO, state_root: B256::repeat_byte(1), tries: 3 };

    fn batch(table: Table, writes: &[(&[u8], Option<&[u8]>)], dropped: &[u64]) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.tables[table.index()] =
            writes.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
        batch.dropped = dropped.iter().map(|trie| trie.to_be_bytes()).collect();
        batch
    }

    fn a_store_keeps_what_it_is_told<S: Store>(store: &S) {
        let before = store.snapshot().unwrap();
        assert_eq!(before.reached(), None);
        store.commit(&batch(Table::Codes, &[(b"a", Some(b"1")), (b"b", Some(b"2"))], &[]), REACHED).unwrap();
        let after = store.snapshot().unwrap();
        assert_eq!(before.get(Table::Codes, b"a").unwrap(), None, "a snapshot stays");
        assert_eq!(after.get(Table::Codes, b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(after.get(Table::Slots, b"a").unwrap(), None);
        assert_eq!(after.reached(), Some(REACHED));

        store
            .commit(&batch(Table::Codes, &[(b"a", None), (b"c", None)], &[]), Reached { number: 8, ..REACHED })
            .unwrap();
        let after = store.snapshot().unwrap();
        assert_eq!(after.get(Table::Codes, b"a").unwrap(), None);
        assert_eq!(after.get(Table::Codes, b"b").unwrap(), Some(b"2".to_vec()));
        assert_eq!(after.reached().map(|reached| reached.number), Some(8));
    }

    fn a_dropped_trie_is_gone_and_its_neighbours_stay<S: Store>(store: &S) {
        let keys: Vec<Vec<u8>> = [1u64, 2, 3]
            .iter()
            .flat_map(|trie| [0u8, 255].map(|end| [&trie.to_be_bytes()[..], &[end]].concat()))
            .collect();
        for table in [Table::Slots, Table::Nodes] {
            let writes: Vec<_> = keys.iter().map(|key| (key.as_slice(), Some(&b"x"[..]))).collect();
            let dropped: &[u64] = if table == Table::Nodes { &[2] } else { &[] };
            store.commit(&batch(table, &writes, dropped), REACHED).unwrap();
        }
        let after = store.snapshot().unwrap();
        for table in [Table::Slots, Table::Nodes] {
            for (key, trie) in keys.iter().zip([1, 1, 2, 2, 3, 3]) {
                assert_eq!(after.get(table, key).unwrap().is_some(), trie != 2, "{table:?} {key:?}");
            }
        }
    }

    #[test]
    fn in_memory() {
        a_store_keeps_what_it_is_told(&MemoryStore::default());
        a_dropped_trie_is_gone_and_its_neighbours_stay(&MemoryStore::default());
    }

    #[test]
    fn on_disk() {
        let folder = tempfile::tempdir().unwrap();
        a_store_keeps_what_it_is_told(&DiskStore::open(folder.path().join("a"), 1 << 20).unwrap());
        let path = folder.path().join("b");
        a_dropped_trie_is_gone_and_its_neighbours_stay(&DiskStore::open(&path, 1 << 20).unwrap());
        let mut store = DiskStore::open(&path, 1 << 20).unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        store.compact().unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < before);
        let after = store.snapshot().unwrap();
        assert_eq!(after.reached(), Some(REACHED));
        assert_eq!(after.get(Table::Slots, &[&1u64.to_be_bytes()[..], &[0]].concat()).unwrap(), Some(b"x".to_vec()));
    }

    /// Redb writes what makes a file its own last. Whoever is killed before that leaves zeros, which it refuses.
    #[test]
    fn what_was_left_half_made_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::write(folder.path().join("state.unfinished"), [0; 1 << 16]).unwrap();
        assert_eq!(DiskStore::open(&path, 1 << 20).unwrap().snapshot().unwrap().reached(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
