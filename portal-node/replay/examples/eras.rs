//! Replays era files from genesis on and says how fast: `eras GENESIS.json STATE ERA…`. `STATE` is the database, made anew or gone
//! on with. The chain is mainnet.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;

use cairn_archive::Archive;
use cairn_replay::eras::EraPlan;
use cairn_replay::store::DiskStore;
use cairn_replay::{BatchLimits, Genesis, Replay, Rules};

/// Bytes that the database may hold in memory.
const CACHE: usize = 256 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(genesis), Some(state)) = (arguments.next(), arguments.next()) else {
        return Err("usage: eras GENESIS.json STATE ERA…".into());
    };
    let archives = arguments.map(Archive::open).collect::<Result<Vec<_>, _>>()?;
    let genesis = Genesis::from_json(&std::fs::read_to_string(genesis)?)?;
    let mut replay = Replay::open(DiskStore::open(&state, CACHE)?, Rules::mainnet(), genesis, BatchLimits::default())?;
    let first = replay.reached().map_or(1, |reached| reached.number + 1);
    let (mut nodes, mut bytes) = (0, 0);
    let progress = replay.run(EraPlan::new(archives, first, None)?.blocks(), |changes| {
        nodes += changes.nodes.len();
        bytes += changes.nodes.iter().map(|node| node.rlp.len()).sum::<usize>();
        ControlFlow::Continue(())
    })?;
    let seconds = progress.time.as_secs_f64();
    println!(
        "{} blocks, {} transactions, {} gas in {seconds:.2} s: {:.0} blocks/s, {:.1} M gas/s; {nodes} nodes of {bytes} bytes; \
         {} bytes on disk",
        progress.blocks,
        progress.transactions,
        progress.gas,
        progress.blocks as f64 / seconds,
        progress.gas as f64 / seconds / 1e6,
        std::fs::metadata(&state)?.len(),
    );
    Ok(())
}
