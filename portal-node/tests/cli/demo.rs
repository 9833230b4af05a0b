//! `cairn demo`.

use std::fs;

use crate::support::{Call, World};

#[test]
fn the_demonstration_finds_and_proves_everything() {
    let world = World::new();
    let demo =
        Call::new(world.path("home")).args(["demo", "--blocks", "32", "--peers", "3", "--sample", "12", "--json"]);
    let report = demo.end().json();
    assert_eq!(report["success"], true);
    assert_eq!((&report["all"]["asked"], &report["all"]["proved"]), (&12.into(), &12.into()), "{report}");
    assert_eq!(report["peers"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_network_of_one_peer_is_none() {
    let world = World::new();
    Call::new(world.path("home")).args(["demo", "--peers", "1"]).end().exits(3).says("two peers");
    Call::new(world.path("home")).args(["demo", "--archive", "/nowhere"]).end().exits(6).says("/nowhere");
}

#[test]
fn a_written_chain_is_all_that_a_network_needs() {
    let world = World::new();
    let folder = world.path("written");
    let call = || Call::new(world.path("home"));
    let made = call().args(["demo", "--blocks", "16", "--json", "--write"]).arg(&folder).end().json();
    assert_eq!(made["archives"].as_array().map(Vec::len), Some(1));
    let chain = call().arg("--chain").arg(folder.join("chain.json")).arg("--trust").arg(folder.join("trust"));
    chain.arg("verify").arg(folder.join("archives")).end().exits(0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
}

#[test]
fn a_chain_can_be_written_where_the_chain_that_the_environment_names_is_not_there_yet() {
    let world = World::new();
    let folder = world.path("written");
    let chain = folder.join("chain.json");
    let call = || Call::new(world.path("home")).env("CAIRN_CHAIN", chain.to_str().unwrap());
    call().args(["trust", "show"]).end().exits(3).says("chain.json");
    call().args(["demo", "--blocks", "16", "--write"]).arg(&folder).end().exits(0);
    call().args(["trust", "show"]).end().exits(0);
}
