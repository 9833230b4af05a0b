//! Random operations against a model of the store, with reopening, with and without the index.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use bytes::Bytes;
use cairn_store::{Budgets, Event, IndexEngine, Item, Placement, SledEngine};
use common::{Events, Forgetful, config, distance, item, open};
use content_types::{ContentId, Distance, SubNetwork};
use proptest::{collection::vec, prelude::*, sample::select};

const NETWORKS: [SubNetwork; 2] = [SubNetwork::History, SubNetwork::LegacyHistory];
const BUDGET: u64 = 400_000;

#[derive(Debug, Clone)]
enum Operation {
    Put(Vec<Item>),
    Remove(SubNetwork, ContentId),
    Reopen { lose_index: bool },
}

fn an_item() -> impl Strategy<Value = Item> {
    // Few enough numbers that some items are put twice; block numbers all over a cycle, a few in each run.
    (select(&NETWORKS), 0..300_u64, prop_oneof![8 => 0..3000_usize, 2 => 3000..60_000_usize], 0..2_u8)
        .prop_map(|(network, number, len, version)| item(network, number * 97, len, version))
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        12 => vec(an_item(), 1..12).prop_map(Operation::Put),
        3 => an_item().prop_map(|item| Operation::Remove(item.network, item.id)),
        1 => any::<bool>().prop_map(|lose_index| Operation::Reopen { lose_index }),
    ];
    vec(operation, 1..60)
}

/// What was acknowledged and not removed. Evicted values stay in it: the radius tells them apart.
type Model = BTreeMap<(SubNetwork, ContentId), Bytes>;

fn run<E: IndexEngine>(operations: Vec<Operation>) {
    let dir = tempfile::tempdir().unwrap();
    let budgets = NETWORKS.into_iter().fold(Budgets::NONE, |budgets, network| budgets.with(network, BUDGET));
    let mut model = Model::new();
    // What was evicted before the radius grew back over it may be there or not.
    let mut evicted = BTreeSet::new();
    let mut is_damaged = false;
    let (mut store, mut events) = open::<E>(config(dir.path(), budgets)).unwrap();
    for operation in operations {
        match operation {
            Operation::Put(items) => {
                let placements = store.put_batch(items.clone()).unwrap();
                assert_eq!(placements.len(), items.len());
                for (item, placement) in items.into_iter().zip(placements) {
                    let key = (item.network, item.id);
                    match placement {
                        Placement::Stored => {
                            model.insert(key, item.value);
                            evicted.remove(&key);
                        }
                        Placement::AlreadyStored => assert_eq!(model.get(&key), Some(&item.value)),
                        Placement::OutsideRadius => assert!(distance(&item.id) > store.radius(item.network)),
                        Placement::OverBudget => assert!(item.record_len() > BUDGET),
                    }
                }
            }
            Operation::Remove(network, id) => {
                store.remove(network, &id).unwrap();
                model.remove(&(network, id));
            }
            Operation::Reopen { lose_index } => {
                store.close().unwrap();
                is_damaged |= note(&events, &model, &mut evicted);
                if lose_index {
                    fs::remove_dir_all(dir.path().join("index")).unwrap();
                }
                (store, events) = open::<E>(config(dir.path(), budgets)).unwrap();
            }
        }
        is_damaged |= note(&events, &model, &mut evicted);
        evicted.extend(model.keys().filter(|(network, id)| distance(id) > store.radius(*network)).copied());
        check(&store, &model, &evicted);
    }
    assert!(!is_damaged);
}

/// Notes what events say was evicted; whether one tells of damage. A radius may have grown back before a test can ask for it: that
/// it was smaller only an event tells.
fn note(events: &Events, model: &Model, evicted: &mut BTreeSet<(SubNetwork, ContentId)>) -> bool {
    let mut is_damaged = false;
    for event in events.take() {
        if let Event::Evicted { network, radius: Some(radius), .. } = event {
            evicted.extend(model.keys().filter(|(of, id)| *of == network && distance(id) > radius).copied());
        }
        is_damaged |= matches!(event, Event::Corrupt { .. } | Event::VolumeDamaged { .. });
    }
    is_damaged
}

fn check(store: &cairn_store::Store, model: &Model, evicted: &BTreeSet<(SubNetwork, ContentId)>) {
    for network in NETWORKS {
        let entries = store.entries(network, Distance::ZERO..=Distance::MAX, usize::MAX).unwrap();
        let usage = store.usage(network);
        // What was evicted whole runs at a time goes a little later.
        let within: Vec<_> = entries.iter().filter(|entry| distance(&entry.id) <= usage.radius).collect();
        assert!(within.iter().map(|entry| entry.record_len).sum::<u64>() <= BUDGET);
        assert!(usage.bytes <= BUDGET, "{network}: {} bytes", usage.bytes);
        assert!(entries.is_sorted_by_key(|entry| distance(&entry.id)));
        for entry in &entries {
            let value = store.get_by_id(network, &entry.id).unwrap();
            match value {
                Some(value) => assert_eq!(Some(&value), model.get(&(network, entry.id))),
                // What is outside the radius may go at any time.
                None => assert!(distance(&entry.id) > usage.radius),
            }
        }
        let held: BTreeSet<_> = entries.iter().map(|entry| entry.id).collect();
        for (key, _) in model.iter().filter(|((of, id), _)| *of == network && distance(id) <= usage.radius) {
            assert!(held.contains(&key.1) || evicted.contains(key), "lost {key:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sled_agrees_with_the_model(operations in operations()) {
        run::<SledEngine>(operations);
    }

    #[test]
    fn volumes_alone_agree_with_the_model(operations in operations()) {
        run::<Forgetful>(operations);
    }
}
