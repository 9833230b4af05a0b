//! What ends a replay, on a chain of the test's own: blocks without transactions, which pay their miner. Each header is found by
//! trying one that is wrong: the error says what it has to be.

#![allow(clippy::unwrap_used)] // outside test functions, too

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;

use alloy_consensus::{BlockBody, EMPTY_OMMER_ROOT_HASH, Header};
use alloy_primitives::{Address, B256, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use cairn_replay::error::Trouble;
use cairn_replay::execution::ExecutionError;
use cairn_replay::genesis::GenesisAccount;
use cairn_replay::rules::ForkConfig;
use cairn_replay::store::{MemoryStore, Snapshot as _, Store as _, Table};
use cairn_replay::{BatchLimits, Block, Changes, Genesis, Progress, Replay, ReplayError, Rules, Sink};

const LIMITS: BatchLimits = BatchLimits { blocks: 3, bytes: 1 << 20 };

fn replay() -> Replay<MemoryStore> {
    let config = ForkConfig { chain_id: 7, homestead_block: Some(0), ..ForkConfig::default() };
    let rich = GenesisAccount { balance: U256::from(5), ..GenesisAccount::default() };
    let alloc = BTreeMap::from([(Address::repeat_byte(1), rich)]);
    let rules = Rules::from_config(&config).unwrap();
    Replay::open(MemoryStore::default(), rules, Genesis::new(Some(config), alloc, 5000), LIMITS).unwrap()
}

fn run(replay: &mut Replay<MemoryStore>, headers: &[Header]) -> Result<Progress, ReplayError> {
    let blocks =
        headers.iter().map(|header| Ok::<_, Infallible>(Block::from_parts(header.clone(), BlockBody::default())));
    replay.run(blocks.collect::<Vec<_>>().into_iter(), |_| ControlFlow::Continue(()))
}

/// The headers of a chain, from block 1 on.
fn chain(len: u64) -> Vec<Header> {
    let mut replay = replay();
    run(&mut replay, &[]).unwrap();
    let mut headers = Vec::new();
    for number in 1..=len {
        let mut header = Header {
            number,
            parent_hash: replay.reached().unwrap().hash,
            beneficiary: Address::with_last_byte(number as u8 % 3 + 1),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            ..Header::default()
        };
        match run(&mut replay, std::slice::from_ref(&header)).unwrap_err().trouble {
            Trouble::StateRoot { actual, .. } => header.state_root = actual,
            trouble => panic!("{trouble}"),
        }
        run(&mut replay, std::slice::from_ref(&header)).unwrap();
        headers.push(header);
    }
    headers
}

/// What ends the replay of the chain after `change` to its sixth block: everything before that is in the store, and the right
/// blocks go on from there.
fn spoiled(change: fn(&mut Header)) -> Trouble {
    let right = chain(9);
    let mut headers = right.clone();
    change(&mut headers[5]);
    let mut replay = replay();
    let error = run(&mut replay, &headers).unwrap_err();
    assert_eq!(replay.reached().unwrap().hash, right[4].hash_slow());
    assert_eq!(replay.store().snapshot().unwrap().reached(), replay.reached());
    assert!(error.number.is_none_or(|number| number >= 6), "{error}");
    assert_eq!(run(&mut replay, &right).unwrap().blocks, 4);
    assert_eq!(replay.reached().unwrap().hash, right[8].hash_slow());
    error.trouble
}

#[test]
fn a_block_that_yields_other_than_its_header_says_ends_it() {
    let expected = B256::repeat_byte(9);
    let right = chain(6).pop().unwrap();
    match spoiled(|header| header.state_root = B256::repeat_byte(9)) {
        Trouble::StateRoot { expected: said, actual } => assert_eq!((said, actual), (expected, right.state_root)),
        trouble => panic!("{trouble}"),
    }
    match spoiled(|header| header.receipts_root = B256::repeat_byte(9)) {
        Trouble::Execution(ExecutionError::ReceiptsRoot { expected: said, actual }) => {
            assert_eq!((said, actual), (expected, EMPTY_ROOT_HASH));
        }
        trouble => panic!("{trouble}"),
    }
    match spoiled(|header| header.gas_used = 1) {
        Trouble::Execution(ExecutionError::GasUsed { expected: 1, actual: 0 }) => {}
        trouble => panic!("{trouble}"),
    }
}

#[test]
fn a_block_that_does_not_follow_ends_it() {
    match spoiled(|header| header.parent_hash = B256::ZERO) {
        Trouble::Parent { actual: B256::ZERO, .. } => {}
        trouble => panic!("{trouble}"),
    }
    match spoiled(|header| header.number = 7) {
        Trouble::Number { expected: 6 } => {}
        trouble => panic!("{trouble}"),
    }
}

/// Contracts ask for the hashes of the last 256 blocks (BLOCKHASH), also after a restart.
#[test]
fn hashes_of_the_youngest_blocks_are_in_the_store() {
    let headers = chain(300);
    let mut replay = replay();
    run(&mut replay, &headers).unwrap();
    let snapshot = replay.store().snapshot().unwrap();
    for header in &headers[300 - 256..] {
        let hash = snapshot.get(Table::Blocks, &[header.number as u8]).unwrap();
        assert_eq!(hash, Some(header.hash_slow().to_vec()), "block {}", header.number);
    }
}

#[test]
fn a_store_of_another_chain_is_noticed() {
    let headers = chain(3);
    let mut replay = replay();
    run(&mut replay, &headers).unwrap();
    let other = Header { timestamp: 1, ..headers[2].clone() };
    match run(&mut replay, &[other]).unwrap_err().trouble {
        Trouble::OtherChain { expected, .. } => assert_eq!(expected, headers[2].hash_slow()),
        trouble => panic!("{trouble}"),
    }
}

#[test]
fn whoever_gets_the_changes_may_end_it_and_go_on_later() {
    let headers = chain(9);
    let mut replay = replay();
    let mut seen = Vec::new();
    let mut until = |replay: &mut Replay<MemoryStore>, last: u64| {
        let blocks = headers.iter().map(|header| Ok(Block::from_parts(header.clone(), BlockBody::default())));
        let blocks: Vec<Result<Block, Infallible>> = blocks.collect();
        let handle = |changes: Changes| {
            seen.push(changes.number);
            if changes.number == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        replay.run(blocks.into_iter(), handle).unwrap();
        assert_eq!(replay.store().snapshot().unwrap().reached().unwrap().number, last);
    };
    for last in [0, 1, 5, 9] {
        until(&mut replay, last);
    }
    assert_eq!(seen, (0..=9).collect::<Vec<_>>());
}

/// Releases nothing from a block on.
struct Holds {
    from: u64,
    taken: Vec<u64>,
    released: Vec<u64>,
}

impl Sink for Holds {
    fn take(&mut self, changes: Changes) -> ControlFlow<()> {
        self.taken.push(changes.number);
        ControlFlow::Continue(())
    }

    fn release(&mut self, number: u64) -> ControlFlow<()> {
        if number >= self.from {
            return ControlFlow::Break(());
        }
        self.released.push(number);
        ControlFlow::Continue(())
    }
}

/// What was handed out and is not where it belongs is handed out again by the next run, as after a kill.
#[test]
fn what_is_not_released_is_not_written() {
    let headers = chain(9);
    let blocks = || {
        let blocks = headers.iter().map(|header| Ok(Block::from_parts(header.clone(), BlockBody::default())));
        blocks.collect::<Vec<Result<Block, Infallible>>>().into_iter()
    };
    let mut first = replay();
    let mut sink = Holds { from: 5, taken: Vec::new(), released: Vec::new() };
    first.run_into(blocks(), &mut sink).unwrap();
    // A batch has three blocks.
    assert_eq!((sink.taken, sink.released), ((0..=6).collect::<Vec<_>>(), vec![3]));
    let store = first.into_store();
    assert_eq!(store.snapshot().unwrap().reached().unwrap().number, 3);

    let config = ForkConfig { chain_id: 7, homestead_block: Some(0), ..ForkConfig::default() };
    let rules = Rules::from_config(&config).unwrap();
    let empty = Genesis::new(Some(config), BTreeMap::new(), 5000);
    let mut second = Replay::open(store, rules, empty, LIMITS).unwrap();
    let mut sink = Holds { from: 100, taken: Vec::new(), released: Vec::new() };
    second.run_into(blocks(), &mut sink).unwrap();
    assert_eq!((sink.taken, sink.released), ((4..=9).collect::<Vec<_>>(), vec![6, 9]));
    assert_eq!(second.store().snapshot().unwrap().reached().unwrap().number, 9);
}

#[test]
fn a_source_that_fails_ends_it() {
    let headers = chain(4);
    let mut replay = replay();
    let blocks = headers.into_iter().map(|header| Ok(Block::from_parts(header, BlockBody::default())));
    let blocks = blocks.chain([Err(std::io::Error::other("gone"))]);
    let error = replay.run(blocks, |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.to_string(), "reading the next block: gone");
    assert_eq!(replay.store().snapshot().unwrap().reached().unwrap().number, 4);
}
