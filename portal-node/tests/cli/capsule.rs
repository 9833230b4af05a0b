//! `cairn capsule`: made from an execution client, checked without a network, shown, and taken apart.

use std::{collections::BTreeMap, fs, path::Path};

use alloy_primitives::{Address, hex};
use cairn_synthetic::SyntheticConfig;
use content_types::{ContentKey, legacy_history};
use serde_json::json;

use crate::{
    client::Client,
    support::{Call, Peer, World, in_time},
    swarm::call,
};

/// The block that capsules are made of.
const BLOCK: u64 = 70;

/// A chain with a state, and a client that has that of one block.
fn world() -> (World, String) {
    let world = World::of(SyntheticConfig { accounts: 40, ..SyntheticConfig::small() });
    let states = BTreeMap::from([(BLOCK, world.chain.state(BLOCK))]);
    let url = Client { states, ..Client::of(&world.chain) }.serve();
    (world, url)
}

fn make(world: &World, url: &str, accounts: &[Address], out: &Path) -> Call {
    let call = world.cairn("none").args(["capsule", "make", "--rpc", url, "--block", &BLOCK.to_string(), "--code"]);
    let call = accounts.iter().fold(call, |call, account| call.args(["--account", &account.to_string()]));
    call.args(["--slot", "0", "--slot", "0x1", "--out"]).arg(out)
}

#[test]
fn what_a_client_proves_is_proved_by_a_file_alone() {
    let (world, url) = world();
    let state = world.chain.state(BLOCK);
    let rich = state.accounts().iter().max_by_key(|account| account.storage.len()).unwrap();
    let absent = Address::repeat_byte(7);
    let file = world.path("a.capsule");
    make(&world, &url, &[absent, rich.address], &file).arg("--proof-from").arg(&world.archives[0]).end().exits(0);

    let capsule = |command: &str, data: &str| world.trusting(data).args(["capsule", command]).arg(&file);
    let verdict = String::from_utf8(capsule("verify", "none").end().bytes().to_vec()).unwrap();
    assert!(verdict.contains(": proved, block 70 ("), "{verdict}");
    let shown = capsule("show", "none").arg("--json").end().json();
    assert_eq!(shown["blockHash"], json!(world.chain.block_hash(BLOCK).unwrap()));
    let told = |address: Address| {
        let accounts = shown["accounts"].as_array().unwrap();
        accounts.iter().find(|of| of["address"] == json!(address)).unwrap().clone()
    };
    let of_rich = told(rich.address);
    assert_eq!(of_rich["balance"], json!(rich.account.balance));
    assert_eq!(of_rich["code"], json!(alloy_primitives::Bytes::from(rich.code.clone())));
    assert_eq!(of_rich["slots"]["0x0"], json!(rich.storage[0].1));
    assert_eq!((&told(absent)["exists"], &told(absent)["slots"]["0x1"]), (&json!(false), &json!("0x0")));

    // Taken apart it is what the client said.
    let exported = capsule("export", "none").end().json();
    let client_said = state.account_proof(&rich.address);
    let exported = exported["proofs"].as_array().unwrap().iter().find(|of| of["address"] == json!(rich.address));
    let nodes: Vec<_> = client_said.into_iter().map(alloy_primitives::Bytes::from).collect();
    assert_eq!(exported.unwrap()["accountProof"], json!(nodes));
}

/// What is offered names its block by the hash, which a peer knows of an archive when it has read it.
fn wait_for_headers(world: &World, peer: &Peer) {
    let block_hash = world.chain.block_hash(BLOCK).unwrap();
    let hash = json!([content_key(&ContentKey::from(legacy_history::ContentKey::HeaderByHash(block_hash)))]);
    let url = peer.rpc_url();
    in_time("the archive's headers", move || while call(&url, "portal_legacyHistoryLocalContent", &hash).is_null() {});
}

