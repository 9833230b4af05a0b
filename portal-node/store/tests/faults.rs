//! Damage of every kind to a closed store, and an open one: it opens without repair, loses what was damaged and nothing
//! else, says what happened, and never serves a byte that is not what was stored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use cairn_store::{
    Batch, Budgets, Event, Index, IndexEngine, IndexError, Item, KeyOrder, Placement, SledEngine, Store, StoreConfig,
    StoreError, Visit,
};
use common::{Events, config, distance, item};
use content_types::{Distance, NodeId, SubNetwork};

const NETWORK: SubNetwork = SubNetwork::LegacyHistory;

fn roomy(dir: &Path) -> StoreConfig {
    config(dir, Budgets::NONE.with(NETWORK, 1 << 30))
}

fn open(config: StoreConfig) -> (Store, Events) {
    common::open::<SledEngine>(config).unwrap()
}

fn items(count: u64) -> Vec<Item> {
    (0..count).map(|number| item(NETWORK, number, 500 + 37 * number as usize, 0)).collect()
}

/// A closed store with the items.
fn filled(items: &[Item]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(roomy(dir.path()));
    for item in items {
        assert_eq!(store.put_batch(vec![item.clone()]).unwrap(), [Placement::Stored]);
    }
    store.close().unwrap();
    dir
}

