//! `kill -9` at random instants: what was acknowledged is there when the store is opened again, what was removed is not,
//! and nobody has to repair anything.
//!
//! The child is this test binary started once more. It writes what the store has acknowledged to its standard output; the
//! parent reads a random number of lines and kills it. `CRASHES` says how often; ten times if it is not set, and three
//! times where archives are seeded meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::Arc,
    thread,
};

use cairn_archive::{Archive, Format};
use cairn_store::{Budgets, Event, HeaderProver, IndexEngine, Placement, SledEngine, Store, StoreConfig};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use common::{Forgetful, config, distance, item, mix, open};
use content_types::{ContentKey, Distance, SubNetwork, history, legacy_history};

const NETWORKS: [SubNetwork; 2] = [SubNetwork::History, SubNetwork::LegacyHistory];
const BUDGET: u64 = 12 << 20;
/// Threads that put at the same time, so that commits are shared.
const THREADS: u64 = 2;
const DEFAULT_CRASHES: u64 = 10;
const DEFAULT_SEEDING_CRASHES: u64 = 3;
/// Lines that are read from a child before it is killed, at most. A child that seeds archives lives for some seconds, so that
/// it is also killed while their headers are read.
const MAX_LINES: u64 = 400;
const MAX_SEEDING_LINES: u64 = 4_000;
/// Copies of the archive that one child adds.
const COPIES: usize = 40;

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
        let store = &store;
        if let Some(archive) = env::var_os("CRASH_ARCHIVE") {
            scope.spawn(move || seed(store, Path::new(&archive)));
        }
        for thread in 0..THREADS {
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

/// Adds copies of an archive, whose headers are read in the background, and reads the blocks in them.
fn seed(store: &Store, archive: &Path) {
    let chain = Seeded::chain();
    let prover: Arc<dyn HeaderProver> = Arc::new(chain.verifier());
    for copy in 0..COPIES {
        let path = archive.with_file_name(format!("{}-{copy}.ere", process::id()));
        fs::copy(archive, &path).unwrap();
        store.add_archive(Archive::open(&path).unwrap(), prover.clone()).unwrap();
        for number in 0..chain.config().blocks() {
            let header = legacy_history::ContentKey::HeaderByNumber(number).into();
            assert!(store.get(&header).unwrap().is_some(), "block {number} of the archive");
        }
    }
}

/// An archive to be seeded, in a directory of its own.
struct Seeded {
    chain: SyntheticChain,
    dir: tempfile::TempDir,
    archive: PathBuf,
}

impl Seeded {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chain = Self::chain();
        let archive = chain.write_archive(0, Format::Ere, dir.path()).unwrap();
        Self { chain, dir, archive }
    }

    /// The same one in parent and child.
    fn chain() -> SyntheticChain {
        SyntheticChain::new(SyntheticConfig::small()).unwrap()
    }

    /// The archive can be served whenever the child was killed.
    fn check(&self, store: &Store) {
        store.add_archive(Archive::open(&self.archive).unwrap(), Arc::new(self.chain.verifier())).unwrap();
        let last = self.chain.block(self.chain.config().blocks() - 1).unwrap();
        let body = ContentKey::from(history::ContentKey::BlockBody { number: last.number() });
        assert_eq!(store.get(&body).unwrap(), Some(last.body.clone()));
        let header = legacy_history::ContentKey::HeaderByHash(last.header.hash()).into();
        while !store.contains(&header).unwrap() {
            thread::yield_now();
        }
        assert_eq!(store.get(&header).unwrap(), Some(last.header_with_proof()));
    }

    fn remove_copies(&self) {
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path != self.archive {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

/// What is known of a batch: which items were acknowledged, and whether its first one was removed.
#[derive(Default)]
struct Known {
    stored: Vec<bool>,
    is_removed: bool,
}

fn crash_again_and_again<E: IndexEngine>(engine: &str, seed: u64, seeded: Option<&Seeded>) {
    let (default, max_lines) =
        if seeded.is_some() { (DEFAULT_SEEDING_CRASHES, MAX_SEEDING_LINES) } else { (DEFAULT_CRASHES, MAX_LINES) };
    let crashes = env::var("CRASHES").map_or(default, |crashes| crashes.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut known: BTreeMap<u64, Known> = BTreeMap::new();
    let mut smallest_radii = BTreeMap::new();
    let mut rebuilt = 0;
    for crash in 0..crashes {
        let first = known.last_key_value().map_or(0, |(number, _)| number + THREADS);
        let lines = 1 + mix(seed + crash) % max_lines;
        let archive = seeded.map(|seeded| &*seeded.archive);
        run_child(dir.path(), engine, archive, first, lines, &mut known);
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
        if let Some(seeded) = seeded {
            seeded.check(&store);
            seeded.remove_copies();
        }
        // Whatever is wrong with a value would show on reading.
        assert_eq!(store.stats().corrupt, 0);
        if crash % 2 == 0 {
            store.close().unwrap();
        }
    }
    let beside = if seeded.is_some() { " with archives seeded beside" } else { "" };
    println!("{engine}{beside}: {crashes} crashes, {} batches, index rebuilt {rebuilt} times", known.len());
}

fn run_child(
    dir: &Path,
    engine: &str,
    archive: Option<&Path>,
    first: u64,
    lines: u64,
    known: &mut BTreeMap<u64, Known>,
) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env("CRASH_DIR", dir)
        .env("CRASH_FIRST", first.to_string())
        .env("CRASH_ENGINE", engine)
        .envs(archive.map(|archive| ("CRASH_ARCHIVE", archive)))
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
    crash_again_and_again::<SledEngine>("sled", 1, None);
}

#[test]
fn sled_survives_kills_while_archives_are_seeded() {
    crash_again_and_again::<SledEngine>("sled", 3, Some(&Seeded::new()));
}

#[test]
fn volumes_alone_survive_kills() {
    crash_again_and_again::<Forgetful>("forgetful", 2, None);
}
