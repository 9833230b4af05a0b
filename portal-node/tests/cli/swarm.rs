//! Ranges over QUIC between processes: from several peers, through the tracker, on after a kill, under limits.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
};

use cairn_synthetic::SyntheticConfig;
use serde_json::{Value, json};

use crate::{
    mirror,
    support::{Peer, World, in_time},
};

const RANGE: [&str; 2] = ["0..96", "--out"];

/// Calls a method of a peer's JSON-RPC.
pub(crate) fn call(url: &str, method: &str, params: &Value) -> Value {
    let address = url.strip_prefix("http://").unwrap();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST / HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}",
        body.len()
    );
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    answer["result"].take()
}

/// The report of a fetch over QUIC, which an item-by-item fetch does not give.
fn received(report: &Value) -> u64 {
    report["received"].as_u64().unwrap_or_else(|| panic!("not over QUIC: {report}"))
}

#[test]
fn a_range_comes_over_quic_and_item_by_item_where_nobody_speaks_it() {
    let world = World::new();
    let first = world.seed("first", "none");
    let second = world.seed("second", &first.enr());
    let file = world.path("a.ere");
    let both = format!("{},{}", first.enr(), second.enr());
    let fetch = world.trusting("fetcher").arg("--json").arg("fetch").alone().args(["--bootnodes", &both]);
    let report = fetch.args(RANGE).arg(&file).end().json();
    assert!(received(&report) > 0 && report["invalid"] == 0, "{report}");
    assert_eq!(fs::read(&file).unwrap(), fs::read(&world.archives[0]).unwrap());

    let without = world.path("b.ere");
    let silent = world.trusting("silent").arg("seed").arg(&world.archives[0]).args(["--quic", "none"]);
    let silent = Peer::start(silent, "none");
    let report = world.fetch(&silent).args(RANGE).arg(&without).end().text();
    assert!(report.contains("b.ere"), "{report}");
    assert_eq!(fs::read(&without).unwrap(), fs::read(&world.archives[0]).unwrap());
}

#[test]
fn who_knows_a_third_peer_only_finds_the_seeder() {
    let world = World::new();
    let third = world.run("third", "none");
    let _seeder = world.seed("seeder", &third.enr());
    let file = world.path("found.ere");
    let fetch = world.trusting("fetcher").arg("--json").arg("fetch").alone().args(["--bootnodes", &third.enr()]);
    let report = fetch.args(RANGE).arg(&file).end().json();
    assert!(received(&report) > 0, "{report}");
    assert_eq!(fs::read(&file).unwrap(), fs::read(&world.archives[0]).unwrap());
}

#[test]
fn a_fetch_that_was_killed_goes_on_where_it_stopped() {
    let world = World::of(SyntheticConfig { block_size: 30_000, ..SyntheticConfig::small() });
    let seeder = world.seed("seeder", "none");
    let folder = world.path("out");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("killed.ere");
    let fetch = || world.trusting("fetcher").arg("--json").arg("fetch").alone().args(["--bootnodes", &seeder.enr()]);
    let slow = fetch().args(["--download-limit", "400KB"]).args(RANGE).arg(&file);
    let mut killed = slow.spawn();
    let whole = fs::metadata(&world.archives[0]).unwrap().len();
    let spool = folder.clone();
    in_time("half of the range", move || {
        let size = || {
            let files = fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap());
            let spools = files.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "spool"));
            spools.map(|entry| entry.metadata().unwrap().len()).sum::<u64>()
        };
        while size() < whole / 2 {
            std::thread::yield_now();
        }
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!file.exists());
    let rest = fetch().args(RANGE).arg(&file).end().json();
    let all = fetch().args(RANGE).arg(world.path("all.ere")).end().json();
    assert!(received(&rest) < received(&all) * 2 / 3, "{rest} after a kill, {all} without one");
    assert_eq!(fs::read(&file).unwrap(), fs::read(&world.archives[0]).unwrap());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "hidden files are left");
}

