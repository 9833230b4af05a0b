//! Which cause ends a command with which exit code and last line, as far as no other test here says it.

use std::fs;

use crate::{
    mirror,
    support::{Call, World},
};

#[test]
fn where_no_peer_answers_each_command_that_asks_peers_says_that() {
    let world = World::new();
    let ends = |call: Call| {
        let ended =
            call.alone().args(["--bootnodes", "none"]).end().exits(7).ends_with("no peer answered: check the network");
        assert!(!ended.complaint().contains("--no-proofs"), "{}", ended.complaint());
    };
    ends(world.cairn("new").args(["trust", "fetch"]));
    let fetch = |args: &[&str]| world.trusting("new").args(["fetch", "--timeout", "2"]).args(args);
    ends(fetch(&["3"]));
    ends(fetch(&["3..9", "--out"]).arg(world.path("range.ere")));
    ends(fetch(&["--era", "0", "--out"]).arg(world.path("eras")));
    ends(world.trusting("new").args(["sync", "--eras", "0", "--timeout", "2"]));
}

#[test]
fn an_execution_client_that_is_down_is_named() {
    let world = World::new();
    let client = ["--headers-from", "http://user:hidden@127.0.0.1:9", "--bootnodes", "none", "--timeout", "2"];
    let file = world.path("range.ere");
    for range in [&["3"][..], &["0..5", "--no-proofs", "--out", file.to_str().unwrap()]] {
        let ended = world.trusting("new").arg("fetch").args(range).args(client).alone().end().exits(7);
        let ended = ended.ends_with("http://127.0.0.1:9/: ").ends_with("the client of --headers-from does not answer");
        let said = ended.complaint();
        assert!(!said.contains("hidden"), "{said}");
        assert_eq!(
            said.matches("no header from the execution client").count(),
            1,
            "once, however often it is asked: {said}"
        );
    }
}

/// Whatever the limit is too low for, the limit is what there is to change.
#[test]
fn too_few_descriptors_are_blamed_on_their_limit() {
    let world = World::new();
    for limit in [6, 9, 12] {
        let call = world.trusting("data").args(["run", "--rpc", "none", "--bootnodes", "none"]).alone();
        call.with_descriptors(limit).end().exits(1).ends_with("raise the limit on open files (`ulimit -n`)");
    }
    // Nor is a store that is there already called damaged.
    drop(world.run("used", "none"));
    let call = world.trusting("used").args(["run", "--rpc", "none", "--bootnodes", "none"]).alone();
    call.with_descriptors(12).end().exits(1).ends_with("raise the limit on open files (`ulimit -n`)");
}

#[test]
fn a_line_that_cannot_be_parsed_ends_with_what_to_do_and_variables_are_no_part_of_it() {
    let home = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| Call::new(home.path()).args(args).env("CAIRN_BOOTNODES", "none").end().exits(2);
    let ended = call(&["fetch"]).ends_with("<BLOCKS|TICKET>: `cairn fetch --help`");
    assert!(!ended.complaint().contains("--bootnodes"), "{}", ended.complaint());
    call(&["trust", "fetch", "--nonsense"]).ends_with("'--nonsense' found: `cairn trust fetch --help`");
    call(&[]).ends_with("a command is missing: `cairn --help`");
    // Mirrors that a variable names are for the commands that make archives.
    let fetch = Call::new(home.path()).args(["fetch", "3", "--timeout", "1", "--bootnodes", "none"]).alone();
    fetch.env("CAIRN_WEB_SEED", "http://127.0.0.1:9/").end().exits(7).ends_with("no peer answered");
}

