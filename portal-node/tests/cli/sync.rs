//! Eras into a folder within a budget, ranges into a peer's store, and what is shown of both.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
};

use cairn_synthetic::SyntheticConfig;
use serde_json::{Value, json};

use crate::support::{Call, Peer, World, in_time};

/// Two whole eras before the merge, of small blocks.
fn two_eras() -> World {
    World::of(SyntheticConfig {
        pre_merge_blocks: 2 * 8192,
        bellatrix_blocks: 0,
        capella_blocks: 0,
        deneb_blocks: 0,
        block_size: 100,
        ..SyntheticConfig::small()
    })
}

/// A peer that serves these archives out of its own folder, and offers them to nobody.
fn keeper(world: &World, data: &str, archives: &[&PathBuf], bootnodes: &str, flags: &[&str]) -> Peer {
    let folder = world.path(data).join("archives");
    fs::create_dir_all(&folder).unwrap();
    for archive in archives {
        fs::copy(archive, folder.join(archive.file_name().unwrap())).unwrap();
    }
    Peer::start(world.trusting(data).arg("run").args(flags), bootnodes)
}

fn sync(world: &World, data: &str, peers: &[&Peer], eras: &str) -> Call {
    let bootnodes: Vec<_> = peers.iter().map(|peer| peer.enr()).collect();
    let call = world.trusting(data).args(["--json", "sync", "--eras", eras, "--as", "era1"]).alone();
    call.args(["--bootnodes", &bootnodes.join(",")])
}

/// What a sync told: a line for each era in the order in which they ended, and the summary.
fn told(out: &[u8]) -> (Vec<Value>, Value) {
    let lines = String::from_utf8_lossy(out);
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    (lines, summary)
}

fn outcomes(lines: &[Value]) -> Vec<(u64, &str)> {
    lines.iter().map(|line| (line["era"].as_u64().unwrap(), line["outcome"].as_str().unwrap())).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Bytes of what was put aside for an era.
fn spooled(folder: &Path, era: u64) -> u64 {
    let (of_era, is_begun) = (format!("-{era:05}-"), folder.exists());
    let hidden = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(".cairn-") && name.contains(&of_era) && !name.ends_with(".journal")
    };
    let files = if is_begun { files(folder) } else { Vec::new() };
    files.iter().filter(|path| hidden(path)).filter_map(|path| Some(fs::metadata(path).ok()?.len())).max().unwrap_or(0)
}

#[test]
fn eras_come_by_number_or_the_rarest_first_and_a_budget_is_kept() {
    let world = two_eras();
    let [first, second] = [&world.archives[0], &world.archives[1]];
    let both = keeper(&world, "both", &[first, second], "none", &[]);
    let one = keeper(&world, "one", &[first], "none", &[]);
    let peers = [&both, &one];
    let of = |data: &str, order: &str, eras: &str| {
        let call = sync(&world, data, &peers, eras).args(["--order", order, "--parallel", "1", "--timeout", "10"]);
        call.arg("--out").arg(world.path(data))
    };
    // Two peers hold era 0, one era 1.
    let rarest = of("rarest", "rarest", "0..2").end().bytes();
    let (lines, summary) = told(&rarest);
    assert_eq!(outcomes(&lines), [(1, "fetched"), (0, "fetched")]);
    assert_eq!((&summary["fetched"], &summary["used"]), (&json!(2), &json!(size(first) + size(second))));
    for (made, original) in files(&world.path("rarest")).iter().zip([first, second]) {
        assert_eq!(fs::read(made).unwrap(), fs::read(original).unwrap());
    }

    // What is there is left alone, and what nobody holds keeps nobody from the rest.
    fs::remove_file(&files(&world.path("rarest"))[0]).unwrap();
    let ended = of("rarest", "sequential", "0..=2").end().exits(4).says("era 2");
    let (lines, summary) = told(&ended.out());
    assert_eq!(outcomes(&lines), [(1, "there"), (0, "fetched"), (2, "unserved")]);
    assert_eq!(summary["unserved"], json!([2]));

    // Room for one of them; what is left of the other is nothing.
    let capacity = (size(first) + size(second) / 2).to_string();
    let small = |era: &str| of("small", "sequential", era).args(["--capacity", &capacity]).end().exits(0);
    let ended = small("0..2").says("no room within --capacity for era 1");
    let (lines, summary) = told(&ended.out());
    assert_eq!(outcomes(&lines), [(0, "fetched"), (1, "noRoom")]);
    assert_eq!((&summary["used"], &summary["noRoom"]), (&json!(size(first)), &json!([1])));
    let kept = files(&world.path("small"));
    assert_eq!(kept.iter().map(|path| path.file_name()).collect::<Vec<_>>(), [first.file_name()]);
    // Now the size of its neighbour tells that before anything is fetched.
    let (lines, _) = told(&small("0..2").out());
    assert_eq!(outcomes(&lines), [(0, "there"), (1, "noRoom")]);
}