#[test]
fn limits_change_while_a_peer_runs_and_it_tells_what_is_held() {
    let world = World::new();
    let flags = ["--upload-limit", "5MB", "--max-peers", "7"];
    let seeder = Peer::start(world.trusting("seeder").arg("seed").arg(&world.archives[0]).args(flags), "none");
    let ask = |method: &str, params: Value| call(&seeder.rpc_url(), method, &params);
    let limits = json!({ "uploadLimit": 5_000_000, "downloadLimit": null, "maxPeers": 7 });
    assert_eq!(ask("cairn_limits", json!([])), limits);
    let changed = json!({ "uploadLimit": null, "downloadLimit": 1000, "maxPeers": 7 });
    assert_eq!(ask("cairn_setLimits", json!({ "uploadLimit": "none", "downloadLimit": 1000 })), changed);
    assert_eq!(ask("cairn_limits", json!([])), changed);
    world.trusting("other").args(["coverage", "--rpc", &seeder.rpc_url()]).end().exits(0);
    assert_eq!(ask("cairn_swarm", json!([]))["peers"], json!([]));
}

#[test]
fn mirrors_give_what_no_peer_serves_and_one_that_lies_is_left_alone() {
    // With proofs in the file, and with those that follow from an epoch.
    for (world, range) in [(World::new(), "0..96"), (World::before_the_merge(), "0..48")] {
        let original = fs::read(&world.archives[0]).unwrap();
        let name = world.archives[0].file_name().unwrap().to_str().unwrap();
        let mut damaged = original.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        let good = mirror::serve([(name.to_owned(), original.clone()), ("notes.txt".to_owned(), vec![1])]);
        let bad = mirror::serve([(name.to_owned(), damaged)]);
        let file = world.path(&format!("mirrored.{}", name.rsplit_once('.').unwrap().1));
        let fetch = world.trusting("fetcher").args(["--json", "fetch"]).alone().args(["--bootnodes", "none"]);
        let fetch = fetch.args(["--web-seed", &format!("{bad},{good}"), range, "--out"]).arg(&file);
        fetch.end().exits(0).says("passed over");
        assert_eq!(fs::read(&file).unwrap(), original);
    }
}

#[test]
fn what_is_wrong_with_a_mirrors_file_is_said_once_and_without_passwords() {
    let world = World::new();
    let original = fs::read(&world.archives[0]).unwrap();
    let name = world.archives[0].file_name().unwrap().to_str().unwrap();
    let network = world.chain.spec().name();
    // By name the foreign and the cut one come before the good one.
    let cut = format!("{network}-00000-00000000.ere");
    let url = mirror::serve([
        ("mainnet-00000-5ec1ffb8.era1".to_owned(), vec![1; 100]),
        (cut.clone(), original[..original.len() / 2].to_vec()),
        (name.to_owned(), original.clone()),
    ]);
    let secret = url.replace("http://", "http://user:hidden@") + "?token=hidden";
    let file = world.path("mirrored.ere");
    let fetch = |mirror: &str| {
        let call = world.trusting("fetcher").arg("fetch").alone().args(["--bootnodes", "none", "--timeout", "4"]);
        call.args(["0..96", "--web-seed", mirror, "--out"]).arg(&file).end()
    };
    let ended = fetch(&secret).exits(0).says(&cut);
    let said = ended.complaint();
    assert!(!said.contains("mainnet") && !said.contains("hidden"), "{said}");
    assert_eq!(said.matches(&cut).count(), 1, "{said}");
    assert_eq!(fs::read(&file).unwrap(), original);

    let convert = world.trusting("data").args(["convert", "--to", "ere", "--json", "--no-proofs", "--out"]);
    let bare = convert.arg(world.path("bare")).arg(&world.archives[0]).end().json()["to"].as_str().unwrap().to_owned();
    let bare_name = Path::new(&bare).file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_file(&file).unwrap();
    let without_proofs = mirror::serve([(bare_name, fs::read(&bare).unwrap())]);
    fetch(&without_proofs).exits(8).ends_with("there are no proofs in it");
    let empty = mirror::serve([]);
    fetch(&empty).exits(9).ends_with(&format!("{empty}: it lists no archive"));
}

