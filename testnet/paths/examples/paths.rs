//! Long paths for scripts: hosts in network namespaces of their own and the router between them, until the standard input ends.
//!
//! ```text
//! paths ROUND_TRIP_MS LOSS_PERCENT QUEUE_MS ADDRESS[=MBIT]…
//! ```
//!
//! A host is an IPv4 address. Its link, in each direction, carries MBIT megabits a second, and what passes it in QUEUE_MS may wait
//! before it; without MBIT it takes no time. The paths between any two hosts are alike, and lose packets there and back.
//!
//! Once packets are carried there is a line for each host: its address and the name of its namespace, in which `ip netns exec` runs
//! programs. At the end there is another line for each host, about the packets that were for it: its address, how many were handed
//! over, their bytes, how many were lost as the paths say, and how many were dropped before a link; and then one that says how late
//! packets were handed over, in milliseconds on average and at most. Where that is much the machine was too busy.

#![allow(clippy::print_stdout, reason = "what it prints is what scripts read")]

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::net::Ipv4Addr;
use std::time::Duration;

use cairn_paths::{Counts, HostId, HostSpec, LinkSpec, PathNetwork, PathSpec, Router};

const USAGE: &str = "paths ROUND_TRIP_MS LOSS_PERCENT QUEUE_MS ADDRESS[=MBIT]…";
/// What is lost follows from it.
const SEED: u64 = 1;

/// What the arguments ask for.
struct Wanted {
    path: PathSpec,
    hosts: Vec<HostSpec>,
    addresses: Vec<Ipv4Addr>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Wanted { path, hosts, addresses } = wanted(&arguments).map_err(|error| format!("{error}; {USAGE}"))?;
    let network = PathNetwork::start(Router::new(hosts, path, SEED))?;
    for (host, address) in addresses.iter().enumerate() {
        let namespace = network.host(HostId(host)).ok_or("a host without a namespace")?;
        println!("{address} {}", namespace.name());
    }
    stdout().flush()?;
    std::io::copy(&mut stdin(), &mut std::io::sink())?;
    let report = network.stop();
    for (to, address) in addresses.iter().enumerate() {
        let mut counts = Counts::default();
        report.paths.iter().filter_map(|from| from.get(to)).for_each(|path| counts += *path);
        let Counts { packets, bytes, lost, dropped } = counts;
        println!("{address} {packets} {bytes} {lost} {dropped}");
    }
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!("late {:.2} {:.2}", millis(report.late.0), millis(report.late.1));
    Ok(())
}

fn wanted(arguments: &[String]) -> Result<Wanted, Box<dyn Error>> {
    let [round_trip, loss, queue, hosts @ ..] = arguments else { return Err("too few arguments".into()) };
    let (round_trip, loss, queue): (u64, f64, u64) = (round_trip.parse()?, loss.parse()?, queue.parse()?);
    let path =
        PathSpec { loss: (loss * 10_000.0).round() as u32, ..PathSpec::round_trip(Duration::from_millis(round_trip)) };
    let mut wanted = Wanted { path, hosts: Vec::new(), addresses: Vec::new() };
    for host in hosts {
        let (address, megabits) =
            host.split_once('=').map_or((host.as_str(), None), |(address, link)| (address, Some(link)));
        let link = match megabits.map(str::parse::<u64>).transpose()? {
            // A megabit a second is 125 bytes a millisecond.
            Some(megabits) => LinkSpec::megabits(megabits, megabits.saturating_mul(125).saturating_mul(queue)),
            None => LinkSpec::UNLIMITED,
        };
        let address = address.parse()?;
        wanted.hosts.push(HostSpec::new([address]).with_link(link));
        wanted.addresses.push(address);
    }
    Ok(wanted)
}
