//! `cairn state`: blocks replayed, what they bring handed to peers, and read back from them.

use std::{collections::BTreeSet, fs};

use alloy_primitives::{Address, hex};
use content_types::{ContentKey, legacy_history, state};
use serde_json::{Value, json};

use crate::{
    executed::{Executed, miner},
    support::{Call, Ended, Peer, in_time},
    swarm::call,
};

const LAST: u64 = 600;

/// A peer that keeps all of the state, and history.
fn keeper(chain: &Executed, data: &str, bootnodes: &str) -> Peer {
    Peer::start(chain.cairn(data).args(["run", "--shares", "state=1", "--capacity", "100MB"]), bootnodes)
}

/// A peer that serves the history, and keeps nothing of the state. What is handed out by hash has its header from here.
fn giver(chain: &Executed, data: &str, bootnodes: &str) -> Peer {
    let run = chain.cairn(data).args(["run", "--shares", "state=0", "--capacity", "100MB", "--seed"]);
    let peer = Peer::start(run.arg(chain.path("archives")), bootnodes);
    let key = ContentKey::from(legacy_history::ContentKey::HeaderByHash(chain.hash(1))).encode();
    in_time("the archive's headers", {
        let (url, key) = (peer.rpc_url(), json!([hex::encode_prefixed(key)]));
        move || while call(&url, "portal_legacyHistoryLocalContent", &key).is_null() {}
    });
    peer
}

fn is_held(url: &str, key: &state::ContentKey) -> bool {
    call(url, "portal_stateLocalContent", &json!([hex::encode_prefixed(key.encode())])).is_string()
}

fn lost(url: &str, keys: &[state::ContentKey]) -> Vec<state::ContentKey> {
    let keys: BTreeSet<_> = keys.iter().collect();
    keys.into_iter().filter(|key| !is_held(url, key)).copied().collect()
}

/// Items that a peer keeps of the state; `None` when it does not answer.
fn items(url: &str) -> u64 {
    let networks = call(url, "cairn_status", &json!([]))["networks"].take();
    let state = networks.as_array().unwrap().iter().find(|network| network["network"] == "state").unwrap().clone();
    state["items"].as_u64().unwrap()
}

#[test]
fn a_chain_is_replayed_to_the_root_of_its_last_block_and_on_from_there() {
    let chain = Executed::new(20, LAST);
    let archives = chain.path("archives");
    let replay = || chain.replay("data", &archives).arg("--json");
    let first = replay().args(["--to", "100"]).end().json();
    assert_eq!((&first["blocks"], &first["block"]), (&json!(100), &json!(100)));
    assert_eq!(first["stateRoot"], json!(chain.state_root(100)));
    assert_eq!(first["offered"], Value::Null);
    // What was replayed need not be there any more. Era1 and ere are the same to it.
    let rest = chain.path("rest");
    let convert = chain.cairn("data").args(["convert", "--to", "ere", "--out"]).arg(chain.path("eres"));
    convert.arg(&archives).end().exits(0);
    let second = chain.replay("data", &chain.path("eres")).arg("--json").end().json();
    assert_eq!((&second["firstBlock"], &second["blocks"]), (&json!(101), &json!(LAST - 100)));
    assert_eq!(
        (&second["stateRoot"], &second["blockHash"]),
        (&json!(chain.state_root(LAST)), &json!(chain.hash(LAST)))
    );
    assert_eq!(replay().end().json()["blocks"], json!(0), "nothing is left");
    assert!(!rest.exists() && chain.path("data/state/state.redb").exists());
    let said = chain.replay("data", &archives).end().text();
    assert!(said.contains(&format!("the state of block {LAST} has the root {}", chain.state_root(LAST))), "{said}");
}

