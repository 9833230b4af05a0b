//! Both roles against the crate `utp-rs`, over UDP on the loopback interface, with connection ids given from outside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_utp::{CloseReason, Config, Connection, Header, Output, ReadError};
use utp_rs::{cid::ConnectionId, conn::ConnectionConfig, peer::Peer, socket::UtpSocket, stream::UtpStream};

/// The id above it wraps.
const CONNECTION_ID: u16 = 0xffff;

/// utp-rs breaks on streams of tens of megabytes.
const BYTES: usize = 3_000_000;

/// Far longer than any of this takes: a deadlock fails the test instead of blocking it.
const GIVE_UP: Duration = Duration::from_secs(60);

fn data() -> Vec<u8> {
    (0..BYTES).map(|index| (index % 251) as u8).collect()
}

/// Runs a connection over `socket` on a thread: writes `to_write` if there is any, else reads to the end, then closes.
/// Returns what was read and how the connection ended.
fn run(socket: UdpSocket, mut connection: Connection, to_write: Vec<u8>) -> JoinHandle<(Vec<u8>, CloseReason)> {
    thread::spawn(move || {
        let sends = !to_write.is_empty();
        let (mut to_write, mut read) = (Bytes::from(to_write), Vec::new());
        let (mut datagram, mut packet) = ([0; 2_048], Vec::new());
        let give_up = Instant::now() + GIVE_UP;
        loop {
            let now = Instant::now();
            assert!(now < give_up, "{:?}", connection.stats());
            connection.handle_timeout(now);
            while !to_write.is_empty() && connection.write_chunk(&mut to_write).is_ok() {}
            if sends && to_write.is_empty() {
                connection.close(now);
            }
            loop {
                match connection.read_chunk(usize::MAX) {
                    Ok(Some(chunk)) => read.extend_from_slice(&chunk),
                    Ok(None) => break connection.close(now),
                    Err(ReadError::Blocked | ReadError::Closed(_)) => break,
                }
            }
            let timeout = loop {
                match connection.poll_output(now, Some(&mut packet)) {
                    Output::Transmit(_) => {
                        socket.send(&packet).unwrap();
                        packet.clear();
                    }
                    Output::Event(_) => {}
                    Output::Timeout(at) => break at,
                }
            };
            if let Some(reason) = connection.close_reason() {
                return (read, reason);
            }
            let wait = timeout.unwrap().saturating_duration_since(Instant::now());
            socket.set_read_timeout(Some(wait.max(Duration::from_micros(1)))).unwrap();
            match socket.recv(&mut datagram) {
                Ok(len) => {
                    let packet = Bytes::copy_from_slice(&datagram[..len]);
                    assert!(Header::decode(&packet).unwrap().receive_ids().any(|id| id == connection.receive_id()));
                    // A packet that the connection has no use for any more is no failure.
                    let _ = connection.handle_packet(Instant::now(), packet);
                }
                Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
            }
        }
    })
}

/// A socket of ours, one of theirs, and ours as they see it.
async fn sockets() -> (UdpSocket, UtpSocket<SocketAddr>, Peer<SocketAddr>) {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    let peer = Peer::new(ours.local_addr().unwrap());
    (ours, UtpSocket::with_socket(theirs), peer)
}

/// They write `theirs` if there is any, else read to the end; then both sides must have what the other wrote.
async fn exchange(
    mut stream: UtpStream<SocketAddr>,
    running: JoinHandle<(Vec<u8>, CloseReason)>,
    ours: Vec<u8>,
    theirs: Vec<u8>,
) {
    let mut read = Vec::new();
    if theirs.is_empty() {
        stream.read_to_eof(&mut read).await.unwrap();
    } else {
        stream.write(&theirs).await.unwrap();
        stream.close().await.unwrap();
    }
    let (read_by_us, reason) = running.join().unwrap();
    assert!(read == ours && read_by_us == theirs, "{} and {} B arrived", read.len(), read_by_us.len());
    assert_eq!(reason, CloseReason::Finished);
}

/// We accept, they open.
async fn accept(ours: Vec<u8>, theirs: Vec<u8>) {
    let (socket, utp, peer) = sockets().await;
    let acceptor = Connection::accept(Config::default(), CONNECTION_ID, Instant::now(), 65_000);
    let running = run(socket, acceptor, ours.clone());
    let id = ConnectionId { recv: CONNECTION_ID, send: CONNECTION_ID.wrapping_add(1), peer_id: *peer.id() };
    let stream = utp.connect_with_cid(id, peer, ConnectionConfig::default()).await.unwrap();
    exchange(stream, running, ours, theirs).await;
}

/// We open, they accept.
async fn connect(ours: Vec<u8>, theirs: Vec<u8>) {
    let (socket, utp, peer) = sockets().await;
    let opener = Connection::connect(Config::default(), CONNECTION_ID, Instant::now(), 65_000);
    let running = run(socket, opener, ours.clone());
    let id = ConnectionId { recv: CONNECTION_ID.wrapping_add(1), send: CONNECTION_ID, peer_id: *peer.id() };
    let stream = utp.accept_with_cid(id, peer, ConnectionConfig::default()).await.unwrap();
    exchange(stream, running, ours, theirs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_accept_and_send() {
    accept(data(), Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_accept_and_receive() {
    accept(Vec::new(), data()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_open_and_send() {
    connect(data(), Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_open_and_receive() {
    connect(Vec::new(), data()).await;
}
