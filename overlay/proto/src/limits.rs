//! How many transfers may run at a time.
//!
//! A transfer is a uTP stream. Content that fits into its answer is none: it is served whether or not a slot is free.

use std::{collections::HashMap, net::IpAddr};

use content_types::NodeId;

use crate::routing::{AddressPolicy, Subnet};

/// Which way the content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To this node, offered by a peer.
    Inbound,
    /// To this node, asked for by it. Apart from what is offered, so that offers never keep a lookup waiting.
    Fetch,
    /// From this node.
    Outbound,
}

/// Most transfers at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// Offered to this node, from all peers.
    pub inbound: usize,
    /// Offered to this node, from one peer.
    pub inbound_per_peer: usize,
    /// Asked for by this node, from all peers.
    pub fetches: usize,
    /// Asked for by this node, from one peer.
    pub fetches_per_peer: usize,
    /// From this node, to all peers.
    pub outbound: usize,
    /// From this node, to one peer.
    pub outbound_per_peer: usize,
}

impl Default for TransferLimits {
    /// A stream holds some 100 kB in buffers, so these come to about 80 MB when every slot is in use.
    ///
    /// A peer may have twice as many from this node as this node has from a peer: slots are free there a moment before they
    /// are here.
    fn default() -> Self {
        Self {
            inbound: 256,
            inbound_per_peer: 16,
            fetches: 256,
            fetches_per_peer: 32,
            outbound: 256,
            outbound_per_peer: 64,
        }
    }
}

/// Part of all slots of a direction that one subnet may have: node IDs cost nothing, addresses do. Does not hold for
/// addresses of a local network.
const SUBNET_SHARE: usize = 4;

/// Why no further transfer may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// All slots are in use.
    #[error("all {0} transfer slots are in use")]
    Total(usize),
    /// This peer's slots are in use.
    #[error("all {0} transfer slots of this peer are in use")]
    PerPeer(usize),
    /// The slots of peers from this one's subnet are in use.
    #[error("all {0} transfer slots of this peer's subnet are in use")]
    PerSubnet(usize),
}

/// Counts the transfers that run.
#[derive(Debug)]
pub struct Transfers {
    limits: TransferLimits,
    inbound: Slots,
    fetches: Slots,
    outbound: Slots,
}

#[derive(Debug, Default)]
struct Slots {
    total: usize,
    by_peer: HashMap<NodeId, Held>,
    by_subnet: HashMap<Subnet, usize>,
}

/// A peer's slots.
#[derive(Debug)]
struct Held {
    count: usize,
    /// Where it was when it took the first of them; all count for that.
    subnet: Option<Subnet>,
}

impl Transfers {
    /// None running yet.
    pub fn new(limits: TransferLimits) -> Self {
        Self { limits, inbound: Slots::default(), fetches: Slots::default(), outbound: Slots::default() }
    }

    /// Takes a slot for a transfer with `peer`, which is at `ip`. Whoever does owes [`finish`](Self::finish).
    ///
    /// # Errors
    /// Which limit is reached; nothing was taken.
    pub fn start(&mut self, direction: Direction, peer: NodeId, ip: IpAddr) -> Result<(), LimitReached> {
        let (total, per_peer) = match direction {
            Direction::Inbound => (self.limits.inbound, self.limits.inbound_per_peer),
            Direction::Fetch => (self.limits.fetches, self.limits.fetches_per_peer),
            Direction::Outbound => (self.limits.outbound, self.limits.outbound_per_peer),
        };
        let slots = self.slots_mut(direction);
        if slots.total >= total {
            return Err(LimitReached::Total(total));
        }
        let held = slots.by_peer.get(&peer);
        if held.map_or(0, |held| held.count) >= per_peer {
            return Err(LimitReached::PerPeer(per_peer));
        }
        let subnet = held.map_or_else(|| AddressPolicy::Local.counted(ip), |held| held.subnet);
        if let Some(subnet) = subnet {
            let limit = total.div_ceil(SUBNET_SHARE).max(per_peer);
            let of_subnet = slots.by_subnet.entry(subnet).or_default();
            if *of_subnet >= limit {
                return Err(LimitReached::PerSubnet(limit));
            }
            *of_subnet += 1;
        }
        slots.total += 1;
        slots.by_peer.entry(peer).or_insert(Held { count: 0, subnet }).count += 1;
        Ok(())
    }

