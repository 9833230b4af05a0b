//! How fast streams are over UDP on the loopback interface: one thread and one socket for each side.
//!
//! `cargo bench -p cairn-utp --bench loopback`. The floor, what the sockets alone can move, is printed first.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints a table")]

use std::{
    collections::HashMap,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_utp::{Config, Connection, Event, Header, Output, ReadError};
use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv, sockopt::set_socket_recv_buffer_size},
};

/// Datagrams taken from the socket before the connections are asked what to send.
const BATCH: usize = 64;

/// Socket buffer in bytes; the kernel's own default holds some 90 small datagrams.
const SOCKET_BUFFER: usize = 4 << 20;

struct Stream {
    connection: Connection,
    /// When the connection wants to be called although nothing came.
    timeout: Option<Instant>,
    to_write: Bytes,
    read: usize,
    /// When the first and the last event of interest came.
    done: Option<Instant>,
    sends: bool,
}

impl Stream {
    fn new(connection: Connection, to_write: Bytes) -> Self {
        let sends = !to_write.is_empty();
        Self { connection, timeout: None, to_write, read: 0, done: None, sends }
    }

    /// Moves data between the connection, its owner and the socket. Returns whether the stream is through.
    fn drive(&mut self, socket: &UdpSocket, packet: &mut Vec<u8>) {
        let now = Instant::now();
        self.connection.handle_timeout(now);
        if self.sends {
            while !self.to_write.is_empty() && self.connection.write_chunk(&mut self.to_write).is_ok() {}
            if self.to_write.is_empty() {
                self.connection.finish();
            }
        }
        loop {
            match self.connection.read_chunk(usize::MAX) {
                Ok(Some(chunk)) => self.read += chunk.len(),
                Ok(None) if !self.sends => {
                    self.done.get_or_insert(now);
                    self.connection.close(now);
                    break;
                }
                Ok(None) | Err(ReadError::Blocked) => break,
                Err(ReadError::Closed(reason)) => panic!("{reason}: {:?}", self.connection.stats()),
            }
        }
        self.timeout = loop {
            match self.connection.poll_output(now, Some(packet)) {
                Output::Transmit(_) => {
                    // A full socket loses the packet, as a network does.
                    let _ = socket.send(packet);
                    packet.clear();
                }
                Output::Event(Event::Finished) if self.sends => self.done = Some(now),
                Output::Event(_) => {}
                Output::Timeout(at) => break at,
            }
        };
    }
}

/// Drives all streams of one side over one socket until each is through; returns when each was.
fn run(socket: &UdpSocket, mut streams: HashMap<u16, Stream>) -> Vec<(Instant, Connection)> {
    let mut packet = Vec::with_capacity(65_536);
    let mut dirty: Vec<u16> = streams.keys().copied().collect();
    loop {
        for id in dirty.drain(..) {
            streams.get_mut(&id).unwrap().drive(socket, &mut packet);
        }
        if streams.values().all(|stream| stream.done.is_some()) {
            // The peer may still miss our last acknowledgements.
            let linger = Instant::now() + Duration::from_millis(50);
            while Instant::now() < linger {
                for id in receive(socket, &mut streams, Some(linger)) {
                    streams.get_mut(&id).unwrap().drive(socket, &mut packet);
                }
            }
            return streams.into_values().map(|stream| (stream.done.unwrap(), stream.connection)).collect();
        }
        let wake = streams.values().filter_map(|stream| stream.timeout).min();
        dirty = receive(socket, &mut streams, wake);
        if dirty.is_empty() {
            dirty.extend(streams.keys());
        }
    }
}

