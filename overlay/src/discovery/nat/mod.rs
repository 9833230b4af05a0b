//! Port mappings on the router, of discv5 and of the services beside it: asked for at start, renewed while the node runs, removed
//! on shutdown.
//!
//! | file | what |
//! |---|---|
//! | `mapping` | what is asked of a router, what it answers, and what has come of it |
//! | `keeper` | which mapping is asked for next, how and when: decisions without I/O |
//! | `mapper` | what a router does for a node |
//! | `gateway` | which router is this machine's |
//! | `pmp` | a router by PCP and NAT-PMP |
//! | `igd` | a router by UPnP |
//! | `router` | a router by whichever of them |
//! | `driver` | what is decided, done |

mod driver;
mod gateway;
mod igd;
mod keeper;
#[cfg(test)]
mod keeper_tests;
mod mapper;
mod mapping;
mod pmp;
mod router;

use std::net::{SocketAddr, SocketAddrV4};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(in crate::discovery) use driver::Told;
pub use mapping::{MappingFailure, MappingProtocol, MappingState, PortMapping};

use super::config::Nat;
use keeper::MappingKeeper;
use router::Router;

/// The name under which the port of discv5 goes beside those of services.
const DISCV5: &str = "discv5";

/// The ports that are to be mapped: that of discv5 first, then those of services at its address. None unless the mode asks
/// for it, and none of a node that only this machine can reach.
pub(super) fn ports_to_map(nat: Nat, listen: &[SocketAddr], services: &[(&'static str, u16)]) -> Vec<PortMapping> {
    let of_ipv4 = listen.iter().find_map(|address| match address {
        SocketAddr::V4(v4) if !v4.ip().is_loopback() => Some(*v4),
        _ => None,
    });
    let Some(discv5) = of_ipv4.filter(|_| !protocols(nat).is_empty()) else { return Vec::new() };
    let service = |service, port| {
        let local = SocketAddrV4::new(*discv5.ip(), port);
        PortMapping { service, local, state: MappingState::Asking }
    };
    let beside = services.iter().map(|(key, port)| service(*key, *port));
    std::iter::once(service(DISCV5, discv5.port())).chain(beside).collect()
}

/// Keeps `ports` mapped until `stopping`. A router knows its mappings again after a restart by what comes of `key`.
pub(super) async fn keep_mapped(
    stopping: CancellationToken,
    nat: Nat,
    key: [u8; 32],
    ports: Vec<PortMapping>,
    tell: impl Fn(Told) + Send,
) {
    let local = ports.iter().map(|port| port.local).collect();
    let keeper = MappingKeeper::new(local, protocols(nat), rand::random(), Instant::now().into_std());
    driver::keep_mapped(stopping, Router::new(&key), keeper, tell).await;
}

/// The protocols by which a router is asked, in this order.
fn protocols(nat: Nat) -> &'static [MappingProtocol] {
    match nat {
        Nat::None | Nat::ExternalIp(..) => &[],
        Nat::Pmp => &[MappingProtocol::Pcp, MappingProtocol::NatPmp],
        Nat::Upnp => &[MappingProtocol::Upnp],
        // A gateway that speaks the first two says so at once; UPnP searches the network.
        Nat::Auto => &[MappingProtocol::Pcp, MappingProtocol::NatPmp, MappingProtocol::Upnp],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_that_map_ports_map_them_and_never_on_loopback() {
        let lan = SocketAddr::from(([192, 168, 1, 2], 9009));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 9009));
        let services = [("quic", 10_009), ("kad", 11_009)];
        let ports = |nat, listen: &[SocketAddr]| -> Vec<_> {
            ports_to_map(nat, listen, &services).iter().map(|port| (port.service, port.local.to_string())).collect()
        };
        let all = [("discv5", "192.168.1.2:9009"), ("quic", "192.168.1.2:10009"), ("kad", "192.168.1.2:11009")];
        let all = all.map(|(service, local)| (service, local.to_owned()));
        assert_eq!(ports(Nat::Upnp, &[lan]), all);
        assert_eq!(ports(Nat::Pmp, &[lan]), all);
        assert_eq!(ports(Nat::Auto, &[loopback, lan]), all);
        assert_eq!(ports(Nat::Auto, &[loopback]), []);
        assert_eq!(ports(Nat::None, &[lan]), []);
        assert_eq!(ports(Nat::ExternalIp([203, 0, 113, 7].into(), None), &[lan]), []);
    }
}
