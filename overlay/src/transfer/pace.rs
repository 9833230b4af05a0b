//! How many packets may be under way: to one peer, to all, and towards discv5 itself. No I/O: the time is passed in.

use std::time::{Duration, Instant};

use cairn_limits::{Counts, Quota};

use crate::transport::Endpoint;

/// Packets to one peer that it has not yet answered with a TALKRESP. discv5 hands requests to its user through a channel
/// of 100 places and drops what does not fit, with an empty TALKRESP as if all were well. A packet counts until the peer's
/// driver has taken it from there, so one sender alone never overfills that channel. 80 packets of 1153 B move 0.9 MB/s at
/// a round trip of 100 ms.
pub(super) const MAX_IN_FLIGHT_TO_PEER: usize = 80;

/// Unanswered packets to all peers; to those of one subnet a [`SUBNET_SHARE`](cairn_limits::SUBNET_SHARE)th, for whoever never answers takes the others'
/// places.
pub(super) const MAX_IN_FLIGHT: usize = 2048;

/// The limits above.
const QUOTA: Quota = Quota::new(MAX_IN_FLIGHT as u64).of_peer(MAX_IN_FLIGHT_TO_PEER as u64);

/// Packets that may wait for discv5's service at a time. It takes requests through a channel of 30 places; when that is
/// full, senders wait, and a later packet may overtake an earlier one that waits. To uTP that looks like loss.
const MAX_BURST: u64 = 24;

/// After this long the service has taken what was given to it, even if no answer has come to show it.
const BURST_INTERVAL: Duration = Duration::from_millis(1);

/// The packets under way.
#[derive(Default)]
pub(super) struct PacketPace {
    unanswered: Counts,
    /// Packets handed over so far, and how many of them the service is known to have taken.
    started: u64,
    taken: u64,
    last_start: Option<Instant>,
}

/// A packet under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketTicket {
    pub(super) to: Endpoint,
    number: u64,
}

impl PacketPace {
    /// How many packets may leave now, to whichever peers.
    pub(super) fn burst_room(&mut self, now: Instant) -> usize {
        if self.last_start.is_some_and(|last| now.duration_since(last) >= BURST_INTERVAL) {
            self.taken = self.started;
        }
        MAX_BURST.saturating_sub(self.started - self.taken) as usize
    }

    /// When there will be room again although nothing is answered.
    pub(super) fn next_burst(&self) -> Option<Instant> {
        self.last_start.map(|last| last + BURST_INTERVAL)
    }

    /// How many more packets may be unanswered by this peer.
    pub(super) fn room_to(&self, peer: &Endpoint) -> usize {
        self.unanswered.room_for(&QUOTA, QUOTA.of_peer, &peer.holder()) as usize
    }

    /// Whether it is the peer's own packets that leave no room, rather than those of others.
    pub(super) fn is_full_of(&self, peer: &Endpoint) -> bool {
        self.in_flight_to(peer) >= MAX_IN_FLIGHT_TO_PEER
    }

    pub(super) fn in_flight_to(&self, peer: &Endpoint) -> usize {
        self.unanswered.of_peer(&peer.holder()) as usize
    }

    pub(super) fn in_flight(&self) -> usize {
        self.unanswered.total() as usize
    }

    /// A packet leaves.
    pub(super) fn start(&mut self, to: Endpoint, now: Instant) -> PacketTicket {
        self.unanswered.add(&to.holder(), 1);
        self.started += 1;
        self.last_start = Some(now);
        PacketTicket { to, number: self.started }
    }

    /// A packet was answered or given up; whether there was no room before.
    pub(super) fn finish(&mut self, ticket: PacketTicket) -> bool {
        let was_full = self.room_to(&ticket.to) == 0;
        self.taken = self.taken.max(ticket.number);
        self.unanswered.remove(&ticket.to.holder(), 1);
        was_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Endpoint {
        Endpoint { node_id: [number; 32].into(), address: ([127, 0, 0, 1], 9009).into() }
    }

    /// Starts as many packets as there is room for.
    fn fill(pace: &mut PacketPace, to: Endpoint, now: Instant) -> Vec<PacketTicket> {
        (0..pace.burst_room(now).min(pace.room_to(&to))).map(|_| pace.start(to, now)).collect()
    }

    #[test]
    fn a_burst_waits_for_an_answer_or_a_moment() {
        let start = Instant::now();
        let mut pace = PacketPace::default();
        let burst = fill(&mut pace, peer(1), start);
        assert_eq!(burst.len() as u64, MAX_BURST);
        assert_eq!(pace.burst_room(start), 0);
        assert_eq!(pace.next_burst(), Some(start + BURST_INTERVAL));

        // An answer shows that everything before it was taken too.
        assert!(!pace.finish(burst[9]));
        assert_eq!(pace.burst_room(start), 10);
        assert!(!pace.finish(burst[3]));
        assert_eq!(pace.burst_room(start), 10);
        assert_eq!(pace.burst_room(start + BURST_INTERVAL), MAX_BURST as usize);
    }

    #[test]
    fn unanswered_packets_are_bounded_for_a_peer_and_in_all() {
        let mut now = Instant::now();
        let mut pace = PacketPace::default();
        let mut to_first = Vec::new();
        for number in 1..=100 {
            for _ in 0..10 {
                now += BURST_INTERVAL;
                let started = fill(&mut pace, peer(number), now);
                if number == 1 {
                    to_first.extend(started);
                }
            }
            assert!(pace.in_flight_to(&peer(number)) <= MAX_IN_FLIGHT_TO_PEER);
        }
        assert_eq!(to_first.len(), MAX_IN_FLIGHT_TO_PEER);
        assert_eq!(pace.in_flight(), MAX_IN_FLIGHT);
        assert!(pace.finish(to_first[0]), "others waited for this");
        assert_eq!(pace.room_to(&peer(1)), 1);
        for ticket in &to_first[1..] {
            pace.finish(*ticket);
        }
        assert_eq!(pace.in_flight_to(&peer(1)), 0);
    }
}