#[test]
fn what_is_wrong_with_what_was_named_ends_with_what_to_do() {
    let world = World::before_the_merge();
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    let seed = |of: &str| world.trusting("data").args(["seed", of]).end();
    seed(empty.to_str().unwrap()).exits(6).ends_with("check the path");
    seed(&mirror::refusing("404 Not Found")).exits(9).ends_with("check the URL");
    let forbidden = seed(&mirror::refusing("403 Forbidden")).exits(9).ends_with("check the user and password");
    assert!(!forbidden.complaint().contains("AWS_"), "{}", forbidden.complaint());

    let lists = |from: &str| world.cairn("new").args(["trust", "fetch", "--from", from]).end();
    lists("http://127.0.0.1:9/").exits(7).ends_with("the URL of --from");
    let name = "historical_hashes_accumulator.ssz".to_owned();
    lists(&mirror::serve([(name, vec![1; 34])])).exits(5).ends_with("name another mirror with --from");

    let bytes = fs::read(&world.archives[0]).unwrap();
    let damaged = world.path("damaged.era1");
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let convert = world.trusting("data").args(["convert", "--to", "ere", "--out"]).arg(world.path("out")).arg(&damaged);
    convert.end().exits(5).ends_with("`cairn verify` tells what of it is still good");

    let peer = world.run("peer", "none");
    let missing = world.fetch(&peer).args(["3", "--timeout", "2"]).end().exits(4);
    missing.ends_with("no proved header of block 3").ends_with("`cairn coverage` shows what peers hold");
    let by_peer =
        world.trusting("peer").args(["fetch", "3", "--timeout", "1", "--headers-from", "http://127.0.0.1:9/"]);
    by_peer.alone().end().exits(4).says("--headers-from is of no use here").says("--own-peer");
    let coverage = world.cairn("peer").arg("coverage").end().exits(0);
    coverage.ends_with("nobody holds a whole run of 256 blocks");
}

#[test]
fn of_archives_of_the_same_blocks_the_first_is_converted_and_the_others_are_named() {
    let world = World::before_the_merge();
    let folder = world.path("twice");
    fs::create_dir(&folder).unwrap();
    for name in ["a.era1", "b.era1"] {
        fs::copy(&world.archives[0], folder.join(name)).unwrap();
    }
    fs::write(folder.join("c.era1"), "no archive").unwrap();
    let convert = |what: &str| {
        let call = world.trusting("data").args(["convert", "--to", "ere", "--out"]).arg(world.path("out"));
        call.arg(folder.join(what)).arg(folder.join("a.era1")).end()
    };
    let ended = convert("b.era1").exits(6).says("is taken by what was made of").ends_with("1 of 2 archives was not");
    assert!(ended.complaint().contains("a.era1: it would be called"), "{}", ended.complaint());
    // What was made another time is replaced, and one that is damaged keeps no name from another.
    convert("c.era1").exits(5).ends_with("1 of 2 archives was not");
    assert_eq!(fs::read_dir(world.path("out")).unwrap().count(), 1);
}

#[test]
fn a_fetch_that_is_interrupted_says_that_it_can_be_gone_on_with() {
    let world = World::new();
    let fetch = |args: &[&str]| {
        let call = world.trusting("new").args(["fetch", "--log", "info", "--timeout", "600"]).args(args);
        call.alone().args(["--bootnodes", "none"])
    };
    let out = world.path("eras");
    let eras = fetch(&["--era", "0", "--out", out.to_str().unwrap()]).signalled("INT", "peers are sought");
    eras.exits(130).ends_with("the same command goes on with it");
    fetch(&["3"]).signalled("INT", "peers are sought").exits(130).ends_with("cairn: interrupted");
}

#[test]
fn a_fetch_that_goes_on_counts_what_it_had_before() {
    let world = World::new();
    let seeder = world.seed("seeder", "none");
    let fetch = || world.fetch(&seeder).args(["--timeout", "3", "--era", "0", "--out"]).arg(world.path("eras")).end();
    // The chain has 96 of the era's blocks, so it never ends.
    for _ in 0..2 {
        fetch().exits(4).ends_with("nobody serves 24288 of 24576 items");
    }
}
