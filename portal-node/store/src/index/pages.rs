//! Entries, packed by the dozen into values of the engine.
//!
//! What an engine does for each key that changes costs far more than the 29 bytes that an entry has. A page holds the
//! entries from its own key up to the next page's, and is written once for all changes that fall into it. What it has from
//! the next page's key on does not count: a page that is split is cut after its other half is there, so that no batch is
//! needed, for which an engine would have to write out what it has.

use std::ops::ControlFlow;

use super::{Batch, EntryChanges, EntryKey, Index, KEY_REST_LEN, KeyOrder, LOCATION_LEN, RecordLocation, undecodable};
use crate::error::IndexError;

/// Entries of a page; one that gets more is split. Twice as many cost less time and more room in sled, which keeps up to
/// ten versions of a page.
const MAX_ENTRIES: usize = 64;
/// Entries of the pages that one is split into, at most: far enough below the limit that they are not split again soon.
const ENTRIES_AFTER_SPLIT: usize = 43;

const ENTRY_LEN: usize = KEY_REST_LEN + LOCATION_LEN;

/// The part of the key that a page's entries don't share, and the location.
type PackedEntry = [u8; ENTRY_LEN];

/// Where an entry lies.
pub(crate) fn get(engine: &dyn Index, key: &EntryKey) -> Result<Option<RecordLocation>, IndexError> {
    let mut found = Ok(None);
    engine.scan(key.network_start().as_bytes(), key.as_bytes(), KeyOrder::Falling, &mut |page_key, page| {
        found = unpack(page_key, page).and_then(|entries| {
            let place = entries.binary_search_by(|entry| key_rest(entry).cmp(key.rest()));
            place.ok().map(|place| location(&entries[place])).transpose()
        });
        ControlFlow::Break(())
    })?;
    found
}

/// Calls `visit` with the entries of one sub-network from `first` to `last`, both included, in this order, until it
/// breaks. Pages may change meanwhile.
pub(crate) fn scan(
    engine: &dyn Index,
    (first, last): (EntryKey, EntryKey),
    order: KeyOrder,
    visit: &mut dyn FnMut(EntryKey, RecordLocation) -> ControlFlow<()>,
) -> Result<(), IndexError> {
    match order {
        KeyOrder::Rising => scan_rising(engine, first, last, visit),
        KeyOrder::Falling => scan_falling(engine, first, last, visit),
    }
}

fn scan_rising(
    engine: &dyn Index,
    first: EntryKey,
    last: EntryKey,
    visit: &mut dyn FnMut(EntryKey, RecordLocation) -> ControlFlow<()>,
) -> Result<(), IndexError> {
    let mut from = first;
    while from <= last {
        let (page_key, page) = page_of(engine, &from)?;
        let end = page_after(engine, &from)?;
        for entry in unpack(page_key.as_bytes(), &page)? {
            let key = page_key.with_rest(key_rest(entry));
            if (from..end).contains(&key) && key <= last && visit(key, location(entry)?).is_break() {
                return Ok(());
            }
        }
        from = end;
    }
    Ok(())
}