/// The network has the state of a block because somebody offered it with proofs.
#[test]
fn what_peers_keep_of_a_state_makes_a_capsule_with_the_proof_of_its_header() {
    let world = World::of(SyntheticConfig { accounts: 12, ..SyntheticConfig::small() });
    let state = world.chain.state(BLOCK);
    let keeps = ["--shares", "state=1", "--capacity", "10MB", "--seed"];
    let keeper = Peer::start(world.trusting("keeper").arg("run").args(keeps).arg(&world.archives[0]), "none");
    let block_hash = world.chain.block_hash(BLOCK).unwrap();
    wait_for_headers(&world, &keeper);
    for (key, proved) in state.contents(block_hash) {
        let item = json!([hex::encode_prefixed(key.encode()), hex::encode_prefixed(proved.encode())]);
        let put = call(&keeper.rpc_url(), "portal_statePutContent", &item);
        assert_eq!(put["storedLocally"], json!(true), "{put}");
    }
    let rich = state.accounts().iter().max_by_key(|account| account.storage.len()).unwrap();
    let file = world.path("c.capsule");
    let make = |account: Address, block: u64, timeout: &str| {
        let call =
            world.trusting("none").args(["capsule", "make", "--block", &block.to_string(), "--code", "--slot", "0"]);
        let call = call.args(["--account", &account.to_string(), "--bootnodes", &keeper.enr(), "--timeout", timeout]);
        call.arg("--out").arg(&file).alone()
    };
    make(rich.address, BLOCK, "30").end().exits(0);
    let shown = world.trusting("none").args(["capsule", "show", "--json"]).arg(&file).end().exits(0).json();
    assert_eq!(shown["blockHash"], json!(block_hash));
    assert_eq!(shown["accounts"][0]["balance"], json!(rich.account.balance));
    assert_eq!(shown["accounts"][0]["slots"]["0x0"], json!(rich.storage[0].1));
    make(Address::repeat_byte(9), BLOCK, "30").end().exits(0);
    let missing = make(rich.address, BLOCK - 60, "1").end().exits(4).ends_with("--rpc");
    assert!(!missing.complaint().contains("WARN"), "{}", missing.complaint());
}

/// A peer keeps what was given to it, and gives it to who asks for the same; what the network gives is what the file was.
#[test]
fn a_capsule_that_peers_keep_is_found_by_what_it_was_made_with() {
    let (world, url) = world();
    let keeps = ["--shares", "capsules=1,state=1", "--capacity", "10MB", "--seed"];
    let keeper = Peer::start(world.trusting("keeper").arg("run").args(keeps).arg(&world.archives[0]), "none");
    wait_for_headers(&world, &keeper);
    let account = world.chain.state(BLOCK).accounts()[0].address;
    let (made, found) = (world.path("made.capsule"), world.path("found.capsule"));
    make(&world, &url, &[account], &made).arg("--proof-from").arg(&world.archives[0]).end().exits(0);
    let asked_for = |timeout: &str, bootnodes: &str, call: Call| {
        call.args(["--bootnodes", bootnodes, "--timeout", timeout]).alone()
    };
    let asked = |bootnodes: &str, call: Call| asked_for("30", bootnodes, call);
    let put = |bootnodes: &str| asked(bootnodes, world.trusting("none").args(["capsule", "put"]).arg(&made));
    let get = |slots: &[&str]| {
        let call = world.trusting("none").args(["capsule", "get", "--block", &BLOCK.to_string(), "--code"]);
        let call = call.args(["--account", &account.to_string(), "--out"]).arg(&found);
        asked(&keeper.enr(), slots.iter().fold(call, |call, slot| call.args(["--slot", slot])))
    };
    get(&["0", "1"]).end().exits(4).ends_with("`cairn capsule make` makes one");
    put(&keeper.enr()).end().exits(0).ends_with("gives it to who asks");
    get(&["1", "0"]).end().exits(0);
    assert_eq!(fs::read(&found).unwrap(), fs::read(&made).unwrap(), "with the proof of its header");
    get(&["0"]).end().exits(4).ends_with("`cairn capsule make` makes one");

    // A newcomer gets the trust lists first.
    let newcomer = world.cairn("newcomer").args(["capsule", "get", "--block", &BLOCK.to_string(), "--code"]);
    let newcomer = newcomer.args(["--account", &account.to_string(), "--slot", "0", "--slot", "1", "--out"]).arg("-");
    assert_eq!(asked(&keeper.enr(), newcomer).end().exits(0).bytes(), fs::read(&made).unwrap());
    // Who never heard of the capsule reads what is in it, once its nodes are in the network.
    let read = || {
        let call = world.trusting("none").args(["capsule", "make", "--block", &BLOCK.to_string(), "--code"]);
        let call = call.args(["--account", &account.to_string(), "--slot", "0", "--slot", "1", "--out"]).arg(&found);
        asked(&keeper.enr(), call)
    };
    read().end().exits(4);
    put(&keeper.enr()).arg("--state").end().exits(0).ends_with("are kept by peers now");
    fs::remove_file(&found).unwrap();
    read().end().exits(0);
    assert_eq!(fs::read(&found).unwrap(), fs::read(&made).unwrap());

    let other = world.seed("other", "none");
    wait_for_headers(&world, &other);
    put(&other.enr()).end().exits(4).ends_with("--shares capsules=1`");
    let mut damaged = fs::read(&made).unwrap();
    damaged[99] ^= 1;
    fs::write(&made, damaged).unwrap();
    put(&keeper.enr()).end().exits(5).ends_with("get the capsule anew");
}

