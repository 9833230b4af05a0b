//! `cairn verify` and `cairn convert`.

use std::{fs, path::Path};

use cairn_synthetic::SyntheticConfig;
use serde_json::Value;

use crate::{
    client::{self, Client},
    support::{Call, World},
};

#[test]
fn an_intact_archive_is_proved() {
    let world = World::new();
    let report = world.trusting("data").args(["verify", "--json"]).arg(world.path("archives")).end().json();
    assert_eq!(report["intact"], true);
    assert_eq!(report["files"][0]["firstBlock"], 0);
    assert_eq!(report["files"][0]["lastBlock"], 95);
    for component in ["header", "body", "receipts", "proof"] {
        assert_eq!(report["files"][0]["good"][component], serde_json::json!([[0, 95]]), "{component}");
    }
    let text = world.trusting("data").arg("verify").arg(&world.archives[0]).end().text();
    assert!(text.contains("intact") && text.contains("96/96"), "{text}");
}

#[test]
fn a_flipped_byte_is_found_and_its_block_named() {
    let world = World::new();
    let path = &world.archives[0];
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    let call = || world.trusting("data").arg("verify").arg(path);
    let report = call().arg("--json").end().exits(5).parsed();
    assert_eq!(report["intact"], false);
    let file = &report["files"][0];
    let good = file["good"].as_object().unwrap();
    let damaged: Vec<u64> = good.values().flat_map(|ranges| (0..96).filter(|number| !is_in(ranges, *number))).collect();
    assert_eq!(damaged.len(), 1, "one part of one block is no longer good: {file}");
    let named = format!("block {}", damaged[0]);
    assert!(file["findings"][0].as_str().unwrap().contains(&named), "{file}");
    call().end().exits(5).says("damaged");
}

fn is_in(ranges: &Value, number: u64) -> bool {
    ranges.as_array().unwrap().iter().any(|range| {
        let end = |index: usize| range[index].as_u64().unwrap();
        (end(0)..=end(1)).contains(&number)
    })
}

#[test]
fn a_file_that_is_not_there_and_lists_that_are_missing_are_told_apart() {
    let world = World::new();
    for command in [&["verify"][..], &["seed"], &["run", "--seed"]] {
        let call = world.trusting("data").args(command).arg("/nowhere/x.era1");
        call.end().exits(6).says("/nowhere/x.era1").says("check the path");
    }
    world.trusting("data").arg("verify").arg(world.path("trust")).end().exits(6).says("no .era1");
    let call = world.cairn("data").arg("verify").arg(&world.archives[0]);
    call.end().exits(3).says("cairn trust fetch").says("--trust").ends_with("--headers-from");
}

#[test]
fn a_conversion_there_and_back_keeps_everything() {
    let world = World::before_the_merge();
    let original = &world.archives[0];
    let convert = |from: &str, to: &str, out: &str| {
        let call = world.trusting("data").args(["convert", "--json", "--to", to, "--out"]).arg(world.path(out));
        call.arg(from).end().json()["to"].as_str().unwrap().to_owned()
    };
    let ere = convert(original.to_str().unwrap(), "ere", "there");
    assert!(ere.ends_with(".ere"), "{ere}");
    let era1 = convert(&ere, "era1", "back");
    world.trusting("data").args(["verify", &ere, &era1]).end().exits(0);
    assert_eq!(fs::read(era1).unwrap(), fs::read(original).unwrap());
}

#[test]
fn what_no_era1_file_can_hold_is_left_out_and_said() {
    let world = World::new();
    let era1 = || world.trusting("data").args(["convert", "--to", "era1", "--json", "--out"]).arg(world.path("out"));
    let ended = era1().arg(&world.archives[0]).end().says("blocks 48 to 95 are not in it");
    let made = ended.json();
    assert_eq!((&made["firstBlock"], &made["lastBlock"]), (&0.into(), &47.into()));
    world.trusting("data").args(["verify", made["to"].as_str().unwrap()]).end().exits(0);
    era1().arg(&world.archives[0]).arg("--no-proofs").end().exits(3).says("--no-proofs");
}