    /// Gives back a slot, however the transfer ended. Without one taken it does nothing.
    pub fn finish(&mut self, direction: Direction, peer: &NodeId) {
        let slots = self.slots_mut(direction);
        let Some(held) = slots.by_peer.get_mut(peer) else { return };
        slots.total -= 1;
        held.count -= 1;
        let subnet = held.subnet;
        if held.count == 0 {
            slots.by_peer.remove(peer);
        }
        if let Some(subnet) = subnet
            && let Some(count) = slots.by_subnet.get_mut(&subnet)
        {
            *count -= 1;
            if *count == 0 {
                slots.by_subnet.remove(&subnet);
            }
        }
    }

    /// Transfers that run now.
    pub fn running(&self, direction: Direction) -> usize {
        match direction {
            Direction::Inbound => self.inbound.total,
            Direction::Fetch => self.fetches.total,
            Direction::Outbound => self.outbound.total,
        }
    }

    fn slots_mut(&mut self, direction: Direction) -> &mut Slots {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Fetch => &mut self.fetches,
            Direction::Outbound => &mut self.outbound,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use proptest::{collection::vec, prelude::*};

    const LIMITS: TransferLimits = TransferLimits {
        inbound: 5,
        inbound_per_peer: 2,
        fetches: 4,
        fetches_per_peer: 1,
        outbound: 3,
        outbound_per_peer: 3,
    };

    const LAN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));

    #[test]
    fn a_subnet_has_its_share_and_no_more() {
        let limits = TransferLimits { inbound: 16, inbound_per_peer: 2, ..LIMITS };
        let mut transfers = Transfers::new(limits);
        let start = |transfers: &mut Transfers, peer: u8, host: [u8; 4]| {
            transfers.start(Direction::Inbound, NodeId::from([peer; 32]), host.into())
        };
        for peer in 0..4 {
            assert_eq!(start(&mut transfers, peer, [8, 8, 8, peer]), Ok(()));
        }
        assert_eq!(start(&mut transfers, 9, [8, 8, 8, 9]), Err(LimitReached::PerSubnet(4)));
        assert_eq!(start(&mut transfers, 0, [8, 8, 9, 9]), Err(LimitReached::PerSubnet(4)), "it cannot move meanwhile");
        assert_eq!(start(&mut transfers, 9, [8, 8, 9, 9]), Ok(()));
        transfers.finish(Direction::Inbound, &NodeId::from([2; 32]));
        assert_eq!(start(&mut transfers, 10, [8, 8, 8, 10]), Ok(()));
        for peer in 20..30 {
            assert_eq!(
                start(&mut transfers, peer, [192, 168, 0, peer]),
                Ok(()),
                "a local network is in one hand anyway"
            );
        }
    }

    proptest! {
        /// Against a plain list of what runs.
        #[test]
        fn counts_are_exact_and_never_above_the_limits(steps in vec((any::<bool>(), 0usize..3, 0u8..4), 0..200)) {
            let kinds = [(Direction::Inbound, 5, 2), (Direction::Fetch, 4, 1), (Direction::Outbound, 3, 3)];
            let mut transfers = Transfers::new(LIMITS);
            let mut running: Vec<(Direction, u8)> = Vec::new();
            for (starts, kind, peer) in steps {
                let (direction, total, per_peer) = kinds[kind];
                let id = NodeId::from([peer; 32]);
                let of_direction = running.iter().filter(|(other, _)| *other == direction).count();
                let of_peer = running.iter().filter(|other| **other == (direction, peer)).count();
                if starts {
                    let expected = if of_direction == total {
                        Err(LimitReached::Total(total))
                    } else if of_peer == per_peer {
                        Err(LimitReached::PerPeer(per_peer))
                    } else {
                        running.push((direction, peer));
                        Ok(())
                    };
                    prop_assert_eq!(transfers.start(direction, id, LAN), expected);
                } else {
                    if let Some(at) = running.iter().position(|other| *other == (direction, peer)) {
                        running.swap_remove(at);
                    }
                    transfers.finish(direction, &id);
                }
                for (direction, _, _) in kinds {
                    let expected = running.iter().filter(|(other, _)| *other == direction).count();
                    prop_assert_eq!(transfers.running(direction), expected);
                }
            }
        }
    }
}
