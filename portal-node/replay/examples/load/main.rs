//! A synthetic load: blocks of 200 transactions on a state of a million slots, half of them transfers to accounts, half calls
//! that write four slots each.
//!
//! `load build FOLDER [BLOCKS]` makes the state and the chain, `load replay FOLDER [MEGABYTES]` replays it on a copy of the
//! state, in batches of so many megabytes, and says how fast, with how much memory and how much on disk.

#![allow(clippy::print_stdout)]

mod chain;

use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cairn_replay::store::DiskStore;
use cairn_replay::{BatchLimits, Block, Replay};

/// Bytes that the database may hold in memory.
const CACHE: usize = 128 << 20;
const BLOCKS: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build", folder] => build(Path::new(folder), BLOCKS),
        ["build", folder, blocks] => build(Path::new(folder), blocks.parse()?),
        ["replay", folder] => replay(Path::new(folder), BatchLimits::default()),
        ["replay", folder, megabytes] => replay(
            Path::new(folder),
            BatchLimits { bytes: megabytes.parse::<usize>()? << 20, ..BatchLimits::default() },
        ),
        _ => Err("usage: load build FOLDER [BLOCKS] | load replay FOLDER [MEGABYTES]".into()),
    }
}

fn build(folder: &Path, blocks: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let path = folder.join("state");
    let open = || DiskStore::open(&path, CACHE);
    let mut replay = Replay::open(open()?, chain::rules()?, chain::genesis(), BatchLimits::default())?;
    replay.run(std::iter::empty::<Result<Block, std::convert::Infallible>>(), |_| ControlFlow::Continue(()))?;
    drop(replay);
    fs::copy(&path, folder.join("genesis-state"))?;
    let mut replay = Replay::open(open()?, chain::rules()?, chain::genesis(), BatchLimits::default())?;
    let mut builder = chain::Builder::new();
    let mut chain = Vec::new();
    for number in 1..=blocks {
        chain.extend(builder.next_block(number, &mut replay)?);
        if number % 20 == 0 {
            println!("{number} blocks");
        }
    }
    fs::write(folder.join("chain.rlp"), chain)?;
    Ok(())
}

fn replay(folder: &Path, limits: BatchLimits) -> Result<(), Box<dyn Error>> {
    let (path, chain) = (folder.join("replayed"), fs::read(folder.join("chain.rlp"))?);
    fs::copy(folder.join("genesis-state"), &path)?;
    let store = DiskStore::open(&path, CACHE)?;
    // The accounts are in the state that was copied.
    let mut replay = Replay::open(store, chain::rules()?, chain::empty_genesis(), limits)?;
    let mut rest = chain.as_slice();
    let blocks = std::iter::from_fn(|| (!rest.is_empty()).then(|| Block::decode(&mut rest)));
    let mut nodes = 0;
    let progress = replay.run(blocks, |changes| {
        nodes += changes.nodes.len();
        ControlFlow::Continue(())
    })?;
    let seconds = progress.time.as_secs_f64();
    let on_disk = || fs::metadata(&path).map_or(0, |file| file.blocks() * 512 / 1_000_000);
    let (memory, before) = (memory(), on_disk());
    replay.into_store().compact()?;
    println!(
        "{} blocks, {} transactions, {} M gas in {seconds:.2} s: {:.0} blocks/s, {:.0} transactions/s, {:.1} M gas/s; {nodes} \
         nodes; {before} MB on disk, {} MB compacted; {memory}",
        progress.blocks,
        progress.transactions,
        progress.gas / 1_000_000,
        progress.blocks as f64 / seconds,
        progress.transactions as f64 / seconds,
        progress.gas as f64 / seconds / 1e6,
        on_disk(),
    );
    Ok(())
}

/// The most memory that the process has had, where the system tells it.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("memory not known").to_owned()
}
