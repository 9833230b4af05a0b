//! Long paths for test networks on one machine: hosts with addresses of their own, and between them a router that takes its time,
//! loses packets and has narrow links, with a seed.
//!
//! A host is a network namespace with one TUN device, to which everything goes that is not the host's own. A thread of this process
//! reads the devices of all hosts and writes each packet to the device of its destination when the path's delay has passed. So it
//! needs no traffic control in the kernel, and nothing leaves the machine: there is no way out of the namespaces but the router.
//!
//! | module | what |
//! |---|---|
//! | [`link`] | a link in one direction: bytes a second, and a queue of bounded length before it |
//! | [`router`] | links, delays and losses of all paths as a state machine: no I/O, no clock |
//! | [`namespace`] | a network namespace that is taken away when it is dropped |
//! | [`network`] | the hosts, and the thread that carries packets between them |
//! | [`trial`] | tests that need such a network, and say so where the machine gives none |
//!
//! It takes root, `/dev/net/tun` and `ip` of iproute2. What it carries beside the programs on its machine tells
//! `examples/throughput.rs`, figures included.

pub mod link;
pub mod namespace;
pub mod network;
pub mod router;
pub mod trial;

pub use link::LinkSpec;
pub use network::{PathNetwork, Report, SetupError};
pub use router::{Counts, HostId, HostSpec, PathSpec, Router};