#[test]
fn a_disk_that_does_not_take_the_result_is_no_fault_of_the_archive() {
    let world = World::new();
    let convert = || world.trusting("data").args(["convert", "--to", "ere", "--json"]).arg(&world.archives[0]);
    let made = convert().arg("--out").arg(world.path("out")).end().json()["to"].as_str().unwrap().to_owned();
    let taken = world.path("taken").join(Path::new(&made).file_name().unwrap());
    fs::create_dir_all(taken.join("folder")).unwrap();
    convert().arg("--out").arg(world.path("taken")).end().exits(6).says("taken");
    let bytes = fs::read(&made).unwrap();
    fs::write(&made, &bytes[..100]).unwrap();
    world.trusting("data").args(["convert", "--to", "era1", &made, "--out"]).arg(world.path("out")).end().exits(5);
}

/// What is made is named after the chain and follows its rules: of another chain's archive it would be wrong.
#[test]
fn an_archive_that_is_named_after_another_chain_is_not_converted() {
    let world = World::new();
    let convert =
        |to: &str| Call::new(world.path("home")).args(["convert", "--to", to, "--out"]).arg(world.path("out"));
    for to in ["era1", "ere"] {
        convert(to).arg(&world.archives[0]).end().exits(3).ends_with("name its chain with --chain");
    }
    assert_eq!(fs::read_dir(world.path("out")).unwrap().count(), 0);
    // Under a name that says nothing, nobody can tell.
    let unnamed = world.path("unnamed.ere");
    fs::copy(&world.archives[0], &unnamed).unwrap();
    convert("ere").arg(&unnamed).end().exits(0);
}

#[test]
fn blocks_after_the_merge_are_no_era1_file() {
    let world = World::new();
    let seeder = world.seed("seeder", "none");
    let late = world.path("late.ere");
    world.fetch(&seeder).args(["60..70", "--out"]).arg(&late).end().exits(0);
    let convert = world.cairn("data").args(["convert", "--to", "era1", "--out"]).arg(world.path("out")).arg(&late);
    convert.end().exits(3).says("before the merge");
}

#[test]
fn one_archive_that_cannot_be_converted_keeps_no_other_from_it() {
    let world = World::before_the_merge();
    let folder = world.path("mixed");
    fs::create_dir(&folder).unwrap();
    let bytes = fs::read(&world.archives[0]).unwrap();
    fs::write(folder.join("a.era1"), "no archive").unwrap();
    fs::write(folder.join("b.era1"), &bytes).unwrap();
    let convert = |out: &str| {
        let call = world.trusting("data").args(["convert", "--to", "ere", "--json", "--out"]).arg(world.path(out));
        call.arg(&folder).end()
    };
    let ended = convert("one").exits(5).says("a.era1").says("1 of 2 archives").says("1 damaged");
    let lines = String::from_utf8(ended.out()).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["error"].is_string() && lines[1]["lastBlock"] == 47, "{lines:?}");
    // Half of a file: what is in it is converted, and that it is half of one is said.
    fs::write(folder.join("a.era1"), &bytes[..bytes.len() / 2]).unwrap();
    convert("two").exits(5).says("a.era1");
}

#[test]
fn what_an_archive_lacks_is_no_damage_of_it() {
    let world = World::new();
    let convert = |from: &Path, flags: &[&str], out: &str| {
        let call = world.trusting("data").args(["convert", "--to", "ere", "--json", "--out"]).arg(world.path(out));
        call.args(flags).arg(from).end()
    };
    let bare = convert(&world.archives[0], &["--no-proofs"], "bare").json()["to"].as_str().unwrap().to_owned();
    convert(Path::new(&bare), &[], "again").exits(3).says("--no-proofs");
    // Of a file that is cut among its headers nobody knows what it had.
    let bytes = fs::read(&bare).unwrap();
    fs::write(&bare, &bytes[..bytes.len() / 100]).unwrap();
    convert(Path::new(&bare), &["--no-proofs"], "again").exits(5).says("body");
}

