//! Peers that lied, and how long they are not spoken to for that. No I/O: the time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use content_types::NodeId;

/// How long the first lie bars a peer; each further one doubles it.
const FIRST_BAR: Duration = Duration::from_secs(600);

/// Doublings at most: 600 s · 2^7 is 21 hours.
const MAX_DOUBLINGS: u32 = 7;

/// Liars remembered. Who would be forgotten soonest makes room.
const MAX_LIARS: usize = 1024;

/// A lie is forgotten when the bar has been over for this long.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// The scores of peers that sent invalid content.
#[derive(Default)]
pub(super) struct Conduct {
    liars: HashMap<NodeId, Record>,
}

struct Record {
    lies: u32,
    barred_until: Instant,
}

impl Conduct {
    /// A peer sent content that is not what its key stands for.
    pub(super) fn lied(&mut self, peer: NodeId, now: Instant) {
        self.liars.retain(|_, record| now < record.barred_until + MEMORY);
        let lies = self.liars.get(&peer).map_or(0, |record| record.lies);
        let barred_until = now + FIRST_BAR * 2u32.pow(lies.min(MAX_DOUBLINGS));
        self.liars.insert(peer, Record { lies: lies.saturating_add(1), barred_until });
        if self.liars.len() > MAX_LIARS
            && let Some(first) = self.liars.iter().min_by_key(|(_, record)| record.barred_until).map(|(id, _)| *id)
        {
            self.liars.remove(&first);
        }
    }

    pub(super) fn is_barred(&self, peer: &NodeId, now: Instant) -> bool {
        self.liars.get(peer).is_some_and(|record| now < record.barred_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> NodeId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id.into()
    }

    #[test]
    fn each_lie_bars_twice_as_long_as_the_last() {
        let start = Instant::now();
        let mut conduct = Conduct::default();
        assert!(!conduct.is_barred(&peer(1), start));

        conduct.lied(peer(1), start);
        assert!(conduct.is_barred(&peer(1), start + FIRST_BAR / 2));
        assert!(!conduct.is_barred(&peer(1), start + FIRST_BAR));
        assert!(!conduct.is_barred(&peer(2), start));

        let again = start + FIRST_BAR;
        conduct.lied(peer(1), again);
        assert!(conduct.is_barred(&peer(1), again + FIRST_BAR));
        assert!(!conduct.is_barred(&peer(1), again + 2 * FIRST_BAR));
    }

    #[test]
    fn lies_are_forgotten_in_the_end() {
        let start = Instant::now();
        let mut conduct = Conduct::default();
        conduct.lied(peer(1), start);
        let later = start + FIRST_BAR + MEMORY;
        conduct.lied(peer(1), later);
        assert!(!conduct.is_barred(&peer(1), later + FIRST_BAR), "the first lie no longer counts");
    }

    #[test]
    fn the_list_is_bounded() {
        let start = Instant::now();
        let mut conduct = Conduct::default();
        for number in 0..2 * MAX_LIARS {
            conduct.lied(peer(number), start + Duration::from_millis(number as u64));
        }
        assert_eq!(conduct.liars.len(), MAX_LIARS);
        assert!(conduct.is_barred(&peer(2 * MAX_LIARS - 1), start));
        assert!(!conduct.is_barred(&peer(0), start));
    }
}
