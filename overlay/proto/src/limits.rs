//! How many transfers may run at a time.
//!
//! A transfer is a uTP stream. Content that fits into its answer is none: it is served whether or not a slot is free.

use std::collections::HashMap;

use content_types::NodeId;

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

/// Why no further transfer may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// All slots are in use.
    #[error("all {0} transfer slots are in use")]
    Total(usize),
    /// This peer's slots are in use.
    #[error("all {0} transfer slots of this peer are in use")]
    PerPeer(usize),
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
    by_peer: HashMap<NodeId, usize>,
}

impl Transfers {
    /// None running yet.
    pub fn new(limits: TransferLimits) -> Self {
        Self { limits, inbound: Slots::default(), fetches: Slots::default(), outbound: Slots::default() }
    }

    /// Takes a slot. Whoever does owes [`finish`](Self::finish).
    ///
    /// # Errors
    /// Which limit is reached; nothing was taken.
    pub fn start(&mut self, direction: Direction, peer: NodeId) -> Result<(), LimitReached> {
        let (total, per_peer) = match direction {
            Direction::Inbound => (self.limits.inbound, self.limits.inbound_per_peer),
            Direction::Fetch => (self.limits.fetches, self.limits.fetches_per_peer),
            Direction::Outbound => (self.limits.outbound, self.limits.outbound_per_peer),
        };
        let slots = self.slots_mut(direction);
        if slots.total >= total {
            return Err(LimitReached::Total(total));
        }
        if slots.by_peer.get(&peer).is_some_and(|count| *count >= per_peer) || per_peer == 0 {
            return Err(LimitReached::PerPeer(per_peer));
        }
        slots.total += 1;
        *slots.by_peer.entry(peer).or_default() += 1;
        Ok(())
    }

    /// Gives back a slot, however the transfer ended. Without one taken it does nothing.
    pub fn finish(&mut self, direction: Direction, peer: &NodeId) {
        let slots = self.slots_mut(direction);
        let Some(count) = slots.by_peer.get_mut(peer) else { return };
        *count -= 1;
        if *count == 0 {
            slots.by_peer.remove(peer);
        }
        slots.total -= 1;
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
                    prop_assert_eq!(transfers.start(direction, id), expected);
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