#[test]
fn what_a_client_once_answered_makes_a_capsule_without_it() {
    let (world, url) = world();
    let accounts = [world.chain.state(BLOCK).accounts()[0].address, Address::repeat_byte(7)];
    let (made, again) = (world.path("made.capsule"), world.path("again.capsule"));
    make(&world, &url, &accounts, &made).arg("--proof-from").arg(&world.archives[0]).end().exits(0);
    let exported = world.trusting("none").args(["capsule", "export"]).arg(&made).end().exits(0).bytes();
    let proofs = world.path("proofs.json");
    fs::write(&proofs, &exported).unwrap();
    let of_file = |block: u64| {
        let call = world.trusting("none").args(["capsule", "make", "--block", &block.to_string(), "--proofs"]);
        call.arg(&proofs).arg("--out").arg(&again)
    };
    of_file(BLOCK).arg("--proof-from").arg(&world.archives[0]).end().exits(0);
    assert_eq!(fs::read(&again).unwrap(), fs::read(&made).unwrap());
    // The header from peers, with its proof.
    let seeder = world.seed("seeder", "none");
    of_file(BLOCK).args(["--bootnodes", &seeder.enr(), "--timeout", "30"]).alone().end().exits(0);
    assert_eq!(fs::read(&again).unwrap(), fs::read(&made).unwrap());

    let other_block = of_file(BLOCK - 9).arg("--proof-from").arg(&world.archives[0]).end();
    other_block.exits(5).ends_with("name the block that they are of");
    fs::write(&proofs, "{}").unwrap();
    of_file(BLOCK).end().exits(5).ends_with("as it is");
}

fn content_key(key: &ContentKey) -> String {
    hex::encode_prefixed(key.encode())
}

#[test]
fn a_capsule_that_proves_nothing_is_told_from_one_that_is_damaged() {
    let (world, url) = world();
    let account = world.chain.state(BLOCK).accounts()[0].address;
    let file = world.path("b.capsule");
    make(&world, &url, &[account], &file).end().exits(0);
    let verify = |world: &World| world.trusting("none").args(["capsule", "verify"]).arg(&file);
    // Made without an archive it has no proof of its header.
    verify(&world).end().exits(8).ends_with("--block-hash");
    let hash = |number: u64| world.chain.block_hash(number).unwrap().to_string();
    verify(&world).args(["--block-hash", &hash(BLOCK)]).end().exits(0);
    verify(&world).args(["--block-hash", &hash(BLOCK - 1)]).end().exits(5).ends_with("another capsule");

    make(&world, &url, &[account], &file).arg("--proof-from").arg(&world.archives[0]).end().exits(0);
    let without_lists = world.cairn("none").args(["capsule", "verify"]).arg(&file);
    without_lists.end().exits(8).ends_with("cairn trust fetch");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    verify(&world).end().exits(5).ends_with("get the capsule anew");
}

#[test]
fn what_a_client_cannot_prove_is_its_last_line() {
    let (world, url) = world();
    let account = world.chain.state(BLOCK).accounts()[0].address;
    let file = world.path("c.capsule");
    let pruned = Client::of(&world.chain).serve();
    make(&world, &pruned, &[account], &file).end().exits(4).ends_with("missing trie node").ends_with("archive node");
    make(&world, "http://127.0.0.1:9", &[account], &file).end().exits(7).ends_with("check its URL");
    // One that proves another block's state.
    let states = BTreeMap::from([(BLOCK, world.chain.state(BLOCK - 9))]);
    let lying = Client { states, ..Client::of(&world.chain) }.serve();
    make(&world, &lying, &[account], &file).end().exits(5).ends_with("name another client");
    let elsewhere = World::of(SyntheticConfig { seed: 9, ..SyntheticConfig::small() });
    make(&elsewhere, &url, &[account], &file).end().exits(5).ends_with("--chain");
    assert!(!file.exists());
}