fn scan_falling(
    engine: &dyn Index,
    first: EntryKey,
    last: EntryKey,
    visit: &mut dyn FnMut(EntryKey, RecordLocation) -> ControlFlow<()>,
) -> Result<(), IndexError> {
    let mut end = None;
    let mut visit_page = |page_key: &[u8], page: &[u8]| -> Result<ControlFlow<()>, IndexError> {
        let page_key = EntryKey::decode(page_key)?;
        for entry in unpack(page_key.as_bytes(), page)?.iter().rev() {
            let key = page_key.with_rest(key_rest(entry));
            let counts = (first..=last).contains(&key) && end.is_none_or(|end| key < end);
            if counts && visit(key, location(entry)?).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        end = Some(page_key);
        Ok(if page_key <= first { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let mut failure = None;
    engine.scan(first.network_start().as_bytes(), last.as_bytes(), KeyOrder::Falling, &mut |page_key, page| {
        visit_page(page_key, page).unwrap_or_else(|error| {
            failure = Some(error);
            ControlFlow::Break(())
        })
    })?;
    failure.map_or(Ok(()), Err)
}

/// Brings changes into the pages. Cut off in between, some of them are there.
pub(crate) fn merge(engine: &dyn Index, changes: &EntryChanges) -> Result<(), IndexError> {
    let mut changes = changes.iter().peekable();
    while let Some((first, _)) = changes.peek() {
        let (page_key, old) = page_of(engine, first)?;
        let end = page_after(engine, first)?;
        let old = unpack(page_key.as_bytes(), &old)?.iter();
        let mut old = old.take_while(|entry| page_key.with_rest(key_rest(entry)) < end).peekable();
        let mut entries = Vec::with_capacity(2 * MAX_ENTRIES);
        while let Some((key, location)) = changes.next_if(|(key, _)| **key < end) {
            while let Some(entry) = old.next_if(|entry| key_rest(entry) < key.rest()) {
                entries.push(*entry);
            }
            old.next_if(|entry| key_rest(entry) == key.rest());
            entries.extend(location.map(|location| pack(key, &location)));
        }
        entries.extend(old);
        write(engine, &page_key, &entries)?;
    }
    Ok(())
}

/// Replaces a page by one that has these entries, by several if they are too many, by none if there are none.
fn write(engine: &dyn Index, page_key: &EntryKey, entries: &[PackedEntry]) -> Result<(), IndexError> {
    let change = |key: &EntryKey, page: &[PackedEntry]| {
        let mut batch = Batch::default();
        if page.is_empty() {
            batch.remove(key.as_bytes());
        } else {
            batch.put(key.as_bytes(), page.as_flattened());
        }
        engine.apply(batch)
    };
    if entries.is_empty() {
        cut_page_before(engine, page_key)?;
    }
    let pages = if entries.len() > MAX_ENTRIES { entries.len().div_ceil(ENTRIES_AFTER_SPLIT) } else { 1 };
    let (own, others) = entries.split_at(entries.len().div_ceil(pages));
    for page in others.chunks(own.len().max(1)).rev() {
        change(&page_key.with_rest(key_rest(&page[0])), page)?;
    }
    change(page_key, own)
}

/// Takes from the page before this one what does not count because of this one's key: a split that was cut off has left it
/// there, and without this page it would count again.
fn cut_page_before(engine: &dyn Index, page_key: &EntryKey) -> Result<(), IndexError> {
    let mut before = Ok(None);
    engine.scan(page_key.network_start().as_bytes(), page_key.as_bytes(), KeyOrder::Falling, &mut |key, value| {
        if key == page_key.as_bytes() {
            return ControlFlow::Continue(());
        }
        before = EntryKey::decode(key).map(|key| Some((key, value.to_vec())));
        ControlFlow::Break(())
    })?;
    let Some((key, page)) = before? else { return Ok(()) };
    let entries = unpack(key.as_bytes(), &page)?;
    let counting = entries.partition_point(|entry| key.with_rest(key_rest(entry)) < *page_key);
    if counting == entries.len() { Ok(()) } else { write(engine, &key, &entries[..counting]) }
}

/// The page that `key` belongs to: its key and its bytes. Where there is none yet, it will be the sub-network's first.
fn page_of(engine: &dyn Index, key: &EntryKey) -> Result<(EntryKey, Vec<u8>), IndexError> {
    let mut page = Ok((key.network_start(), Vec::new()));
    engine.scan(key.network_start().as_bytes(), key.as_bytes(), KeyOrder::Falling, &mut |key, value| {
        page = EntryKey::decode(key).map(|key| (key, value.to_vec()));
        ControlFlow::Break(())
    })?;
    page
}

/// The key of the page that comes after the one `key` belongs to, or else the end of the sub-network.
fn page_after(engine: &dyn Index, key: &EntryKey) -> Result<EntryKey, IndexError> {
    let end = key.network_end();
    let Some(next) = key.next() else { return Ok(end) };
    let mut page = Ok(end);
    engine.scan(next.as_bytes(), end.as_bytes(), KeyOrder::Rising, &mut |key, _| {
        page = EntryKey::decode(key);
        ControlFlow::Break(())
    })?;
    page
}

fn pack(key: &EntryKey, location: &RecordLocation) -> PackedEntry {
    let mut entry = [0; ENTRY_LEN];
    entry[..KEY_REST_LEN].copy_from_slice(key.rest());
    entry[KEY_REST_LEN..].copy_from_slice(&location.encode());
    entry
}

fn unpack<'a>(page_key: &[u8], page: &'a [u8]) -> Result<&'a [PackedEntry], IndexError> {
    match page.as_chunks() {
        (entries, []) => Ok(entries),
        _ => Err(undecodable(page_key)),
    }
}

fn key_rest(entry: &PackedEntry) -> &[u8] {
    &entry[..KEY_REST_LEN]
}

fn location(entry: &PackedEntry) -> Result<RecordLocation, IndexError> {
    let (key, location) = entry.split_at(KEY_REST_LEN);
    RecordLocation::decode(key, location)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use content_types::{Distance, SubNetwork};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{IndexEngine, SledEngine, Visit, record::Place};

    /// Fails after some changes, as if the process were killed.
    struct CutOff(Box<dyn Index>, AtomicUsize);

    impl Index for CutOff {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
            self.0.get(key)
        }

        fn apply(&self, batch: Batch) -> Result<(), IndexError> {
            let left = self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            left.map_err(|_| undecodable(b"cut off")).and_then(|_| self.0.apply(batch))
        }

        fn scan(&self, first: &[u8], last: &[u8], order: KeyOrder, visit: Visit<'_>) -> Result<(), IndexError> {
            self.0.scan(first, last, order, visit)
        }

        fn flush(&self) -> Result<(), IndexError> {
            self.0.flush()
        }
    }

    fn key(network: SubNetwork, number: u16) -> EntryKey {
        let mut distance = [0; 32];
        distance[..2].copy_from_slice(&number.to_be_bytes());
        EntryKey::new(network, Distance::from_be_bytes(distance))
    }

    fn entry_key() -> impl Strategy<Value = EntryKey> {
        (select(&SubNetwork::ALL), 0..500_u16).prop_map(|(network, number)| key(network, number))
    }

    fn scanned(engine: &dyn Index, bounds: (EntryKey, EntryKey), order: KeyOrder) -> Vec<(EntryKey, RecordLocation)> {
        let mut found = Vec::new();
        scan(engine, bounds, order, &mut |key, location| {
            found.push((key, location));
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Pages are split, emptied and made again; what is in them is what a map has.
        #[test]
        fn pages_are_a_map(
            rounds in vec(vec((entry_key(), any::<Option<u32>>()), 0..300), 1..8),
            network in select(&SubNetwork::ALL),
            bounds in (0..500_u16, 0..500_u16),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let engine = SledEngine::open(dir.path(), 1 << 20).unwrap();
            let mut model = BTreeMap::new();
            let bounds = (key(network, bounds.0.min(bounds.1)), key(network, bounds.0.max(bounds.1)));
            for round in rounds {
                let location = |len| RecordLocation { place: Place { volume: 1, offset: 2 }, len };
                let changes: BTreeMap<_, _> = round.into_iter().map(|(key, len)| (key, len.map(location))).collect();
                merge(&*engine, &changes).unwrap();
                for (key, location) in changes {
                    match location {
                        Some(location) => model.insert(key, location),
                        None => model.remove(&key),
                    };
                    prop_assert_eq!(get(&*engine, &key).unwrap(), location);
                }
                let mut expected: Vec<_> = model.range(bounds.0..=bounds.1).map(|(key, at)| (*key, *at)).collect();
                prop_assert_eq!(&scanned(&*engine, bounds, KeyOrder::Rising), &expected);
                expected.reverse();
                prop_assert_eq!(&scanned(&*engine, bounds, KeyOrder::Falling), &expected);
            }
        }

        /// Cut off anywhere, each entry is as it was or as it was to be, whichever way it is looked up.
        #[test]
        fn a_merge_may_be_cut_off(
            rounds in vec((vec((entry_key(), any::<Option<u32>>()), 1..400), 0..20_usize), 1..6),
            network in select(&SubNetwork::ALL),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let engine = CutOff(SledEngine::open(dir.path(), 1 << 20).unwrap(), AtomicUsize::new(0));
            let mut model = BTreeMap::new();
            for (round, allowed) in rounds {
                let location = |len| RecordLocation { place: Place { volume: 1, offset: 2 }, len };
                let changes: EntryChanges = round.into_iter().map(|(key, len)| (key, len.map(location))).collect();
                engine.1.store(allowed, Ordering::Relaxed);
                let _ = merge(&engine, &changes);
                for (key, location) in changes {
                    let found = get(&engine, &key).unwrap();
                    prop_assert!(found == location || found == model.get(&key).copied());
                    match found {
                        Some(location) => model.insert(key, location),
                        None => model.remove(&key),
                    };
                }
                let bounds = (key(network, 0), key(network, 500));
                let mut expected: Vec<_> = model.range(bounds.0..=bounds.1).map(|(key, at)| (*key, *at)).collect();
                prop_assert_eq!(&scanned(&engine, bounds, KeyOrder::Rising), &expected);
                expected.reverse();
                prop_assert_eq!(&scanned(&engine, bounds, KeyOrder::Falling), &expected);
            }
        }

        #[test]
        fn arbitrary_pages_never_panic(page: Vec<u8>, key: Vec<u8>) {
            for entry in unpack(&key, &page).into_iter().flatten() {
                let _ = location(entry);
            }
        }
    }

    #[test]
    fn what_a_split_left_behind_stays_gone_when_its_page_goes() {
        let dir = tempfile::tempdir().unwrap();
        let engine = CutOff(SledEngine::open(dir.path(), 1 << 20).unwrap(), AtomicUsize::new(usize::MAX));
        let location = Some(RecordLocation { place: Place { volume: 1, offset: 2 }, len: 3 });
        let keys = |numbers: std::ops::Range<u16>| numbers.map(|number| key(SubNetwork::LegacyHistory, number));
        let full = MAX_ENTRIES as u16;
        merge(&engine, &keys(0..full).map(|key| (key, location)).collect()).unwrap();
        // The page is split for one more at its end, and cut off when the upper half is there.
        engine.1.store(1, Ordering::Relaxed);
        merge(&engine, &keys(full..full + 1).map(|key| (key, location)).collect()).unwrap_err();
        engine.1.store(usize::MAX, Ordering::Relaxed);

        let half = (full + 1).div_ceil(2);
        merge(&engine, &keys(half..full + 1).map(|key| (key, None)).collect()).unwrap();
        let bounds = (key(SubNetwork::LegacyHistory, 0), key(SubNetwork::LegacyHistory, 500));
        let left: Vec<_> = scanned(&engine, bounds, KeyOrder::Rising).into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, keys(0..half).collect::<Vec<_>>());
    }

    #[test]
    fn no_page_is_longer_than_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(dir.path(), 1 << 20).unwrap();
        let location = Some(RecordLocation { place: Place { volume: 1, offset: 2 }, len: 3 });
        for step in 0..4 {
            let keys = (0..400).map(|number| key(SubNetwork::LegacyHistory, number * 4 + step));
            merge(&*engine, &keys.map(|key| (key, location)).collect()).unwrap();
        }
        let mut lens = Vec::new();
        engine
            .scan(&[0], &[0xff], KeyOrder::Rising, &mut |_, page| {
                lens.push(page.len() / ENTRY_LEN);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(lens.iter().sum::<usize>(), 1600);
        assert!(lens.iter().all(|len| (1..=MAX_ENTRIES).contains(len)), "{lens:?}");
    }
}
