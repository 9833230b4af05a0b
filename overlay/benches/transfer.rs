//! What one request for content takes between two neighbours on loopback, and how fast long content moves.
//!
//! Prints a table; `cargo bench -p cairn-overlay --bench transfer`. Goals (issue's figures): a header of 1.4 kB in under 5 ms, a
//! receipt list of 68 kB at 20 MB/s or more, the whole FINDCONTENT included.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // The table is the output.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{Peer, Setup, key, value};
use futures::stream::{self, StreamExt as _};
use overlay::service::FindContentAnswer;

/// Name, length in bytes, fetches at once, fetches in all.
const CASES: [(&str, usize, usize, usize); 8] = [
    ("inline", 1_000, 1, 500),
    ("header", 1_400, 1, 500),
    ("header", 1_400, 8, 1_000),
    ("header", 1_400, 64, 2_000),
    ("receipts", 68_000, 1, 300),
    ("receipts", 68_000, 8, 400),
    ("receipts", 68_000, 64, 640),
    ("10 MB", 10_000_000, 1, 5),
];

fn main() {
    // Two workers: what a small machine has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let (a, _) = Peer::on_loopback(1, Setup::default()).await;
        let (b, _) = Peer::on_loopback(2, Setup::default()).await;
        a.overlay.ping(b.enr(), None).await.unwrap();
        println!("{:<10} {:>10} {:>8} {:>10} {:>10} {:>10}", "content", "bytes", "at once", "median", "p99", "MB/s");
        for (name, len, at_once, count) in CASES {
            run(&a, &b, name, len, at_once, count).await;
        }
    });
}

async fn run(a: &Peer, b: &Peer, name: &str, len: usize, at_once: usize, count: usize) {
    let key = key(name);
    b.memory.put(&key, value(&key, len));
    let fetch = || async {
        let started = Instant::now();
        match a.overlay.find_content(b.enr(), key.clone()).await {
            Ok(FindContentAnswer::Content { value, .. }) if value.len() == len => started.elapsed(),
            other => panic!("{name}: {other:?}"),
        }
    };
    let started = Instant::now();
    let mut times: Vec<Duration> = stream::iter(0..count).map(|_| fetch()).buffer_unordered(at_once).collect().await;
    let rate = (len * count) as f64 / started.elapsed().as_secs_f64() / 1e6;
    times.sort();
    let (median, p99) = (times[count / 2], times[count * 99 / 100]);
    println!("{name:<10} {len:>10} {at_once:>8} {median:>10.2?} {p99:>10.2?} {rate:>10.1}");
}