/// An account that somebody follows, at every tenth block whose state the client has.
#[test]
fn a_followed_account_is_proved_at_every_nth_block_and_from_there_on() {
    let world = World::of(SyntheticConfig { accounts: 40, ..SyntheticConfig::small() });
    let last = world.chain.config().blocks() - 1;
    // A full node has the states of the youngest blocks alone.
    let states = (60..=last).map(|block| (block, world.chain.state(block))).collect();
    let url = Client { states, ..Client::of(&world.chain) }.serve();
    let account = world.chain.state(last).accounts()[0].address;
    let out = world.path("followed");
    let follow_into = |to: u64, out: &Path| {
        let call = world.trusting("none").args(["state", "follow", "--rpc", &url, "--account", &account.to_string()]);
        call.args(["--every", "10", "--behind", "5", "--json", "--to", &to.to_string(), "--out"]).arg(out)
    };
    let follow = |to: u64| follow_into(to, &out);
    let name = |block: u64| {
        let hash = hex::encode(&world.chain.block_hash(block).unwrap()[..4]);
        out.join(format!("{}-{block:010}-{hash}.capsule", world.chain.spec().name()))
    };
    // It begins with the newest that counts.
    let newest = (last - 5) / 10 * 10;
    let made = follow(newest).end().json();
    assert_eq!((&made["block"], &made["file"]), (&json!(newest), &json!(name(newest))));
    let verify = world.trusting("none").args(["capsule", "verify", "--block-hash"]);
    verify.arg(world.chain.block_hash(newest).unwrap().to_string()).arg(name(newest)).end().exits(0);
    assert_eq!(follow(newest).end().text(), "", "nothing is left");
    // The last file tells where it goes on.
    fs::rename(name(newest), name(newest - 20)).unwrap();
    assert_eq!(follow(newest).end().text().lines().count(), 2);
    // What the client does not have any more is passed over.
    fs::remove_file(name(newest)).unwrap();
    fs::remove_file(name(newest - 10)).unwrap();
    fs::rename(name(newest - 20), name(20)).unwrap();
    follow(newest).end().exits(0).says("blocks 30 to 59 are passed over");
    let there = |block: u64| name(block).exists();
    assert!(!(30..60).any(there) && (60..=newest).step_by(10).all(there));
    // One that has to be the last, and is gone.
    let empty = world.path("empty");
    follow_into(50, &empty).end().exits(4).ends_with("an archive node that of all");
    // No block behind the last one.
    follow_into(newest - 5, &empty).end().exits(0);
    assert!(empty.join(name(newest - 10).file_name().unwrap()).exists());
    let gone =
        world.trusting("none").args(["state", "follow", "--rpc", "http://127.0.0.1:9", "--every", "10", "--out"]);
    gone.arg(&out).args(["--account", &account.to_string()]).end().exits(7).ends_with("check its URL");
}

/// Nobody can prove a young block. When somebody can, its capsule becomes whole, and others find it.
#[test]
fn a_followed_account_is_given_to_peers_once_its_header_can_be_proved() {
    let (world, url) = world();
    let account = world.chain.state(BLOCK).accounts()[0].address;
    let out = world.path("followed");
    let follow = || {
        let call = world.trusting("giver").args(["state", "follow", "--rpc", &url, "--account", &account.to_string()]);
        let call = call.args(["--code", "--every", &BLOCK.to_string(), "--behind", "0"]);
        call.args(["--to", &BLOCK.to_string(), "--out"]).arg(&out)
    };
    let file = out.join(format!(
        "{}-{BLOCK:010}-{}.capsule",
        world.chain.spec().name(),
        hex::encode(&world.chain.block_hash(BLOCK).unwrap()[..4])
    ));
    let verify = || world.trusting("none").args(["capsule", "verify"]).arg(&file).end();
    let shared = || follow().arg("--share").end();
    shared().exits(0).says("no peer runs on the data folder");
    verify().exits(8);

    let seeds = |data: &str, share: &str| {
        let call = world.trusting(data).args(["run", "--shares", share, "--capacity", "10MB", "--seed"]);
        call.arg(&world.archives[0])
    };
    let giver = Peer::start(seeds("giver", "capsules=0"), "none");
    wait_for_headers(&world, &giver);
    follow().end().exits(0).says("capsules that got the proof of their header: 1");
    verify().exits(0);
    assert!(!out.join(format!("{}.shared.json", world.chain.spec().name())).exists(), "nothing is given");

    let keeper = Peer::start(seeds("keeper", "capsules=1"), &giver.enr());
    wait_for_headers(&world, &keeper);
    shared().exits(0).says("capsules that peers keep: 1;");
    let found = world.path("found.capsule");
    let get = world.trusting("none").args(["capsule", "get", "--block", &BLOCK.to_string(), "--code", "--account"]);
    let get = get.args([&account.to_string(), "--bootnodes", &keeper.enr(), "--timeout", "30", "--out"]);
    get.arg(&found).alone().end().exits(0);
    assert_eq!(fs::read(&found).unwrap(), fs::read(&file).unwrap());
    // What has been given is not given again.
    assert!(!shared().exits(0).complaint().contains("capsules"));
}
