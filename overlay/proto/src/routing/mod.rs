//! The routing table of one sub-network: which peers there are, how far they reach, and whether they still live.
//!
//! Buckets are vectors, made when the first peer that near is met, so that an empty table costs next to nothing and a
//! full one about 1 kB a peer. The table decides by itself whom to ping and where to look for more ([`RoutingTable::poll_output`]);
//! the driver does it and reports what came ([`RoutingTable::handle_pong`], [`RoutingTable::handle_failure`]).
//!
//! Two kinds of knowledge are kept apart: peers that **answered** and peers that somebody **mentioned**. Only the
//! former are named to others, and they never lose their place to the latter.
//!
//! Specification: `portal-wire-protocol.md`, "Routing Table".

mod bucket;
mod distance;
mod peer;
mod rules;
mod schedule;
mod subnet;
mod table;
mod upkeep;

pub use bucket::{K, MAX_REPLACEMENTS};
pub use distance::{log_distance, random_id_at};
pub use peer::{MAX_FAILURES, MAX_FAILURES_UNCONFIRMED, Peer};
pub use rules::{Fit, PeerRules, Unfit};
pub use schedule::{PING_INTERVAL, REFRESH_INTERVAL};
pub use subnet::{AddressPolicy, MAX_SUBNET_PEERS_PER_BUCKET, MAX_SUBNET_PEERS_PER_TABLE, Subnet, spread};
pub use table::{Acquaintance, Inserted, Refused, RoutingTable, TableConfig, TableStats};
pub use upkeep::{MAX_PINGS, SPARSE_INTERVAL, Upkeep};
