//! `cairn seed`, `cairn run` and `cairn fetch` together: history from one process to another.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

use serde_json::{Value, json};

use crate::{
    client,
    support::{Peer, World},
};

/// A block from before the merge and one with withdrawals.
const BLOCKS: [u64; 2] = [3, 70];

#[test]
fn parts_of_blocks_come_as_json_and_as_rlp() {
    let world = World::new();
    let seeder = world.seed("seeder", "none");
    for number in BLOCKS {
        let block = world.chain.block(number).unwrap();
        let hash = format!("{:#x}", world.chain.block_hash(number).unwrap());
        let fetch = |what: &str, format: &str| {
            world.fetch(&seeder).args([&number.to_string(), "--what", what, "--format", format]).end()
        };
        let json = fetch("block", "json").json();
        assert_eq!((&json["hash"], &json["number"]), (&hash.into(), &format!("{number:#x}").into()));
        let count = |field: &str| json[field].as_array().map(Vec::len);
        assert!(count("transactions").is_some() && count("transactions") == count("receipts"), "{json}");
        assert_eq!(json.get("withdrawals").is_some(), number == 70);
        assert!(json["size"].as_str().is_some_and(|size| size.starts_with("0x")));
        for (transaction, receipt) in array(&json["transactions"]).iter().zip(array(&json["receipts"])) {
            for shown in [transaction, receipt].into_iter().chain(array(&receipt["logs"])) {
                assert_eq!((&shown["blockHash"], &shown["blockNumber"]), (&json["hash"], &json["number"]));
                assert_eq!(shown["transactionIndex"], receipt["transactionIndex"]);
            }
            assert_eq!(receipt["transactionHash"], transaction["hash"]);
            assert!(receipt["effectiveGasPrice"].is_string(), "{receipt}");
            assert!(transaction["from"].is_string() && receipt["from"] == transaction["from"], "{receipt}");
        }
        assert_eq!(fetch("header", "rlp").bytes(), **block.header.rlp());
        assert_eq!(fetch("body", "rlp").bytes(), *block.body);
        assert_eq!(fetch("receipts", "rlp").bytes(), *block.receipts);
        for what in ["header", "body", "receipts"] {
            assert_eq!(fetch(what, "json").json()["hash"], json["hash"], "{what}");
        }
        for (what, field) in [("body", "transactions"), ("receipts", "receipts")] {
            assert_eq!(fetch(what, "json").json()[field], json[field], "{what}");
        }
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn a_range_is_printed_a_line_a_block_or_written_into_a_file() {
    let world = World::new();
    let seeder = world.seed("seeder", "none");
    let numbers = |text: &str| -> Vec<String> {
        let number = |line| serde_json::from_str::<Value>(line).unwrap()["number"].as_str().unwrap().to_owned();
        text.lines().map(number).collect()
    };
    let expected = ["0x5", "0x6", "0x7"];
    assert_eq!(numbers(&world.fetch(&seeder).args(["5..8", "--what", "header"]).end().text()), expected);
    let file = world.path("headers.json");
    assert_eq!(world.fetch(&seeder).args(["5..=7", "--what", "header", "--out"]).arg(&file).end().text(), "");
    assert_eq!(numbers(&fs::read_to_string(file).unwrap()), expected);
}

#[test]
fn ranges_become_archives_that_verify() {
    let world = World::new();
    let seeder = world.seed("seeder", "none");
    // Before the merge, across it, after it.
    for (range, name) in [("10..20", "a.ere"), ("40..60", "b.ere"), ("60..96", "c.ere")] {
        let file = world.path(name);
        world.fetch(&seeder).args([range, "--out"]).arg(&file).end().exits(0);
        world.trusting("data").arg("verify").arg(&file).end().exits(0);
    }
    let late = world.fetch(&seeder).args(["60..70", "--out"]).arg(world.path("d.era1"));
    late.end().exits(3).says(".ere");
    let whole = world.path("whole.ere");
    world.fetch(&seeder).args(["0..96", "--out"]).arg(&whole).end().exits(0);
    assert_eq!(fs::read(whole).unwrap(), fs::read(&world.archives[0]).unwrap());
}

#[test]
fn an_archive_does_without_what_the_flags_leave_out() {
    let world = World::new();
    let seeder = world.seed("seeder", "none");
    for (flags, left_out) in [
        (&["--no-proofs"][..], &["proof"][..]),
        (&["--no-receipts"], &["receipts"]),
        (&["--no-proofs", "--no-receipts"], &["proof", "receipts"]),
    ] {
        let file = world.path("part.ere");
        world.fetch(&seeder).args(["0..48", "--out"]).arg(&file).args(flags).end().exits(0);
        let report = world.trusting("data").args(["verify", "--json"]).arg(&file).end().parsed();
        let good = report["files"][0]["good"].as_object().unwrap();
        for part in ["header", "body", "total difficulty", "proof", "receipts"] {
            assert_eq!(good.contains_key(part), !left_out.contains(&part), "{part} with {flags:?}: {report}");
        }
        assert_eq!(report["files"][0]["findings"], Value::Array(Vec::new()), "{flags:?}");
    }
}

#[test]
fn an_archives_ending_decides_and_flags_against_it_are_refused() {
    let world = World::new();
    let fetch = |out: &str, flags: &[&str]| world.cairn("data").args(["fetch", "3", "--out", out]).args(flags).end();
    for out in ["x.ere", "x.erae", "x.era1"] {
        fetch(out, &["--format", "rlp"]).exits(3).says("--format");
        fetch(out, &["--format", "json"]).exits(3).says("--format");
        fetch(out, &["--what", "body"]).exits(3).says("--what");
    }
    fetch("x.era1", &["--no-proofs"]).exits(3).says("--no-proofs");
    fetch("x.json", &["--no-receipts"]).exits(3).says("--no-receipts");
    world.cairn("data").args(["fetch", "3", "--no-proofs"]).end().exits(2).says("--out");
}

/// The peers have bodies and receipts and no header; those come from an execution client, and nothing else is needed.
#[test]
fn an_archive_takes_the_headers_that_an_execution_client_gave() {
    let world = World::new();
    let shares = ["run", "--shares", "history=1,legacy-history=0"];
    let storing = Peer::start(world.trusting("storing").args(shares), "none");
    let mut seeder = world.seed("seeder", &storing.enr());
    seeder.wait_for_log("offered to the network");
    assert_eq!(seeder.stop("TERM").0.code(), Some(0));

    let headers = client::serve(&world.chain);
    let fetch =
        |out: &str| world.fetch(&storing).args(["0..48", "--headers-from", &headers, "--out"]).arg(world.path(out));
    let (era1, ere) = (world.path("a.era1"), world.path("b.ere"));
    fetch("a.era1").end().exits(0);
    fetch("b.ere").arg("--no-proofs").end().exits(0);
    world.trusting("data").arg("verify").args([era1, ere]).end().exits(0);
    fetch("c.ere").end().exits(4).says("the proof of block").says("--no-proofs");
}

#[test]
fn a_whole_era_before_the_merge_becomes_the_same_era1_file() {
    let world = World::before_the_merge();
    let seeder = world.seed("seeder", "none");
    let file = world.path("fetched.era1");
    world.fetch(&seeder).args(["0..48", "--out"]).arg(&file).end().exits(0);
    assert_eq!(fs::read(file).unwrap(), fs::read(&world.archives[0]).unwrap());
}

#[test]
fn what_nobody_has_is_not_found_and_leaves_no_file() {
    let world = World::new();
    let peer = world.run("peer", "none");
    world.fetch(&peer).args(["3", "--timeout", "3"]).end().exits(4).says("block 3").says("does not have it");
    let folder = world.path("out");
    fs::create_dir(&folder).unwrap();
    for name in ["x.ere", "x.json"] {
        world.fetch(&peer).args(["3..9", "--timeout", "3", "--out"]).arg(folder.join(name)).end().exits(4);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn a_newcomer_without_trust_lists_gets_them_on_the_way() {
    let world = World::new();
    let seeder = world.seed("seeder", "none");
    let fetch = world.cairn("newcomer").args(["fetch", "3", "--bootnodes", &seeder.enr()]).alone();
    assert_eq!(fetch.end().json()["number"], "0x3");
}

#[test]
fn what_was_seeded_outlives_the_seeder() {
    let world = World::new();
    let storing = world.run("storing", "none");
    let mut seeder = world.seed("seeder", &storing.enr());
    let line = seeder.wait_for_log("offered to the network");
    let count = |field: &str| line.split_whitespace().find_map(|word| word.strip_prefix(field)).unwrap().to_owned();
    assert_eq!(count("placed="), count("pieces="), "{line}");
    // The peer says itself that it has it, so the seeder may go.
    assert_eq!(seeder.stop("TERM").0.code(), Some(0));
    let text = world.fetch(&storing).args(["0..96", "--parallel", "4"]).end().text();
    assert_eq!(text.lines().count(), 96);
}

#[test]
fn a_seed_that_nobody_could_check_is_offered_when_the_lists_are_there() {
    let world = World::new();
    let seed = |trusting: bool| {
        let call = if trusting { world.trusting("seeder") } else { world.cairn("seeder") };
        call.arg("seed").arg(&world.archives[0])
    };
    let storing = world.run("storing", "none");
    // On its own there is nobody to get the lists from.
    let mut seeder = Peer::start(seed(false), "none");
    let line = seeder.wait_for_log("blocks cannot be offered yet");
    assert!(line.contains("0 to 95") && line.contains("count=96"), "{line}");
    assert_eq!(seeder.stop("TERM").0.code(), Some(0));

    let mut seeder = Peer::start(seed(true), &storing.enr());
    let line = seeder.wait_for_log("offered to the network");
    assert!(line.contains("pieces=576"), "{line}");
    assert_eq!(seeder.stop("TERM").0.code(), Some(0));
    let mut seeder = Peer::start(seed(true), &storing.enr());
    assert!(seeder.wait_for_log("offered to the network").contains("pieces=0 "));
    drop(seeder);
    let mut seeder = Peer::start(seed(true).arg("--from-start"), &storing.enr());
    assert!(seeder.wait_for_log("offered to the network").contains("pieces=576"));
}

#[test]
fn the_peer_that_runs_on_the_data_folder_is_the_one_that_fetches() {
    let world = World::new();
    let peer = world.seed("seeder", "none");
    // Nobody is told of a peer to start from: one of its own would find nothing.
    let fetch = || world.trusting("seeder").args(["fetch", "70", "--timeout", "5", "--bootnodes", "none"]).alone();
    let block = world.chain.block(70).unwrap();
    assert_eq!(fetch().args(["--what", "body", "--format", "rlp"]).end().bytes(), *block.body);
    let json = fetch().end().json();
    assert_eq!(json["hash"], format!("{:#x}", world.chain.block_hash(70).unwrap()));
    let file = world.path("header.rlp");
    fetch().args(["--what", "header", "--format", "rlp", "--out"]).arg(&file).end().exits(0);
    assert_eq!(fs::read(file).unwrap(), **block.header.rlp());
    let beyond = ["fetch", "1000000", "--timeout", "5", "--bootnodes", "none"];
    world.trusting("seeder").args(beyond).alone().end().exits(8).says("1000000").says("cairn trust show");
    fetch().arg("--own-peer").end().exits(7).says("no peer answered");
    let status = || world.cairn("seeder").args(["status", "--json"]).end();
    assert_eq!(status().parsed()["nodeId"], *peer.announced("nodeId"));
    peer.stop("TERM");
    fetch().end().exits(7);
}

/// A peer on the data folder `data` that says of itself what `status` is and does nothing else. It answers until the tests end.
fn unhelpful_peer(world: &World, data: &str, status: Value) {
    fs::create_dir_all(world.path(data)).unwrap();
    let listener = UnixListener::bind(world.path(data).join("cairn.sock")).unwrap();
    let refused = json!({ "code": -32603, "message": "busy" });
    let answer = move |stream: UnixStream| -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let request: Value = serde_json::from_slice(&body)?;
        let answer = match request["method"].as_str() {
            Some("cairn_status") => json!({ "jsonrpc": "2.0", "id": request["id"], "result": status }),
            _ => json!({ "jsonrpc": "2.0", "id": request["id"], "error": refused }),
        };
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        stream.get_mut().write_all(format!("{head}{answer}").as_bytes())
    };
    // Whoever asked and went away is none of its business.
    thread::spawn(move || listener.incoming().for_each(|stream| drop(stream.and_then(&answer))));
}

#[test]
fn a_peer_of_its_own_does_without_the_help_of_the_one_on_the_data_folder() {
    let world = World::new();
    let status = {
        let _peer = world.run("peer", "none");
        world.cairn("peer").args(["status", "--json"]).end().json()
    };
    unhelpful_peer(&world, "busy", status);
    let fetch = || world.trusting("busy").args(["fetch", "3", "--timeout", "2"]).alone();
    fetch().end().exits(1).says("busy");
    fetch().arg("--own-peer").end().exits(7).says("block 3");
}
