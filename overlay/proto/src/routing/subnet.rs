//! Addresses as a scarce good: how many peers of one subnet a table takes, and which addresses it takes at all.
//!
//! Node IDs cost an attacker nothing, addresses in many subnets do. So a bucket and a table take only a few peers of one
//! IPv4 /24 or IPv6 /48.

use std::{collections::HashSet, net::IpAddr};

pub use cairn_limits::Subnet;
use cairn_limits::holder::is_local;

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
        self == AddressPolicy::Local || !is_local(ip)
    }

    /// The subnet whose limits hold for this address; `None`: none do.
    pub fn counted(self, ip: IpAddr) -> Option<Subnet> {
        let exempt = self == AddressPolicy::Local && is_local(ip);
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
