//! The Portal wire protocol, routing, lookups and gossip as state machines without I/O.
//!
//! | module | what |
//! |---|---|
//! | [`wire`] | messages, ping extensions, accept codes, content streams: bytes in, values out, and back |
//! | [`record`] | node records: what a peer announces, which version to speak with it |
//! | [`routing`] | the routing table of a sub-network: peers, their radius and liveness, whom to ping, where to look |
//! | [`lookup`] | lookups of nodes and of content: whom to ask next, when it is over, what happened |
//! | [`gossip`] | whom to offer content to, what to answer to an offer, what is being taken from whom |
//! | [`interest`] | whether a node wants some content |
//! | [`limits`] | how many transfers may run at a time, and for whom |
//!
//! Nothing here reads a clock, draws a random number of its own or touches a socket. The time comes in as an
//! [`Instant`](std::time::Instant), randomness as a [`rand::Rng`], packets as bytes; the crate `overlay` drives it.

mod expiring;
pub mod gossip;
pub mod interest;
pub mod limits;
pub mod lookup;
pub mod record;
pub mod routing;
mod tally;
pub mod wire;
