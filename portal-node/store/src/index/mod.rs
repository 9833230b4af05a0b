//! The index: where each value lies, what is held, and up to which place of the volumes it knows.
//!
//! It follows the volumes and can be rebuilt from them at any time. What has changed since the last checkpoint is kept in
//! memory and brought in with the next one: first the entries, in [`pages`], then the counters and the place in the volumes
//! that the index is now up to. After a crash the index is at some earlier place, and what comes after it is replayed.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use content_types::{Distance, NodeId, SubNetwork};

use crate::{error::IndexError, record::Place};

mod follower;
pub(crate) mod pages;
mod sled_engine;

pub(crate) use follower::{Follower, bring_in};
pub use sled_engine::SledEngine;

/// An ordered map from bytes to bytes, on disk. All that an index engine has to offer.
pub trait Index: Send + Sync {
    /// The value under `key`.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the engine fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Applies a batch: visible to readers at once, after a crash there as a whole or not at all, and never without the
    /// batches before it.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the engine fails; part of the batch may then be visible.
    fn apply(&self, batch: Batch) -> Result<(), IndexError>;

    /// Calls `visit` with the entries from `first` to `last`, both included, in this order of their keys, until
    /// it breaks.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the engine fails.
    fn scan(&self, first: &[u8], last: &[u8], order: KeyOrder, visit: Visit<'_>) -> Result<(), IndexError>;

    /// Returns when everything applied before is safe from a crash: the checkpoint.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the engine fails.
    fn flush(&self) -> Result<(), IndexError>;
}

/// In which order of their keys entries are visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrder {
    /// The lowest first.
    Rising,
    /// The highest first.
    Falling,
}

/// Called with a key and its value.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Opens an [`Index`].
pub trait IndexEngine {
    /// Opens the index in the directory `dir`, which it has for itself, or creates an empty one.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when there is an index and it cannot be used. The store then removes the directory and starts over.
    fn open(dir: &Path, cache_bytes: u64) -> Result<Box<dyn Index>, IndexError>;
}

/// [`IndexEngine::open`] of some engine.
pub(crate) type OpenEngine = fn(&Path, u64) -> Result<Box<dyn Index>, IndexError>;

/// Changes to be applied together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Puts `value` under `key`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.push((key.into(), Some(value.into())));
    }

    /// Removes what is under `key`.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.push((key.into(), None));
    }

    /// The batch without what it does to `key`.
    pub(crate) fn without(mut self, key: &[u8]) -> Self {
        self.changes.retain(|(changed, _)| changed != key);
        self
    }

    /// Adds the changes of another batch after the own ones.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.changes.append(&mut other.changes);
    }

    /// Whether there are no changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes in the order in which they were made: a value, or `None` for a removal.
    pub fn into_changes(self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.changes
    }
}

/// The key of a value's entry: ordered by sub-network and then by distance from the own node, so that what lies farthest
/// is the end of a range.
///
/// Of the distance there are the first 16 bytes and the last one. No two content IDs agree in these: those of the history
/// network differ in the first 8 bytes or in the last, the others are hashes. Sled keeps keys of up to 22 bytes
/// without allocating for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryKey([u8; ENTRY_KEY_LEN]);

const ENTRY: u8 = 1;
const PREFIX_LEN: usize = 16;
/// Bytes of a key that tell it from others of its sub-network.
const KEY_REST_LEN: usize = PREFIX_LEN + 1;
const ENTRY_KEY_LEN: usize = 2 + KEY_REST_LEN;

impl EntryKey {
    pub(crate) fn new(network: SubNetwork, distance: Distance) -> Self {
        let distance = distance.to_be_bytes();
        let mut key = [0; ENTRY_KEY_LEN];
        key[0] = ENTRY;
        key[1] = network.spec().store_code;
        key[2..2 + PREFIX_LEN].copy_from_slice(&distance[..PREFIX_LEN]);
        key[2 + PREFIX_LEN] = distance[31];
        Self(key)
    }

    /// Keys between which all entries lie whose distances lie between these, and perhaps a few others at the ends.
    pub(crate) fn bounds(network: SubNetwork, nearest: Distance, farthest: Distance) -> (Self, Self) {
        let (mut first, mut last) = (Self::new(network, nearest), Self::new(network, farthest));
        first.0[2 + PREFIX_LEN] = 0;
        last.0[2 + PREFIX_LEN] = 0xff;
        (first, last)
    }

    /// The key after this one; `None` after the last.
    pub(crate) fn next(&self) -> Option<Self> {
        let mut key = self.0;
        for byte in key.iter_mut().rev() {
            let (next, carries) = byte.overflowing_add(1);
            *byte = next;
            if !carries {
                return Some(Self(key));
            }
        }
        None
    }

