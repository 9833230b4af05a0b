//! Flags, environment, configuration file, and what is said of mistakes in them.

use std::fs;

use crate::support::{Call, World};

#[test]
fn every_command_explains_itself() {
    let world = World::new();
    let commands = ["run", "seed", "fetch", "trust", "verify", "convert", "status", "enr", "demo"];
    let overview = world.cairn("data").arg("--help").end().text();
    for command in commands {
        assert!(overview.contains(command), "{command}");
        let help = world.cairn("data").args([command, "--help"]).end().text();
        assert!(help.contains("Usage: cairn") && help.contains("--data-dir"), "{help}");
    }
    for code in 0..=7 {
        assert!(overview.contains(&format!("\n  {code}  ")), "exit code {code}");
    }
}

#[test]
fn a_command_line_that_cannot_be_parsed_ends_with_2() {
    let world = World::new();
    for wrong in [
        &["run", "--frobnicate"][..],
        &["frobnicate"],
        &["fetch"],
        &["fetch", "9..3"],
        &["run", "--capacity", "much"],
        &["run", "--rpc", "localhost"],
        &["run", "--shares", "state=1"],
        &["fetch", "3", "--capacity", "1GB"],
        &["run", "--rpc-origins", "dapp.example"],
        &["run", "--rpc-hosts", "http://node.lan"],
        &["demo", "--write", "x", "--peers", "3"],
    ] {
        world.cairn("data").args(wrong).end().exits(2);
    }
}

#[test]
fn settings_that_make_no_sense_end_with_3_and_are_named() {
    let world = World::new();
    let run =
        |flags: &[&str]| world.cairn("data").arg("run").alone().args(["--rpc", "none"]).args(flags).end().exits(3);
    run(&["--bootnodes", "enr:nonsense"]).says("enr:nonsense");
    run(&["--bootnodes", "none", "--headers-from", "localhost:8545"]).says("http");
    run(&["--bootnodes", "none", "--seed", "/nowhere"]).says("/nowhere");
    run(&["--bootnodes", "none", "--listen", "127.0.0.1:0,127.0.0.1:0"]).says("--listen");
    run(&["--bootnodes", "none", "--config", "/nowhere.toml"]).says("/nowhere.toml");
    world.cairn("data").args(["run", "--nat", "magic"]).end().exits(3).says("magic");
    world.cairn("data").args(["status", "--rpc", "localhost"]).end().exits(3).says("localhost");
    Call::new(world.path("home")).args(["trust", "show", "--chain", "atlantis"]).end().exits(3).says("atlantis");
}

#[test]
fn an_unknown_key_in_the_file_is_named() {
    let world = World::new();
    fs::create_dir(world.path("data")).unwrap();
    for file in ["capacty = '1GB'", "[node]\ncapacty = '1GB'", "[network]\ncapacty = '1GB'"] {
        fs::write(world.path("data/cairn.toml"), file).unwrap();
        world.cairn("data").args(["trust", "show"]).end().exits(3).says("capacty").says("cairn.toml");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let world = World::new();
    let file = world.path("settings.toml");
    fs::write(&file, "chain = 'sepolia'\njson = true\n").unwrap();
    let chain = |call: Call| call.end().json()["chain"].as_str().unwrap().to_owned();
    let show = || Call::new(world.path("home")).args(["trust", "show", "--config"]).arg(&file);
    assert_eq!(chain(show()), "sepolia");
    assert_eq!(chain(show().env("CAIRN_CHAIN", "mainnet")), "mainnet");
    let flag = show().env("CAIRN_CHAIN", "mainnet").arg("--chain").arg(world.path("chain.json"));
    assert_eq!(chain(flag), world.chain.spec().name());
}

/// The README's example has every key.
#[test]
fn the_readmes_configuration_is_one() {
    let world = World::new();
    let readme = include_str!("../../../README.md");
    let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let file = world.path("readme.toml");
    fs::write(&file, example).unwrap();
    let show = || Call::new(world.path("home")).args(["trust", "show", "--config"]).arg(&file);
    show().end().exits(0);
    let help = Call::new(world.path("home")).args(["run", "--help"]).end().text();
    let flags = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let flags =
        flags.map(|flag| flag.split('[').next().unwrap_or(flag).trim_end_matches(|c: char| !c.is_alphanumeric()));
    for flag in flags.filter(|flag| !["help", "version", "config"].contains(flag)) {
        let key = format!("{flag} = ");
        assert!(example.lines().any(|line| line.starts_with(&key)), "{flag} is not in the README's example");
    }
}
