//! A storage peer that is killed while it is being seeded: it comes back by itself with everything that it
//! acknowledged.
//!
//! `CAIRN_TEST_KILLS` says how often it is killed (3 unless told).

use std::{
    collections::BTreeSet,
    env,
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::Duration,
};

use alloy_primitives::hex;
use cairn_synthetic::SyntheticConfig;
use content_types::{ContentKey, legacy_history};
use serde_json::{Value, json};

use crate::support::{DEADLINE, World};

/// Blocks that there are for each kill: more than a peer takes in between two of them.
const BLOCKS_PER_KILL: u64 = 200;
const BLOCK_SIZE: usize = 2_000;
/// Most acknowledgements that are awaited before a kill; more may come until it strikes.
const MAX_AWAITED: u64 = 40;

/// Longest wait for the instant of the kill, in microseconds: a commit takes one or two thousand.
const MAX_DELAY_MICROS: u64 = 20_000;

/// How an item came to the peer.
enum Way {
    Put,
    Seeded,
}

#[test]
fn a_peer_that_is_killed_while_it_is_seeded_loses_nothing() {
    let kills: u64 = env::var("CAIRN_TEST_KILLS").map_or(3, |text| text.parse().unwrap());
    let blocks = kills * BLOCKS_PER_KILL;
    let world = World::of(SyntheticConfig::of_every_fork(7, blocks, BLOCK_SIZE));
    let mut acknowledged = BTreeSet::new();
    // What the test puts in goes from the last block down, what is seeded from the first one up.
    let mut unput = blocks;
    let mut seeded = 0;
    for round in 0..kills {
        let peer = world.run("kept", "none");
        let rpc = peer.announced("rpc").as_str().unwrap().to_owned();
        let seeder = world.seed(&format!("seeder {round}"), &peer.enr());
        for number in &acknowledged {
            assert!(is_held(&rpc, *number).unwrap(), "block {number} is lost after {round} kills");
        }
        let (sender, receiver) = mpsc::channel();
        let (put, left, found) = thread::scope(|scope| {
            let told = sender.clone();
            let (world, rpc) = (&world, &rpc);
            let putting = scope.spawn(move || {
                let mut put = Vec::new();
                for number in (0..unput).rev() {
                    match store(world, rpc, number) {
                        Some(true) => {
                            put.push(number);
                            told.send(Way::Put).unwrap();
                        }
                        Some(false) => {}
                        None => return (put, number),
                    }
                }
                (put, 0)
            });
            let looking = scope.spawn(move || {
                let (mut found, mut at) = (Vec::new(), seeded);
                loop {
                    match is_held(rpc, at) {
                        Some(true) => {
                            found.push(at);
                            at += 1;
                            sender.send(Way::Seeded).unwrap();
                        }
                        Some(false) => thread::yield_now(),
                        None => break,
                    }
                }
                found
            });
            // In the middle of both, after another number of items each time, and at another instant of what comes next.
            let (mut puts, mut finds) = (0, 0);
            assert!(seeded < unput, "nothing is left to be taken in after {round} kills");
            while puts == 0 || finds == 0 || puts + finds < round * 7 % MAX_AWAITED {
                match receiver.recv_timeout(DEADLINE).unwrap() {
                    Way::Put => puts += 1,
                    Way::Seeded => finds += 1,
                }
            }
            thread::sleep(Duration::from_micros(round.wrapping_mul(7_919) % MAX_DELAY_MICROS));
            peer.stop("KILL");
            let (put, left) = putting.join().unwrap();
            (put, left, looking.join().unwrap())
        });
        drop(seeder);
        unput = left;
        seeded += found.len() as u64;
        acknowledged.extend(put);
        acknowledged.extend(found);
    }
    let peer = world.run("kept", "none");
    let rpc = peer.announced("rpc").as_str().unwrap().to_owned();
    let lost: Vec<_> = acknowledged.iter().filter(|number| is_held(&rpc, **number) != Some(true)).collect();
    assert!(lost.is_empty(), "lost after {kills} kills: {lost:?}");
    eprintln!("{kills} kills, {} items acknowledged, {seeded} of them seeded, none lost", acknowledged.len());
}

fn key(number: u64) -> String {
    hex::encode_prefixed(ContentKey::from(legacy_history::ContentKey::HeaderByNumber(number)).encode())
}

/// Whether a peer acknowledges to have stored a header; `None` when it was killed meanwhile.
fn store(world: &World, rpc: &str, number: u64) -> Option<bool> {
    let value = hex::encode_prefixed(world.chain.block(number).unwrap().header_with_proof());
    Some(call(rpc, "portal_legacyHistoryStore", json!([key(number), value]))?["result"] == Value::Bool(true))
}

/// Whether a peer holds a header; `None` when it was killed meanwhile.
fn is_held(rpc: &str, number: u64) -> Option<bool> {
    Some(call(rpc, "portal_legacyHistoryLocalContent", json!([key(number)]))?["result"].is_string())
}

/// One JSON-RPC request over HTTP; `None` when the peer is gone.
fn call(address: &str, method: &str, params: Value) -> Option<Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut stream = TcpStream::connect(address).ok()?;
    let head = format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    let head = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}
