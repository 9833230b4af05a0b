//! Two uTP connections that send each other a few megabytes, over two UDP sockets on this machine.
//!
//!     cargo run -p cairn-utp --example utp_pair
//!
//! A [`Connection`] does no I/O. What it needs around it is in `run`: a socket, a clock, and a loop in four steps.
#![allow(clippy::print_stdout, reason = "a program that says what it did")]

use std::{
    error::Error,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_utp::{CloseReason, Config, Connection, Event, Output, ReadError};

const BYTES: usize = 3_000_000;

/// A datagram is not longer: a packet has a header, and `Config::max_payload` bytes at most.
const MAX_DATAGRAM: usize = 2_048;

/// Runs one end until both streams are through: sends `to_send`, and returns what the other end sent.
fn run(
    mut connection: Connection,
    socket: &UdpSocket,
    mut to_send: Bytes,
) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let mut received = Vec::new();
    let (mut is_sent, mut is_received) = (false, false);
    let mut packet = Vec::with_capacity(MAX_DATAGRAM);
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        // 1. The stream: write what there is room for, read what has come. A real program would do this when `Writable`
        //    and `Readable` say so; trying each time does no harm.
        while !to_send.is_empty() && connection.write_chunk(&mut to_send).is_ok() {}
        if to_send.is_empty() {
            // Our stream ends here. Said again, it changes nothing.
            connection.finish();
        }
        loop {
            match connection.read_chunk(usize::MAX) {
                Ok(Some(chunk)) => received.extend_from_slice(&chunk),
                // The other end has finished its stream.
                Ok(None) => {
                    is_received = true;
                    break;
                }
                Err(ReadError::Blocked) => break,
                Err(error) => return Err(error.into()),
            }
        }

        // 2. Poll until there is nothing to do but to wait.
        let timeout = loop {
            match connection.poll_output(Instant::now(), Some(&mut packet)) {
                Output::Transmit(_) => {
                    // A packet that the socket does not take is lost, and will be sent again.
                    let _ = socket.send(&packet);
                    packet.clear();
                }
                // All that we wrote was acknowledged.
                Output::Event(Event::Finished) => is_sent = true,
                Output::Event(Event::Closed(CloseReason::Finished)) => return Ok(received),
                Output::Event(Event::Closed(reason)) => return Err(format!("the connection broke: {reason}").into()),
                Output::Event(Event::Connected | Event::Readable | Event::Writable) => {}
                Output::Timeout(at) => break at,
            }
        };

        // 3. Wait for a packet, but not beyond the time that the connection asks for.
        let now = Instant::now();
        let mut wait = timeout.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now));
        if is_sent && is_received {
            // Both streams are through. The other end may not know it yet, so a server would keep the connection until it
            // is closed, and answer what is repeated. Here it is enough that nothing comes for a while.
            wait = wait.min(Duration::from_millis(100));
        }
        socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;

        // 4. Hand in what came, with the time. One that the connection has no use for is ignored.
        match socket.recv(&mut datagram) {
            Ok(len) => drop(connection.handle_packet(Instant::now(), Bytes::copy_from_slice(&datagram[..len]))),
            Err(_) if is_sent && is_received => return Ok(received),
            // The time was up.
            Err(_) => {}
        }
        connection.handle_timeout(Instant::now());
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    ours.connect(theirs.local_addr()?)?;
    theirs.connect(ours.local_addr()?)?;

    // On the Portal network one side draws the connection ID and tells the other, over discv5, before uTP begins. Initial
    // sequence numbers have to be random, too.
    let (id, now) = (rand::random(), Instant::now());
    let opener = Connection::connect(Config::default(), id, now, rand::random());
    let acceptor = Connection::accept(Config::default(), id, now, rand::random());

    let other_end = thread::spawn(move || run(acceptor, &theirs, vec![b'a'; BYTES].into()));
    let of_acceptor = run(opener, &ours, vec![b'o'; BYTES].into())?;
    let of_opener = other_end.join().map_err(|_| "the other end panicked")??;

    assert!(of_acceptor.len() == BYTES && of_acceptor.iter().all(|byte| *byte == b'a'));
    assert!(of_opener.len() == BYTES && of_opener.iter().all(|byte| *byte == b'o'));
    println!("{BYTES} bytes each way in {:?}", now.elapsed());
    Ok(())
}
