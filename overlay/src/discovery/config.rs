//! What a node says about itself and where it listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;
use std::time::Duration;

use cairn_proto::routing::AddressPolicy;
use thiserror::Error;

use crate::transport::Enr;

/// The default UDP port: the one that most Portal clients listen on.
pub const DEFAULT_UDP_PORT: u16 = 9009;

/// How a node's base protocol is set up.
#[derive(Clone)]
pub struct DiscoveryConfig {
    /// The secp256k1 secret key (32 bytes, big-endian) behind node ID and record.
    pub key: [u8; 32],
    /// The record of the last run. Its sequence number goes on, and is raised only if something in the record changed.
    pub previous_enr: Option<Enr>,
    /// Where to listen.
    pub listen: ListenAddresses,
    /// How others are told to reach this node.
    pub nat: Nat,
    /// The chain that is spoken about, announced in the ENR key `p`.
    pub chain_id: u64,
    /// Name and version for the ENR key `c`, cut to
    /// [`MAX_CLIENT_NAME_BYTES`](cairn_proto::record::MAX_CLIENT_NAME_BYTES).
    pub client: String,
    /// UDP ports of other services at the address of discv5 (the IPv4 one if it has one), announced under these ENR keys; or
    /// the outer ports instead as long as a router maps them.
    pub service_ports: Vec<(&'static str, u16)>,
    /// Records to start from.
    pub bootnodes: Vec<Enr>,
    /// Peers that must agree on this node's address before the record is changed (discv5 insists on 2 at least).
    pub min_ip_votes: usize,
    /// Which addresses the base protocol's table takes, and whether it takes only a few of one subnet.
    pub addresses: AddressPolicy,
    /// Packets that are taken at all; not used with [`AddressPolicy::Local`].
    pub packets: PacketLimits,
    /// How often the base protocol's table is refreshed by a lookup of a random node ID.
    pub refresh_interval: Duration,
}

/// How many packets a second are looked at of those that nobody was asked for. What is above is dropped before it costs more than
/// its receipt, and an address above its limit is not listened to for some minutes.
///
/// A stream of uTP is one packet for each kilobyte, so the limits lie far above what one peer sends: 20,000 packets are 23 MB. By
/// node ID nothing is limited here, nor is the number of node IDs at an address: both are written in a packet by whoever sends it,
/// and an attacker could have others shut out. Whoever is to be shut out by the limit for its address takes an attacker who
/// forges the address some 20 Mbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketLimits {
    /// From one address.
    pub of_address: u64,
    /// From all.
    pub total: u64,
}

impl Default for PacketLimits {
    fn default() -> Self {
        Self { of_address: 20_000, total: 40_000 }
    }
}

impl DiscoveryConfig {
    /// A node on the mainnet's chain ID, listening on all IPv4 addresses at [`DEFAULT_UDP_PORT`].
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            previous_enr: None,
            listen: ListenAddresses::default(),
            nat: Nat::Auto,
            chain_id: 1,
            client: concat!("cairn/", env!("CARGO_PKG_VERSION")).to_owned(),
            service_ports: Vec::new(),
            bootnodes: Vec::new(),
            min_ip_votes: 10,
            addresses: AddressPolicy::Internet,
            packets: PacketLimits::default(),
            refresh_interval: Duration::from_secs(60),
        }
    }
}

/// The local UDP addresses of the one socket (two for dual stack) that all sub-networks share. Port 0 lets the system
/// choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddresses {
    /// IPv4, if spoken.
    pub v4: Option<SocketAddrV4>,
    /// IPv6, if spoken.
    pub v6: Option<SocketAddrV6>,
}

impl Default for ListenAddresses {
    fn default() -> Self {
        Self { v4: Some(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DEFAULT_UDP_PORT)), v6: None }
    }
}

impl From<SocketAddr> for ListenAddresses {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self { v4: Some(v4), v6: None },
            SocketAddr::V6(v6) => Self { v4: None, v6: Some(v6) },
        }
    }
}

/// How others are told to reach this node (`--nat none|extip:ADDR|upnp|pmp|auto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nat {
    /// The record holds the listen address if that is a concrete one, and nothing changes it.
    None,
    /// The record holds this address; without a port, the one that the node listens on. Those of other services are the
    /// ones that they listen on in any case.
    ExternalIp(IpAddr, Option<u16>),
    /// Port mappings are asked of the router by UPnP, renewed while the node runs and removed on shutdown.
    Upnp,
    /// The same by PCP and NAT-PMP.
    Pmp,
    /// Peers vote on the address they see; beside that port mappings are tried by each of these protocols, and their lack is
    /// no failure.
    #[default]
    Auto,
}

/// Text that names no NAT mode.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no NAT mode: use none, extip:ADDRESS, extip:ADDRESS:PORT, upnp, pmp or auto")]
pub struct ParseNatError(String);

impl FromStr for Nat {
    type Err = ParseNatError;

    fn from_str(text: &str) -> Result<Self, ParseNatError> {
        match text {
            "none" => Ok(Self::None),
            "upnp" => Ok(Self::Upnp),
            "pmp" => Ok(Self::Pmp),
            "auto" => Ok(Self::Auto),
            _ => text
                .strip_prefix("extip:")
                .and_then(external)
                .map(|(ip, port)| Self::ExternalIp(ip, port))
                .ok_or_else(|| ParseNatError(text.to_owned())),
        }
    }
}

/// An address, with a port or without, that others can send to.
fn external(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let alone = text.parse().ok().map(|ip| (ip, None));
    let with_port = || text.parse().ok().map(|address: SocketAddr| (address.ip(), Some(address.port())));
    let leads_somewhere = |(ip, port): &(IpAddr, _)| !ip.is_unspecified() && !ip.is_multicast() && *port != Some(0);
    alone.or_else(with_port).filter(leads_somewhere)
}

impl std::fmt::Display for Nat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::ExternalIp(ip, None) => write!(f, "extip:{ip}"),
            Self::ExternalIp(ip, Some(port)) => write!(f, "extip:{}", SocketAddr::new(*ip, *port)),
            Self::Upnp => f.write_str("upnp"),
            Self::Pmp => f.write_str("pmp"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nat_modes_read_as_they_are_written() {
        for text in ["none", "upnp", "pmp", "auto", "extip:203.0.113.7", "extip:203.0.113.7:9009", "extip:2001:db8::1"]
        {
            assert_eq!(text.parse::<Nat>().unwrap().to_string(), text);
        }
        assert_eq!("extip:[2001:db8::1]:9009".parse(), Ok(Nat::ExternalIp("2001:db8::1".parse().unwrap(), Some(9009))),);
        for text in
            ["", "extip", "extip:", "extip:nowhere", "extip:0.0.0.0", "extip:224.0.0.1:9009", "extip:8.8.8.8:0", "stun"]
        {
            let error = text.parse::<Nat>().unwrap_err().to_string();
            assert!(error.contains("extip:ADDRESS:PORT, upnp, pmp or auto"), "{error}");
        }
    }
}
