//! `cairn run`, `cairn status`, `cairn enr`: one peer from its start to its end.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use crate::support::{Call, Peer, World, in_time};

#[test]
fn a_peer_announces_itself_answers_and_stops_on_either_signal() {
    let world = World::new();
    let mut node_ids = Vec::new();
    for signal in ["TERM", "INT"] {
        let peer = world.run("peer", "none");
        let status = world.cairn("other").args(["status", "--json", "--rpc", &peer.rpc_url()]).end().json();
        assert_eq!(status["nodeId"], *peer.announced("nodeId"));
        assert_eq!(status["chain"], world.chain.spec().name());
        let text = world.cairn("other").args(["status", "--rpc", &peer.rpc_url()]).end().text();
        assert!(text.contains(&peer.enr()), "{text}");
        node_ids.push(peer.announced("nodeId").clone());
        let (status, rest) = peer.stop(signal);
        assert_eq!(status.code(), Some(0), "SIG{signal}");
        assert_eq!(rest, "", "one line is all that a peer prints");
    }
    assert_eq!(node_ids[0], node_ids[1], "a restart keeps the identity");
}

#[test]
fn a_peer_whose_bootnodes_are_all_down_says_so_once_and_joins_when_one_comes_up() {
    let world = World::new();
    let bootnode = world.run("bootnode", "none");
    let (enr, at) = (bootnode.enr(), bootnode.announced("listen")[0].as_str().unwrap().to_owned());
    assert_eq!(bootnode.stop("TERM").0.code(), Some(0));
    let mut peer = world.run("peer", &enr);
    assert!(peer.wait_for_log("a bootnode does not answer").contains(&at));
    let url = peer.rpc_url();
    let status = |flags: &[&str]| world.cairn("other").args(["status", "--rpc", &url]).args(flags).end();
    let text = status(&[]).text();
    assert!(text.contains("NO BOOTNODE") && text.contains(&format!("{at} does not answer")), "{text}");

    // On the same port with the same key, as after an outage.
    let _bootnode = Peer::start_at(&at, world.trusting("bootnode").arg("run"), "none");
    let lines = peer.log_until("a bootnode answers now");
    assert!(!lines.iter().any(|line| line.contains("does not answer")), "it was said before: {lines:?}");
    let report = status(&["--json"]).json();
    assert!(report["noBootnode"].is_null(), "{report}");
    assert!(report["networks"].as_array().unwrap().iter().any(|network| network["peers"] == 1), "{report}");
}

#[test]
fn the_announcement_has_what_a_script_needs() {
    let world = World::new();
    let peer = Peer::start(world.trusting("peer").args(["run", "--metrics", "127.0.0.1:0"]), "none");
    let port =
        |address: &Value| address.as_str().and_then(|text| text.rsplit(':').next()?.parse::<u16>().ok()).unwrap();
    assert_ne!(port(peer.announced("rpc")), 0);
    assert_ne!(port(&peer.announced("listen")[0]), 0);
    let metrics = peer.announced("metrics").as_str().unwrap().to_owned();
    let page = in_time("metrics", move || {
        let mut stream = TcpStream::connect(metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: cairn\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    });
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("cairn_"), "{page}");
}

