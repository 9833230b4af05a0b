//! Peers that may take part: those of the configuration, and those that were mentioned. No I/O.
//!
//! None of them is in the routing table, and so named to others, before it has answered.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;

/// Hints that wait to be dialled; discovery has more where they came from.
const MAX_WAITING: usize = 256;

/// A peer is dialled on a hint once in this time.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Peers remembered for that.
const MAX_REMEMBERED: usize = 1024;

/// The configured peers are dialled again after this time if nobody is known; then each time after twice as long.
const FIRST_REDIAL: Duration = Duration::from_secs(5);

/// The longest time between two rounds.
const MAX_REDIAL: Duration = Duration::from_secs(300);

/// Whom to dial next.
#[derive(Debug)]
pub(crate) struct Hints {
    bootstrap: Vec<(PeerId, SocketAddr)>,
    next_round: Instant,
    wait: Duration,
    waiting: VecDeque<(PeerId, SocketAddr)>,
    remembered: HashSet<PeerId>,
    remembered_since: Instant,
}

impl Hints {
    pub(crate) fn new(bootstrap: Vec<(PeerId, SocketAddr)>, now: Instant) -> Self {
        Self {
            bootstrap,
            next_round: now,
            wait: FIRST_REDIAL,
            waiting: VecDeque::new(),
            remembered: HashSet::new(),
            remembered_since: now,
        }
    }

    /// A peer was mentioned.
    pub(crate) fn push(&mut self, peer: PeerId, address: SocketAddr, now: Instant) {
        if now.duration_since(self.remembered_since) >= FORGET_AFTER || self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.clear();
            self.remembered_since = now;
        }
        if self.waiting.len() < MAX_WAITING && self.remembered.insert(peer) {
            self.waiting.push_back((peer, address));
        }
    }

    /// The next peer to dial.
    pub(crate) fn next(&mut self, has_peers: bool, now: Instant) -> Option<(PeerId, SocketAddr)> {
        if has_peers {
            self.wait = FIRST_REDIAL;
        } else if now >= self.next_round {
            self.next_round = now + self.wait;
            self.wait = (self.wait * 2).min(MAX_REDIAL);
            for peer in self.bootstrap.iter().rev() {
                self.waiting.push_front(*peer);
            }
            self.waiting.truncate(MAX_WAITING.max(self.bootstrap.len()));
        }
        self.waiting.pop_front()
    }

    /// Few peers are known, and they may be gone by now: the configured ones are dialled again.
    pub(crate) fn remind(&mut self) {
        for peer in &self.bootstrap {
            if self.waiting.len() < MAX_WAITING && !self.waiting.contains(peer) {
                self.waiting.push_back(*peer);
            }
        }
    }

    /// When the configured peers are dialled again if nobody is known by then.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        (!self.bootstrap.is_empty()).then_some(self.next_round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_configured_peers_are_dialled_ever_more_rarely_until_somebody_is_known() {
        let mut now = Instant::now();
        let peer = PeerId::random();
        let mut hints = Hints::new(vec![(peer, at(1))], now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(hints.next(false, now), Some((peer, at(1))));
            assert_eq!(hints.next(false, now), None);
            waits.push((hints.next_due().unwrap() - now).as_secs());
            now = hints.next_due().unwrap();
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(hints.next(true, now), None);
        assert_eq!(hints.next(false, now), Some((peer, at(1))));
        assert_eq!(hints.next_due(), Some(now + FIRST_REDIAL));
    }

    #[test]
    fn a_peer_that_is_mentioned_often_is_dialled_once() {
        let now = Instant::now();
        let peer = PeerId::random();
        let mut hints = Hints::new(Vec::new(), now);
        hints.push(peer, at(1), now);
        hints.push(peer, at(2), now);
        assert_eq!((hints.next(true, now), hints.next(true, now)), (Some((peer, at(1))), None));
        hints.push(peer, at(3), now + FORGET_AFTER);
        assert_eq!(hints.next(true, now + FORGET_AFTER), Some((peer, at(3))));
    }

    #[test]
    fn the_configured_peers_are_dialled_again_on_demand() {
        let now = Instant::now();
        let peer = PeerId::random();
        let mut hints = Hints::new(vec![(peer, at(1))], now);
        assert_eq!(hints.next(true, now), None);
        hints.remind();
        hints.remind();
        assert_eq!((hints.next(true, now), hints.next(true, now)), (Some((peer, at(1))), None));
    }

    #[test]
    fn the_number_that_waits_is_bounded() {
        let now = Instant::now();
        let mut hints = Hints::new(Vec::new(), now);
        for _ in 0..2 * MAX_WAITING {
            hints.push(PeerId::random(), at(1), now);
        }
        assert_eq!(std::iter::from_fn(|| hints.next(true, now)).count(), MAX_WAITING);
    }
}
