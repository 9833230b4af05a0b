//! Mainnet's beginning as a source of state: the genesis allocation and the first blocks are replayed, all of it is handed to a peer
//! that serves the history, and read back from it.

#![allow(clippy::unwrap_used)] // a test without the harness: clippy does not know it for one

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use cairn_archive::Archive;
use cairn_vectors::VectorTest;
use serde_json::Value;

const GENESIS: &str = "genesis/mainnet.json";
const ERA: &str = "era1/mainnet-00000-5ec1ffb8.era1";
const TRUST: &str = "trust";
const LAST: u64 = 200;
/// An account of the genesis.
const RICH: &str = "3282791d6fd713f1e94f4bfd565eaa78b3a0599d";

/// `cairn` with nothing of the machine's settings.
fn cairn(root: &Path, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.env_clear().env("HOME", data).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.arg("--json").arg("--data-dir").arg(data).arg("--trust").arg(root.join(TRUST));
    command
}

fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Killed when dropped.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn the_genesis_state_and_what_follows_it_come_into_the_network(root: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let alone = ["--listen", "127.0.0.1:0", "--nat", "none", "--quic", "none"];
    let mut run = cairn(root, &data);
    run.args([
        "run",
        "--shares",
        "state=1",
        "--capacity",
        "500MB",
        "--rpc",
        "none",
        "--bootnodes",
        "none",
        "--log",
        "warn",
    ]);
    let mut peer = Peer(run.args(alone).arg("--seed").arg(root.join(ERA)).spawn().unwrap());
    let mut announced = String::new();
    BufReader::new(peer.0.stdout.take().unwrap()).read_line(&mut announced).unwrap();
    let announced: Value = serde_json::from_str(&announced).unwrap();

    let mut replay = cairn(root, &data);
    replay.args(["state", "replay", "--offer", "--to", &LAST.to_string(), "--genesis"]).arg(root.join(GENESIS));
    let replayed = json(replay.arg(root.join(ERA)));
    let header = Archive::open(root.join(ERA)).unwrap().decoded_header(LAST).unwrap();
    assert_eq!(replayed["stateRoot"], serde_json::json!(header.header().state_root));
    let offered = &replayed["offered"];
    assert_eq!((&offered["unclaimed"], &offered["nextBlock"]), (&0.into(), &(LAST + 1).into()));
    assert!(offered["placed"].as_u64() > Some(8893), "a leaf of each account, and what is above: {offered}");

    let genesis: Value = serde_json::from_str(&fs::read_to_string(root.join(GENESIS)).unwrap()).unwrap();
    let mut get = cairn(root, &folder.path().join("reader"));
    get.args(["state", "get", "--block", &LAST.to_string(), "--account", &format!("0x{RICH}"), "--bootnodes"]);
    let read = json(get.arg(announced["enr"].as_str().unwrap()).args(alone));
    let number = |value: &Value| value.as_str().unwrap().parse::<alloy_primitives::U256>().unwrap();
    let allocated = genesis["alloc"].as_object().unwrap().iter().find(|(of, _)| of.trim_start_matches("0x") == RICH);
    assert_eq!(number(&read["accounts"][0]["balance"]), number(&allocated.unwrap().1["balance"]));
}

fn main() {
    cairn_vectors::run(vec![VectorTest::new(
        "the_genesis_state_and_what_follows_it_come_into_the_network",
        &[GENESIS, ERA, TRUST],
        the_genesis_state_and_what_follows_it_come_into_the_network,
    )]);
}