#[test]
fn an_archive_that_nothing_proves_is_sound_and_not_damaged() {
    let world = World::new();
    let convert = world.trusting("data").args(["convert", "--to", "ere", "--json", "--no-proofs", "--out"]);
    let made = convert.arg(world.path("bare")).arg(&world.archives[0]).end().json();
    let bare = world.path("bare").join("by-hand.ere");
    fs::rename(made["to"].as_str().unwrap(), &bare).unwrap();
    let verify = || world.trusting("data").arg("verify").arg(&bare);
    let ended = verify().end().exits(8).says("one archive is sound").ends_with("--headers-from URL");
    let text = String::from_utf8(ended.out()).unwrap();
    assert!(text.contains("sound, headers not proved") && !text.contains("DAMAGED"), "{text}");
    let report = verify().arg("--json").end().exits(8).parsed();
    assert_eq!((&report["intact"], &report["files"][0]["verdict"]), (&false.into(), &"unproved".into()));
    // The same where nothing of the chain can be proved at all.
    let sepolia = Call::new(world.path("home")).args(["--chain", "sepolia", "verify"]).arg(&bare);
    sepolia.end().exits(8).says("no trust roots compiled in");
    // Damage weighs more.
    let bytes = fs::read(&world.archives[0]).unwrap();
    fs::write(&world.archives[0], &bytes[..bytes.len() / 2]).unwrap();
    let both = world.trusting("data").arg("verify").arg(&bare).arg(&world.archives[0]);
    both.end().exits(5).says("one archive is damaged: fetch").says("; one archive is sound");
}

#[test]
fn an_execution_client_vouches_for_what_nothing_proves() {
    let world = World::new();
    let convert = world.trusting("data").args(["convert", "--to", "ere", "--json", "--no-proofs", "--out"]);
    let bare = convert.arg(world.path("bare")).arg(&world.archives[0]).end().json()["to"].as_str().unwrap().to_owned();
    let url = client::serve(&world.chain);
    let with_secret = url.replace("http://", "http://user:hidden@");
    let told = |text: &[u8]| String::from_utf8_lossy(text).into_owned();

    let verify = |call: Call, url: &str, path: &str| call.args(["verify", "--headers-from", url, path]);
    let text = told(&verify(world.trusting("data"), &with_secret, &bare).end().bytes());
    assert!(text.contains("headers not proved but vouched for"), "{text}");
    assert!(text.contains(&format!("good by the word of {url}")) && text.contains("header 96/96"), "{text}");
    assert!(!text.contains("intact") && !text.contains("hidden"), "{text}");
    let report = verify(world.trusting("data"), &url, &bare).arg("--json").end().json();
    let file = &report["files"][0];
    let vouched = Value::from("vouched");
    assert_eq!((&report["verdict"], &file["verdict"]), (&vouched, &vouched));
    // What ends with exit code 0 has nothing wrong in it.
    assert_eq!((&report["intact"], &file["intact"]), (&true.into(), &true.into()));
    assert!(file["vouchedBy"].as_str().unwrap().starts_with(&url), "{file}");

    // Proofs that no list reaches, and total difficulties that begin with the first block, are no obstacle.
    let original = world.archives[0].to_str().unwrap();
    verify(world.cairn("data"), &url, original).end().exits(0);
    let before = World::before_the_merge();
    let era1 = before.archives[0].to_str().unwrap();
    let other = client::serve(&before.chain);
    verify(before.cairn("data"), &other, era1).end().exits(0);
    // Who is not needed is not asked.
    let text = told(&verify(world.trusting("data"), "http://127.0.0.1:9", original).end().bytes());
    assert!(text.contains(": intact,"), "{text}");

    verify(world.trusting("data"), "http://127.0.0.1:9", &bare)
        .end()
        .exits(7)
        .ends_with("does not vouch for them")
        .ends_with("check its URL");
    // What a variable names for other commands, which prove what it says, vouches for nothing.
    let named = world.trusting("data").args(["verify", &bare]).env("CAIRN_HEADERS_FROM", &url).end();
    named.exits(8).ends_with("--headers-from URL");
}

