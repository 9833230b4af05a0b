//! How fast an ere file of a full era is assembled, and how many bytes that takes: in the order of the file, and as four
//! peers bring it at once, each a run of 256 blocks in pieces.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)] // The table is the output.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, keccak256};
use cairn_archive::snappy::Encoder;
use cairn_archive::write::{ArchiveWriter, Plan};
use cairn_archive::{Component, MAX_BLOCKS};

const ROUNDS: usize = 5;
/// Bytes of a body and of receipts before they are compressed, which saves nothing here.
const LENGTHS: [(Component, usize); 2] = [(Component::Body, 75_000), (Component::Receipts, 25_000)];
const RUN: u64 = 256;
const PEERS: usize = 4;
/// Blocks of a piece: about a megabyte of bodies.
const PIECE: u64 = 16;
/// Bytes after which the node has the writer flush.
const FLUSH_BYTES: usize = 128 << 10;
/// The blocks lie after the merge.
const FIRST: u64 = 2000 * MAX_BLOCKS;

struct Chain {
    headers: Vec<Bytes>,
    streams: Vec<(Component, Vec<u8>)>,
}

impl Chain {
    fn new() -> Self {
        let mut parent_hash = B256::ZERO;
        let headers = (FIRST..FIRST + MAX_BLOCKS).map(|number| {
            let header = Header { parent_hash, number, ..Header::default() };
            let rlp = alloy_rlp::encode(&header);
            parent_hash = keccak256(&rlp);
            rlp.into()
        });
        let headers = headers.collect();
        let random = |length: usize| (0..length.div_ceil(32) as u64).flat_map(|nth| keccak256(nth.to_be_bytes()).0);
        let streams = LENGTHS.map(|(component, length)| {
            let mut stream = Vec::new();
            Encoder::new().encode(&random(length).collect::<Vec<_>>(), &mut stream).unwrap();
            (component, stream)
        });
        Self { headers, streams: streams.into() }
    }
}

/// Pieces in the order in which they come.
fn in_order() -> Vec<u64> {
    (0..MAX_BLOCKS / PIECE).map(|piece| piece * PIECE).collect()
}

/// Peers take runs by chance, and each brings a piece in turn.
fn from_peers() -> Vec<u64> {
    let mut runs: Vec<u64> = (0..MAX_BLOCKS / RUN).collect();
    runs.sort_by_key(|run| keccak256(run.to_be_bytes()));
    let pieces = |run: u64| (0..RUN / PIECE).map(move |piece| run * RUN + piece * PIECE);
    let peers = runs.chunks(runs.len() / PEERS).map(|runs| runs.iter().copied().flat_map(pieces).collect::<Vec<_>>());
    let peers: Vec<_> = peers.collect();
    (0..peers[0].len()).flat_map(|turn| peers.iter().map(move |peer| peer[turn])).collect()
}

/// A counter of the kernel's for this process, in bytes.
fn counter(name: &str) -> u64 {
    let counters = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = counters.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.and_then(|value| value.parse().ok()).unwrap_or_default()
}

struct Figures {
    put: Duration,
    finish: Duration,
    /// Bytes that system calls wrote.
    written: u64,
    file_len: u64,
}

fn assemble(dir: &Path, chain: &Chain, order: &[u64]) -> Figures {
    let before = counter("wchar");
    let start = Instant::now();
    let blocks = FIRST..=FIRST + MAX_BLOCKS - 1;
    let plan = Plan::ere("bench", blocks, [Component::Receipts].into_iter().collect());
    let mut writer = ArchiveWriter::resume(dir, plan).unwrap();
    chain.headers.iter().for_each(|header| writer.put_header(header).unwrap());
    let mut unflushed = 0;
    for (component, stream) in &chain.streams {
        for number in order.iter().flat_map(|piece| *piece..piece + PIECE) {
            writer.put_stream(FIRST + number, *component, stream).unwrap();
            unflushed += stream.len();
            if unflushed >= FLUSH_BYTES {
                writer.flush().unwrap();
                unflushed = 0;
            }
        }
    }
    let put = start.elapsed();
    let start = Instant::now();
    let path = writer.finish().unwrap();
    let finish = start.elapsed();
    let file_len = fs::metadata(&path).unwrap().len();
    fs::remove_file(path).unwrap();
    Figures { put, finish, written: counter("wchar") - before, file_len }
}

fn main() {
    let chain = Chain::new();
    let dir = tempfile::tempdir().unwrap();
    for (name, order) in [("in the order of the file", in_order()), ("four peers at once", from_peers())] {
        let mut rounds: Vec<_> = (0..ROUNDS).map(|_| assemble(dir.path(), &chain, &order)).collect();
        let median = |of: fn(&Figures) -> Duration, rounds: &mut [Figures]| {
            rounds.sort_by_key(of);
            of(&rounds[ROUNDS / 2]).as_millis()
        };
        let (put, finish) = (median(|each| each.put, &mut rounds), median(|each| each.finish, &mut rounds));
        let (written, len) = (rounds[0].written / 1_000_000, rounds[0].file_len / 1_000_000);
        println!("write/{name}: {len} MB, put {put} ms, finish {finish} ms, {written} MB written");
    }
}
