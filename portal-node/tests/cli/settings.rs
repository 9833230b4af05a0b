//! Flags, environment, configuration file, and what is said of mistakes in them.

use std::{fs, path::Path};

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
        &["run", "--capacity"],
        &["fetch", "3", "--capacity", "1GB"],
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
    run(&["--bootnodes", "none", "--key", "/nowhere/deep/key"]).says("--key: ").says("/nowhere/deep");
    run(&["--bootnodes", "none", "--listen", "127.0.0.1:0,127.0.0.1:0"]).says("--listen");
    run(&["--bootnodes", "none", "--config", "/nowhere.toml"]).says("/nowhere.toml");
    world.cairn("data").args(["run", "--nat", "magic"]).end().exits(3).says("magic");
    world.cairn("data").args(["status", "--rpc", "localhost"]).end().exits(3).says("localhost");
    Call::new(world.path("home")).args(["trust", "show", "--chain", "atlantis"]).end().exits(3).says("atlantis");
}

/// Flag, variable and key, and what a bad value of it is answered with.
#[test]
fn a_bad_value_is_called_what_the_person_called_it_and_ends_with_3_wherever_it_stands() {
    let world = World::new();
    let file = world.path("bad.toml");
    for (name, table, value, said) in [
        ("nat", "network", "magic", "extip:ADDRESS"),
        ("listen", "network", "localhost", "ADDR:PORT"),
        ("bootnodes", "network", "enr:nonsense", "cairn enr"),
        ("headers-from", "network", "localhost:8545", "http"),
        ("addresses", "network", "moon", "internet, local, auto"),
        ("max-inbound", "network", "0", "from 1 on"),
        ("capacity", "node", "much", "50GB"),
        ("shares", "node", "moon=1", "NETWORK=SHARE"),
        ("rpc", "node", "localhost", "ADDR:PORT"),
        ("rpc-origins", "node", "dapp.example", "SCHEME://HOST"),
        ("rpc-hosts", "node", "http://node.lan", "host name"),
        ("log", "", "overlay=loud", "RUST_LOG"),
        ("log-format", "", "loud", "text, json"),
    ] {
        let said = if name == "log" { "log filter" } else { said };
        let flag = format!("--{name}");
        let line = |call: Call, named: &str| {
            let ended = call.end().exits(3).says(&format!("cairn: {named}: ")).says(said).says(value);
            assert_eq!(ended.complaint().lines().count(), 1, "{}", ended.complaint());
        };
        line(world.cairn("data").args(["run", &flag, value]), &flag);
        let variable = format!("CAIRN_{}", name.replace('-', "_").to_uppercase());
        line(world.cairn("data").arg("run").env(&variable, value), &variable);
        let is_list = ["listen", "bootnodes", "shares", "rpc-origins", "rpc-hosts"].contains(&name);
        let value = if is_list { format!("['{value}']") } else { format!("'{value}'") };
        let table = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        fs::write(&file, format!("# line 1\n{table}{name} = {value}\n")).unwrap();
        let at = format!("{}:{}", file.display(), 2 + table.lines().count());
        line(world.cairn("data").args(["run", "--config"]).arg(&file), &at);
    }
    world.cairn("data").args(["trust", "show"]).env("CAIRN_CHAIN", "atlantis").end().exits(0);
    let show = || Call::new(world.path("home")).args(["trust", "show"]);
    show().env("CAIRN_CHAIN", "atlantis").end().exits(3).says("CAIRN_CHAIN: ").says("atlantis");
    for flags in
        [&["fetch", "3", "--parallel", "0"][..], &["demo", "--sample", "0"], &["verify", "x", "--threads", "0"]]
    {
        world.cairn("data").args(flags).end().exits(3).says("from 1 on");
    }
    world.cairn("data").args(["fetch", "9..3"]).end().exits(3).says("empty");
}

#[test]
fn a_variable_that_is_none_is_warned_of() {
    let world = World::new();
    let show = || world.cairn("data").args(["trust", "show"]);
    show().env("CAIRN_CAPACTY", "1GB").end().exits(0).says("CAIRN_CAPACTY");
    let ended =
        show().env("CAIRN_CAPACITY", "1GB").env("CAIRN_STATUS_RPC", "x").env("CAIRN_VECTORS", "x").end().exits(0);
    assert_eq!(ended.complaint(), "");
}

#[test]
fn a_list_of_bootnodes_has_no_empty_entry_and_a_variable_that_is_empty_is_none() {
    let world = World::new();
    let fetch = || world.cairn("data").args(["fetch", "3", "--timeout", "1"]).alone();
    fetch()
        .env("CAIRN_BOOTNODES", "")
        .env("CAIRN_JSON", "")
        .env("CAIRN_CAPACITY", "")
        .end()
        .exits(7)
        .says("no peer answered");
    let enr = world.run("peer", "none").enr();
    fetch().env("CAIRN_BOOTNODES", format!("none,{enr}")).end().exits(3).says("CAIRN_BOOTNODES: ").says("not both");
    fetch()
        .args(["--bootnodes", &format!("{enr},")])
        .end()
        .exits(3)
        .says("--bootnodes: ")
        .says("entry of the list is empty");
}