fn volumes(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.join("volumes")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Where the index engine's files are.
fn engine(dir: &Path) -> PathBuf {
    fs::read_dir(dir.join("index")).unwrap().next().unwrap().unwrap().path()
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

fn missing(store: &Store, items: &[Item]) -> Vec<usize> {
    let is_missing = |item: &Item| match store.get_by_id(NETWORK, &item.id).unwrap() {
        Some(value) => {
            assert_eq!(value, item.value);
            false
        }
        None => true,
    };
    (0..items.len()).filter(|i| is_missing(&items[*i])).collect()
}

fn was_rebuilt(events: &Events) -> bool {
    events.take().iter().any(|event| matches!(event, Event::IndexRebuilt { .. }))
}

#[test]
fn a_torn_tail_is_cut_whatever_its_length() {
    let items = items(8);
    let dir = filled(&items[..7]);
    let path = volumes(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let (store, _) = open(roomy(dir.path()));
    store.put_batch(vec![items[7].clone()]).unwrap();
    // Without a checkpoint, as after a kill.
    drop(store);
    let longer = fs::read(&path).unwrap();
    assert_eq!(longer[..whole.len()], whole);
    for cut in [whole.len() + 1, whole.len() + 40, whole.len() + 300, longer.len() - 1] {
        fs::write(&path, &longer[..cut]).unwrap();
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        let (store, events) = open(roomy(dir.path()));
        let cut_off = Event::TailCut { volume: 1, bytes: (cut - whole.len()) as u64 };
        assert!(events.take().contains(&cut_off), "cut at {cut}");
        assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64);
        assert_eq!(missing(&store, &items), [7]);
        assert_eq!(store.usage(NETWORK).items, 7);
        assert_eq!(store.put_batch(vec![items[7].clone()]).unwrap(), [Placement::Stored]);
        assert_eq!(missing(&store, &items), [] as [usize; 0]);
        drop(store);
        assert_eq!(fs::metadata(&path).unwrap().len(), longer.len() as u64);
    }
}

/// The store was closed in order, so that its index knows of everything.
#[test]
fn a_volume_that_was_cut_or_is_gone_is_told_of_with_what_it_held() {
    let items = items(12);
    for is_gone in [false, true] {
        let dir = filled(&items);
        let path = volumes(dir.path()).pop().unwrap();
        let bytes = fs::read(&path).unwrap();
        let value_at = bytes.windows(items[7].value.len()).position(|bytes| bytes == items[7].value).unwrap();
        if is_gone {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, &bytes[..value_at]).unwrap();
        }
        let (store, events) = open(roomy(dir.path()));
        let missing = missing(&store, &items).len() as u64;
        assert!(missing > 0);
        let told = events.take().into_iter().find_map(|event| match event {
            Event::IndexRebuilt { items, lost, .. } => Some((items, lost)),
            _ => None,
        });
        assert_eq!(told, Some((items.len() as u64 - missing, missing)), "gone: {is_gone}");
    }
}

#[test]
fn a_flipped_byte_costs_the_value_it_is_in() {
    let items = items(20);
    let dir = filled(&items);
    let path = volumes(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let value_at = bytes.windows(items[5].value.len()).position(|bytes| bytes == items[5].value).unwrap();
    flip(&path, value_at as u64 + 100);
    let (store, events) = open(roomy(dir.path()));
    assert_eq!(missing(&store, &items), [5]);
    let corrupt = events.take();
    assert!(matches!(&corrupt[..], [Event::Corrupt { id, .. }] if *id == items[5].id), "{corrupt:?}");
    assert_eq!(store.stats().corrupt, 1);
    // It is dropped for good, and can be stored again.
    assert!(!store.contains_id(NETWORK, &items[5].id).unwrap());
    assert_eq!(store.put_batch(vec![items[5].clone()]).unwrap(), [Placement::Stored]);
    assert_eq!(missing(&store, &items), [] as [usize; 0]);
}

#[test]
fn flipped_bytes_in_headers_cost_one_item_each_at_most() {
    let items = items(30);
    let pristine = filled(&items);
    let path = volumes(pristine.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let record_at = |item: &Item| bytes.windows(32).position(|bytes| bytes == item.id.as_bytes()).unwrap() - 24;
    let third = record_at(&items[3]);
    // Of the volume: magic, format, number, marker, checksum. Of a record: marker, checksum, kind, lengths, ID.
    let places = [0, 9, 13, 17, 33, third, third + 9, third + 12, third + 15, third + 17, third + 30];
    for place in places {
        let original = fs::read(&path).unwrap();
        flip(&path, place as u64);
        for lose_index in [false, true] {
            if lose_index {
                fs::remove_dir_all(pristine.path().join("index")).unwrap();
            }
            let (store, _) = open(roomy(pristine.path()));
            let expected: &[usize] = if place >= third { &[3] } else { &[] };
            assert_eq!(missing(&store, &items), expected, "byte {place}, index lost: {lose_index}");
            store.close().unwrap();
        }
        fs::write(&path, original).unwrap();
        let (store, _) = open(roomy(pristine.path()));
        store.put_batch(items.clone()).unwrap();
        store.close().unwrap();
    }
}

#[test]
fn a_volume_that_is_cut_short_or_gone_costs_what_was_in_it() {
    let items: Vec<_> = (0..60).map(|number| item(NETWORK, number, 20_000, 0)).collect();
    let dir = filled(&items);
    let paths = volumes(dir.path());
    assert!(paths.len() >= 4);
    File::options().write(true).open(&paths[1]).unwrap().set_len(100_000).unwrap();
    let (store, events) = open(roomy(dir.path()));
    assert!(was_rebuilt(&events));
    let lost = missing(&store, &items);
    assert!(!lost.is_empty() && lost.iter().all(|i| (10..26).contains(i)), "{lost:?}");
    store.close().unwrap();

    fs::remove_file(&paths[2]).unwrap();
    let (store, events) = open(roomy(dir.path()));
    assert!(was_rebuilt(&events));
    let more = missing(&store, &items);
    assert!(more.len() > lost.len() && more.len() < 40, "{more:?}");
    assert_eq!(store.usage(NETWORK).items as usize, items.len() - more.len());
    store.put_batch(items.clone()).unwrap();
    assert_eq!(missing(&store, &items), [] as [usize; 0]);
}

/// A write that failed may leave whole records behind its volume's end. They were never acknowledged.
#[test]
fn what_lies_behind_the_end_of_a_volume_does_not_count() {
    let items: Vec<_> = (0..40).map(|number| item(NETWORK, number, 20_000, 0)).collect();
    let dir = filled(&items);
    let (store, _) = open(roomy(dir.path()));
    store.remove(NETWORK, &items[0].id).unwrap();
    store.close().unwrap();
    let path = volumes(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let id_at = bytes.windows(32).position(|bytes| bytes == items[0].id.as_bytes()).unwrap();
    let record = bytes[id_at - 24..id_at - 24 + items[0].record_len() as usize].to_vec();
    bytes.extend(record);
    fs::write(&path, bytes).unwrap();
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _) = open(roomy(dir.path()));
    assert_eq!(missing(&store, &items), [0]);
}

#[test]
fn an_index_that_cannot_be_trusted_is_rebuilt() {
    let items = items(40);
    let dir = filled(&items);
    let index = dir.path().join("index");
    let damage: [(&str, &dyn Fn()); 6] = [
        ("gone", &|| fs::remove_dir_all(&index).unwrap()),
        ("empty", &|| {
            fs::remove_dir_all(&index).unwrap();
            fs::create_dir(&index).unwrap();
        }),
        ("garbage", &|| {
            for entry in fs::read_dir(engine(dir.path())).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let len = fs::metadata(&path).unwrap().len() as usize;
                    fs::write(path, vec![0xa5; len.max(64)]).unwrap();
                }
            }
        }),
        ("of another store", &|| {
            let other = filled(&items[..3]);
            fs::remove_dir_all(&index).unwrap();
            fs::rename(other.path().join("index"), &index).unwrap();
        }),
        ("half renewed, the older one gone", &|| {
            fs::rename(engine(dir.path()), index.join("old")).unwrap();
            drop(SledEngine::open(&index.join("2"), 1 << 20).unwrap());
        }),
        ("failed", &|| fs::write(dir.path().join("REBUILD-INDEX"), b"").unwrap()),
    ];
    for (what, damage) in damage {
        damage();
        let (store, events) = open(roomy(dir.path()));
        assert!(was_rebuilt(&events), "{what}");
        assert_eq!(missing(&store, &items), [] as [usize; 0], "{what}");
        assert_eq!(store.usage(NETWORK).items, 40, "{what}");
        store.close().unwrap();
        let (store, events) = open(roomy(dir.path()));
        assert!(!was_rebuilt(&events), "{what}: rebuilt twice");
        drop(store);
    }
}

#[test]
fn an_index_cut_at_any_length_is_replayed_or_rebuilt() {
    let items = items(40);
    let dir = filled(&items);
    let db = engine(dir.path()).join("db");
    let len = fs::metadata(&db).unwrap().len();
    for cut in [0, 1, 4096, len / 2, len - 1] {
        File::options().write(true).open(&db).unwrap().set_len(cut).unwrap();
        let (store, _) = open(roomy(dir.path()));
        assert_eq!(missing(&store, &items), [] as [usize; 0], "cut at {cut}");
        assert_eq!(store.usage(NETWORK).items, 40, "cut at {cut}");
        store.close().unwrap();
    }
}

/// A kill during a renewal leaves two engines; the unfinished one is thrown away.
#[test]
fn a_half_renewed_index_does_not_matter() {
    let items = items(40);
    let dir = filled(&items);
    let half = dir.path().join("index").join("7");
    drop(SledEngine::open(&half, 1 << 20).unwrap());
    let (store, events) = open(roomy(dir.path()));
    assert!(!was_rebuilt(&events));
    assert!(!half.exists());
    assert_eq!(missing(&store, &items), [] as [usize; 0]);
}

/// Sled, but while there is a file `CUT` in the store's directory it loses what ends a checkpoint, as a kill would.
struct CutCheckpoints {
    sled: Box<dyn Index>,
    cut: PathBuf,
}

impl IndexEngine for CutCheckpoints {
    fn open(dir: &Path, cache_bytes: u64) -> Result<Box<dyn Index>, IndexError> {
        let store = dir.ancestors().nth(2).unwrap();
        Ok(Box::new(Self { sled: SledEngine::open(dir, cache_bytes)?, cut: store.join("CUT") }))
    }
}

impl Index for CutCheckpoints {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.sled.get(key)
    }

    fn apply(&self, batch: Batch) -> Result<(), IndexError> {
        const POSITION: [u8; 2] = [0, b'p'];
        let changes = batch.into_changes();
        if self.cut.exists() && changes.iter().any(|(key, _)| *key == POSITION) {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.remove(key),
            }
        }
        self.sled.apply(batch)
    }

    fn scan(&self, first: &[u8], last: &[u8], order: KeyOrder, visit: Visit<'_>) -> Result<(), IndexError> {
        self.sled.scan(first, last, order, visit)
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.sled.flush()
    }
}

