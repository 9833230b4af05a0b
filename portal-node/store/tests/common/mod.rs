//! What the tests of the store share.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a module of several tests, each of which uses a part of it"
)]

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex, RwLock},
};

use bytes::Bytes;
use cairn_store::{
    Batch, Budgets, Event, Index, IndexEngine, IndexError, Item, KeyOrder, Store, StoreConfig, StoreError, Visit,
};
use content_types::{ContentId, ContentKey, NodeId, SubNetwork, history};

pub const NODE_ID: [u8; 32] = [0x5a; 32];

/// Small volumes, so that there are many, and no reserve.
pub fn config(dir: &Path, budgets: Budgets) -> StoreConfig {
    StoreConfig {
        volume_len: 256 << 10,
        disk_reserve: 0,
        index_cache: 1 << 20,
        ..StoreConfig::new(dir, NODE_ID.into(), budgets)
    }
}

pub fn open<E: IndexEngine>(config: StoreConfig) -> Result<(Store, Events), StoreError> {
    let events = Events::default();
    let sink = events.clone();
    let store = Store::open_with::<E>(config, Box::new(move |event| sink.0.lock().unwrap().push(event.clone())))?;
    Ok((store, events))
}

/// The events of one store.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// The `number`th item of a sub-network: ID, key and value follow from the number. `version` makes another value of it.
pub fn item(network: SubNetwork, number: u64, len: usize, version: u8) -> Item {
    let value: Vec<u8> = (0..len as u64).map(|i| (mix(number ^ i << 20) as u8).wrapping_add(version)).collect();
    if network == SubNetwork::History {
        let key = history::ContentKey::BlockBody { number };
        return Item::new(&ContentKey::History(key), value.into());
    }
    let words = [1, 2, 3, 4].map(|word: u64| mix(number ^ word << 40).to_be_bytes());
    let id: [u8; 32] = words.concat().try_into().unwrap();
    Item { network, id: id.into(), key: Bytes::copy_from_slice(&number.to_le_bytes()), value: value.into() }
}

pub fn distance(id: &ContentId) -> content_types::Distance {
    NodeId::from(NODE_ID).distance(id)
}

/// SplitMix64.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An index engine that forgets everything when it is closed, so that every opening is a rebuild.
#[derive(Default)]
pub struct Forgetful(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl IndexEngine for Forgetful {
    fn open(dir: &Path, _: u64) -> Result<Box<dyn Index>, IndexError> {
        fs::create_dir_all(dir).unwrap();
        Ok(Box::new(Self::default()))
    }
}

impl Index for Forgetful {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.0.read().unwrap().get(key).cloned())
    }

    fn apply(&self, batch: Batch) -> Result<(), IndexError> {
        let mut map = self.0.write().unwrap();
        for (key, value) in batch.into_changes() {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn scan(&self, first: &[u8], last: &[u8], order: KeyOrder, visit: Visit<'_>) -> Result<(), IndexError> {
        let map = self.0.read().unwrap();
        let mut range = map.range(first.to_vec()..=last.to_vec());
        let mut next = || match order {
            KeyOrder::Rising => range.next(),
            KeyOrder::Falling => range.next_back(),
        };
        while let Some((key, value)) = next() {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}