#[test]
fn the_home_is_known_in_paths_wherever_they_stand() {
    let world = World::new();
    let show = || Call::new(world.path("home")).args(["trust", "show", "--chain"]).arg(world.path("chain.json"));
    fs::create_dir_all(world.path("home/lists")).unwrap();
    fs::copy(world.path("trust").join(trust_file(&world)), world.path("home/lists").join(trust_file(&world))).unwrap();
    let file = world.path("settings.toml");
    fs::write(&file, "trust = '~/lists'\n").unwrap();
    let shown =
        [show().arg("--trust=~/lists"), show().env("CAIRN_TRUST", "$HOME/lists"), show().arg("--config").arg(&file)];
    for call in shown {
        assert!(call.end().text().contains("entries"), "the list is found");
    }
    show().env("CAIRN_TRUST", "$DATA/lists").end().exits(3).says("CAIRN_TRUST: ").says("whole path");
}

/// The name of one of the world's trust lists.
fn trust_file(world: &World) -> std::ffi::OsString {
    let mut files: Vec<_> = fs::read_dir(world.path("trust")).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    files.remove(0)
}

#[test]
fn an_address_that_is_not_this_machines_is_blamed_on_the_flag_that_says_it() {
    let world = World::new();
    let run = world.cairn("data").args(["run", "--bootnodes", "none", "--rpc", "none", "--nat", "none"]);
    run.args(["--listen", "192.0.2.1:9101"]).end().exits(3).says("--listen").says("192.0.2.1:9101");
}

/// Also of the commands that only ask a peer, and of what is read before the others.
#[test]
fn each_complaint_about_a_value_begins_with_what_it_was_named_by() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("chain.json");
    fs::write(&file, "{}").unwrap();
    let complains = |call: Call, name: &str| {
        let ended = call.end().exits(3);
        assert!(ended.complaint().starts_with(&format!("cairn: {name}: ")), "{}", ended.complaint());
    };
    let cairn = |args: &[&str]| Call::new(home.path()).args(args);
    complains(cairn(&["status", "--rpc", "nowhere"]), "--rpc");
    complains(cairn(&["status"]).env("CAIRN_STATUS_RPC", "nowhere"), "CAIRN_STATUS_RPC");
    complains(cairn(&["coverage", "--rpc", "ftp://host/"]), "--rpc");
    complains(cairn(&["enr", "--rpc", "nowhere"]), "--rpc");
    complains(cairn(&["enr", "--decode", "enr:x"]), "--decode");
    complains(cairn(&["trust", "fetch", "--from", "nowhere"]), "--from");
    complains(cairn(&["trust", "show", "--config", "/nowhere.toml"]), "--config");
    complains(cairn(&["trust", "show"]).env("CAIRN_CONFIG", "/nowhere.toml"), "CAIRN_CONFIG");
    // Another command's variable of the same flag may hold the same, and be right.
    complains(
        cairn(&["status"]).env("CAIRN_STATUS_RPC", "127.0.0.1:1").env("CAIRN_RPC", "127.0.0.1:1"),
        "CAIRN_STATUS_RPC",
    );
    complains(cairn(&["trust", "show", "--chain", "nowhere"]), "--chain");
    complains(cairn(&["trust", "show", "--chain"]).arg(&file), "--chain");
    complains(cairn(&["trust", "show"]).env("CAIRN_CHAIN", file.to_str().unwrap()), "CAIRN_CHAIN");
    complains(cairn(&["fetch", "1..2", "--what", "header", "--out", "x.era1"]), "--what");
    complains(cairn(&["fetch", "5", "--as", "era1"]), "--as");
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

#[test]
fn each_chain_has_a_folder_of_its_own_unless_one_is_named() {
    let world = World::new();
    let (home, data) = (world.path("home"), world.path("xdg"));
    let show = |chain: &str| Call::new(&home).args(["trust", "show", "--json", "--chain", chain]);
    let folder = |call: Call| {
        let shown = call.end().json();
        Path::new(shown["lists"][0]["file"].as_str().unwrap()).parent().unwrap().to_owned()
    };
    let specification = world.path("chain.json");
    for (chain, name) in
        [("mainnet", "mainnet"), ("sepolia", "sepolia"), (specification.to_str().unwrap(), world.chain.spec().name())]
    {
        assert_eq!(folder(show(chain)), home.join(".local/share/cairn").join(name).join("trust"));
        assert_eq!(folder(show(chain).env("XDG_DATA_HOME", &data)), data.join("cairn").join(name).join("trust"));
        assert_eq!(folder(show(chain).env("CAIRN_DATA_DIR", &data)), data.join("trust"));
    }
    // One file for all of them, which may say which chain it is.
    fs::create_dir_all(home.join(".local/share/cairn")).unwrap();
    fs::write(home.join(".local/share/cairn/cairn.toml"), "chain = 'sepolia'\n").unwrap();
    let call = Call::new(&home).args(["trust", "show", "--json"]);
    assert_eq!(folder(call), home.join(".local/share/cairn/sepolia/trust"));
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
