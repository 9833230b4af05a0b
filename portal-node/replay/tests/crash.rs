//! A replay that is killed at any moment goes on at the right root.
//!
//! The test starts itself as another process, which replays mainnet's first blocks and tells each on its standard output, and
//! kills it (SIGKILL) when it has told a random number of them, or opens its database: the pipe lets it be some way ahead.

#![allow(clippy::unwrap_used)] // a test without the harness: clippy does not know it for one

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use alloy_primitives::B256;
use cairn_archive::Archive;
use cairn_replay::eras::EraPlan;
use cairn_replay::store::{DiskStore, Reached};
use cairn_replay::{BatchLimits, Genesis, Replay, Rules};
use cairn_vectors::VectorTest;
use rand::RngExt as _;

const GENESIS: &str = "genesis/mainnet.json";
const ERAS: [&str; 2] = ["era1/mainnet-00000-5ec1ffb8.era1", "era1/mainnet-00001-a5364e9a.era1"];
/// The folder of the state, for the process that is killed.
const STATE_VARIABLE: &str = "CAIRN_REPLAY_CRASH_STATE";
const KILLS: usize = 20;
/// Small, so that a kill hits one that is being written.
const LIMITS: BatchLimits = BatchLimits { blocks: 16, bytes: 1 << 20 };
const LAST: u64 = 16_383;

fn open(root: &Path, state: &Path) -> Replay<DiskStore> {
    let genesis = Genesis::from_json(&fs::read_to_string(root.join(GENESIS)).unwrap()).unwrap();
    Replay::open(DiskStore::open(state, 16 << 20).unwrap(), Rules::mainnet(), genesis, LIMITS).unwrap()
}

fn archives(root: &Path) -> [Archive; 2] {
    ERAS.map(|era| Archive::open(root.join(era)).unwrap())
}

/// What the process does that is killed.
fn replay_and_tell(root: &Path, state: &Path) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "0").unwrap();
    let mut replay = open(root, state);
    let first = replay.reached().map_or(1, |reached| reached.number + 1);
    let plan = EraPlan::new(archives(root).into(), first, None).unwrap();
    let told = replay.run(plan.blocks(), |changes| match writeln!(out, "{}", changes.number) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    told.unwrap();
}

/// Holds what the store says against the chain's headers.
fn check(root: &Path, reached: Reached) {
    let archive = archives(root).into_iter().find(|archive| archive.blocks().contains(&reached.number)).unwrap();
    let header = archive.decoded_header(reached.number).unwrap();
    assert_eq!((reached.hash, reached.state_root), (header.hash(), header.header().state_root));
}

fn killed_at_any_moment(root: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (mut furthest, mut roots) = (0, Vec::<(u64, B256)>::new());
    let mut random = rand::rng();
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(STATE_VARIABLE, &state)
            .env(cairn_vectors::VECTORS_VARIABLE, root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Now and then when it opens the database, which may not be there yet.
        let count = if kill < KILLS / 4 { 1 } else { random.random_range(1..1500) };
        let told = lines.take(count).map(|line| line.unwrap().parse::<u64>().unwrap()).last();
        child.kill().unwrap();
        child.wait().unwrap();
        let reached = open(root, &state).reached();
        // What was there before is there still. What was told may be lost; it is told once more.
        let number = reached.map_or(0, |reached| reached.number);
        assert!(number >= furthest, "{number} after {furthest}, told {told:?}");
        furthest = number;
        if let Some(reached) = reached {
            check(root, reached);
            roots.push((reached.number, reached.state_root));
        }
    }
    roots.dedup();
    assert!(roots.len() > KILLS / 3, "kills that hit the replay on its way: {roots:?}");
    let mut replay = open(root, &state);
    let plan = EraPlan::new(archives(root).into(), furthest + 1, None).unwrap();
    replay.run(plan.blocks(), |_| ControlFlow::Continue(())).unwrap();
    let reached = replay.reached().unwrap();
    assert_eq!(reached.number, LAST);
    check(root, reached);
}

fn main() {
    match std::env::var_os(STATE_VARIABLE) {
        Some(state) => replay_and_tell(&cairn_vectors::folder().unwrap(), &PathBuf::from(state)),
        None => {
            cairn_vectors::run(vec![VectorTest::new(
                "killed_at_any_moment",
                &[GENESIS, ERAS[0], ERAS[1]],
                killed_at_any_moment,
            )]);
        }
    }
}
