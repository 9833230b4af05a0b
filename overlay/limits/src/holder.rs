//! Who is counted: a peer by its node ID where one is proved, else its address; and the subnet that it is in.

use std::net::IpAddr;

/// A range of addresses that is likely in one hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subnet {
    /// An IPv4 /24.
    V4([u8; 3]),
    /// An IPv6 /48, which is what one customer may have.
    V6([u8; 6]),
}

impl Subnet {
    /// The subnet of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }

    /// The subnet whose share an address uses up. `None` for addresses of a local network, which have no limit: nobody out
    /// there has one.
    pub fn of_stranger(ip: IpAddr) -> Option<Self> {
        (!is_local(ip)).then(|| Self::of(ip))
    }
}

/// Whether an address belongs to this machine or its local network, or to nobody.
pub fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            // Behind a carrier's NAT (RFC 6598), and for benchmarks of devices (RFC 2544): nobody on the Internet has these.
            let [a, b, ..] = ip.octets();
            let is_carriers = a == 100 && (64..128).contains(&b);
            let is_benchmark = a == 198 && (18..20).contains(&b);
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || is_carriers
                || is_benchmark
                || a == 0
                || a >= 240
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Somebody who has, or wants, a part of what all share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder {
    peer: PeerIdentity,
    subnet: Option<Subnet>,
}

/// Who stands for what a holder does: see [`Holder::payer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payer {
    /// All peers of a subnet together.
    Subnet(Subnet),
    /// One peer of a local network.
    Neighbour(PeerIdentity),
}

/// Who a peer is, as far as that is known: what the limit for one peer is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerIdentity {
    /// A node ID that is proved.
    Id([u8; 32]),
    /// An address of somebody whose node ID is not known.
    Address(IpAddr),
    /// Nobody in particular.
    Nobody,
}

impl Holder {
    /// A peer whose node ID a handshake has proved.
    pub fn peer(id: impl Into<[u8; 32]>, ip: IpAddr) -> Self {
        Self { peer: PeerIdentity::Id(id.into()), subnet: Subnet::of_stranger(ip) }
    }

    /// A peer of whom only the node ID is known: it counts for no subnet.
    pub fn id(id: impl Into<[u8; 32]>) -> Self {
        Self { peer: PeerIdentity::Id(id.into()), subnet: None }
    }

    /// A peer that counts for this subnet, or for none.
    pub fn in_subnet(id: impl Into<[u8; 32]>, subnet: Option<Subnet>) -> Self {
        Self { peer: PeerIdentity::Id(id.into()), subnet }
    }

    /// Somebody of whom only the address is known.
    pub fn address(ip: IpAddr) -> Self {
        Self { peer: PeerIdentity::Address(ip.to_canonical()), subnet: Subnet::of_stranger(ip) }
    }

    /// This node itself, or what is for no peer alone: only the limit for all holds.
    pub const fn nobody() -> Self {
        Self { peer: PeerIdentity::Nobody, subnet: None }
    }

    /// Who stands for what the holder does over a longer time: its subnet, because node IDs cost nothing; on a local network,
    /// which is in one hand, itself.
    pub fn payer(&self) -> Payer {
        self.subnet.map_or(Payer::Neighbour(self.peer), Payer::Subnet)
    }

    /// Whether limits for a single peer hold.
    pub(crate) fn is_somebody(&self) -> bool {
        self.peer != PeerIdentity::Nobody
    }

    /// The subnet that it counts for.
    pub const fn subnet(&self) -> Option<Subnet> {
        self.subnet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_are_what_one_customer_has() {
        assert_eq!(Subnet::of(ip("8.8.4.4")), Subnet::of(ip("8.8.4.250")));
        assert_ne!(Subnet::of(ip("8.8.4.4")), Subnet::of(ip("8.8.5.4")));
        assert_eq!(Subnet::of(ip("2001:db8:1:2::1")), Subnet::of(ip("2001:db8:1:ffff::1")));
        assert_ne!(Subnet::of(ip("2001:db8:1:2::1")), Subnet::of(ip("2001:db8:2:2::1")));
        assert_eq!(Subnet::of(ip("::ffff:8.8.4.4")), Subnet::of(ip("8.8.4.1")), "a mapped address is no way round");
        for local in ["127.0.0.1", "10.1.2.3", "100.64.0.1", "::1", "fd00::1", "::ffff:192.168.0.1"] {
            assert_eq!(Subnet::of_stranger(ip(local)), None, "{local}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_same_holder() {
        assert_eq!(Holder::address(ip("::ffff:8.8.4.4")), Holder::address(ip("8.8.4.4")));
        assert_ne!(Holder::peer([1; 32], ip("8.8.4.4")), Holder::peer([2; 32], ip("8.8.4.4")));
    }
}
