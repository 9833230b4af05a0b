//! What is held: counters and radius of each sub-network, live bytes of each volume.
//!
//! The counters go into the index after the entries that they count, and are counted again when a crash came in between.

use std::{collections::BTreeMap, ops::ControlFlow};

use content_types::{Distance, SubNetwork};

use crate::{
    error::IndexError,
    index::{Batch, EntryChanges, EntryKey, Index, KeyOrder, RecordLocation, meta, pages, undecodable},
    record::Place,
};

/// What one sub-network holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Values held.
    pub items: u64,
    /// Bytes of their records: values with keys and headers.
    pub bytes: u64,
    /// How far the store keeps what it is given.
    pub radius: Distance,
}

impl Usage {
    pub(crate) const EMPTY: Self = Self { items: 0, bytes: 0, radius: Distance::MAX };

    fn encode(&self) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&self.items.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..].copy_from_slice(&self.radius.to_be_bytes());
        bytes
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (items, rest) = value.split_first_chunk()?;
        let (bytes, radius) = rest.split_first_chunk()?;
        Some(Self {
            items: u64::from_le_bytes(*items),
            bytes: u64::from_le_bytes(*bytes),
            radius: Distance::from_be_bytes(radius.try_into().ok()?),
        })
    }
}

/// What one volume holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct VolumeUse {
    /// Up to where it is written.
    pub(crate) len: u32,
    /// Of records that are alive.
    pub(crate) live: u32,
}

impl VolumeUse {
    fn encode(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..].copy_from_slice(&self.live.to_le_bytes());
        bytes
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let ([len, live], []) = value.as_chunks::<4>() else { return None };
        Some(Self { len: u32::from_le_bytes(*len), live: u32::from_le_bytes(*live) })
    }
}

/// The counters of the whole store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreLedger {
    pub(crate) networks: [Usage; SubNetwork::ALL.len()],
    pub(crate) volumes: BTreeMap<u32, VolumeUse>,
}

impl StoreLedger {
    pub(crate) const EMPTY: Self = Self { networks: [Usage::EMPTY; SubNetwork::ALL.len()], volumes: BTreeMap::new() };

    /// Values of all sub-networks.
    pub(crate) fn items(&self) -> u64 {
        self.networks.iter().map(|usage| usage.items).sum()
    }