/// Waits for datagrams, at most until `wake`, and gives them to their connections. Returns which got any.
fn receive(socket: &UdpSocket, streams: &mut HashMap<u16, Stream>, wake: Option<Instant>) -> Vec<u16> {
    let mut touched = Vec::new();
    for _ in 0..BATCH {
        let mut datagram = Vec::with_capacity(9_000);
        if recv(socket, spare_capacity(&mut datagram), RecvFlags::DONTWAIT).is_err() {
            if !touched.is_empty() {
                break;
            }
            let wait = wake.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(Instant::now()));
            let wait = Timespec::try_from(wait).unwrap();
            if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&wait)).unwrap_or(0) == 0 {
                break;
            }
            continue;
        }
        let id = Header::decode(&datagram).unwrap().receive_ids().next().unwrap();
        if let Some(stream) = streams.get_mut(&id) {
            let _ = stream.connection.handle_packet(Instant::now(), datagram.into());
            if touched.last() != Some(&id) {
                touched.push(id);
            }
        }
    }
    touched.sort_unstable();
    touched.dedup();
    touched
}

fn sockets() -> (UdpSocket, UdpSocket) {
    let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    for socket in [&a, &b] {
        set_socket_recv_buffer_size(socket, SOCKET_BUFFER).unwrap();
    }
    (a, b)
}

/// `count` streams of `bytes` each from the acceptors to the openers.
fn measure(count: u16, bytes: usize, config: Config) {
    let (ours, theirs) = sockets();
    let data = Bytes::from(vec![0x5a; bytes]);
    let start = Instant::now();
    let acceptors: HashMap<_, _> = (0..count)
        .map(|index| Connection::accept(config, 2 * index, start, index))
        .map(|connection| (connection.receive_id(), Stream::new(connection, data.clone())))
        .collect();
    let openers: HashMap<_, _> = (0..count)
        .map(|index| Connection::connect(config, 2 * index, start, index))
        .map(|connection| (connection.receive_id(), Stream::new(connection, Bytes::new())))
        .collect();
    let sender = thread::spawn(move || run(&theirs, acceptors));
    let receiver = thread::spawn(move || run(&ours, openers));
    let mut times: Vec<f64> = receiver.join().unwrap().iter().map(|(at, _)| (*at - start).as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let sent = sender.join().unwrap();
    let stats: Vec<_> = sent.iter().map(|(_, connection)| connection.stats()).collect();
    let all = f64::from(count) * bytes as f64 / 1e6;
    println!(
        "{count:>3} x {:>5.1} MB, {:>5} B a packet: {:>6.1} MB/s, first {:>6.1} ms, last {:>6.1} ms; \
         {} sent, {} sent again, {} acknowledgements, {} time-outs, window {} kB",
        bytes as f64 / 1e6,
        config.max_payload,
        all / times.last().unwrap(),
        times[0] * 1e3,
        times.last().unwrap() * 1e3,
        stats.iter().map(|stats| stats.packets_sent).sum::<u64>(),
        stats.iter().map(|stats| stats.retransmissions).sum::<u64>(),
        stats.iter().map(|stats| stats.packets_received).sum::<u64>(),
        stats.iter().map(|stats| stats.timeouts).sum::<u64>(),
        stats.iter().map(|stats| stats.congestion_window).max().unwrap_or(0) / 1000,
    );
}

/// What one thread sends and another receives, without a protocol.
fn floor(payload: usize) {
    let (ours, theirs) = sockets();
    let count = 100_000;
    let receiver = thread::spawn(move || {
        let mut received = 0;
        let mut datagram = vec![0; 9_000];
        theirs.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut last = Instant::now();
        while theirs.recv(&mut datagram).is_ok() {
            received += 1;
            last = Instant::now();
        }
        (received, last)
    });
    let start = Instant::now();
    let datagram = vec![0x5a; payload];
    for _ in 0..count {
        let _ = ours.send(&datagram);
    }
    let (received, last) = receiver.join().unwrap();
    let rate = f64::from(received) * payload as f64 / (last - start).as_secs_f64() / 1e6;
    println!("sockets alone, {payload:>5} B a packet: {rate:>6.1} MB/s, {received} of {count} arrived");
}

fn main() {
    let portal = Config::default();
    let large = Config { max_payload: 8_000, ..portal };
    for config in [portal, large] {
        floor(config.max_payload);
        for megabytes in [20, 80, 320] {
            measure(1, megabytes * 1_000_000, config);
        }
        measure(64, 200_000, config);
        measure(1, 68_000, config);
        measure(1, 1_400, config);
    }
}