/// The entries are then ahead of the counters and of the place from which the volumes are replayed.
#[test]
fn a_checkpoint_that_was_cut_off_does_not_matter() {
    let old = items(20);
    let dir = filled(&old);
    fs::write(dir.path().join("CUT"), b"").unwrap();
    let (store, _) = common::open::<CutCheckpoints>(roomy(dir.path())).unwrap();
    let mut held = old.clone();
    for (version, numbers) in [(1, 0..10), (2, 5..8), (3, 6..25)] {
        for number in numbers {
            let newer = item(NETWORK, number, 700 + 11 * number as usize, version);
            assert_eq!(store.put_batch(vec![newer.clone()]).unwrap(), [Placement::Stored]);
            held.retain(|item| item.id != newer.id);
            held.push(newer);
        }
    }
    let removed = held.remove(4);
    store.remove(NETWORK, &removed.id).unwrap();
    store.close().unwrap();
    fs::remove_file(dir.path().join("CUT")).unwrap();

    for lose_index in [false, true] {
        if lose_index {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let (store, events) = open(roomy(dir.path()));
        assert_eq!(was_rebuilt(&events), lose_index);
        assert_eq!(missing(&store, &held), [] as [usize; 0]);
        assert!(!store.contains_id(NETWORK, &removed.id).unwrap());
        let usage = store.usage(NETWORK);
        assert_eq!(usage.items, held.len() as u64);
        assert_eq!(usage.bytes, held.iter().map(Item::record_len).sum::<u64>());
        store.close().unwrap();
    }
}

#[test]
fn another_node_id_changes_the_order_and_loses_nothing() {
    let items = items(40);
    let dir = filled(&items);
    let node_id = NodeId::from([0x11; 32]);
    let (store, events) = open(StoreConfig { node_id, ..roomy(dir.path()) });
    assert!(was_rebuilt(&events));
    assert_eq!(missing(&store, &items), [] as [usize; 0]);
    let entries = store.entries(NETWORK, Distance::ZERO..=Distance::MAX, 100).unwrap();
    assert_eq!(entries.len(), 40);
    assert!(entries.is_sorted_by_key(|entry| node_id.distance(&entry.id)));
    assert!(entries.iter().all(|entry| items.iter().any(|item| item.id == entry.id && item.key == entry.key)));
}

#[test]
fn a_smaller_budget_is_kept_at_once_and_a_larger_one_lets_the_radius_grow() {
    let items: Vec<_> = (0..100).map(|number| item(NETWORK, number, 10_000, 0)).collect();
    let dir = filled(&items);
    let (store, _) = open(config(dir.path(), Budgets::NONE.with(NETWORK, 400_000)));
    assert!(store.usage(NETWORK).bytes <= 400_000);
    let radius = store.radius(NETWORK);
    for (i, item) in items.iter().enumerate() {
        let is_near = distance(&item.id) <= radius;
        assert_eq!(missing(&store, &items).contains(&i), !is_near);
    }
    // Outside it nothing is taken, though there is a little room.
    let outside = items.iter().find(|item| distance(&item.id) > radius).unwrap();
    assert_eq!(store.put_batch(vec![outside.clone()]).unwrap(), [Placement::OutsideRadius]);
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _) = open(config(dir.path(), Budgets::NONE.with(NETWORK, 400_000)));
    assert_eq!(store.radius(NETWORK), radius, "the volumes know the radius too");
    drop(store);
    let (store, _) = open(roomy(dir.path()));
    assert!(store.radius(NETWORK) > radius);
    drop(store);
    let (store, _) = open(config(dir.path(), Budgets::NONE));
    assert_eq!((store.radius(NETWORK), store.usage(NETWORK).items), (Distance::ZERO, 0));
    assert_eq!(store.put_batch(vec![items[0].clone()]).unwrap(), [Placement::OutsideRadius]);
}