    /// The counters as the index has them.
    pub(crate) fn load(index: &dyn Index) -> Result<Self, IndexError> {
        let mut ledger = Self::EMPTY;
        for network in SubNetwork::ALL {
            let key = meta::network(network);
            if let Some(value) = index.get(&key)? {
                ledger.networks[network.index()] = Usage::decode(&value).ok_or_else(|| undecodable(&key))?;
            }
        }
        let mut result = Ok(());
        index.scan(&meta::FIRST_VOLUME, &meta::LAST_VOLUME, KeyOrder::Rising, &mut |key, value| {
            let entry = meta::volume_number(key)
                .and_then(|number| Ok((number, VolumeUse::decode(value).ok_or_else(|| undecodable(key))?)));
            match entry {
                Ok((number, volume)) => {
                    ledger.volumes.insert(number, volume);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    result = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        result?;
        if index.get(&meta::UNFINISHED)?.is_some() {
            ledger.count(index)?;
        }
        Ok(ledger)
    }

    /// Counts the entries that there are. Radii, and up to where volumes are written, stay as they are.
    fn count(&mut self, index: &dyn Index) -> Result<(), IndexError> {
        for volume in self.volumes.values_mut() {
            volume.live = 0;
        }
        for network in SubNetwork::ALL {
            let radius = self.networks[network.index()].radius;
            self.networks[network.index()] = Usage { radius, ..Usage::EMPTY };
            let mut edit = self.edit();
            let bounds = EntryKey::bounds(network, Distance::ZERO, Distance::MAX);
            pages::scan(index, bounds, KeyOrder::Rising, &mut |_, location| {
                edit.count(network, &location);
                ControlFlow::Continue(())
            })?;
            let (.., change) = edit.finish(None);
            self.apply(change);
        }
        Ok(())
    }

    /// All counters, as a batch.
    pub(crate) fn full_batch(&self) -> Batch {
        let mut batch = Batch::default();
        for network in SubNetwork::ALL {
            batch.put(meta::network(network), self.networks[network.index()].encode());
        }
        for (number, volume) in &self.volumes {
            batch.put(meta::volume(*number), volume.encode());
        }
        batch
    }

    /// Begins a change, which is seen by nobody until it is applied.
    pub(crate) fn edit(&self) -> LedgerEdit<'_> {
        LedgerEdit { ledger: self, networks: self.networks, volumes: BTreeMap::new(), entries: BTreeMap::new() }
    }

    /// Makes a change visible.
    pub(crate) fn apply(&mut self, change: LedgerChange) {
        self.networks = change.networks;
        self.volumes.extend(change.volumes);
    }
}

/// A change of entries and counters that is being put together.
pub(crate) struct LedgerEdit<'a> {
    ledger: &'a StoreLedger,
    pub(crate) networks: [Usage; SubNetwork::ALL.len()],
    volumes: BTreeMap<u32, VolumeUse>,
    entries: EntryChanges,
}

/// The counters after a change.
#[derive(Debug)]
pub(crate) struct LedgerChange {
    networks: [Usage; SubNetwork::ALL.len()],
    volumes: BTreeMap<u32, VolumeUse>,
}

impl LedgerEdit<'_> {
    pub(crate) fn volume(&mut self, number: u32) -> &mut VolumeUse {
        self.volumes.entry(number).or_insert_with(|| self.ledger.volumes.get(&number).copied().unwrap_or_default())
    }

    /// The volume is written up to `end`.
    pub(crate) fn written_to(&mut self, end: Place) {
        self.volume(end.volume).len = end.offset;
    }

    /// A value came in.
    pub(crate) fn add(&mut self, network: SubNetwork, key: &EntryKey, location: &RecordLocation) {
        self.count(network, location);
        self.entries.insert(*key, Some(*location));
    }

    fn count(&mut self, network: SubNetwork, location: &RecordLocation) {
        let usage = &mut self.networks[network.index()];
        usage.items += 1;
        usage.bytes += u64::from(location.len);
        let volume = self.volume(location.place.volume);
        // A damaged index may say anything.
        volume.live = volume.live.saturating_add(location.len);
    }

    /// A value is gone: evicted, removed, or about to be added again elsewhere.
    pub(crate) fn subtract(&mut self, network: SubNetwork, key: &EntryKey, location: &RecordLocation) {
        let usage = &mut self.networks[network.index()];
        usage.items = usage.items.saturating_sub(1);
        usage.bytes = usage.bytes.saturating_sub(u64::from(location.len));
        let volume = self.volume(location.place.volume);
        volume.live = volume.live.saturating_sub(location.len);
        self.entries.insert(*key, None);
    }

    /// The changes of entries, those of counters that go with them into the index, and the counters to apply. With
    /// `position` the index then knows everything up to there; without, as during a rebuild, it stays unusable.
    pub(crate) fn finish(self, position: Option<Place>) -> (EntryChanges, Batch, LedgerChange) {
        let mut batch = Batch::default();
        for network in SubNetwork::ALL {
            let usage = self.networks[network.index()];
            if usage != self.ledger.networks[network.index()] {
                batch.put(meta::network(network), usage.encode());
            }
        }
        for (number, volume) in &self.volumes {
            batch.put(meta::volume(*number), volume.encode());
        }
        if let Some(place) = position {
            batch.put(meta::POSITION, RecordLocation { place, len: 0 }.encode());
        }
        let change = LedgerChange { networks: self.networks, volumes: self.volumes };
        (self.entries, batch, change)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counters_round_trip(items: u64, bytes: u64, radius: [u8; 32], len: u32, live: u32) {
            let usage = Usage { items, bytes, radius: Distance::from_be_bytes(radius) };
            prop_assert_eq!(Usage::decode(&usage.encode()), Some(usage));
            let volume = VolumeUse { len, live };
            prop_assert_eq!(VolumeUse::decode(&volume.encode()), Some(volume));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Usage::decode(&bytes);
            let _ = VolumeUse::decode(&bytes);
        }
    }
}