#[test]
fn a_web_page_is_answered_only_if_the_settings_name_it() {
    let world = World::new();
    let call = world.trusting("peer").arg("run").env("CAIRN_RPC_ORIGINS", "https://dapp.example,https://other.example");
    let peer = Peer::start(call, "none");
    let status_of = |origin: &str| {
        let rpc = peer.announced("rpc").as_str().unwrap().to_owned();
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"web3_clientVersion","params":[]}"#;
        let head = format!("POST / HTTP/1.1\r\nHost: {rpc}\r\nOrigin: {origin}\r\nConnection: close\r\n");
        let head = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = in_time("an answer", move || {
            let mut stream = TcpStream::connect(rpc).unwrap();
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status_of("https://other.example"), "200");
    assert_eq!(status_of("https://evil.example"), "403");
}

#[test]
fn the_record_is_had_from_the_folder_the_peer_or_the_text() {
    let world = World::new();
    world.cairn("peer").arg("enr").end().exits(6).says("cairn run");
    let peer = world.run("peer", "none");
    let enr = peer.enr();
    assert_eq!(world.cairn("other").args(["enr", "--rpc", &peer.rpc_url()]).end().text().trim(), enr);
    let decoded = world.cairn("other").args(["enr", "--json", "--decode", &enr]).end().json();
    assert_eq!(decoded["nodeId"], *peer.announced("nodeId"));
    assert_eq!(decoded["ip"], "127.0.0.1");
    assert_eq!(format!("127.0.0.1:{}", decoded["udp"]), *peer.announced("listen")[0].as_str().unwrap());
    assert_eq!(peer.stop("TERM").0.code(), Some(0));
    assert_eq!(world.cairn("peer").arg("enr").end().text().trim(), enr);
    let own_key = world.path("peer/node.key");
    assert_eq!(world.cairn("peer").arg("enr").env("CAIRN_KEY", &own_key).end().text().trim(), enr);
    let other_key = world.path("other.key");
    fs::write(&other_key, "11".repeat(32)).unwrap();
    world.cairn("peer").args(["enr", "--key"]).arg(&other_key).end().exits(5).says("other.key");
    world.cairn("peer").args(["enr", "--key", "/nowhere/key"]).end().exits(6).says("/nowhere/key");
    let text = world.cairn("other").args(["enr", "--decode", &enr]).end().text();
    assert!(text.contains(decoded["nodeId"].as_str().unwrap()), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{}", decoded["udp"])) && text.lines().count() == 3, "{text}");
    world.cairn("other").args(["enr", "--decode", "enr:nonsense"]).end().exits(3);
}

#[test]
fn a_peer_that_is_not_there_cannot_be_asked() {
    let world = World::new();
    let peer = world.run("peer", "none");
    let url = peer.rpc_url();
    assert_eq!(peer.stop("TERM").0.code(), Some(0));
    world.cairn("other").args(["status", "--rpc", &url]).end().exits(7).says("cairn run");
}

#[test]
fn a_proxy_is_not_asked_for_what_is_on_this_machine() {
    let world = World::new();
    let peer = world.run("peer", "none");
    let mut status = world.cairn("other").args(["status", "--rpc", &peer.rpc_url()]);
    for proxy in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        // Nobody listens there.
        status = status.env(proxy, "http://127.0.0.1:9");
    }
    status.end().exits(0);
}

#[test]
fn a_port_or_a_folder_that_is_taken_is_named() {
    let world = World::new();
    let peer = world.run("peer", "none");
    let rpc = peer.announced("rpc").as_str().unwrap();
    let run = |data: &str| world.trusting(data).args(["run", "--bootnodes", "none"]).alone();
    run("second").args(["--rpc", rpc]).end().exits(3).says(rpc).says("--rpc");
    run("second").args(["--rpc", "none", "--metrics", rpc]).end().exits(3).says(rpc).says("--metrics");
    let udp = peer.announced("listen")[0].as_str().unwrap();
    let call = world.trusting("second").args(["run", "--bootnodes", "none", "--nat", "none", "--rpc", "none"]);
    call.args(["--listen", udp]).end().exits(3).says(&format!("UDP {udp} is taken")).says("--listen");
    run("peer").args(["--rpc", "none"]).end().exits(6).says("in use by another process").says("--data-dir");
}

#[test]
fn a_start_that_is_refused_leaves_the_folder_as_it_is() {
    let world = World::new();
    let other = World::of(cairn_synthetic::SyntheticConfig { seed: 2, ..cairn_synthetic::SyntheticConfig::small() });
    let peer = world.seed("peer", "none");
    let files = || {
        let mut files: Vec<_> =
            fs::read_dir(world.path("peer")).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        files
    };
    assert_eq!(peer.stop("TERM").0.code(), Some(0));
    // What the tracker of another version or chain wrote: a start that succeeds puts it aside.
    fs::write(world.path("peer/tracker"), "records").unwrap();
    let before = files();
    let run = || {
        let call = Call::new(other.path("home")).arg("--chain").arg(other.path("chain.json"));
        let call = call.arg("--trust").arg(other.path("trust")).arg("--data-dir").arg(world.path("peer"));
        call.arg("run").arg("--seed").arg(&other.archives[0]).args(["--rpc", "none", "--bootnodes", "none"]).alone()
    };
    run().end().exits(6).says("content of chain").says("--data-dir");
    assert_eq!(files(), before, "of another chain");
}

#[test]
fn a_peer_without_room_declines_what_is_offered_and_says_so_once() {
    let world = World::new();
    let run = || world.trusting("peer").args(["run", "--metrics", "127.0.0.1:0"]);
    let mut peer = Peer::start(run().args(["--disk-reserve", "1000000TB"]), "none");
    let line = peer.wait_for_log("nothing can be stored");
    assert!(line.contains("WARN") && line.contains("free some space"), "{line}");
    let get = |peer: &Peer, path: &'static str| {
        let address = peer.announced("metrics").as_str().unwrap().to_owned();
        in_time(path, move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .write_all(format!("GET {path} HTTP/1.1\r\nHost: cairn\r\nConnection: close\r\n\r\n").as_bytes())
                .unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).unwrap();
            page
        })
    };
    let health = get(&peer, "/health");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("no room on the disk"), "{health}");
    let status = world.cairn("other").args(["status", "--rpc", &peer.rpc_url()]).end().text();
    assert!(status.contains("NOTHING IS STORED"), "{status}");

    // What is declined for now is offered again when there is room.
    let _seeder = world.seed("seeder", &peer.enr());
    let later = "code=\"4\"";
    let declined = (0..100_000).map(|_| get(&peer, "/metrics")).find(|page| page.contains(later));
    let metrics = declined.expect("offers are declined");
    let inbound = metrics.lines().find(|line| line.starts_with("cairn_transferred_bytes_total{direction=\"inbound\"}"));
    assert!(inbound.is_none_or(|line| line.ends_with(" 0")), "{inbound:?}");

    peer.stop("TERM");
    let peer = Peer::start(run(), "none");
    assert!(get(&peer, "/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn of_a_folder_that_is_none_it_is_said_what_to_do() {
    let world = World::new();
    let file = world.path("chain.json");
    let run = |data: &str| world.cairn(data).args(["run", "--bootnodes", "none", "--rpc", "none"]).alone();
    run("chain.json/data").end().exits(6).says("node.key: ").says(": give another path");
    run("data").arg("--key").arg(world.path("trust")).end().exits(6).says("trust: ").says(": give another path");
    run("data").arg("--trust").arg(&file).end().exits(6).says("chain.json/").says(": give another path");
    fs::create_dir(world.path("blocked")).unwrap();
    fs::write(world.path("blocked/store"), "in the way").unwrap();
    run("blocked").end().exits(6).says("store: ").says(": give another path");
}

#[test]
fn a_peer_without_trust_lists_says_what_to_do() {
    let world = World::new();
    let mut peer = Peer::start(world.cairn("peer").arg("run"), "none");
    let line = peer.wait_for_log("cairn trust import");
    assert!(line.contains("WARN") && line.contains("pre-merge accumulator") && line.contains("historical"), "{line}");
}
