//! The workload by which the index engine and the layout were chosen: 40,000 values of 30 kB at the median and 400,000
//! trie nodes of 150 B, 2.13 GB in batches of 270 kB; then rounds that each put a batch into a store that is full, with a
//! reader beside. Prints one table; `WORKLOAD_SCALE` (percent) makes it smaller, `WORKLOAD_ROUNDS` says how many rounds,
//! `WORKLOAD_DIR` puts it on another disk.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a benchmark")]

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_store::{Budgets, Item, Store, StoreConfig};
use content_types::{ContentId, Distance, NodeId, SubNetwork};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

const NETWORK: SubNetwork = SubNetwork::LegacyHistory;
const VALUES: u64 = 40_000;
const NODES: u64 = 400_000;
const ROUNDS: u64 = 10_000;
const BATCH: usize = 270_000;
const CAP: u64 = 2_000_000_000;
const MEDIAN: f64 = 30_000.0;
const SIGMA: f64 = 1.05;
const READS: usize = 2_000;

struct Workload {
    rng: SmallRng,
    noise: Bytes,
    node_id: NodeId,
}

impl Workload {
    fn new() -> Self {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut noise = vec![0; 16 << 20];
        rng.fill(&mut noise[..]);
        Self { rng, noise: noise.into(), node_id: [7; 32].into() }
    }

    /// Lengths are log-normal: the sum of twelve uniform numbers is normal enough.
    fn value_len(&mut self) -> usize {
        let normal: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
        ((MEDIAN * (SIGMA * normal).exp()) as usize).clamp(200, 6 << 20)
    }

    /// An item no farther than `radius`: each of a thousand distances is as likely as the others.
    fn item(&mut self, len: usize, radius: Distance) -> Item {
        let mut bytes: [u8; 32] = self.rng.random();
        let limit = u64::from_be_bytes(*radius.to_be_bytes().first_chunk().unwrap());
        bytes[..8].copy_from_slice(&self.rng.random_range(0..=limit).to_be_bytes());
        let id = ContentId::from(self.node_id.distance(&bytes.into()).to_be_bytes());
        let start = self.rng.random_range(0..self.noise.len() - len);
        let key = Bytes::copy_from_slice(&[&[0][..], id.as_bytes()].concat());
        Item { network: NETWORK, id, key, value: self.noise.slice(start..start + len) }
    }

    /// Nine trie nodes for each 10 items, as in the whole.
    fn batch(&mut self, radius: Distance) -> Vec<Item> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH {
            let is_value = self.rng.random_range(0..VALUES + NODES) < VALUES;
            let len = if is_value { self.value_len() } else { self.rng.random_range(100..200) };
            bytes += len;
            items.push(self.item(len, radius));
        }
        items
    }
}

