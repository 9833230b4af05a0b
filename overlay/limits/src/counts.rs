//! How much each peer and each subnet has, and all together: bare counts, for where a hold of its own for each part would
//! cost too much (a packet is counted and uncounted within microseconds). [`Ledger`](crate::Ledger) counts with them too.

use std::collections::HashMap;
use std::hash::Hash;

use crate::holder::{Holder, Subnet};
use crate::quota::{Full, Quota};

/// The counts. What is at zero is forgotten: who had something once takes no room for ever.
#[derive(Debug, Default)]
pub struct Counts {
    total: u64,
    by_peer: HashMap<Holder, u64>,
    by_subnet: HashMap<Subnet, u64>,
}

impl Counts {
    /// `amount` more for a holder.
    pub fn add(&mut self, holder: &Holder, amount: u64) {
        self.total = self.total.saturating_add(amount);
        if holder.is_somebody() && amount > 0 {
            *self.by_peer.entry(*holder).or_default() += amount;
            if let Some(subnet) = holder.subnet() {
                *self.by_subnet.entry(subnet).or_default() += amount;
            }
        }
    }

    /// `amount` less for a holder, which has had so much.
    pub fn remove(&mut self, holder: &Holder, amount: u64) {
        self.total = self.total.saturating_sub(amount);
        if holder.is_somebody() {
            less(&mut self.by_peer, holder, amount);
            if let Some(subnet) = holder.subnet() {
                less(&mut self.by_subnet, &subnet, amount);
            }
        }
    }

    /// What all have.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// What one peer has.
    pub fn of_peer(&self, holder: &Holder) -> u64 {
        self.by_peer.get(holder).copied().unwrap_or(0)
    }

    /// What the peers of a holder's subnet have; nothing for a local network, which has no limit.
    pub fn of_subnet(&self, holder: &Holder) -> u64 {
        holder.subnet().and_then(|subnet| self.by_subnet.get(&subnet)).copied().unwrap_or(0)
    }

    /// How much more a holder could have, that may have `of_peer` itself.
    pub fn room_for(&self, quota: &Quota, of_peer: u64, holder: &Holder) -> u64 {
        quota.total.saturating_sub(self.total).min(self.own_room(quota, of_peer, holder))
    }

    /// The same if there were enough for all: what its own share and its subnet's leave it.
    pub fn own_room(&self, quota: &Quota, of_peer: u64, holder: &Holder) -> u64 {
        if !holder.is_somebody() {
            return u64::MAX;
        }
        let of_subnet = match holder.subnet() {
            Some(_) => quota.of_subnet.saturating_sub(self.of_subnet(holder)),
            None => u64::MAX,
        };
        of_peer.saturating_sub(self.of_peer(holder)).min(of_subnet)
    }

    /// Whether a holder that may have `of_peer` itself could have `amount` more.
    ///
    /// # Errors
    ///
    /// Which limit is reached, the narrowest first.
    pub fn check(&self, quota: &Quota, of_peer: u64, holder: &Holder, amount: u64) -> Result<(), Full> {
        if holder.is_somebody() {
            if self.of_peer(holder).saturating_add(amount) > of_peer {
                let is_new = of_peer < quota.of_peer;
                return Err(if is_new { Full::Newcomer(of_peer) } else { Full::Peer(of_peer) });
            }
            if holder.subnet().is_some() && self.of_subnet(holder).saturating_add(amount) > quota.of_subnet {
                return Err(Full::Subnet(quota.of_subnet));
            }
        }
        if self.total.saturating_add(amount) > quota.total {
            return Err(Full::Total(quota.total));
        }
        Ok(())
    }

    /// Whether nobody has anything.
    pub fn is_empty(&self) -> bool {
        self.total == 0 && self.by_peer.is_empty() && self.by_subnet.is_empty()
    }
}

fn less<K: Eq + Hash>(counts: &mut HashMap<K, u64>, key: &K, amount: u64) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(amount);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_what_its_peers_have() {
        let peer = |id: u8, ip: [u8; 4]| Holder::peer([id; 32], ip.into());
        let [a, b, neighbour] = [peer(1, [8, 8, 8, 1]), peer(2, [8, 8, 8, 2]), peer(3, [192, 168, 0, 1])];
        let mut counts = Counts::default();
        [a, a, b, neighbour].iter().for_each(|peer| counts.add(peer, 1));
        assert_eq!((counts.of_peer(&a), counts.of_subnet(&b), counts.of_subnet(&neighbour)), (2, 3, 0));
        let quota = Quota::new(16).of_peer(5);
        assert_eq!([a, b, neighbour].map(|peer| counts.room_for(&quota, 5, &peer)), [2, 2, 4]);
        counts.remove(&a, 1);
        assert_eq!((counts.of_peer(&a), counts.of_subnet(&a), counts.total()), (1, 2, 3));
        [a, b, neighbour].iter().for_each(|peer| counts.remove(peer, 1));
        assert!(counts.is_empty());
    }
}