/// A run is given up whole; what one commit cannot evict goes in the background.
#[test]
fn whole_runs_go_even_when_they_are_large() {
    let dir = tempfile::tempdir().unwrap();
    // Blocks of twenty cycles: 1,280 items in each of four intervals of the key space.
    let blocks = (0..20).flat_map(|cycle| (0..256).map(move |i| (cycle << 16) + (i % 4) * 256 + i / 4));
    let items: Vec<_> = blocks.map(|number| item(SubNetwork::History, number, 40, 0)).collect();
    let bytes = items.iter().map(Item::record_len).sum::<u64>();
    let (store, _) = open(config(dir.path(), Budgets::NONE.with(SubNetwork::History, bytes)));
    store.put_batch(items.clone()).unwrap();
    store.close().unwrap();
    let (store, _) = open(config(dir.path(), Budgets::NONE.with(SubNetwork::History, bytes - 1)));
    let radius = store.radius(SubNetwork::History);
    assert_eq!(radius.to_be_bytes()[1..], [0xff; 31], "whole runs");
    let kept = items.iter().filter(|item| distance(&item.id) <= radius).count() as u64;
    assert_eq!(kept, 3 * 1280);
    while store.usage(SubNetwork::History).items > kept {
        std::thread::yield_now();
    }
    assert!(
        items.iter().all(|item| {
            store.contains_id(SubNetwork::History, &item.id).unwrap() == (distance(&item.id) <= radius)
        })
    );
}

