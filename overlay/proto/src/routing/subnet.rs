//! Addresses as a scarce good: how many peers of one subnet a table takes, and which addresses it takes at all.
//!
//! Node IDs cost an attacker nothing, addresses in many subnets do. So a bucket and a table take only a few peers of one
//! IPv4 /24 or IPv6 /48.

use std::{collections::HashSet, net::IpAddr};

/// Most peers of one subnet in one bucket, with its replacement cache.
pub const MAX_SUBNET_PEERS_PER_BUCKET: usize = 2;
/// Most peers of one subnet in one table, with its replacement caches.
pub const MAX_SUBNET_PEERS_PER_TABLE: usize = 10;

/// Which addresses a table takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressPolicy {
    /// For a node on the Internet: no loopback, unspecified or multicast address, and none of the local network that a record
    /// merely claims; every other counts for its subnet.
    #[default]
    Internet,
    /// For test networks on one machine or in one house: also loopback, and neither it nor private addresses count.
    Local,
}

/// A range of addresses that is likely in one hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subnet {
    /// An IPv4 /24.
    V4([u8; 3]),
    /// An IPv6 /48, which is what one customer may have.
    V6([u8; 6]),
}

impl Subnet {
    /// The subnet that a share of this node's means is counted for, whatever its policy: nobody out there has an address of a
    /// local network, so those have no limit.
    pub fn of_stranger(ip: IpAddr) -> Option<Self> {
        AddressPolicy::Local.counted(ip)
    }

    /// The subnet of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Subnet::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Subnet::V6([a, b, c, d, e, f])
            }
        }
    }
}

impl AddressPolicy {
    /// Whether a peer with this address may be contacted.
    pub fn admits(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        !(ip.is_unspecified() || ip.is_multicast() || is_broadcast(ip))
            && (self == AddressPolicy::Local || !ip.is_loopback())
    }

    /// Whether a peer that was never seen may be sought at this address because a record says so. Otherwise anybody could
    /// have this node knock at the doors of its own house.
    pub fn believes(self, ip: IpAddr) -> bool {
        self == AddressPolicy::Local || !is_local(ip.to_canonical())
    }

    /// The subnet whose limits hold for this address; `None`: none do.
    pub fn counted(self, ip: IpAddr) -> Option<Subnet> {
        let exempt = self == AddressPolicy::Local && is_local(ip.to_canonical());
        (!exempt).then(|| Subnet::of(ip))
    }
}

/// `count` of `ordered`, the first of each subnet before any second one. What has no limit (`None`) is its own subnet.
pub fn spread<T>(ordered: impl IntoIterator<Item = T>, count: usize, subnet: impl Fn(&T) -> Option<Subnet>) -> Vec<T> {
    let mut seen = HashSet::new();
    let (mut chosen, others): (Vec<T>, Vec<T>) =
        ordered.into_iter().partition(|item| subnet(item).is_none_or(|subnet| seen.insert(subnet)));
    chosen.extend(others);
    chosen.truncate(count);
    chosen
}

fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
}

fn is_local(ip: IpAddr) -> bool {
    match ip {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_subnet_comes_twice_only_when_there_is_no_other() {
        let chosen = |count| {
            let ordered = [("near", Some(1)), ("its neighbour", Some(1)), ("far", Some(2)), ("at home", None)];
            let subnet = |(_, last): &(&str, Option<u8>)| last.map(|last| Subnet::V4([8, 8, last]));
            spread(ordered, count, subnet).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(chosen(2), ["near", "far"]);
        assert_eq!(chosen(9), ["near", "far", "at home", "its neighbour"]);
    }

    #[test]
    fn subnets() {
        assert_eq!(Subnet::of(ip("8.8.4.4")), Subnet::of(ip("8.8.4.250")));
        assert_ne!(Subnet::of(ip("8.8.4.4")), Subnet::of(ip("8.8.5.4")));
        assert_eq!(Subnet::of(ip("2001:db8:1:2::1")), Subnet::of(ip("2001:db8:1:ffff::1")));
        assert_ne!(Subnet::of(ip("2001:db8:1:2::1")), Subnet::of(ip("2001:db8:2:2::1")));
        assert_eq!(Subnet::of(ip("::ffff:8.8.4.4")), Subnet::of(ip("8.8.4.1")), "a mapped address is no way round");
    }

    #[test]
    fn policies() {
        use AddressPolicy::{Internet, Local};
        for nowhere in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
            assert!(!Internet.admits(ip(nowhere)) && !Local.admits(ip(nowhere)), "{nowhere}");
        }
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(!Internet.admits(ip(loopback)) && Local.admits(ip(loopback)), "{loopback}");
        }
        for private in ["10.1.2.3", "192.168.1.1", "100.64.0.1", "fd00::1"] {
            assert!(!Internet.believes(ip(private)) && Local.believes(ip(private)), "{private}");
            assert!(Internet.admits(ip(private)));
            assert!(Internet.counted(ip(private)).is_some() && Local.counted(ip(private)).is_none(), "{private}");
        }
        assert!(Internet.counted(ip("8.8.8.8")).is_some() && Local.counted(ip("8.8.8.8")).is_some());
    }
}