fn main() {
    // `cargo test --benches` asks every benchmark to do nothing much.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let scale: u64 = number("WORKLOAD_SCALE").unwrap_or(100);
    let round_count = number("WORKLOAD_ROUNDS").unwrap_or(ROUNDS * scale / 100);
    let parent = std::env::var_os("WORKLOAD_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    let dir = tempfile::tempdir_in(parent).unwrap();
    let mut workload = Workload::new();
    let cap = CAP * scale / 100;
    let config = || StoreConfig::new(dir.path(), [7; 32].into(), Budgets::NONE.with(NETWORK, 10 * cap));
    let open = |config| Store::open(config, Box::new(|_| ())).unwrap();

    let store = open(config());
    let target = 2_130_000_000 * scale / 100;
    let (mut bytes, mut ids, mut spent) = (0, Vec::new(), Duration::ZERO);
    let mut slowest = Duration::ZERO;
    while bytes < target {
        let items = workload.batch(Distance::MAX);
        bytes += items.iter().map(|item| item.value.len() as u64).sum::<u64>();
        ids.extend(items.iter().map(|item| (item.id, item.value.len())));
        let start = Instant::now();
        store.put_batch(items).unwrap();
        slowest = slowest.max(start.elapsed());
        spent += start.elapsed();
    }
    println!(
        "load            {:8.1} MB/s  slowest batch {:.1} ms, {:.2} CPU s a GB",
        rate(bytes, spent),
        ms(slowest),
        cpu_seconds() / (bytes as f64 / 1e9)
    );
    store.close().unwrap();
    println!("disk / data     {:8.3}", disk(dir.path()) as f64 / bytes as f64);

    let start = Instant::now();
    let store = open(StoreConfig { budgets: Budgets::NONE.with(NETWORK, cap), ..config() });
    println!("open            {:8.1} ms", ms(start.elapsed()));

    let reader_stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let before = store.stats();
    let (mut rounds, mut churned, mut spent) = (Vec::new(), 0, Duration::ZERO);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = SmallRng::seed_from_u64(2);
            while !reader_stop.load(Ordering::Relaxed) {
                let (id, _) = ids[rng.random_range(0..ids.len())];
                store.get_by_id(NETWORK, &id).unwrap();
                reads.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(200));
            }
        });
        for _ in 0..round_count {
            let items = workload.batch(store.radius(NETWORK));
            churned += items.iter().map(|item| item.value.len() as u64).sum::<u64>();
            let start = Instant::now();
            store.put_batch(items).unwrap();
            rounds.push(start.elapsed());
            spent += start.elapsed();
        }
        reader_stop.store(true, Ordering::Relaxed);
    });
    rounds.sort();
    let percentile = |percent: usize| ms(rounds[(rounds.len() - 1) * percent / 100]);
    let stats = store.stats();
    println!("churn           {:8.1} MB/s  with {} reads beside", rate(churned, spent), reads.into_inner());
    println!(
        "round           p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.1} ms",
        percentile(50),
        percentile(99),
        ms(rounds[(rounds.len() - 1) * 999 / 1000]),
        ms(*rounds.last().unwrap())
    );
    println!(
        "written / data  {:8.2}  without the index; of it moved {:.2}",
        (stats.written - before.written) as f64 / churned as f64,
        stats.moved as f64 / churned as f64
    );
    let held = store.usage(NETWORK).bytes;
    for when in ["right after", "five seconds later"] {
        let of_held = |dir: &Path| disk(dir) as f64 / held as f64;
        let [volumes, index] = ["volumes", "index"].map(|part| of_held(&dir.path().join(part)));
        println!("disk / held     {:8.3}  volumes {volumes:.3}, index {index:.3}, {when}", of_held(dir.path()));
        thread::sleep(Duration::from_secs(5));
    }
    println!("memory          {:8.1} MB now, {:.1} MB at most", memory("VmRSS"), memory("VmHWM"));

    let live: Vec<_> = ids.iter().filter(|(id, _)| store.contains_id(NETWORK, id).unwrap()).copied().collect();
    for state in ["warm", "cold"] {
        for (what, is_value) in [("value", true), ("node", false)] {
            let of_kind: Vec<_> = live.iter().filter(|(_, len)| (*len > 1000) == is_value).collect();
            let picked: Vec<_> = (0..READS).map(|_| of_kind[workload.rng.random_range(0..of_kind.len())].0).collect();
            if state == "warm" {
                picked.iter().for_each(|id| drop(store.get_by_id(NETWORK, id)));
            } else {
                drop_caches(dir.path());
            }
            let mut times: Vec<_> = picked
                .iter()
                .map(|id| {
                    let start = Instant::now();
                    store.get_by_id(NETWORK, id).unwrap();
                    start.elapsed()
                })
                .collect();
            times.sort();
            println!("get {state} {what:6} {:8.1} µs at the median", ms(times[times.len() / 2]) * 1e3);
        }
    }
    store.close().unwrap();
    let start = Instant::now();
    let store = open(StoreConfig { budgets: Budgets::NONE.with(NETWORK, cap), ..config() });
    println!("open            {:8.1} ms", ms(start.elapsed()));
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let start = Instant::now();
    let store = open(StoreConfig { budgets: Budgets::NONE.with(NETWORK, cap), ..config() });
    println!("open, no index  {:8.1} ms", ms(start.elapsed()));
    drop(store);
}

fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Bytes that a directory takes on the disk.
fn disk(dir: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// Makes the kernel forget what it has read from the files: `dd` does it without a system call of our own.
fn drop_caches(dir: &Path) {
    Command::new("sync").status().unwrap();
    let files = fs::read_dir(dir.join("volumes")).unwrap().chain(fs::read_dir(dir.join("index")).unwrap());
    for file in files {
        let input = format!("if={}", file.unwrap().path().display());
        Command::new("dd").args([&input, "iflag=nocache", "count=0", "status=none"]).status().unwrap();
    }
}

/// CPU time of this process so far, with what it takes to make the values.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // After the name in parentheses; clock ticks are hundredths of a second on Linux.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// A line of `/proc/self/status`, in MB.
fn memory(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}
