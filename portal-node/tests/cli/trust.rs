//! `cairn trust`.

use std::fs;

use serde_json::Value;

use crate::{
    mirror,
    support::{Call, Peer, World},
};

fn held(world: &World, data: &str) -> usize {
    let shown = world.cairn(data).args(["trust", "show", "--json"]).end().json();
    shown["lists"].as_array().unwrap().iter().filter(|list| !list["entries"].is_null()).count()
}

#[test]
fn lists_are_imported_whichever_they_are() {
    let world = World::new();
    assert_eq!(held(&world, "data"), 0);
    let mut files: Vec<_> = fs::read_dir(world.path("trust")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for (already, file) in files.iter().enumerate() {
        assert_eq!(held(&world, "data"), already);
        let imported = world.cairn("data").args(["trust", "import", "--json"]).arg(file).end().json();
        let saved = world.path("data/trust").join(file.file_name().unwrap());
        assert_eq!(imported["file"].as_str(), saved.to_str());
    }
    assert_eq!(held(&world, "data"), files.len());
    let text = world.cairn("data").args(["trust", "show"]).end().text();
    assert!(text.contains("checked") && !text.contains("missing"), "{text}");
    world.cairn("data").arg("verify").arg(&world.archives[0]).end().exits(0);
}

#[test]
fn a_file_that_is_no_list_of_the_chain_is_refused() {
    let world = World::new();
    let import = || world.cairn("data").args(["trust", "import"]);
    import().arg(&world.archives[0]).end().exits(5).says("none of the lists").ends_with("name another file");
    import().arg("/nowhere/list.ssz").end().exits(6).says("/nowhere/list.ssz");
    assert_eq!(held(&world, "data"), 0);
}

#[test]
fn a_list_that_was_tampered_with_on_disk_is_not_used() {
    let world = World::new();
    for entry in fs::read_dir(world.path("trust")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let verify = || world.trusting("data").arg("verify").arg(&world.archives[0]).end();
    verify().exits(5).says("cairn trust fetch");

    // Good ones take their places, whichever way they come.
    let good = World::new();
    let list = |name: &str| good.path("trust").join(name);
    let first = "historical_roots.ssz";
    world.trusting("data").args(["trust", "import"]).arg(list(first)).end().exits(0).says(".damaged");
    fs::write(world.path("trust").join(first), "damaged again").unwrap();
    let peer = good.run("peer", "none");
    world.trusting("data").args(["trust", "fetch", "--bootnodes", &peer.enr()]).alone().end().exits(0).says(first);
    verify().exits(0);
}

#[test]
fn a_chain_without_roots_says_what_that_means() {
    let world = World::new();
    let sepolia = || Call::new(world.path("home")).args(["--chain", "sepolia"]);
    for command in [&["trust", "fetch"][..], &["trust", "fetch", "--from", "http://127.0.0.1:1"]] {
        sepolia().args(command).end().exits(3).says("no trust roots compiled in");
    }
    let shown = sepolia().args(["trust", "show", "--json"]).end().says("no trust roots compiled in").json();
    assert!(shown["lists"].as_array().unwrap().iter().all(|list| list["root"].is_null()), "{shown}");
}

#[test]
fn a_mirror_of_lists_that_refuses_is_told_from_one_that_is_not_there() {
    let world = World::new();
    let fetch = |from: &str| world.cairn("new").args(["trust", "fetch", "--from", from]).end();
    fetch(&mirror::refusing("404 Not Found")).exits(9).ends_with("404").ends_with("check the URL of --from");
    fetch(&mirror::refusing("403 Forbidden")).exits(9).ends_with("403").ends_with("in the URL of --from");
    fetch(&mirror::refusing("503 Service Unavailable")).exits(9).ends_with("503").ends_with("wait and run it again");
    fetch("http://127.0.0.1:9/").exits(7);
}

#[test]
fn lists_come_from_a_peer() {
    let world = World::new();
    let peer = world.run("peer", "none");
    let fetch = |bootnode: &str| world.cairn("new").args(["trust", "fetch", "--json", "--bootnodes", bootnode]).alone();
    let shown: Value = fetch(&peer.enr()).end().json();
    assert!(shown["lists"].as_array().unwrap().iter().any(|list| !list["entries"].is_null()), "{shown}");
    let files = fs::read_dir(world.path("trust")).unwrap().count();
    assert_eq!(held(&world, "new"), files);
}

#[test]
fn lists_that_the_peer_on_the_data_folder_has_elsewhere_come_here_too() {
    let world = World::new();
    // Its lists are not in its data folder.
    let _peer = world.run("peer", "none");
    let fetch = world.cairn("peer").args(["trust", "fetch", "--json"]).alone().end().json();
    assert!(fetch["lists"].as_array().unwrap().iter().all(|list| !list["entries"].is_null()), "{fetch}");
    assert_eq!(held(&world, "peer"), fs::read_dir(world.path("trust")).unwrap().count());
}

#[test]
fn lists_that_no_peer_has_are_not_found() {
    let world = World::new();
    let empty = Peer::start(world.cairn("empty").arg("run"), "none");
    let fetch = world.cairn("new").args(["trust", "fetch", "--bootnodes", &empty.enr()]).alone();
    fetch.end().exits(4).says("no peer");
}
