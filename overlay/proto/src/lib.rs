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
//! What has a course of its own (a lookup, the routing table's upkeep) is a machine. Its driver tells it what came in and when by
//! a method `handle_…`, and asks it by `poll_output` what is to be done: requests to send, streams to open, and, when there is
//! nothing more for now, the time at which to ask again ([`NodeOutput::Timeout`](lookup::NodeOutput::Timeout)). It changes only in
//! these calls, so a test plays a whole network in a loop, in time of its own; the driver is a loop as well:
//!
//! 1. `poll_output` until it gives a time, doing what it says;
//! 2. wait for an answer, or for that time;
//! 3. hand what came to `handle_…`, and begin anew.
//!
//! What only answers a question (whom to offer something to, who has credit, which keys are being taken) is a plain value that
//! is told what happened in the same words.
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
