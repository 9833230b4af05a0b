//! How much the router carries beside the programs that send and receive it, on the same processors: bulk TCP from four hosts to a
//! fifth, and UDP in packets as long as QUIC's.
//!
//! ```text
//! cargo run --release -p cairn-paths --example throughput [-- SECONDS]
//! ```
//!
//! On two cores that do nothing else, senders, receiver and router together (round trips; limits are the receiver's link):
//!
//! | what | received | the router's share of a core | its CPU time a GB | packets late by, at most |
//! |---|---|---|---|---|
//! | TCP, no delay, no limit | 1,794 Mbit/s | 99 % | 4.4 s | 0.18 ms, 2 ms |
//! | TCP, 50 ms, no limit | 1,256 Mbit/s | 77 % | 5.0 s | 2.3 ms, 21 ms |
//! | TCP, 50 ms, 200 Mbit/s | 189 Mbit/s | 37 % | 15.4 s | 0.05 ms, 4.6 ms |
//! | TCP, 50 ms, 300 Mbit/s | 291 Mbit/s | 49 % | 13.5 s | 0.08 ms, 9.2 ms |
//! | UDP of 200 Mbit/s, 50 ms | all | 29 % | 11.4 s | 0.06 ms, 4.8 ms |
//! | UDP of 300 Mbit/s, 50 ms | all | 34 % | 8.9 s | 0.07 ms, 4.0 ms |
//! | UDP of 600 Mbit/s, 50 ms | all | 52 % | 6.8 s | 0.06 ms, 4.8 ms |
//!
//! No packet was lost before the router had read it. The less there is to carry, the oftener the thread is woken for a packet alone.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a tool for measuring, which may stop where it stands

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use cairn_paths::namespace::Namespace;
use cairn_paths::{HostId, HostSpec, LinkSpec, PathNetwork, PathSpec, Router, trial};

const SINK: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 78, 0, 1), 7_878);
const SINK_HOST: HostId = HostId(0);
const SENDERS: usize = 4;
/// Bytes of a datagram, without IP's and UDP's headers.
const DATAGRAM: usize = 1_200;
/// Datagrams that are sent at a time.
const BURST: u32 = 8;

struct Case {
    name: &'static str,
    roles: (&'static str, &'static str),
    path: PathSpec,
    sink: LinkSpec,
}

fn main() {
    let seconds = || Duration::from_secs_f64(std::env::args().nth(1).map_or(5.0, |text| text.parse().unwrap()));
    match trial::role().as_deref() {
        None => measure(seconds()),
        Some("tcp sink") => tcp_sink(),
        Some("tcp source") => tcp_source(),
        Some("udp sink") => udp_sink(),
        Some(role) => udp_source(role.strip_prefix("udp source ").unwrap().parse().unwrap()),
    }
}

fn measure(time: Duration) {
    let far = PathSpec::round_trip(Duration::from_millis(50));
    let (tcp, queue) = (("tcp sink", "tcp source"), 1_250_000);
    let unlimited = LinkSpec::UNLIMITED;
    let cases = [
        Case { name: "TCP, no delay, no limit", roles: tcp, path: PathSpec::default(), sink: unlimited },
        Case { name: "TCP, 50 ms, no limit", roles: tcp, path: far, sink: unlimited },
        Case { name: "TCP, 50 ms, 200 Mbit/s", roles: tcp, path: far, sink: LinkSpec::megabits(200, queue) },
        Case { name: "TCP, 50 ms, 300 Mbit/s", roles: tcp, path: far, sink: LinkSpec::megabits(300, queue) },
        Case { name: "UDP of 200 Mbit/s, 50 ms", roles: ("udp sink", "udp source 50"), path: far, sink: unlimited },
        Case { name: "UDP of 300 Mbit/s, 50 ms", roles: ("udp sink", "udp source 75"), path: far, sink: unlimited },
        Case { name: "UDP of 600 Mbit/s, 50 ms", roles: ("udp sink", "udp source 150"), path: far, sink: unlimited },
    ];
    for case in cases {
        run(&case, time);
    }
}

