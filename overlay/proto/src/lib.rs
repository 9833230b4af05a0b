//! The Portal wire protocol, routing, lookups and gossip as state machines without I/O.
//!
//! | module | what |
//! |---|---|
//! | [`record`] | node records: what a peer announces, which version to speak with it |
//! | [`wire`] | messages, ping extensions, accept codes, content streams: bytes in, values out, and back |
//!
//! Nothing here reads a clock, draws a random number of its own or touches a socket. The time comes in as an
//! [`Instant`](std::time::Instant), randomness as a [`rand::Rng`], packets as bytes; the crate `overlay` drives it.

pub mod record;
pub mod wire;
