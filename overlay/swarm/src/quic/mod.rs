//! The driver: connections over QUIC, and the state machines' steps done over them.
//!
//! | module | what |
//! |---|---|
//! | `identity` | certificates by the node's key, and the node ID that a handshake proved |
//! | `config` | what an endpoint is started with, and the sizes of QUIC's windows |
//! | `swarm` | the endpoint: dials, accepts, knows the sessions |
//! | `inner` | what its sessions share |
//! | `session` | one connection: what is known of the peer, single items out of it |
//! | `round_trips` | how long its path is |
//! | `talk` | what is said on it: hello, control messages both ways, requests |
//! | `exchange` | others that peers are told of |
//! | `serve` | answers to requests, out of a [`Library`] |
//! | `uploads` | whom this node serves, and how much it moves |
//! | `stats` | the same as figures, for whoever looks |
//! | `sink` | where what comes is put, and why it was not |
//! | `checkers` | the threads that check it |
//! | `fetch` | a [`Download`](crate::download::Download) done over the sessions, into a [`Sink`] |

mod checkers;
mod config;
mod dialling;
mod exchange;
mod fetch;
mod fetch_progress;
mod fetch_request;
mod identity;
mod inner;
mod library;
mod round_trips;
mod serve;
mod session;
mod sink;
mod stats;
mod swarm;
mod talk;
mod uploads;

pub use config::Config;
pub use fetch::{Fetch, FetchOptions, Outside, SwarmFetchError};
pub use fetch_progress::{Blame, FetchProgress, FetchedFrom};
pub use identity::{Identity, SwarmIdentityError, node_id_of};
pub use library::{Held, Items, Library, NotServed};
pub use session::{ItemError, Session, SessionView};
pub use sink::{ErrorSource, PutError, Received, Sink};
pub use stats::{StatsSource, SwarmStats};
pub use swarm::{BoundSocket, ConnectError, PeerAddress, StartError, Swarm};
pub use uploads::Limits;
