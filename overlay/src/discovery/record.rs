//! The local record: what it says at start, with a sequence number that only ever rises.

use std::net::{IpAddr, SocketAddr};

use cairn_proto::record;
use cairn_proto::routing::AddressPolicy;
use enr::{CombinedKey, EnrKey as _};

use super::StartError;
use super::config::{DiscoveryConfig, Nat};
use crate::transport::Enr;

/// The record to start with: everything that `config` says, and the sequence number of the previous record, raised by one
/// if anything differs.
pub(super) fn local_enr(config: &DiscoveryConfig, key: &CombinedKey, bound: &[SocketAddr]) -> Result<Enr, StartError> {
    let previous =
        config.previous_enr.as_ref().filter(|previous| previous.node_id() == enr::NodeId::from(key.public()));
    let build = |seq: u64| {
        let mut builder = Enr::builder();
        builder.seq(seq);
        for (key, value) in record::portal_entries(config.chain_id, &config.client) {
            builder.add_value_rlp(key, value);
        }
        for (key, port) in &config.service_ports {
            builder.add_value(key, port);
        }
        for bound in bound {
            if let Some(address) = announced_address(config.nat, *bound, previous) {
                builder.ip(address.ip());
                match address {
                    SocketAddr::V4(v4) => builder.udp4(v4.port()),
                    SocketAddr::V6(v6) => builder.udp6(v6.port()),
                };
            }
        }
        builder.build(key).map_err(StartError::Record)
    };
    match previous {
        None => build(1),
        Some(previous) => {
            let same_seq = build(previous.seq())?;
            if same_seq.compare_content(previous) {
                Ok(previous.clone())
            } else {
                build(previous.seq().saturating_add(1))
            }
        }
    }
}

/// The address to announce at start for one bound socket.
fn announced_address(nat: Nat, bound: SocketAddr, previous: Option<&Enr>) -> Option<SocketAddr> {
    match nat {
        Nat::ExternalIp(ip, port) if ip.is_ipv4() == bound.is_ipv4() => {
            Some(SocketAddr::new(ip, port.unwrap_or(bound.port())))
        }
        _ if !bound.ip().is_unspecified() => Some(bound),
        // What peers voted for, or the router mapped, in the last run: likely still right, and soon corrected if not.
        Nat::Auto | Nat::Upnp | Nat::Pmp => previous.and_then(|previous| match bound.ip() {
            IpAddr::V4(_) => previous.udp4_socket().map(SocketAddr::V4),
            IpAddr::V6(_) => previous.udp6_socket().map(SocketAddr::V6),
        }),
        Nat::None | Nat::ExternalIp(..) => None,
    }
}

/// Whether a record belongs into the base protocol's table: one of a Portal node. Other users of discv5 would only crowd
/// those out.
pub(super) fn speaks_portal(enr: &Enr) -> bool {
    enr.get_raw_rlp(record::PORTAL_KEY).is_some() || enr.get_raw_rlp(record::VERSIONS_KEY).is_some()
}

/// Whether a record is a Portal node's that can be reached on the Internet: an address of a local network that a record claims is
/// somebody else's.
pub(super) fn speaks_portal_on_the_internet(enr: &Enr) -> bool {
    let is_believed = |socket: SocketAddr| AddressPolicy::Internet.believes(socket.ip());
    speaks_portal(enr) && record::udp_socket(enr).is_some_and(is_believed)
}
