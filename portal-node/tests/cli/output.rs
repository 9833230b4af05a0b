//! What `cairn` writes, when nobody reads it to the end: `cairn … | head`.

use std::fs;

use cairn_synthetic::SyntheticConfig;
use serde_json::Value;

use crate::support::{Peer, World};

/// The exit code that a shell reports of a program that SIGPIPE ended.
const UNREAD: i32 = 141;

/// A block is more than fits into a pipe, so that the second one cannot be written before the reader is gone.
#[test]
fn a_fetch_ends_when_its_reader_does() {
    let world = World::of(SyntheticConfig { pre_merge_blocks: 8, block_size: 100_000, ..SyntheticConfig::small() });
    let seeder = world.seed("seeder", "none");
    for flags in [&["--format", "json"][..], &["--what", "body"]] {
        // Behind the chain's last block nothing is found: going on to the range's end would end in a complaint.
        let (line, ended) = world.fetch(&seeder).args(["0..1000000", "--parallel", "2"]).args(flags).read_once();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["number"], "0x0");
        assert_eq!(ended.exits(UNREAD).complaint(), "", "{flags:?}");
    }
}

#[test]
fn every_command_ends_quietly_when_nobody_reads_it() {
    let world = World::before_the_merge();
    let archive = world.archives[0].to_str().unwrap();
    let (out, chain) = (world.path("out"), world.path("written"));
    let (out, chain) = (out.to_str().unwrap(), chain.to_str().unwrap());
    for command in [
        &["--help"][..],
        &["trust", "show"],
        &["trust", "show", "--json"],
        &["verify", archive],
        &["verify", archive, "--json"],
        &["convert", archive, "--to", "ere", "--out", out],
        &["demo", "--blocks", "16", "--write", chain],
    ] {
        let ended = world.trusting("data").args(command).unread().end().exits(UNREAD);
        assert_eq!(ended.complaint(), "", "{command:?}");
    }
}

#[test]
fn of_a_disk_that_is_full_it_is_said_what_to_do() {
    let world = World::new();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for asked in [&["trust", "show"][..], &["--help"], &["fetch", "--help"], &["--version"]] {
        let ended = world.cairn("data").args(asked).into_file(full()).end().exits(6);
        ended.says("standard output: ").says("make room");
    }
}

/// Both ways in which a log can't be written, and a log that nobody reads though its pipe is full.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let world = World::new();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    let stuck = fs::File::from(std::os::fd::OwnedFd::from(writer));
    let run = || world.trusting("peer").args(["run", "--log", "trace"]);
    for call in [run().unread_log(), run().log_into(full()), run().log_into(stuck)] {
        let peer = Peer::start_unlogged(call, "none");
        for _ in 0..20 {
            let status = world.cairn("other").args(["status", "--json", "--rpc", &peer.rpc_url()]).end().json();
            assert_eq!(status["nodeId"], *peer.announced("nodeId"));
        }
        assert_eq!(peer.stop("TERM").0.code(), Some(0));
    }
    let seeder = world.seed("seeder", "none");
    for call in [world.fetch(&seeder).unread_log(), world.fetch(&seeder).log_into(full())] {
        call.args(["3", "--log", "trace", "--what", "header", "--format", "rlp"]).end().exits(0);
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let world = World::new();
    let mut peer = Peer::start(world.trusting("peer").arg("run"), "none");
    assert!(!peer.wait_for_log("peers are sought").contains('\x1b'));
}

#[test]
fn a_peer_whose_terminal_goes_away_stops_in_order() {
    let world = World::new();
    assert_eq!(world.run("peer", "none").stop("HUP").0.code(), Some(0));
}

#[test]
fn a_peer_goes_on_though_nobody_reads_what_it_announces() {
    let world = World::new();
    let storing = world.run("storing", "none");
    let mut peer = Peer::start_unread(world.trusting("data").arg("seed").arg(&world.archives[0]), &storing.enr());
    peer.wait_for_log("offered to the network");
    assert_eq!(peer.stop("TERM").0.code(), Some(0));
}