#[test]
fn a_full_disk_is_said_and_reading_goes_on() {
    let items = items(5);
    let dir = filled(&items);
    let (store, _) = open(StoreConfig { disk_reserve: u64::MAX, ..roomy(dir.path()) });
    let error = store.put_batch(vec![item(NETWORK, 99, 10, 0)]).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(missing(&store, &items), [] as [usize; 0]);
    store.remove(NETWORK, &items[0].id).unwrap();
    assert_eq!(missing(&store, &items), [0]);
}

#[test]
fn a_store_belongs_to_one_at_a_time() {
    let dir = filled(&items(1));
    let (store, _) = open(roomy(dir.path()));
    let error = common::open::<SledEngine>(roomy(dir.path())).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(store);
    open(roomy(dir.path()));
}

#[test]
fn a_newer_or_foreign_format_is_refused() {
    let dir = filled(&items(1));
    let path = dir.path().join("FORMAT");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("cairn-store 1", "cairn-store 2")).unwrap();
    let error = common::open::<SledEngine>(roomy(dir.path())).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 2, .. }), "{error}");
    fs::write(&path, "something else").unwrap();
    let error = common::open::<SledEngine>(roomy(dir.path())).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::ForeignFormat { .. }), "{error}");
    fs::write(&path, text).unwrap();
    open(roomy(dir.path()));
}

#[test]
fn room_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let budget = 3 << 20;
    let (store, _) = open(config(dir.path(), Budgets::NONE.with(NETWORK, budget)));
    let mut written = 0;
    let mut number = 0;
    // Three times the budget, all of it near enough when it comes.
    while written < 3 * budget {
        let candidate = item(NETWORK, number, 3_000 + (number % 40_000) as usize, 0);
        number += 1;
        if distance(&candidate.id) <= store.radius(NETWORK) {
            written += candidate.record_len();
            store.put_batch(vec![candidate]).unwrap();
        }
    }
    // The maintenance thread follows on its own; wait until it has caught up.
    let allowed = |store: &Store| store.usage(NETWORK).bytes * 12 / 10;
    while store.stats().allocated > allowed(&store) {
        std::thread::yield_now();
    }
    assert!(store.usage(NETWORK).bytes > budget / 2);
    let held = store.entries(NETWORK, Distance::ZERO..=Distance::MAX, usize::MAX).unwrap();
    assert!(held.iter().all(|entry| store.get_by_id(NETWORK, &entry.id).unwrap().is_some()));
    store.close().unwrap();
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, events) = open(config(dir.path(), Budgets::NONE.with(NETWORK, budget)));
    let damaged = events.take().into_iter().any(|event| matches!(event, Event::VolumeDamaged { .. }));
    assert!(!damaged, "holes are no damage");
    assert_eq!(store.entries(NETWORK, Distance::ZERO..=Distance::MAX, usize::MAX).unwrap(), held);
}
