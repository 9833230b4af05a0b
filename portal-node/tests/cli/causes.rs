//! Which cause ends a command with which exit code and last line, as far as no other test here says it.

use crate::support::{Call, World};

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
        assert!(!ended.complaint().contains("hidden"), "{}", ended.complaint());
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
}

#[test]
fn a_line_that_cannot_be_parsed_ends_with_what_to_do_and_variables_are_no_part_of_it() {
    let home = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| Call::new(home.path()).args(args).env("CAIRN_BOOTNODES", "none").end().exits(2);
    let ended = call(&["fetch"]).ends_with("<BLOCKS>: `cairn fetch --help`");
    assert!(!ended.complaint().contains("--bootnodes"), "{}", ended.complaint());
    call(&["trust", "fetch", "--nonsense"]).ends_with("'--nonsense' found: `cairn trust fetch --help`");
    call(&[]).ends_with("a command is missing: `cairn --help`");
    // Mirrors that a variable names are for the commands that make archives.
    let fetch = Call::new(home.path()).args(["fetch", "3", "--timeout", "1", "--bootnodes", "none"]).alone();
    fetch.env("CAIRN_WEB_SEED", "http://127.0.0.1:9/").end().exits(7).ends_with("no peer answered");
}
