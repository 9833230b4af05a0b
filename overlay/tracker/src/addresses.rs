//! Which addresses are believed: QUIC over UDP, to a single host, in a network that we are in ourselves.
//!
//! Whoever is asked may name any address, and a lookup then dials it. Without this rule a stranger could make nodes
//! knock at hosts behind their own router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p_core::{Multiaddr, multiaddr::Protocol};

/// The UDP address of `/ip4|ip6/…/udp/…/quic-v1`, with or without a peer ID behind it. Nothing for every other address:
/// names, relays and other transports are not dialled.
pub(crate) fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
        _ => return None,
    };
    let Protocol::Udp(port) = parts.next()? else { return None };
    let Protocol::QuicV1 = parts.next()? else { return None };
    match (parts.next(), parts.next()) {
        (None | Some(Protocol::P2p(_)), None) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// The address in libp2p's notation.
pub(crate) fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip().to_canonical()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

/// From where a host can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Loopback,
    Private,
    Global,
}

/// The scope of a single host's address; nothing for groups, reserved ranges and what means "any host".
fn scope(ip: IpAddr) -> Option<Scope> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => scope_v4(ip),
        IpAddr::V6(ip) => scope_v6(ip),
    }
}

fn scope_v4(ip: Ipv4Addr) -> Option<Scope> {
    let [a, b, c, _] = ip.octets();
    // RFC 6598: behind a provider's address translation.
    let is_shared = a == 100 && b & 0xc0 == 64;
    // RFC 2544: networks for benchmarks. RFC 6890: IETF protocol assignments.
    let is_special = (a == 198 && b & 0xfe == 18) || (a == 192 && b == 0 && c == 0);
    if ip.is_loopback() {
        Some(Scope::Loopback)
    } else if ip.is_private() || ip.is_link_local() || is_shared {
        Some(Scope::Private)
    } else if a == 0 || a >= 224 || ip.is_documentation() || is_special {
        None
    } else {
        Some(Scope::Global)
    }
}

fn scope_v6(ip: Ipv6Addr) -> Option<Scope> {
    let [first, second, ..] = ip.segments();
    let is_documentation = first == 0x2001 && second == 0x0db8;
    // 6to4 and Teredo wrap an IPv4 address of anybody's choice.
    let is_wrapped = first == 0x2002 || (first == 0x2001 && second == 0);
    if ip.is_loopback() {
        Some(Scope::Loopback)
    } else if ip.is_unique_local() || ip.is_unicast_link_local() {
        Some(Scope::Private)
    } else if first & 0xe000 == 0x2000 && !is_documentation && !is_wrapped {
        Some(Scope::Global)
    } else {
        None
    }
}

/// The scopes that are dialled and recorded, by the address we listen on ourselves; in a local network all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressReach {
    listen: Option<Scope>,
    is_local: bool,
}

impl AddressReach {
    /// The reach of a node that listens on `listen`.
    pub(crate) fn of(listen: IpAddr) -> Self {
        Self { listen: scope(listen), is_local: false }
    }

    /// The same of a node whose peers are all on this machine and in the local network, if it is one.
    pub(crate) fn in_local_network(self, is_local: bool) -> Self {
        Self { is_local, ..self }
    }

    /// Whether an address may be dialled, recorded and named to others.
    pub(crate) fn covers(self, address: SocketAddr) -> bool {
        address.port() != 0
            && match scope(address.ip()) {
                Some(Scope::Global) => true,
                Some(local) => self.is_local || self.listen == Some(local),
                None => false,
            }
    }

    /// The first `limit` addresses that pass, each once.
    pub(crate) fn filter<'a>(
        self,
        addresses: impl IntoIterator<Item = &'a Multiaddr>,
        limit: usize,
    ) -> Vec<SocketAddr> {
        let mut passed = Vec::new();
        for address in addresses.into_iter().filter_map(socket_address) {
            if passed.len() >= limit {
                break;
            }
            if self.covers(address) && !passed.contains(&address) {
                passed.push(address);
            }
        }
        passed
    }
}

/// What one party is likely to have at its disposal: a /24 of IPv4 or a /48 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum AddressSubnet {
    V4([u8; 3]),
    V6([u8; 6]),
}

