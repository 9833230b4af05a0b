//! Reads of the state over long paths: the peers that share it in one namespace, each at an address of its own, and the reader in
//! another, fifty milliseconds' round trip from all of them. Over QUIC and over uTP alone, with figures for whoever runs the large ones:
//!
//! ```text
//! cargo test --release -p cairn-testnet --test state_paths -- --include-ignored --nocapture --test-threads 1
//! ```
//!
//! The peers and the reader are this program in a role of its own each.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // the standard harness marks tests for clippy; this one is ours

mod state;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::time::Duration;

use cairn_node::swarm::QuicPort;
use cairn_paths::trial::{self, Trial};
use cairn_paths::{HostId, HostSpec, PathNetwork, PathSpec, Router};
use state::{ChainState, LARGE, Scale, newcomer};

const ROUND_TRIP: Duration = Duration::from_millis(50);
const PEERS: HostId = HostId(0);
const READER: HostId = HostId(1);
const READER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 79, 1, 1);
/// What the peers say before the record of one of them, when they hold everything.
const READY: &str = "ready ";
/// Reads over a long path take their time, and every test run waits for them.
const TINY: Scale = Scale { peers: 4, accounts: 20, blocks: &[40], reads: 15 };

fn main() {
    match trial::role() {
        Some(role) => {
            let mut words = role.split(' ');
            let [who, how_much, transport] = std::array::from_fn(|_| words.next().unwrap());
            let scale = if how_much == "large" { LARGE } else { TINY };
            let quic = if transport == "quic" { QuicPort::Above } else { QuicPort::Nowhere };
            let _ = rustls::crypto::ring::default_provider().install_default();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            match who {
                "peers" => runtime.block_on(peers(scale, quic)),
                _ => runtime.block_on(reader(scale, quic)),
            }
        }
        None => trial::run(vec![
            Trial::new("reads_over_a_long_path_over_quic", || run("tiny quic")),
            Trial::new("reads_over_a_long_path_over_utp_alone", || run("tiny utp")),
            Trial::new("reads_of_sixteen_peers_over_a_long_path_over_quic", || run("large quic")).on_demand(),
            Trial::new("reads_of_sixteen_peers_over_a_long_path_over_utp_alone", || run("large utp")).on_demand(),
        ]),
    }
}

/// An address for each peer, and one for the seeder.
fn addresses(count: usize) -> Vec<Ipv4Addr> {
    (1..=count as u8 + 1).map(|last| Ipv4Addr::new(10, 79, 0, last)).collect()
}

/// Shares the state, says how to find the peers, and waits until standard input ends.
async fn peers(scale: Scale, quic: QuicPort) {
    let chain = ChainState::new(scale);
    let network = chain.share(quic, &addresses(scale.peers)).await;
    println!("{READY}{}", network.peer(0).unwrap().node().enr());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    network.shutdown().await;
}

/// Is told a peer's record on standard input, and reads.
async fn reader(scale: Scale, quic: QuicPort) {
    let mut record = String::new();
    std::io::stdin().read_line(&mut record).unwrap();
    let newcomer = newcomer(quic, Some(READER_ADDRESS), vec![record.trim().parse().unwrap()]);
    let chain = ChainState::new(scale);
    chain.read(chain.network(), newcomer, Some(ROUND_TRIP)).await;
}

/// A program on a host, which ends with its standard input.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // One that did what it was for has ended; one that is still at it is no longer wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(how: &str) {
    let hosts = vec![HostSpec::new(addresses(LARGE.peers)), HostSpec::new([READER_ADDRESS])];
    let network = PathNetwork::start(Router::new(hosts, PathSpec::round_trip(ROUND_TRIP), 1)).unwrap();
    let start = |host, role: &str| network.host(host).unwrap().this_program(&format!("{role} {how}")).unwrap();
    let mut peers = Program(start(PEERS, "peers").stdout(Stdio::piped()).spawn().unwrap());
    let mut told = BufReader::new(peers.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let record = loop {
        let line = told.next().expect("the peers come up");
        match line.strip_prefix(READY) {
            Some(record) => break record.to_owned(),
            None => println!("{line}"),
        }
    };
    let mut reader = Program(start(READER, "reader").spawn().unwrap());
    writeln!(reader.0.stdin.as_mut().unwrap(), "{record}").unwrap();
    let status = reader.0.wait().unwrap();
    drop(peers);
    let report = network.stop();
    let (late, most) = report.late;
    println!("{how}: {:?}, late by {late:.2?} on average and {most:.1?} at most", report.total());
    assert!(status.success(), "the reader reads everything as it is");
}
