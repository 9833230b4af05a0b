//! How many transfers may run at a time.
//!
//! A transfer is a uTP stream. Content that fits into its answer needs none: it is served whether or not a slot is free.

use std::{collections::HashMap, net::IpAddr};

use content_types::NodeId;

use crate::{routing::Subnet, tally::Tally};

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
    /// A stream holds at most 256 kB in the buffer of its direction, so buffers come to 200 MB if every slot is in use and every
    /// one is full. Values that are not complete or not sent yet have budgets of their own.
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

/// Of what all peers share, one subnet may have the whole divided by this: node IDs cost nothing, addresses do.
pub const SUBNET_SHARE: usize = 4;

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
pub struct TransferCounts {
    limits: TransferLimits,
    inbound: Slots,
    fetches: Slots,
    outbound: Slots,
}

#[derive(Debug, Default)]
struct Slots {
    by_peer: Tally<NodeId>,
    by_subnet: Tally<Subnet>,
    /// Where each peer was when it took its first slot; all of them count for that.
    subnets: HashMap<NodeId, Subnet>,
}

impl TransferCounts {
    /// None running yet.
    pub fn new(limits: TransferLimits) -> Self {
        Self { limits, inbound: Slots::default(), fetches: Slots::default(), outbound: Slots::default() }
    }

    /// Takes a slot for a transfer with `peer`, which is at `ip`. Whoever does owes [`finish`](Self::finish).
    ///
    /// # Errors
    /// Which limit is reached; nothing was taken.
    pub fn start(&mut self, direction: Direction, peer: NodeId, ip: IpAddr) -> Result<(), LimitReached> {
        let subnet = self.check(direction, &peer, ip)?;
        let slots = self.slots_mut(direction);
        slots.by_peer.add(peer);
        if let Some(subnet) = subnet {
            slots.by_subnet.add(subnet);
            slots.subnets.insert(peer, subnet);
        }
        Ok(())
    }

    /// Whether a slot could be taken now; the subnet that it would count for.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn check(&self, direction: Direction, peer: &NodeId, ip: IpAddr) -> Result<Option<Subnet>, LimitReached> {
        let (total, per_peer) = match direction {
            Direction::Inbound => (self.limits.inbound, self.limits.inbound_per_peer),
            Direction::Fetch => (self.limits.fetches, self.limits.fetches_per_peer),
            Direction::Outbound => (self.limits.outbound, self.limits.outbound_per_peer),
        };
        let slots = self.slots(direction);
        if slots.by_peer.total() >= total {
            return Err(LimitReached::Total(total));
        }
        let of_peer = slots.by_peer.of(peer);
        if of_peer >= per_peer {
            return Err(LimitReached::PerPeer(per_peer));
        }
        let here = Subnet::of_stranger(ip);
        let subnet = if of_peer == 0 { here } else { slots.subnets.get(peer).copied() };
        let limit = total.div_ceil(SUBNET_SHARE).max(per_peer);
        match subnet {
            Some(subnet) if slots.by_subnet.of(&subnet) >= limit => Err(LimitReached::PerSubnet(limit)),
            subnet => Ok(subnet),
        }
    }

    /// Gives back a slot, however the transfer ended. Without one taken it does nothing.
    pub fn finish(&mut self, direction: Direction, peer: &NodeId) {
        let slots = self.slots_mut(direction);
        if !slots.by_peer.remove(peer) {
            return;
        }
        if let Some(subnet) = slots.subnets.get(peer) {
            slots.by_subnet.remove(subnet);
        }
        if slots.by_peer.of(peer) == 0 {
            slots.subnets.remove(peer);
        }
    }

    /// Transfers that run now.
    pub fn running(&self, direction: Direction) -> usize {
        self.slots(direction).by_peer.total()
    }

    fn slots(&self, direction: Direction) -> &Slots {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Fetch => &self.fetches,
            Direction::Outbound => &self.outbound,
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
        let mut transfers = TransferCounts::new(limits);
        let start = |transfers: &mut TransferCounts, peer: u8, host: [u8; 4]| {
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
            let mut transfers = TransferCounts::new(LIMITS);
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