impl AddressSubnet {
    /// The subnet of an address. The machine itself is in none, and so never crowded out.
    pub(crate) fn of(ip: IpAddr) -> Option<Self> {
        match ip.to_canonical() {
            ip if ip.is_loopback() => None,
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Some(Self::V4([a, b, c]))
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Some(Self::V6([a, b, c, d, e, f]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(listen: &str, address: &str) -> bool {
        AddressReach::of(listen.parse().unwrap()).covers(address.parse().unwrap())
    }

    #[test]
    fn global_hosts_are_dialled_from_everywhere() {
        for listen in ["0.0.0.0", "::", "127.0.0.1", "10.0.0.1", "8.8.8.8"] {
            assert!(covers(listen, "8.8.4.4:9000"), "{listen}");
            assert!(covers(listen, "[2a00:1450::1]:9000"), "{listen}");
        }
    }

    #[test]
    fn local_hosts_are_dialled_only_by_their_like() {
        let local = [("127.0.0.1", "127.0.0.9:1"), ("192.168.0.1", "10.1.1.1:1"), ("fd00::1", "[fe80::1]:1")];
        for (listen, address) in local {
            assert!(covers(listen, address), "{listen} {address}");
            assert!(!covers("0.0.0.0", address) && !covers("8.8.8.8", address), "{address}");
        }
        assert!(!covers("127.0.0.1", "10.0.0.1:1"));
        assert!(!covers("10.0.0.1", "127.0.0.1:1"));
        assert!(!covers("0.0.0.0", "100.64.0.1:1"));
        assert!(!covers("0.0.0.0", "[::ffff:127.0.0.1]:1"), "mapped");
        let at_home = AddressReach::of("0.0.0.0".parse().unwrap()).in_local_network(true);
        assert!(local.iter().all(|(_, address)| at_home.covers(address.parse().unwrap())));
        assert!(!at_home.covers("224.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_single_host_is_never_dialled() {
        let none = ["0.0.0.0:1", "0.1.2.3:1", "224.0.0.1:1", "255.255.255.255:1", "192.0.2.1:1", "198.18.0.1:1"];
        let none6 = ["[::]:1", "[ff02::1]:1", "[2001:db8::1]:1", "[2002:7f00:1::]:1", "[2001::1]:1", "[64:ff9b::1]:1"];
        for address in none.into_iter().chain(none6) {
            for listen in ["127.0.0.1", "10.0.0.1", "0.0.0.0"] {
                assert!(!covers(listen, address), "{address}");
            }
        }
        assert!(!covers("0.0.0.0", "8.8.8.8:0"), "port 0");
    }

    #[test]
    fn only_quic_over_udp_is_understood() {
        let peer = libp2p_identity::PeerId::random();
        for good in ["/ip4/8.8.8.8/udp/1/quic-v1".to_owned(), format!("/ip4/8.8.8.8/udp/1/quic-v1/p2p/{peer}")] {
            assert_eq!(socket_address(&good.parse().unwrap()), Some("8.8.8.8:1".parse().unwrap()), "{good}");
        }
        for bad in [
            "/ip4/8.8.8.8/tcp/1".to_owned(),
            "/ip4/8.8.8.8/udp/1".to_owned(),
            "/ip4/8.8.8.8/udp/1/quic".to_owned(),
            "/dns4/example.org/udp/1/quic-v1".to_owned(),
            "/ip4/8.8.8.8/udp/1/quic-v1/webtransport".to_owned(),
            format!("/ip4/8.8.8.8/udp/1/quic-v1/p2p/{peer}/p2p-circuit"),
        ] {
            assert_eq!(socket_address(&bad.parse().unwrap()), None, "{bad}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_one_it_maps() {
        let mapped = "/ip6/::ffff:8.8.8.8/udp/1/quic-v1".parse().unwrap();
        assert_eq!(socket_address(&mapped), Some("8.8.8.8:1".parse().unwrap()));
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let many: Vec<_> = (1..9).map(|port| multiaddr(SocketAddr::from(([8, 8, 8, 8], port)))).collect();
        assert_eq!(AddressReach::of([0; 4].into()).filter(many.iter().chain(&many), 3).len(), 3);
        assert_eq!(AddressReach::of([0; 4].into()).filter(many.iter().chain(&many), 99).len(), 8);
    }

    proptest! {
        #[test]
        fn notation_is_reversible(ip: [u8; 16], is_v4: bool, port: u16) {
            let ip = if is_v4 { IpAddr::from([ip[0], ip[1], ip[2], ip[3]]) } else { IpAddr::from(ip) };
            let address = SocketAddr::new(ip.to_canonical(), port);
            prop_assert_eq!(socket_address(&multiaddr(address)), Some(address));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            if let Ok(address) = Multiaddr::try_from(bytes) {
                let _ = socket_address(&address);
            }
        }
    }
}