#[test]
fn what_is_wrong_with_a_replay_is_its_last_line() {
    let chain = Executed::new(5, 40);
    let archives = chain.path("archives");
    let replay = || chain.replay("data", &archives);
    // The genesis of another chain, and none.
    let other = Executed::new(6, 30);
    let wrong = |genesis: &str| chain.cairn("data").args(["state", "replay", "--genesis", genesis]).arg(&archives);
    wrong(other.path("genesis.json").to_str().unwrap()).end().exits(5).ends_with("another chain with --chain");
    wrong(chain.path("chain.json").to_str().unwrap()).end().exits(5).ends_with("geth's genesis file");
    wrong("/nowhere").end().exits(6).ends_with("check the path");
    // Blocks that are not there.
    replay().args(["--to", "41"]).end().exits(6).ends_with("block 41 is in none of the archives");
    // Blocks of another chain, behind this one's genesis and behind its blocks.
    let foreign = || chain.replay("data", &other.path("archives"));
    foreign().end().exits(5).ends_with("block 1: its parent is");
    replay().args(["--to", "10"]).end().exits(0);
    foreign().end().exits(5).ends_with("another chain's");
    // What nobody could hand out any more.
    let _peer = giver(&chain, "data", "none");
    replay().arg("--offer").end().exits(3).ends_with("--offer-from-here");
    chain
        .replay("elsewhere", &archives)
        .arg("--offer")
        .end()
        .exits(7)
        .ends_with("which hands out what this command makes");
    assert!(!chain.path("data/state/offered.json").exists());
}

/// A damaged body leads to another state, or is no block.
#[test]
fn a_block_that_leads_to_another_state_ends_it_at_the_one_before() {
    let chain = Executed::new(5, 40);
    let archive = fs::read_dir(chain.path("archives")).unwrap().next().unwrap().unwrap().path();
    let other = Executed::new(5, 20);
    fs::write(&archive, fs::read(other.write_archive("short", 0..=20)).unwrap()).unwrap();
    let replay = chain.replay("data", &archive).arg("--json").end().json();
    assert_eq!(replay["stateRoot"], json!(chain.state_root(20)), "the same blocks");
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    chain.replay("other", &archive).end().exits(5).ends_with("cairn verify");
}

fn get(chain: &Executed, peer: &Peer, block: u64, accounts: &[Address]) -> Call {
    let call = chain.cairn("reader").args(["state", "get", "--block", &block.to_string(), "--timeout", "5"]);
    let call = call.alone().args(["--bootnodes", &peer.enr()]);
    accounts.iter().fold(call, |call, account| call.args(["--account", &account.to_string()]))
}

#[test]
fn what_blocks_bring_is_handed_to_peers_and_read_back_from_them() {
    let chain = Executed::new(60, 120);
    let giver = giver(&chain, "data", "none");
    let keeper = keeper(&chain, "keeper", &giver.enr());
    let replay = chain.replay("data", &chain.path("archives")).args(["--offer", "--json"]).end().json();
    assert_eq!((&replay["block"], &replay["offered"]["nextBlock"]), (&json!(120), &json!(121)), "{replay}");
    assert_eq!(replay["offered"]["unclaimed"], json!(0), "{replay}");
    let keys = chain.keys(0..=120);
    assert_eq!(lost(&keeper.rpc_url(), &keys), []);
    assert_eq!(replay["offered"]["placed"], json!(keys.len()));

    // At the last block, at one before, and in the genesis, which is a source as well.
    for block in [120, 70, 0] {
        let accounts = [miner(7), Executed::contract(), Address::repeat_byte(1)];
        let call =
            get(&chain, &keeper, block, &accounts).args(["--slot", "0", "--slot", "1", "--code", "--trace", "--json"]);
        let read = call.end().json();
        assert_eq!((&read["block"], &read["blockHash"]), (&json!(block), &json!(chain.hash(block))));
        assert_eq!(read["accounts"][0]["balance"], json!(Executed::mined(miner(7), block)), "{read}");
        let contract = &read["accounts"][1];
        assert_eq!((&contract["slots"]["0x0"], &contract["slots"]["0x1"]), (&json!("0x9"), &json!("0x0")));
        assert_eq!((&contract["code"], &contract["balance"]), (&json!("0x6001"), &json!("0x1")));
        assert_eq!(read["accounts"][2]["exists"], json!(false));
        let trace = read["trace"].as_array().unwrap();
        assert!(trace.len() > 5 && trace.iter().any(|step| step["origin"] != "cache" && step["peer"].is_string()));
    }
    let said = get(&chain, &keeper, 120, &[miner(7)]).arg("--trace").end();
    let traced = said.complaint().contains("the account trie's node at");
    let text = said.text();
    assert!(traced && text.contains(&format!("balance {} wei", Executed::mined(miner(7), 120))), "{text}");
}