    /// The least key of the same sub-network.
    fn network_start(&self) -> Self {
        let mut key = [0; ENTRY_KEY_LEN];
        key[..2].copy_from_slice(&self.0[..2]);
        Self(key)
    }

    /// A key that comes after all of the same sub-network, and before or at the first of the next one.
    fn network_end(&self) -> Self {
        let mut key = self.network_start();
        key.0[1] = key.0[1].saturating_add(1);
        key
    }

    /// The part that tells it from others of its sub-network.
    fn rest(&self) -> &[u8] {
        &self.0[2..]
    }

    /// The key of the same sub-network with this [`rest`](Self::rest).
    fn with_rest(&self, rest: &[u8]) -> Self {
        let mut key = *self;
        key.0[2..].copy_from_slice(rest);
        key
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        bytes.try_into().map(Self).map_err(|_| undecodable(bytes))
    }

    /// The distance, with zeros for what the key leaves out: never more than it really is.
    pub(crate) fn distance(&self) -> Distance {
        let mut distance = [0; 32];
        distance[..PREFIX_LEN].copy_from_slice(&self.0[2..2 + PREFIX_LEN]);
        distance[31] = self.0[2 + PREFIX_LEN];
        Distance::from_be_bytes(distance)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where a value's record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RecordLocation {
    pub(crate) place: Place,
    /// Bytes of the whole record.
    pub(crate) len: u32,
}

/// Bytes of an encoded location.
const LOCATION_LEN: usize = 12;

impl RecordLocation {
    pub(crate) fn encode(&self) -> [u8; LOCATION_LEN] {
        let mut bytes = [0; LOCATION_LEN];
        bytes[..4].copy_from_slice(&self.place.volume.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.place.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self, IndexError> {
        let ([volume, offset, len], []) = value.as_chunks::<4>() else { return Err(undecodable(key)) };
        let [volume, offset, len] = [volume, offset, len].map(|bytes| u32::from_le_bytes(*bytes));
        Ok(Self { place: Place { volume, offset }, len })
    }
}

/// Where entries are now, or that they are gone.
pub(crate) type EntryChanges = BTreeMap<EntryKey, Option<RecordLocation>>;

/// The entries that describe the index itself and what the store holds.
pub(crate) mod meta {
    use super::*;

    /// Changes when the entries' encoding does; the index is then rebuilt.
    const SCHEMA: u32 = 3;

    /// Up to which place in the volumes the index knows everything.
    pub(crate) const POSITION: [u8; 2] = [0, b'p'];
    /// There while entries are brought in: they are ahead of the counters, which then have to be counted again.
    pub(crate) const UNFINISHED: [u8; 2] = [0, b'u'];
    /// Whose index this is.
    pub(crate) const IDENTITY: [u8; 2] = [0, b'i'];
    /// All volumes' counters lie between these keys.
    pub(crate) const FIRST_VOLUME: [u8; 6] = [0, b'v', 0, 0, 0, 0];
    pub(crate) const LAST_VOLUME: [u8; 6] = [0, b'v', 0xff, 0xff, 0xff, 0xff];

    /// The key of a volume's counters.
    pub(crate) fn volume(number: u32) -> [u8; 6] {
        let [a, b, c, d] = number.to_be_bytes();
        [0, b'v', a, b, c, d]
    }

    /// The number of the volume whose counters are under `key`.
    pub(crate) fn volume_number(key: &[u8]) -> Result<u32, IndexError> {
        match *key {
            [0, b'v', a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
            _ => Err(undecodable(key)),
        }
    }

    /// The key of a sub-network's counters and radius.
    pub(crate) fn network(network: SubNetwork) -> [u8; 3] {
        [0, b's', network.spec().store_code]
    }

    /// What [`IDENTITY`] holds: an index that was made for another store or another node is of no use.
    pub(crate) fn identity(store: &[u8; 16], node_id: &NodeId) -> Vec<u8> {
        [&SCHEMA.to_le_bytes()[..], store, node_id.as_bytes()].concat()
    }
}

/// The entries about archives, which the volumes know nothing of. Losing them costs reading the archives' headers again.
pub(crate) mod archived {
    use std::{
        collections::{BTreeMap, BTreeSet},
        ops::RangeInclusive,
        os::unix::ffi::OsStrExt,
        path::PathBuf,
    };

    use alloy_primitives::B256;

    use super::*;

    /// Bytes of a block hash that are kept: the header tells whether it was the right one.
    const HASH_PREFIX: usize = 10;

    /// The key of the number of the block with a hash.
    pub(crate) fn by_hash(hash: &B256) -> Vec<u8> {
        [&[2], &hash[..HASH_PREFIX]].concat()
    }

    /// The key of an archive's fingerprint: that its hashes are here.
    pub(crate) fn of_file(path: &Path) -> Vec<u8> {
        [&[3], path.as_os_str().as_bytes()].concat()
    }

    /// What of this is kept when the index is renewed: the keys of these archives, each with its blocks.
    pub(crate) fn keep(archives: &[(PathBuf, RangeInclusive<u64>)]) -> impl Fn(&[u8], &[u8]) -> bool + use<> {
        let files: BTreeSet<_> = archives.iter().map(|(path, _)| of_file(path)).collect();
        let mut ranges: Vec<_> = archives.iter().map(|(_, blocks)| blocks.clone()).collect();
        ranges.sort_unstable_by_key(|blocks| *blocks.start());
        let mut merged = BTreeMap::<u64, u64>::new();
        for blocks in ranges {
            match merged.last_entry() {
                Some(mut last) if *blocks.start() <= *last.get() => {
                    let end = *last.get().max(blocks.end());
                    last.insert(end);
                }
                _ => {
                    merged.insert(*blocks.start(), *blocks.end());
                }
            }
        }
        move |key, value| match key.first() {
            Some(2) => number(value)
                .is_some_and(|number| merged.range(..=number).next_back().is_some_and(|(_, end)| number <= *end)),
            Some(3) => files.contains(key),
            _ => true,
        }
    }

    /// The block number in the value of [`by_hash`].
    pub(crate) fn number(value: &[u8]) -> Option<u64> {
        value.try_into().ok().map(u64::from_le_bytes)
    }
}

pub(crate) fn undecodable(key: &[u8]) -> IndexError {
    IndexError::Entry { key: alloy_primitives::hex::encode(key) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use content_types::{Key as _, history};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_keys_of_archives_that_were_removed_are_dropped() {
        let archive = |name: &str, blocks| (std::path::PathBuf::from(name), blocks);
        let kept = archived::keep(&[archive("b", 8..=9), archive("a", 0..=20), archive("c", 30..=30)]);
        let hash = archived::by_hash(&alloy_primitives::B256::ZERO);
        let numbers: Vec<_> = (0..40_u64).filter(|number| kept(&hash, &number.to_le_bytes())).collect();
        assert_eq!(numbers, (0..=20).chain([30]).collect::<Vec<_>>());
        let files = ["a", "b", "d"].map(|name| kept(&archived::of_file(name.as_ref()), &[]));
        assert_eq!(files, [true, true, false]);
        assert!(kept(&meta::POSITION, &[]));
    }

    proptest! {
        #[test]
        fn entries_round_trip(volume: u32, offset: u32, len: u32, distance: [u8; 32]) {
            let location = RecordLocation { place: Place { volume, offset }, len };
            prop_assert_eq!(RecordLocation::decode(&[], &location.encode()).unwrap(), location);
            let distance = Distance::from_be_bytes(distance);
            let key = EntryKey::new(SubNetwork::LegacyHistory, distance);
            prop_assert_eq!(EntryKey::decode(key.as_bytes()).unwrap(), key);
            prop_assert_eq!(EntryKey::new(SubNetwork::LegacyHistory, key.distance()), key);
            prop_assert!(key.distance() <= distance);
            prop_assert_eq!(meta::volume_number(&meta::volume(volume)).unwrap(), volume);
        }

        #[test]
        fn keys_order_by_distance(a: [u8; 32], b: [u8; 32]) {
            let (a, b) = (Distance::from_be_bytes(a), Distance::from_be_bytes(b));
            let key = |distance| EntryKey::new(SubNetwork::LegacyHistory, distance);
            prop_assert_eq!(a.cmp(&b), key(a).as_bytes().cmp(key(b).as_bytes()));
            let (first, last) = EntryKey::bounds(SubNetwork::LegacyHistory, a.min(b), a.max(b));
            prop_assert!((first..=last).contains(&key(a)) && (first..=last).contains(&key(b)));
        }

        #[test]
        fn bodies_and_receipts_of_all_blocks_have_keys_of_their_own(a: u64, b in 0..u64::MAX, node: [u8; 32]) {
            let keys = [a, b, b + 1].map(|number| {
                history::ContentType::ALL.map(|content_type| {
                    let id = history::ContentKey::new(content_type, number).content_id();
                    EntryKey::new(SubNetwork::History, NodeId::from(node).distance(&id))
                })
            });
            let distinct: BTreeSet<_> = keys.concat().into_iter().collect();
            prop_assert_eq!(distinct.len(), if a == b || a == b + 1 { 4 } else { 6 });
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = EntryKey::decode(&bytes);
            let _ = RecordLocation::decode(&bytes, &bytes);
            let _ = meta::volume_number(&bytes);
        }
    }
}
