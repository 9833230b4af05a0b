//! `kill -9` at random instants: what was acknowledged is there when the store is opened again, what was removed is not,
//! and nobody has to repair anything.
//!
//! The child is this test binary started once more. It writes what the store has acknowledged to its standard output; the
//! parent reads a random number of lines and kills it. `CRASHES` says how often; ten times if it is not set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use cairn_store::{Budgets, Event, IndexEngine, Placement, SledEngine, Store, StoreConfig};
use common::{Forgetful, config, distance, item, mix, open};
use content_types::{Distance, SubNetwork};

const NETWORKS: [SubNetwork; 2] = [SubNetwork::History, SubNetwork::State];
const BUDGET: u64 = 12 << 20;
/// Threads that put at the same time, so that commits are shared.
const THREADS: u64 = 2;
const DEFAULT_CRASHES: u64 = 10;

/// What the child says, a line each: a thread's batch is about to be put, was put, was removed.
const PUTTING: &str = "putting";
const PUT: &str = "put";
const REMOVED: &str = "removed";

fn store_config(dir: &Path) -> StoreConfig {
    config(dir, NETWORKS.into_iter().fold(Budgets::NONE, |budgets, network| budgets.with(network, BUDGET)))
}

/// Items of the `batch`th batch: some small ones and one or two large ones.
fn batch(batch: u64) -> Vec<cairn_store::Item> {
    let network = NETWORKS[(mix(batch) % 2) as usize];
    (0..12)
        .map(|i| {
            let number = batch * 12 + i;
            let len = if mix(number).is_multiple_of(6) { 20_000 + mix(number + 1) % 60_000 } else { mix(number) % 400 };
            // Blocks all over the key space, so that the history network's runs are evicted one by one.
            let number = if network == SubNetwork::History { number * 257 } else { number };
            item(network, number, len as usize, 0)
        })
        .collect()
}

/// Each eighth batch loses its first item again.
fn is_removed_from(batch: u64) -> bool {
    batch.is_multiple_of(8)
}

/// Not a test by itself: what the child does until it is killed.
#[test]
fn child() {
    let Some(dir) = env::var_os("CRASH_DIR") else { return };
    let first: u64 = env::var("CRASH_FIRST").unwrap().parse().unwrap();
    match env::var("CRASH_ENGINE").unwrap().as_str() {
        "sled" => put_for_ever::<SledEngine>(Path::new(&dir), first),
        _ => put_for_ever::<Forgetful>(Path::new(&dir), first),
    }
}

fn put_for_ever<E: IndexEngine>(dir: &Path, first: u64) {
    let (store, _) = open::<E>(store_config(dir)).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for number in (first + thread..).step_by(THREADS as usize) {
                    println!("{PUTTING} {number}");
                    let items = batch(number);
                    let doomed = (items[0].network, items[0].id);
                    let placements = store.put_batch(items).unwrap();
                    let answers: Vec<_> = placements
                        .iter()
                        .map(|placement| u8::from(*placement == Placement::Stored).to_string())
                        .collect();
                    println!("{PUT} {number} {}", answers.concat());
                    if is_removed_from(number) {
                        store.remove(doomed.0, &doomed.1).unwrap();
                        println!("{REMOVED} {number}");
                    }
                }
            });
        }
    });
}

/// What is known of a batch: which items were acknowledged, and whether its first one was removed.
#[derive(Default)]
struct Known {
    stored: Vec<bool>,
    is_removed: bool,
}

fn crash_again_and_again<E: IndexEngine>(engine: &str, seed: u64) {
    let crashes = env::var("CRASHES").map_or(DEFAULT_CRASHES, |crashes| crashes.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut known: BTreeMap<u64, Known> = BTreeMap::new();
    let mut smallest_radii = BTreeMap::new();
    let mut rebuilt = 0;
    for crash in 0..crashes {
        let first = known.last_key_value().map_or(0, |(number, _)| number + THREADS);
        let lines = 1 + mix(seed + crash) % 400;
        run_child(dir.path(), engine, first, lines, &mut known);
        // A lost index must not change anything.
        if crash % 4 == 3 {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let (store, events) = open::<E>(store_config(dir.path())).unwrap();
        for event in events.take() {
            match event {
                Event::IndexRebuilt { .. } => rebuilt += 1,
                Event::TailCut { .. } | Event::Evicted { .. } => {}
                unexpected => panic!("crash {crash}: {unexpected:?}"),
            }
        }
        check(&store, &known, &mut smallest_radii, crash);
        // Whatever is wrong with a value would show on reading.
        assert_eq!(store.stats().corrupt, 0);
        if crash % 2 == 0 {
            store.close().unwrap();
        }
    }
    println!("{engine}: {crashes} crashes, {} batches, index rebuilt {rebuilt} times", known.len());
}

fn run_child(dir: &Path, engine: &str, first: u64, lines: u64, known: &mut BTreeMap<u64, Known>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env("CRASH_DIR", dir)
        .env("CRASH_FIRST", first.to_string())
        .env("CRASH_ENGINE", engine)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut learn = |line: String| {
        let words: Vec<_> = line.split(' ').collect();
        // The first line of the test harness's own output may lack its end.
        let Some(at) = words.iter().position(|word| [PUTTING, PUT, REMOVED].contains(word)) else { return false };
        let known = known.entry(words[at + 1].parse().unwrap()).or_default();
        match words[at] {
            PUT => known.stored = words[at + 2].bytes().map(|answer| answer == b'1').collect(),
            REMOVED => known.is_removed = true,
            _ => {}
        }
        true
    };
    let mut seen = 0;
    while seen < lines {
        let line = output.next().expect("the child ended by itself").unwrap();
        seen += u64::from(learn(line));
    }
    child.kill().unwrap();
    // What was still in the pipe was acknowledged too; the last line may be cut short.
    let rest: Vec<_> = output.map_while(Result::ok).collect();
    child.wait().unwrap();
    let complete = rest.len().saturating_sub(1);
    rest.into_iter().take(complete).for_each(|line| {
        learn(line);
    });
}

fn check(store: &Store, known: &BTreeMap<u64, Known>, smallest_radii: &mut BTreeMap<SubNetwork, Distance>, crash: u64) {
    for network in NETWORKS {
        assert!(store.usage(network).bytes <= BUDGET, "crash {crash}: evicted values are back");
        // A radius that grew again promises nothing about what was evicted while it was smaller.
        let radius = store.radius(network);
        smallest_radii.entry(network).and_modify(|smallest| *smallest = radius.min(*smallest)).or_insert(radius);
    }
    for (number, known) in known {
        for (i, item) in batch(*number).into_iter().enumerate() {
            let found = store.get_by_id(item.network, &item.id).unwrap();
            assert!(found.as_ref().is_none_or(|value| *value == item.value), "crash {crash}: another value");
            let is_acknowledged = known.stored.get(i).copied().unwrap_or(false);
            let may_be_removed = i == 0 && is_removed_from(*number);
            if i == 0 && known.is_removed {
                assert_eq!(found, None, "crash {crash}: a removed value is back");
            } else if is_acknowledged && !may_be_removed && distance(&item.id) <= smallest_radii[&item.network] {
                assert!(found.is_some(), "crash {crash}: lost item {i} of batch {number}");
            }
        }
    }
}

#[test]
fn sled_survives_kills() {
    crash_again_and_again::<SledEngine>("sled", 1);
}

#[test]
fn volumes_alone_survive_kills() {
    crash_again_and_again::<Forgetful>("forgetful", 2);
}
