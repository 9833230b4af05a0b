//! The uTP transport ([BEP 29]) as a state machine without I/O, for carriers that deliver datagrams of a known peer.
//!
//! It is a machine like those of `cairn-proto`: what comes in is handed to a method `handle_…` with the time, what is to go out is
//! polled, and nothing happens in between. Since each packet is written into a buffer of the carrier's and most calls give one or
//! none, what goes out has three methods instead of one output: packets, events, and the time at which to call again.
//!
//! A [`Connection`] is one stream. It opens no socket, reads no clock and draws no random number: packets and the time
//! go in ([`Connection::handle_packet`], [`Connection::handle_timeout`]); packets, a deadline and events come out
//! ([`Connection::poll_transmit`], [`Connection::poll_timeout`], [`Connection::poll_event`]). Whoever owns it, a driver
//! over discv5's TALKREQ or a test with a simulated link, does after each call into it:
//!
//! 1. `poll_transmit` until it returns `None`, sending each packet;
//! 2. `poll_event` until it returns `None`;
//! 3. arm one timer at `poll_timeout` and call `handle_timeout` when it goes off.
//!
//! ```
//! use std::time::Instant;
//! use cairn_utp::{Config, Connection};
//!
//! let now = Instant::now();
//! // Both were told the connection id 7; the initial sequence numbers would be random.
//! let mut opener = Connection::connect(Config::default(), 7, now, 1000);
//! let mut acceptor = Connection::accept(Config::default(), 7, now, 2000);
//! acceptor.write(b"a block body").unwrap();
//! acceptor.finish();
//!
//! let mut packet = Vec::new();
//! while opener.close_reason().is_none() {
//!     while opener.poll_transmit(now, &mut packet).is_some() {
//!         acceptor.handle_packet(now, std::mem::take(&mut packet).into()).unwrap();
//!     }
//!     while acceptor.poll_transmit(now, &mut packet).is_some() {
//!         opener.handle_packet(now, std::mem::take(&mut packet).into()).unwrap();
//!     }
//!     while let Ok(Some(bytes)) = opener.read_chunk(usize::MAX) {
//!         assert_eq!(bytes, "a block body");
//!         opener.close(now);
//!     }
//! }
//! ```
//!
//! What differs from BEP 29 follows the Portal network's `utp/discv5-utp.md`: the connection ID is agreed upon outside
//! of uTP, the accepting side may send data at once, and the answer to a SYN carries the sequence number of the first
//! data packet, not of a packet before it. Loss detection is RFC 9002's, on SACK; congestion control is LEDBAT's (RFC
//! 6817) with the growth of CUBIC (RFC 9438) while the queueing delay is far below the target.
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
pub use connection::{Connection, Event, Stats};
pub use error::{CloseReason, DecodeError, PacketError, ReadError, WriteError};
pub use packet::{HEADER_LEN, Header, MAX_SELECTIVE_ACK_LEN, Packet, PacketType, SelectiveAck, VERSION};
