//! Pairs of connections over simulated links, in virtual time: the same seed gives the same run, and an hour takes as
//! long as the packets in it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod link;
pub(crate) mod peer;

use std::time::{Duration, Instant};

use cairn_utp::{Config, Connection};

pub(crate) use self::{
    link::{Link, LinkConfig},
    peer::Peer,
};

/// The connection ID that the peers were told of.
pub(crate) const CONNECTION_ID: u16 = 0xffff;

/// Openers and acceptors in pairs: the openers' packets share one link, the acceptors' another.
pub(crate) struct Simulation {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) openers: Vec<Peer>,
    pub(crate) acceptors: Vec<Peer>,
    /// From the openers to the acceptors.
    pub(crate) up: Link,
    /// From the acceptors to the openers.
    pub(crate) down: Link,
    /// Other traffic on the link down: bytes put on it every 10 ms.
    pub(crate) cross_traffic: usize,
    next_cross_traffic: Instant,
}

impl Simulation {
    pub(crate) fn new(config: Config, link: LinkConfig, seed: u64) -> Self {
        Self::with_pairs(1, config, link, seed)
    }

    pub(crate) fn with_pairs(pairs: usize, config: Config, link: LinkConfig, seed: u64) -> Self {
        let now = Instant::now();
        // Sequence numbers that wrap soon, differently for each run.
        let seq_nr = |pair: usize| (u16::MAX - 50).wrapping_add((seed as u16).wrapping_mul(17) ^ pair as u16);
        let opener = |pair| Peer::new(Connection::connect(config, CONNECTION_ID, now, seq_nr(pair)));
        let acceptor = |pair| Peer::new(Connection::accept(config, CONNECTION_ID, now, seq_nr(pair).rotate_left(8)));
        Self {
            start: now,
            now,
            openers: (0..pairs).map(opener).collect(),
            acceptors: (0..pairs).map(acceptor).collect(),
            up: Link::new(link, seed, now),
            down: Link::new(link, !seed, now),
            cross_traffic: 0,
            next_cross_traffic: now,
        }
    }

    pub(crate) fn opener(&mut self) -> &mut Peer {
        &mut self.openers[0]
    }

    pub(crate) fn acceptor(&mut self) -> &mut Peer {
        &mut self.acceptors[0]
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Moves on to the next moment when something happens, but not beyond `end`, and lets it happen. Returns false when
    /// nothing ever will.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        let peers = self.openers.iter().chain(&self.acceptors);
        let wake = peers.flat_map(|peer| [peer.timeout, peer.next_read]).flatten().min();
        let wake = [wake, self.up.next_delivery(), self.down.next_delivery()].into_iter().flatten().min();
        let Some(mut wake) = wake else { return false };
        if self.cross_traffic > 0 {
            wake = wake.min(self.next_cross_traffic);
        }
        self.now = self.now.max(wake.min(end));
        if self.cross_traffic > 0 && self.now >= self.next_cross_traffic {
            self.down.occupy(self.now, self.cross_traffic);
            self.next_cross_traffic = self.now + Duration::from_millis(10);
        }
        for (link, peers) in [(&mut self.up, &mut self.acceptors), (&mut self.down, &mut self.openers)] {
            while let Some((to, packet)) = link.deliver(self.now) {
                peers[to].receive(self.now, packet);
            }
        }
        for peer in self.openers.iter_mut().chain(&mut self.acceptors) {
            peer.connection.handle_timeout(self.now);
        }
        self.settle();
        true
    }

    /// Lets the owners of the connections do what they can do now.
    fn settle(&mut self) {
        for (peers, out) in [(&mut self.openers, &mut self.up), (&mut self.acceptors, &mut self.down)] {
            for (index, peer) in peers.iter_mut().enumerate() {
                peer.drive(self.now, |packet| out.send(self.now, index, packet));
            }
        }
    }

    /// Steps until `done`; fails the test when that takes `limit` of virtual time.
    #[track_caller]
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + limit;
        self.settle();
        while !done(self) {
            assert!(self.step(end), "nothing will ever happen again: {self:?}");
            assert!(self.now < end, "not done after {limit:?}: {self:?}");
        }
    }

    /// Steps until both sides of every pair are closed.
    #[track_caller]
    pub(crate) fn run_to_end(&mut self, limit: Duration) {
        self.run_until(limit, |simulation| {
            simulation.openers.iter().chain(&simulation.acceptors).all(|peer| peer.closed.is_some())
        });
    }

    /// Steps for `time`.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end && self.step(end) {}
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stuck = |peers: &[Peer]| -> Vec<String> {
            let open = peers.iter().enumerate().filter(|(_, peer)| peer.closed.is_none());
            open.take(2).map(|(index, peer)| format!("{index}: {peer:?}")).collect()
        };
        f.debug_struct("Simulation")
            .field("elapsed", &self.elapsed())
            .field("openers", &stuck(&self.openers))
            .field("acceptors", &stuck(&self.acceptors))
            .finish()
    }
}
