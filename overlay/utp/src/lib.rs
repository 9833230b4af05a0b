//! The uTP transport ([BEP 29]) as a state machine without I/O, for carriers that deliver datagrams of a known peer.
//!
//! # How a machine without I/O is used
//!
//! A [`Connection`] is one stream. It opens no socket, reads no clock, starts no task and draws no random number. All of
//! these belong to its owner, the *driver*: a task over discv5's TALKREQ, a thread with a UDP socket, or a test that
//! simulates a link. So a test can run an hour in a moment, and the same input gives the same run.
//!
//! Like every machine of Cairn it has two sides.
//!
//! - **What comes in** is handed to a method `handle_…`, with the time: [`handle_packet`](Connection::handle_packet)
//!   for a packet of the peer, [`handle_timeout`](Connection::handle_timeout) when the time has come that was asked for.
//!   The stream's bytes go in by [`write`](Connection::write) and come out by [`read_chunk`](Connection::read_chunk).
//! - **What goes out** is polled: [`poll_output`](Connection::poll_output) gives one [`Output`] at a time. It is a
//!   packet to send, an [`Event`] for whoever reads and writes, or, when there is nothing else, the time to wait for.
//!
//! Nothing happens between calls. So after each call that changed something, the driver polls until it gets a
//! [`Output::Timeout`], and then waits for a packet or for that time, whichever comes first:
//!
//! ```
//! use std::time::Instant;
//! use cairn_utp::{Config, Connection, Output};
//!
//! /// What the connection has to send at `now`, and when it wants to be called again.
//! fn drive(connection: &mut Connection, now: Instant) -> (Vec<Vec<u8>>, Option<Instant>) {
//!     let mut packets = Vec::new();
//!     let mut packet = Vec::new();
//!     loop {
//!         match connection.poll_output(now, Some(&mut packet)) {
//!             // A driver with a socket would send it here, clear the buffer and use it again.
//!             Output::Transmit(_) => packets.push(std::mem::take(&mut packet)),
//!             // `Readable`, `Writable` and so on: here would be woken who waits for it.
//!             Output::Event(_) => {}
//!             Output::Timeout(at) => return (packets, at),
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Instant::now();
//! // Both were told the connection ID 7. The numbers at the end would be random.
//! let mut opener = Connection::connect(Config::default(), 7, now, 1000);
//! let mut acceptor = Connection::accept(Config::default(), 7, now, 2000);
//! acceptor.write(b"a block body")?;
//! acceptor.finish();
//!
//! // The opener's SYN goes over, the answer and the data come back.
//! for packet in drive(&mut opener, now).0 {
//!     acceptor.handle_packet(now, packet.into())?;
//! }
//! for packet in drive(&mut acceptor, now).0 {
//!     opener.handle_packet(now, packet.into())?;
//! }
//! assert_eq!(opener.read_chunk(usize::MAX)?.as_deref(), Some(&b"a block body"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! `examples/utp_pair.rs` does the same over two UDP sockets, with a clock.
//!
//! A packet is made when it is polled, in a buffer that the driver gives and uses again: none is made before it can leave,
//! and none waits in a queue. A driver that has no room for one polls with `None` for the buffer.
//!
//! # What differs from BEP 29
//!
//! This follows the Portal network's `utp/discv5-utp.md`: the connection ID is agreed upon outside of uTP, the accepting
//! side may send data at once, and the answer to a SYN carries the sequence number of the first data packet, not of a
//! packet before it. Loss detection is RFC 9002's, on SACK; congestion control is LEDBAT's (RFC 6817) with the growth of
//! CUBIC (RFC 9438) while the queueing delay is far below the target.
//!
//! [BEP 29]: https://www.bittorrent.org/beps/bep_0029.html

mod acks;
mod config;
mod congestion;
mod connection;
mod delay;
mod error;
mod in_flight;
mod packet;
mod reassembly;
mod rtt;
mod send_buffer;
mod seq;

pub use config::Config;
pub use connection::{Connection, ConnectionStats, Event, Output};
pub use error::{CloseReason, DecodeError, PacketError, ReadError, WriteError};
pub use packet::{HEADER_LEN, Header, MAX_SELECTIVE_ACK_LEN, Packet, PacketType, SelectiveAck, VERSION};