#[test]
fn a_client_that_cannot_vouch_says_why() {
    let world = World::new();
    let convert = world.trusting("data").args(["convert", "--to", "ere", "--json", "--no-proofs", "--out"]);
    let bare = convert.arg(world.path("bare")).arg(&world.archives[0]).end().json()["to"].as_str().unwrap().to_owned();
    // By a name that says nothing of a chain.
    let bare = {
        let named = world.path("by-hand.ere");
        fs::rename(bare, &named).unwrap();
        named.to_str().unwrap().to_owned()
    };
    let verify = |world: &World, url: &str| world.cairn("none").args(["verify", "--headers-from", url, &bare]).end();

    // Another chain's client is believed nothing, not even of an archive of its own chain.
    let elsewhere = World::of(SyntheticConfig { seed: 2, ..SyntheticConfig::small() });
    verify(&elsewhere, &client::serve(&world.chain))
        .exits(5)
        .ends_with("a client of another chain")
        .ends_with("its block 0 is");
    let id = world.chain.spec().chain_id();
    let client = || Client::of(&world.chain);
    let other_id = Client { chain_id: id + 1, ..client() }.serve();
    verify(&world, &other_id).exits(5).ends_with(&format!("its chain ID is {} instead of {id}", id + 1));

    // One whose blocks end too early, one that takes no batches, and one that knows another block in one place.
    let blocks = client().blocks;
    let short = Client { blocks: blocks[..48].to_vec(), ..client() }.serve();
    verify(&world, &short).exits(8).ends_with("it does not have block 48: name another client");
    let refusing = Client { refusal: Some("batches are for those who pay".to_owned()), ..client() }.serve();
    verify(&world, &refusing).exits(8).ends_with("error -32005: batches are for those who pay");
    let mut blocks = blocks;
    blocks[7] = Client::of(&elsewhere.chain).blocks.swap_remove(7);
    let text = verify(&world, &Client { blocks, ..client() }.serve()).exits(5).out();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("another block's than the one that is vouched for"), "{text}");
}

#[test]
fn of_many_findings_ten_are_printed_and_the_others_counted() {
    let world = World::before_the_merge();
    let mut bytes = fs::read(&world.archives[0]).unwrap();
    // The last byte of each third record is that of some content, or of a total difficulty.
    let (mut at, mut nth) = (0, 0);
    while at + 8 < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 2..at + 6].try_into().unwrap()) as usize;
        at += 8 + length;
        nth += 1;
        if nth % 3 == 0 && nth < 48 * 4 {
            bytes[at - 1] ^= 1;
        }
    }
    fs::write(&world.archives[0], bytes).unwrap();
    let ended = world.trusting("data").arg("verify").arg(&world.archives[0]).end().exits(5);
    let text = String::from_utf8(ended.out()).unwrap();
    let more = text.lines().position(|line| line.ends_with(" more findings"));
    assert_eq!(more, Some(10), "{text}");
}

#[test]
fn of_a_file_that_is_cut_short_it_is_said_what_is_not_good_at_all() {
    let world = World::before_the_merge();
    let bytes = fs::read(&world.archives[0]).unwrap();
    fs::write(&world.archives[0], &bytes[..bytes.len() / 2]).unwrap();
    let ended = world.trusting("data").arg("verify").arg(&world.archives[0]).end().exits(5);
    let text = String::from_utf8(ended.out()).unwrap();
    assert!(text.contains("still good: header none"), "{text}");
    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
}