fn run(case: &Case, time: Duration) {
    let source = |number: u8| HostSpec::new([Ipv4Addr::new(10, 78, 1, number)]);
    let mut hosts = vec![HostSpec { down: case.sink, ..HostSpec::new([SINK.0]) }];
    hosts.extend((1..=SENDERS as u8).map(source));
    let network = PathNetwork::start(Router::new(hosts, case.path, 1)).unwrap();
    let (mut sink, mut told) = start(network.host(SINK_HOST).unwrap(), case.roles.0);
    assert_eq!(line(&mut told), "ready");
    let mut sources: Vec<_> =
        (1..=SENDERS).map(|host| start(network.host(HostId(host)).unwrap(), case.roles.1).0).collect();
    // The first second belongs to slow start.
    std::thread::sleep(Duration::from_secs(1));
    let mark = |sink: &mut Child, told: &mut BufReader<ChildStdout>| -> u64 {
        writeln!(sink.stdin.as_mut().unwrap(), "how much").unwrap();
        line(told).parse().unwrap()
    };
    let (begun, before) = (Instant::now(), mark(&mut sink, &mut told));
    std::thread::sleep(time);
    let (after, took) = (mark(&mut sink, &mut told), begun.elapsed());
    let received = (after - before) as f64 * 8.0 / 1e6 / took.as_secs_f64();
    let overflown: u64 = (0..=SENDERS).map(|host| overflown(network.host(HostId(host)).unwrap())).sum();
    for child in sources.iter_mut().chain([&mut sink]) {
        drop(child.stdin.take());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let lived = begun.elapsed() + Duration::from_secs(1);
    let report = network.stop();
    let (total, gigabytes) = (report.total(), report.total().bytes as f64 / 1e9);
    println!(
        "{:<26} {received:>7.0} Mbit/s received; router: {:.0} % of a core, {:.1} s a GB, {} packets, {} dropped, late by {:.2?}, at most {:.1?}; {overflown} lost before it",
        case.name,
        100.0 * report.busy.as_secs_f64() / lived.as_secs_f64(),
        report.busy.as_secs_f64() / gigabytes,
        total.packets,
        total.dropped,
        report.late.0,
        report.late.1,
    );
}

/// Packets that the system dropped because the router did not read them in time.
fn overflown(host: &Namespace) -> u64 {
    let output = host.command("cat").arg("/sys/class/net/path0/statistics/tx_dropped").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn start(host: &Namespace, role: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = host.this_program(role).unwrap().stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Says how much has come whenever it is asked.
fn tell(count: &std::sync::atomic::AtomicU64) {
    println!("ready");
    for _ in std::io::stdin().lines() {
        println!("{}", count.load(std::sync::atomic::Ordering::Relaxed));
    }
}

fn tcp_sink() {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let listener = TcpListener::bind(SINK).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 18];
                while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                    COUNT.fetch_add(bytes as u64, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    tell(&COUNT);
}

fn tcp_source() {
    let mut stream = TcpStream::connect(SINK).unwrap();
    let buffer = vec![0; 1 << 18];
    while stream.write_all(&buffer).is_ok() {}
}

fn udp_sink() {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let socket = UdpSocket::bind(SINK).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok(bytes) = socket.recv(&mut buffer) {
            COUNT.fetch_add(bytes as u64, std::sync::atomic::Ordering::Relaxed);
        }
    });
    tell(&COUNT);
}

/// Sends so many megabits a second, evenly.
fn udp_source(megabits: u32) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let gap = Duration::from_secs_f64(f64::from(BURST) * DATAGRAM as f64 * 8.0 / (f64::from(megabits) * 1e6));
    let mut next = Instant::now();
    loop {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        for _ in 0..BURST {
            let _ = socket.send_to(&[0; DATAGRAM], SocketAddr::from(SINK));
        }
        next += gap;
    }
}
