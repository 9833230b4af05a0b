//! Real packets between two hosts: a long path takes its time, loses what it should, and leads nowhere else; afterwards nothing is left.

// The standard harness marks tests for clippy; this one is ours.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use cairn_paths::namespace::Namespace;
use cairn_paths::trial::{self, Trial};
use cairn_paths::{HostId, HostSpec, PathNetwork, PathSpec, Router};

const NEAR: HostId = HostId(0);
const FAR: HostId = HostId(1);
const NEAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const FAR_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 3)];
const PORT: u16 = 7_777;
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// How long an answer is waited for that will come, on however busy a machine, and one that will not.
const PATIENT: Duration = Duration::from_secs(30);
const IMPATIENT: Duration = Duration::from_millis(20);
const PINGS: u32 = 5;

fn main() {
    match trial::role().as_deref() {
        Some("echo") => echo(),
        Some("ping") => ping(PATIENT),
        Some("impatient ping") => ping(IMPATIENT),
        _ => trial::run(vec![
            Trial::new("a_long_path_takes_its_time", a_long_path_takes_its_time),
            Trial::new("what_a_path_loses_does_not_arrive", what_a_path_loses_does_not_arrive),
            Trial::new("a_panic_leaves_nothing", a_panic_leaves_nothing),
        ]),
    }
}

/// Sends back what comes to any of the host's addresses, until standard input ends.
fn echo() {
    for address in FAR_ADDRESSES {
        let socket = UdpSocket::bind((address, PORT)).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..bytes], from);
            }
        });
    }
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Asks each address some times and says how long the answer took, or that there was none. Then an address that nobody has.
fn ping(patience: Duration) {
    let socket = UdpSocket::bind((NEAR_ADDRESS, 0)).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    for number in 0..PINGS {
        for address in FAR_ADDRESSES {
            let (begun, mut buffer) = (Instant::now(), [0; 2_000]);
            socket.send_to(&number.to_be_bytes(), (address, PORT)).unwrap();
            // What comes too late for one is no answer to the next.
            let mut answered = || loop {
                let (bytes, from) = socket.recv_from(&mut buffer).ok()?;
                if (&buffer[..bytes], from.ip()) == (&number.to_be_bytes()[..], address.into()) {
                    return Some(begun.elapsed().as_micros());
                }
            };
            println!("{}", answered().map_or("none".into(), |micros| micros.to_string()));
        }
    }
    socket.send_to(b"nobody", (Ipv4Addr::new(192, 0, 2, 1), PORT)).unwrap();
}

/// A program on a host. Its standard input is closed when it is dropped, and it is waited for.
struct Program(Child);

impl Program {
    fn start(host: &Namespace, role: &str) -> (Self, BufReader<ChildStdout>) {
        let mut child = host.this_program(role).unwrap().stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        (Self(child), output)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn router(path: PathSpec) -> Router {
    let hosts = vec![HostSpec::new([NEAR_ADDRESS]), HostSpec::new(FAR_ADDRESSES)];
    Router::new(hosts, path, 1)
}

/// What a ping says on this network: microseconds, or `None` without an answer.
fn pinged(network: &PathNetwork, how: &str) -> Vec<Option<u128>> {
    let (_echo, mut ready) = Program::start(network.host(FAR).unwrap(), "echo");
    ready.read_line(&mut String::new()).unwrap();
    let (_ping, output) = Program::start(network.host(NEAR).unwrap(), how);
    output.lines().map(|line| line.unwrap().parse().ok()).collect()
}

fn a_long_path_takes_its_time() {
    let network = PathNetwork::start(router(PathSpec::round_trip(ROUND_TRIP))).unwrap();
    let answers = pinged(&network, "ping");
    let is_in_time = |answer: &Option<u128>| answer.is_some_and(|micros| micros >= ROUND_TRIP.as_micros());
    assert!(answers.len() == PINGS as usize * 2 && answers.iter().all(is_in_time), "{answers:?}");
    let report = network.stop();
    let (there, back) = (report.paths[NEAR.0][FAR.0], report.paths[FAR.0][NEAR.0]);
    assert_eq!([there, back].map(|counts| counts.packets), [u64::from(PINGS) * 2; 2]);
    assert_eq!(report.refused, 0);
    assert!(report.strayed >= 1, "what is for nobody goes to nobody");
}

fn what_a_path_loses_does_not_arrive() {
    let loss = PathSpec { delay: Duration::ZERO, loss: 1_000_000 };
    let mut router = router(PathSpec::default());
    router.set_paths(NEAR, FAR, loss);
    let network = PathNetwork::start(router).unwrap();
    assert_eq!(pinged(&network, "impatient ping"), vec![None; PINGS as usize * 2]);
    let report = network.stop();
    assert_eq!((report.total().packets, report.paths[NEAR.0][FAR.0].lost), (0, u64::from(PINGS) * 2));
}

fn a_panic_leaves_nothing() {
    let network = PathNetwork::start(router(PathSpec::default())).unwrap();
    let names = [NEAR, FAR].map(|host| network.host(host).unwrap().name().to_owned());
    let is_there = |name: &String| Path::new("/run/netns").join(name).exists();
    assert!(names.iter().all(is_there));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _network = network;
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(panicked.is_err());
    assert!(!names.iter().any(is_there));
    // Nor does a process that was killed: its namespaces are taken away by the next one. No process has this number.
    let name = format!("{}4194305-0", cairn_paths::namespace::PREFIX);
    assert!(std::process::Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
    drop(PathNetwork::start(router(PathSpec::default())).unwrap());
    assert!(!is_there(&name));
}
