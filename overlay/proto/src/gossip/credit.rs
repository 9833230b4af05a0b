//! Who keeps its word: a peer that offers, is told to send and sends nothing has less accepted of it, and in the end nothing for
//! a while.
//!
//! A claim to a key costs nothing, so it must not be worth anything by itself: who claims what a node wants and delivers none of
//! it would keep the others' offers out. Node IDs cost nothing either, so what newcomers of one subnet leave undone counts for
//! all newcomers there.

use std::time::{Duration, Instant};

use cairn_limits::Subnet;
use content_types::NodeId;
use hashlink::LruCache;

use crate::wire::MAX_OFFERED_KEYS;

/// Peers and subnets that are remembered as owing something. Who was heard of least lately is forgotten first.
const MAX_REMEMBERED: usize = 4096;

/// With each offer that a peer did not keep, what is accepted of its next one is divided by this: 64, 16, 4, 1 keys, and none.
const DIVISOR: u32 = 4;

/// Offers not kept after which nothing is accepted for a while.
const MAX_UNKEPT: u32 = 4;

/// How long nothing is accepted then, the first time; twice as long each further time. After it one key is, on probation.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// Doublings at most: an hour.
const MAX_DOUBLINGS: u32 = 6;

/// Offers that newcomers of one subnet may leave undone for one of a single peer: there may be honest ones among them.
const SUBNET_PATIENCE: u32 = 16;

/// What is owed, by peer and by subnet.
#[derive(Debug)]
pub struct Credit {
    peers: LruCache<NodeId, Debt>,
    subnets: LruCache<Subnet, Debt>,
}

#[derive(Debug, Clone, Copy)]
struct Debt {
    unkept: u32,
    last: Instant,
}

impl Debt {
    /// Keys that may be accepted, when `unkept` counts in units of `unit`.
    fn allows(self, unit: u32, now: Instant) -> usize {
        let unkept = self.unkept / unit;
        let Some(beyond) = unkept.checked_sub(MAX_UNKEPT) else {
            return MAX_OFFERED_KEYS / DIVISOR.pow(unkept) as usize;
        };
        let pause = FIRST_PAUSE * 2u32.pow(beyond.min(MAX_DOUBLINGS));
        usize::from(now.saturating_duration_since(self.last) >= pause)
    }
}

impl Default for Credit {
    fn default() -> Self {
        Self { peers: LruCache::new(MAX_REMEMBERED), subnets: LruCache::new(MAX_REMEMBERED) }
    }
}

impl Credit {
    /// How many keys of its next offer may be accepted of a peer of a subnet (`None`: one without limits). `is_proved` says
    /// whether it has delivered before: then its neighbours are none of its business.
    pub fn allowance(&self, peer: &NodeId, subnet: Option<Subnet>, is_proved: bool, now: Instant) -> usize {
        let own = self.peers.peek(peer).map_or(MAX_OFFERED_KEYS, |debt| debt.allows(1, now));
        let of_subnet = subnet.filter(|_| !is_proved).and_then(|subnet| self.subnets.peek(&subnet));
        own.min(of_subnet.map_or(MAX_OFFERED_KEYS, |debt| debt.allows(SUBNET_PATIENCE, now)))
    }

    /// A peer was told to send what it had offered, and did not.
    pub fn handle_not_kept(&mut self, peer: NodeId, subnet: Option<Subnet>, now: Instant) {
        let more = |debt: Option<&Debt>, unit: u32| {
            let most = (MAX_UNKEPT + MAX_DOUBLINGS) * unit;
            Debt { unkept: debt.map_or(1, |debt| (debt.unkept + 1).min(most)), last: now }
        };
        let debt = more(self.peers.peek(&peer), 1);
        self.peers.insert(peer, debt);
        if let Some(subnet) = subnet {
            let debt = more(self.subnets.peek(&subnet), SUBNET_PATIENCE);
            self.subnets.insert(subnet, debt);
        }
    }

    /// A peer sent what it had offered: half of what it and its subnet owe is forgiven.
    pub fn handle_kept(&mut self, peer: &NodeId, subnet: Option<Subnet>) {
        halve(&mut self.peers, peer);
        if let Some(subnet) = subnet {
            halve(&mut self.subnets, &subnet);
        }
    }
}

fn halve<K: Eq + std::hash::Hash>(debts: &mut LruCache<K, Debt>, key: &K) {
    if let Some(debt) = debts.get_mut(key) {
        debt.unkept /= 2;
        if debt.unkept == 0 {
            debts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(byte: u8) -> NodeId {
        NodeId::from([byte; 32])
    }

    #[test]
    fn who_delivers_nothing_has_less_and_less_accepted_and_then_nothing_for_a_while() {
        let mut now = Instant::now();
        let mut credit = Credit::default();
        let mut allowed = Vec::new();
        for _ in 0..=MAX_UNKEPT {
            allowed.push(credit.allowance(&peer(1), None, false, now));
            credit.handle_not_kept(peer(1), None, now);
        }
        assert_eq!(allowed, [64, 16, 4, 1, 0]);
        assert_eq!(credit.allowance(&peer(2), None, false, now), 64, "others have nothing to do with it");
        now += 2 * FIRST_PAUSE;
        assert_eq!(credit.allowance(&peer(1), None, false, now), 1, "on probation");
        credit.handle_not_kept(peer(1), None, now);
        assert_eq!(credit.allowance(&peer(1), None, false, now + 2 * FIRST_PAUSE), 0);
        for _ in 0..3 {
            credit.handle_kept(&peer(1), None);
        }
        assert_eq!(credit.allowance(&peer(1), None, false, now), 64);
    }

    #[test]
    fn new_node_ids_in_one_subnet_are_no_way_round() {
        let now = Instant::now();
        let mut credit = Credit::default();
        let subnet = Some(Subnet::V4([8, 8, 8]));
        for byte in 0..64 {
            credit.handle_not_kept(peer(byte), subnet, now);
        }
        assert_eq!(credit.allowance(&peer(99), subnet, false, now), 0);
        assert_eq!(credit.allowance(&peer(99), subnet, true, now), 64, "who has delivered is judged by that");
        assert_eq!(credit.allowance(&peer(99), Some(Subnet::V4([8, 8, 9])), false, now), 64);
        credit.handle_kept(&peer(99), subnet);
        assert!(credit.allowance(&peer(98), subnet, false, now) > 0);
    }
}
