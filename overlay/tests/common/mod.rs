//! Nodes on loopback for the tests of this crate.
#![allow(dead_code)] // Each test program uses a part.

use std::net::{Ipv4Addr, SocketAddrV4};

use cairn_proto::routing::AddressPolicy;
use overlay::Transport;
use overlay::discovery::{Discovery, DiscoveryConfig, ListenAddresses, Nat};
use overlay::transport::Contact;

/// Chain ID of all test networks.
pub const CHAIN_ID: u64 = 1337;

/// A node's configuration on a loopback port that the system chooses; the key is made of `seed`, which must not be 0.
pub fn config(seed: u64) -> DiscoveryConfig {
    let mut key = [0; 32];
    key[24..].copy_from_slice(&seed.to_be_bytes());
    let mut config = DiscoveryConfig::new(key);
    config.listen = ListenAddresses { v4: Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)), v6: None };
    config.nat = Nat::None;
    config.chain_id = CHAIN_ID;
    config.addresses = AddressPolicy::Local;
    config
}

/// Starts the base protocol of a node.
pub async fn discovery(seed: u64) -> Discovery {
    Discovery::start(config(seed)).await.unwrap()
}

/// The contact of one node for another.
pub fn contact(of: &Discovery, by: &Discovery) -> Contact {
    by.contact(&of.local_enr()).unwrap()
}
