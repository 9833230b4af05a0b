//! What an open store costs that nobody uses: the memory of a process that has opened one with 1 GB of values of 30 kB,
//! right after opening and after a checkpoint. The store is filled by another process, whose memory does not count.
//! `WORKLOAD_DIR` puts it on another disk.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a benchmark")]

use std::{env, fs, path::Path, process::Command, thread, time::Duration};

use bytes::Bytes;
use cairn_store::{Budgets, Item, Store, StoreConfig};
use content_types::SubNetwork;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

const NETWORK: SubNetwork = SubNetwork::LegacyHistory;
const VALUE_LEN: usize = 30_000;
const HELD: u64 = 1_000_000_000;
const BATCH: u64 = 9;
/// Longer than the store waits until it makes a checkpoint.
const PAUSE: Duration = Duration::from_secs(2);
/// Where the store is, for the process that opens it.
const DIR: &str = "IDLE_DIR";

fn main() {
    // `cargo test --benches` asks every benchmark to do nothing much.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Some(dir) = env::var_os(DIR) {
        return idle(Path::new(&dir));
    }
    let parent = env::var_os("WORKLOAD_DIR").unwrap_or_else(|| env::temp_dir().into());
    let dir = tempfile::tempdir_in(parent).unwrap();
    let store = open(dir.path());
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..HELD / VALUE_LEN as u64 / BATCH {
        store.put_batch((0..BATCH).map(|_| item(&mut rng)).collect()).unwrap();
    }
    store.close().unwrap();
    let child = Command::new(env::current_exe().unwrap()).arg("--bench").env(DIR, dir.path()).status().unwrap();
    assert!(child.success());
}

fn idle(dir: &Path) {
    println!("before opening       {:6.1} MB", resident());
    let store = open(dir);
    println!("opened, {} values {:6.1} MB", store.usage(NETWORK).items, resident());
    store.put_batch(vec![item(&mut SmallRng::seed_from_u64(2))]).unwrap();
    thread::sleep(PAUSE);
    println!("after a checkpoint   {:6.1} MB", resident());
}

fn open(dir: &Path) -> Store {
    let budgets = Budgets::NONE.with(NETWORK, 2 * HELD);
    Store::open(StoreConfig::new(dir, [7; 32].into(), budgets), Box::new(|_| ())).unwrap()
}

fn item(rng: &mut SmallRng) -> Item {
    let id: [u8; 32] = rng.random();
    let mut value = vec![0; VALUE_LEN];
    rng.fill(&mut value[..]);
    let key = Bytes::copy_from_slice(&[&[0][..], &id].concat());
    Item { network: NETWORK, id: id.into(), key, value: value.into() }
}

/// Memory of this process, in MB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}
