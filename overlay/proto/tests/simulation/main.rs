//! Tables and lookups on simulated networks: many peers, seeded, no clock, no socket.

#![allow(clippy::unwrap_used)]

mod content_lookup;
mod gossip;
mod network;
mod node_lookup;
mod population;
mod record;
mod table;
mod upkeep;