#[test]
fn the_last_line_says_why_the_mirrors_that_were_named_gave_nothing() {
    let world = World::new();
    let original = fs::read(&world.archives[0]).unwrap();
    let name = world.archives[0].file_name().unwrap().to_str().unwrap();
    let foreign = || mirror::serve([("mainnet-00000-5ec1ffb8.era1".to_owned(), vec![1; 100])]);
    let forbidden = || mirror::refusing("403 Forbidden");
    let cut = mirror::serve([(name.to_owned(), original[..original.len() / 2].to_vec())]);
    let nobody = || format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let cases = [
        (forbidden(), 9, "refuses: http://127.0.0.1:", "status 403"),
        (mirror::refusing("404 Not Found"), 9, "refuses: http://127.0.0.1:", "no such file"),
        // Who asks to be left alone for longer than anybody waits is not asked again.
        (
            mirror::refusing("429 Too Many Requests\r\nretry-after: 3600"),
            9,
            "is busy or broken: http://127.0.0.1:",
            "(wait and",
        ),
        // Nor does it matter that somebody who waits less than others is told while it is asked again.
        (
            mirror::refusing("429 Too Many Requests\r\nretry-after: 60"),
            9,
            "is busy or broken: http://127.0.0.1:",
            "status 429",
        ),
        (mirror::refusing("500 Internal Server Error"), 9, "is busy or broken: http://127.0.0.1:", "(wait and"),
        (mirror::refusing("200 OK"), 9, "refuses: http://127.0.0.1:", "there is no link on the page"),
        (nobody(), 7, "cannot be reached: http://127.0.0.1:", ""),
        (cut, 5, "damaged or not of this chain: http://127.0.0.1:", name),
        (foreign(), 4, "is of no use: none of the 1 archives at http://127.0.0.1:", "with blocks 0 to "),
        // What somebody can do most about decides, and nothing is left out.
        (format!("{},{}", foreign(), forbidden()), 9, "none of the 1 archives at", "status 403"),
    ];
    let good = mirror::serve([(name.to_owned(), original.clone())]);
    let fetch = |of: usize, mirrors: &str| {
        let call = world.trusting("fetcher").arg("fetch").alone().args(["--bootnodes", "none", "--timeout", "8"]);
        let call = call.args(["--web-seed", mirrors]);
        // Both ways to an archive. What was begun lies in the folder, one for each.
        let out = world.path(&format!("out-{of}"));
        fs::create_dir(&out).unwrap();
        let call =
            if of.is_multiple_of(2) { call.args(["--era", "0", "--out"]) } else { call.args(["0..96", "--out"]) };
        call.arg(if of.is_multiple_of(2) { out } else { out.join("a.ere") }).end()
    };
    // All at once, for each waits for what does not come.
    thread::scope(|scope| {
        for (of, (mirrors, code, what, why)) in cases.iter().enumerate() {
            scope.spawn(move || fetch(of, mirrors).exits(*code).ends_with(what).ends_with(why));
        }
        let sync = world.trusting("syncer").arg("sync").alone().args(["--bootnodes", "none", "--timeout", "8"]);
        let sync = sync.args(["--eras", "0", "--web-seed", &forbidden(), "--out"]).arg(world.path("synced"));
        // The limit on downloads holds for mirrors too.
        let limited = world.trusting("limited").arg("fetch").alone().args(["--bootnodes", "none", "--timeout", "8"]);
        let limited = limited.args(["--era", "0", "--web-seed", &good, "--download-limit", "0", "--out"]);
        let limited = limited.arg(world.path("limited-out"));
        scope.spawn(move || limited.end().exits(7).ends_with("it has given nothing yet"));
        scope.spawn(move || sync.end().exits(9).ends_with("status 403").ends_with("era 0"));
    });
}