/// Whoever has nothing from the network says what was missing and who was asked for it.
#[test]
fn what_nobody_keeps_is_named_with_those_who_were_asked() {
    let chain = Executed::new(5, 30);
    let giver = giver(&chain, "data", "none");
    let missing = get(&chain, &giver, 20, &[miner(7)]).end().exits(4).ends_with("cairn state replay --offer");
    assert!(missing.complaint().contains("node at") && missing.complaint().contains("0x"), "{}", missing.complaint());
}

fn is_kept_for_later(chain: &Executed, ended: Ended) {
    ended.exits(4).ends_with("seed the history first");
    let saved = fs::read_to_string(chain.path("data/state/offered.json"));
    assert!(saved.is_err() || saved.unwrap().contains("\"next\":0"), "nothing was handed out");
}

#[test]
fn what_nobody_takes_is_handed_out_when_somebody_does() {
    let chain = Executed::new(40, 60);
    let replay = || chain.replay("data", &chain.path("archives")).args(["--offer", "--json"]);
    // Nobody has the header of block 0.
    let unseeded = Peer::start(chain.cairn("data").args(["run", "--capacity", "10MB"]), "none");
    is_kept_for_later(&chain, replay().args(["--timeout", "1"]).end().says("cannot check them"));
    unseeded.stop("TERM");
    // Nobody keeps any of the state.
    let giver = giver(&chain, "data", "none");
    is_kept_for_later(&chain, replay().args(["--timeout", "1"]).end());
    // The state on the disk is not ahead of what was handed out.
    let keeper = keeper(&chain, "keeper", &giver.enr());
    let replayed = replay().end().json();
    assert_eq!((&replayed["firstBlock"], &replayed["offered"]["nextBlock"]), (&json!(0), &json!(61)), "{replayed}");
    assert_eq!(lost(&keeper.rpc_url(), &chain.keys(0..=60)), []);
}

#[test]
fn an_interrupt_ends_it_in_order_while_it_waits_for_the_network() {
    let chain = Executed::new(10, 60);
    let _giver = giver(&chain, "data", "none");
    let replay = chain.replay("data", &chain.path("archives")).args(["--offer", "--log", "info"]);
    replay.signalled("INT", "handed out through").exits(130).ends_with("the same command goes on with it");
    // What was replayed for nobody in particular is kept.
    let alone = chain.replay("other", &chain.path("archives")).end();
    alone.exits(0);
}

/// A replay that is killed again and again: whatever it says was handed out is with a peer, and in the end all is.
#[test]
fn a_replay_that_is_killed_while_it_hands_out_loses_nothing() {
    const KILLS: u64 = 6;
    let chain = Executed::new(300, LAST);
    let giver = giver(&chain, "data", "none");
    let keeper = keeper(&chain, "keeper", &giver.enr());
    let url = keeper.rpc_url();
    let replay = || chain.replay("data", &chain.path("archives")).args(["--offer", "--json"]);
    let saved = || {
        let file = fs::read(chain.path("data/state/offered.json")).ok()?;
        serde_json::from_slice::<Value>(&file).unwrap()["next"].as_u64()
    };
    let mut positions = BTreeSet::new();
    for kill in 0..KILLS {
        let (before, mut child) = (items(&url), replay().spawn());
        // Later after each start, so that it comes farther before each kill.
        let wanted = before + 1 + kill * 300;
        let ended = in_time("items of the state", {
            let url = url.clone();
            move || loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                if items(&url) >= wanted {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    break None;
                }
            }
        });
        let next = saved().unwrap_or(0);
        positions.insert(next);
        assert_eq!(lost(&url, &if next == 0 { Vec::new() } else { chain.keys(0..=next - 1) }), [], "position {next}");
        if let Some(status) = ended {
            assert!(status.success(), "{status}");
            break;
        }
    }
    assert!(positions.len() > 1, "kills that hit it on its way: {positions:?}");
    let replayed = replay().end().json();
    assert_eq!((&replayed["block"], &replayed["offered"]["nextBlock"]), (&json!(LAST), &json!(LAST + 1)));
    assert_eq!(replayed["stateRoot"], json!(chain.state_root(LAST)));
    assert_eq!(lost(&url, &chain.keys(0..=LAST)), []);
}
