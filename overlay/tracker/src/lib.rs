//! The tracker: who holds an archive of which era of a chain's history.
//!
//! Whoever holds the whole of an era (8,192 blocks) announces that to the peers of a Kademlia DHT that are nearest to
//! the era's key, and renews it every twelve hours; whoever wants an era asks those. Only archives announce, never
//! single blocks. What is found are public keys of node records, from which the node IDs follow, and addresses.
//!
//! # On the wire
//!
//! The [libp2p Kademlia protocol](https://github.com/libp2p/specs/tree/master/kad-dht) over QUIC (`quic-v1`), with the
//! node record's secp256k1 key as the identity, and identify. Any implementation of these can take part.
//!
//! - Protocol name: `/cairn/tracker/1/<chain ID>-<first 4 bytes of the genesis hash in hex>`.
//! - Key of an era: `SHA-256("cairn/era/1" || chain ID, u64 BE || genesis hash || era, u64 BE)`, as 32 bare bytes.
//! - Values (`PUT_VALUE`) are not kept.
//!
//! # What nobody is believed
//!
//! - An announcement is recorded for the host that it came from. Addresses of other hosts in it are left out.
//! - A peer enters the routing table, and is named to others, only after it was reached or has connected and said that
//!   it answers; also at its own host only. It leaves when it cannot be reached three times in a row.
//! - Dialled is only QUIC over UDP, only single hosts, and private or loopback addresses only by a node that listens on
//!   such a one itself; at most three addresses of a peer.
//! - A subnet (/24, /48) has few places: in a bucket, in the table, among the providers of an era, among the
//!   connections, among the handshakes under way. With a few of those an address has to prove itself first.
//! - When all connections are taken, the one that was idle longest makes room, of the subnet that has most.
//! - When an era's places fill up, providers are called back. A newcomer takes the place of one that cannot be reached.
//!
//! # Modules
//!
//! | module | what |
//! |---|---|
//! | `config`, `error` | configuration, limits; why it does not start |
//! | `key` | the chain, the keys of eras, the protocol's name |
//! | `identity` | the node's key as a libp2p identity, and back |
//! | `addresses` | which addresses are believed; no I/O |
//! | `records` | the records kept for others: limits, eviction, the state file's format; no I/O |
//! | `provide` | which era is announced next; no I/O |
//! | `lookups` | lookups that wait and those under way |
//! | `hints` | whom to dial first; no I/O |
//! | `table` | who may be in the routing table; no I/O |
//! | `store` | the records as `libp2p-kad` wants to see them |
//! | `behaviour` | `libp2p-kad` under these rules |
//! | `connections` | which connections there are, and which goes for one more; no I/O |
//! | `callbacks` | whom to call back, to see whether it can be reached; no I/O |
//! | [`transport`] | libp2p's QUIC, with limits that hold against strangers |
//! | `swarm` | libp2p's swarm over it, with its limits |
//! | `persist` | the state file on the disk |
//! | `task` | what joins all that |
//! | `tracker`, `command` | the handle, and what it says to the task |

mod addresses;
mod behaviour;
mod callbacks;
mod command;
mod config;
mod connections;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod hints;
mod identity;
mod key;
mod lookups;
mod persist;
mod provide;
mod records;
mod store;
mod swarm;
mod table;
mod task;
mod tracker;
pub mod transport;

pub use command::TrackerStatus;
pub use config::{Clock, Config, TrackerLimits};
pub use error::Error;
pub use identity::PublicKey;
pub use key::{EraKey, TrackedChain};
pub use lookups::Provider;
pub use records::RecordLimits;
pub use tracker::Tracker;