#[test]
fn a_sync_that_was_killed_goes_on_and_its_peer_serves_what_came() {
    let world = two_eras();
    let seeder = keeper(&world, "seeder", &[&world.archives[0], &world.archives[1]], "none", &[]);
    let call = || sync(&world, "own", &[&seeder], "0..2").args(["--order", "sequential", "--parallel", "1"]);
    let mut killed = call().args(["--download-limit", "2MB"]).spawn();
    let (folder, half) = (world.path("own").join("archives"), size(&world.archives[1]) / 2);
    let watched = folder.clone();
    in_time("half of the second era", move || {
        while spooled(&watched, 1) < half {
            std::thread::yield_now();
        }
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (lines, _) = told(&call().end().bytes());
    assert_eq!(outcomes(&lines), [(0, "there"), (1, "fetched")]);
    let (all, _) = told(&call().arg("--out").arg(world.path("all")).end().bytes());
    let received = |lines: &[Value]| lines[1]["received"].as_u64().unwrap();
    assert!(received(&lines) < received(&all) * 3 / 4, "{lines:?} after a kill, {all:?} without one");
    assert_eq!(files(&folder).len(), 2, "hidden files are left");

    drop(seeder);
    let own = world.run("own", "none");
    let again = world.path("again");
    let fetch = || world.fetch(&own).args(["--era", "0", "--as", "era1", "--out"]).arg(&again).end();
    let made = fetch().text();
    assert_eq!(fetch().says("is there already").text(), made);
    assert_eq!(fs::read(&files(&again)[0]).unwrap(), fs::read(&world.archives[0]).unwrap());
}

#[test]
fn who_syncs_serves_what_is_whole_already() {
    let world = two_eras();
    let meeting = world.run("meeting", "none");
    let seeder = keeper(&world, "seeder", &[&world.archives[0]], &meeting.enr(), &[]);
    // Nobody has era 1, so it stays.
    let call = sync(&world, "own", &[&meeting, &seeder], "0..2").args(["--timeout", "3600"]);
    let mut syncing = call.spawn();
    let folder = world.path("own").join("archives");
    in_time("the first era", move || {
        let is_whole = |path: &PathBuf| path.extension().is_some_and(|of| of == "era1");
        while !folder.exists() || !files(&folder).iter().any(is_whole) {
            std::thread::yield_now();
        }
    });
    drop(seeder);
    let passed_on = world.path("passed-on");
    let fetch = world.trusting("fetcher").arg("fetch").alone().args(["--bootnodes", &meeting.enr()]);
    let ended = fetch.args(["--timeout", "120", "--era", "0", "--as", "era1", "--out"]).arg(&passed_on).end();
    syncing.kill().unwrap();
    syncing.wait().unwrap();
    ended.exits(0);
    assert_eq!(fs::read(&files(&passed_on)[0]).unwrap(), fs::read(&world.archives[0]).unwrap());
}

#[test]
fn a_range_goes_into_a_running_peers_store_and_is_served_from_there() {
    let world = World::new();
    let seeder = keeper(&world, "seeder", &[&world.archives[0]], "none", &[]);
    let storing = world.run("storing", &seeder.enr());
    let fetch = |range: &str, timeout: &str| {
        let call = world.trusting("asking").args(["--json", "fetch", range, "--into-store", "--timeout", timeout]);
        call.args(["--rpc", &storing.rpc_url()]).end()
    };
    let state = fetch("0..96", "60").json();
    assert_eq!((&state["phase"], &state["stored"], &state["items"]), (&json!("done"), &json!(288), &json!(288)));
    assert_eq!((&state["outside"], &state["unserved"], &state["invalid"]), (&json!(0), &json!(0), &json!(0)));
    drop(seeder);
    // It is all there, and what nobody has is said.
    assert_eq!(fetch("0..96", "60").json()["stored"], json!(0));
    let state = fetch("90..100", "1").exits(4).says("nobody serves 12 of 30").parsed();
    assert_eq!(state["unserved"], json!(12));
    let block = world.fetch(&storing).args(["5", "--timeout", "60"]).end().json();
    assert_eq!(block["number"], json!("0x5"));
    assert!(block["receipts"].is_array());

    let nobody = world.trusting("asking").args(["fetch", "0..96", "--into-store", "--rpc", "http://127.0.0.1:9"]);
    nobody.end().exits(7).says("cairn run");
}

#[test]
fn a_store_takes_of_a_range_what_its_radius_and_its_capacity_let_it() {
    let world = World::new();
    let seeder = keeper(&world, "seeder", &[&world.archives[0]], "none", &[]);
    let fetch = |data: &str, capacity: &str| {
        let storing = Peer::start(world.trusting(data).args(["run", "--capacity", capacity]), &seeder.enr());
        let call =
            world.trusting("asking").args(["--json", "fetch", "0..96", "--into-store", "--rpc", &storing.rpc_url()]);
        let state = call.end().says("larger --capacity").json();
        assert_eq!((&state["phase"], &state["unserved"]), (&json!("done"), &json!(0)));
        let status = crate::swarm::call(&storing.rpc_url(), "cairn_status", &json!([]));
        let sum = |field: &str| -> u64 {
            status["networks"].as_array().unwrap().iter().map(|network| network[field].as_u64().unwrap()).sum()
        };
        (state, sum("items"), sum("bytes"))
    };
    let (state, items, _) = fetch("nothing", "1");
    assert_eq!((items, &state["outside"], &state["received"]), (0, &json!(288), &json!(0)), "{state}");
    let (state, items, bytes) = fetch("some", "60KB");
    assert!(items > 5 && bytes <= 60_000, "{items} items of {bytes} bytes: {state}");
    let [stored, outside] = [&state["stored"], &state["outside"]].map(|of| of.as_u64().unwrap());
    assert!(outside > 0 && stored + outside == 288, "{state}");
}

#[test]
fn each_peer_has_a_line_on_request_and_the_metrics_tell_what_was_moved() {
    let world = World::new();
    let seeder = keeper(&world, "seeder", &[&world.archives[0]], "none", &["--metrics", "127.0.0.1:0"]);
    let fetch = |name: &str, flags: &[&str]| {
        let call = world.trusting("fetcher").arg("fetch").alone().args(["--bootnodes", &seeder.enr()]).args(flags);
        call.args(["0..96", "--out"]).arg(world.path(name)).end().exits(0)
    };
    let quiet = fetch("quiet.ere", &[]);
    assert!(!quiet.complaint().contains("peer 0x"), "{}", quiet.complaint());
    let moved = || metric(&seeder, r#"cairn_swarm_transferred_bytes_total{direction="out",component="headers"}"#);
    let before = moved();
    let id = seeder.announced("nodeId").as_str().unwrap();
    fetch("told.ere", &["--per-peer"]).says(&format!("peer {} 127.0.0.1:", &id[..10]));
    assert!(before > 0.0 && moved() > before);
    for name in ["cairn_swarm_connections", "cairn_swarm_unchoked", "cairn_swarm_bars_total"] {
        assert!(metric(&seeder, name) >= 0.0);
    }
    assert_eq!(metric(&seeder, r#"cairn_swarm_held_runs{component="bodies"}"#), 1.0);
}

/// The value of a metric; a panic if there is none.
fn metric(peer: &Peer, name: &str) -> f64 {
    let mut stream = TcpStream::connect(peer.announced("metrics").as_str().unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}
