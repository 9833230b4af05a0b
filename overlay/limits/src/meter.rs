//! A bucket of tokens for each address or subnet, for what costs us more than the one who sends it.
//!
//! Charging the connection would be no limit: whoever has used up its allowance connects anew, with another node ID at that.
//! So the whole subnet is charged; on a local network, which is in one hand, the peer.

use std::time::Instant;

use hashlink::LinkedHashMap;

use crate::holder::{Holder, Payer};
use crate::rate::TokenBucket;

/// Buckets that are kept. Whoever has been silent for longest is forgotten first, and so has a full one when it comes back: an
/// attacker who wants that needs so many subnets.
const MAX_BUCKETS: usize = 8192;

/// What one sender may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Tokens a second.
    pub rate: u64,
    /// Tokens at once.
    pub burst: u64,
}

/// Buckets by sender.
#[derive(Debug)]
pub struct Meter {
    allowance: Allowance,
    buckets: LinkedHashMap<Payer, TokenBucket>,
}

impl Meter {
    /// Nobody has used anything yet.
    pub fn new(allowance: Allowance) -> Self {
        Self { allowance, buckets: LinkedHashMap::new() }
    }

    /// Charges a sender with `cost` tokens; whether it may go on. What goes over its allowance is owed: it has to wait until
    /// that has flowed in.
    pub fn charge(&mut self, now: Instant, sender: &Holder, cost: u64) -> bool {
        let payer = sender.payer();
        let Allowance { rate, burst } = self.allowance;
        let mut bucket = self.buckets.remove(&payer).unwrap_or_else(|| TokenBucket::with_burst(now, rate, burst));
        let may_go_on = bucket.take(now, cost).is_ok();
        // Behind all others: it was heard of last.
        self.buckets.insert(payer, bucket);
        if self.buckets.len() > MAX_BUCKETS {
            self.buckets.pop_front();
        }
        may_go_on
    }

    /// Senders that are remembered.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ALLOWANCE: Allowance = Allowance { rate: 1_000, burst: 5_000 };

    fn peer(id: u8, ip: [u8; 4]) -> Holder {
        Holder::peer([id; 32], ip.into())
    }

    /// Sends `cost` a hundred times a second; how often that was let through.
    fn pressed(meter: &mut Meter, begun: Instant, ip: [u8; 4], cost: u64, seconds: u64) -> u64 {
        let times = (0..seconds * 100).map(|nth| begun + Duration::from_millis(nth * 10));
        times.filter(|now| meter.charge(*now, &peer(1, ip), cost)).count() as u64
    }

    #[test]
    fn the_rate_is_kept_however_often_one_asks_and_from_wherever_in_the_subnet() {
        let begun = Instant::now();
        let mut meter = Meter::new(ALLOWANCE);
        let passed = pressed(&mut meter, begun, [8, 8, 8, 1], 100, 10);
        assert!((140..=151).contains(&passed), "{passed} of 1,000: a burst of 50 and 10 a second");
        let now = begun + Duration::from_secs(10);
        assert!(!meter.charge(now, &peer(2, [8, 8, 8, 2]), 100), "the neighbour has used it up");
        assert!(meter.charge(now, &peer(1, [8, 8, 4, 2]), 100), "others have their own");
        assert_eq!(meter.len(), 2);
        assert!(
            meter.charge(now, &peer(3, [127, 0, 0, 1]), 9_000) && meter.charge(now, &peer(4, [127, 0, 0, 1]), 9_000)
        );
        assert!(!meter.charge(now, &peer(3, [127, 0, 0, 1]), 1), "on one machine each peer has its own");
    }

    #[test]
    fn only_so_many_are_remembered() {
        let now = Instant::now();
        let mut meter = Meter::new(ALLOWANCE);
        for sender in 0..2 * MAX_BUCKETS {
            let [.., a, b] = (sender as u32).to_be_bytes();
            meter.charge(now, &peer(0, [9, a, b, 1]), 1);
        }
        assert_eq!(meter.len(), MAX_BUCKETS);
    }
}
