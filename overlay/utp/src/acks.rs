//! When to acknowledge. Each acknowledgement costs the carrier a request of its own, so in a steady stream one covers
//! several packets; where the sender waits for it, at the start and after a pause or a loss, it goes out sooner.
//!
//! What waits is found out by the timer: it fires when the sender sent fewer packets than one acknowledgement covers. Once may be
//! the end of what it had to send; twice on end is a sender that sends one packet, or a few, for each acknowledgement.

use std::time::{Duration, Instant};

/// Packets in order that are acknowledged two at a time at the start of a stream, and whenever the timer rather than the
/// count had to send an acknowledgement: the sender's window is small then.
const QUICK_PACKETS: u32 = 16;

/// Packets that one acknowledgement covers meanwhile.
const QUICK_EVERY: u32 = 2;

/// The timer fired so often on end, without an acknowledgement that the count sent between: the sender waits for each.
const STALLS: u32 = 2;

/// Packets that are acknowledged each after that. With every timer that fires meanwhile it begins anew, so a sender that goes on
/// like this pays the delay once in so many packets; one that was only slow for a moment costs us so many acknowledgements.
const EACH_PACKETS: u32 = 128;

/// Packets beyond a new gap that are acknowledged each: they let the sender find the loss (BEP 29: three).
const GAP_PACKETS: u32 = 4;

#[derive(Debug)]
pub(crate) struct Acks {
    every: u32,
    delay: Duration,
    waiting: u32,
    deadline: Option<Instant>,
    due: bool,
    quick: u32,
    /// Packets that are still to be acknowledged each.
    each: u32,
    /// How often the timer fired since the count last sent an acknowledgement.
    stalls: u32,
    beyond_gap: u32,
}

impl Acks {
    pub(crate) fn new(every: u32, delay: Duration) -> Self {
        Self {
            every,
            delay,
            waiting: 0,
            deadline: None,
            due: false,
            quick: QUICK_PACKETS,
            each: 0,
            stalls: 0,
            beyond_gap: 0,
        }
    }

    /// Whether an acknowledgement has to leave now.
    pub(crate) fn is_due(&self) -> bool {
        self.due
    }

    /// When one has to leave at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// A packet came in order.
    pub(crate) fn handle_in_order(&mut self, now: Instant) {
        self.beyond_gap = 0;
        let (each, quick) = (self.each > 0, self.quick > 0);
        if each {
            self.each -= 1;
        } else {
            self.quick = self.quick.saturating_sub(1);
        }
        let every = if quick { QUICK_EVERY.min(self.every) } else { self.every };
        self.wait(now, if each { 1 } else { every });
        if self.due && !each && !quick {
            self.stalls = 0;
        }
    }

    /// A packet came and one before it is missing.
    pub(crate) fn handle_early(&mut self, now: Instant) {
        self.beyond_gap = self.beyond_gap.saturating_add(1);
        self.wait(now, if self.beyond_gap <= GAP_PACKETS { 1 } else { self.every });
    }

    /// The sender has to hear at once: of a gap filled, a packet sent twice, the end, a window opened.
    pub(crate) fn demand(&mut self) {
        self.due = true;
    }

    fn wait(&mut self, now: Instant, every: u32) {
        self.waiting += 1;
        self.due |= self.waiting >= every;
        self.deadline.get_or_insert(now + self.delay);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.due = true;
            self.quick = QUICK_PACKETS;
            self.stalls = self.stalls.saturating_add(1);
            if self.stalls >= STALLS {
                self.each = EACH_PACKETS;
            }
        }
    }

    /// A packet with the present acknowledgement has left.
    pub(crate) fn handle_sent(&mut self) {
        self.waiting = 0;
        self.deadline = None;
        self.due = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(10);

    fn acks_for(acks: &mut Acks, packets: u32, now: Instant) -> u32 {
        let mut sent = 0;
        for _ in 0..packets {
            acks.handle_in_order(now);
            if acks.is_due() {
                acks.handle_sent();
                sent += 1;
            }
        }
        sent
    }

    #[test]
    fn a_steady_stream_is_acknowledged_rarely_and_a_stalled_one_often() {
        let now = Instant::now();
        let mut acks = Acks::new(8, DELAY);
        assert_eq!(acks_for(&mut acks, QUICK_PACKETS, now), QUICK_PACKETS / QUICK_EVERY);
        assert_eq!(acks_for(&mut acks, 80, now), 10);
        assert_eq!(acks_for(&mut acks, 3, now), 0);
        assert_eq!(acks.deadline(), Some(now + DELAY));
        acks.handle_timeout(now + DELAY);
        assert!(acks.is_due());
        acks.handle_sent();
        assert_eq!(acks.deadline(), None);
        assert_eq!(acks_for(&mut acks, QUICK_PACKETS, now), QUICK_PACKETS / QUICK_EVERY);
    }

    /// How often the timer had to acknowledge when `packets` came in bursts that wait for the acknowledgement before.
    fn delays_of(acks: &mut Acks, packets: u32, burst: u32, mut now: Instant) -> u32 {
        let mut delays = 0;
        for _ in 0..packets / burst {
            (0..burst).for_each(|_| acks.handle_in_order(now));
            if !acks.is_due() {
                delays += 1;
                now += DELAY;
                acks.handle_timeout(now);
            }
            assert!(acks.is_due());
            acks.handle_sent();
        }
        delays
    }

    #[test]
    fn a_sender_that_waits_for_each_acknowledgement_is_not_kept() {
        for burst in [1, 3] {
            let mut acks = Acks::new(8, DELAY);
            acks_for(&mut acks, QUICK_PACKETS, Instant::now());
            let packets = 10 * EACH_PACKETS;
            let delays = delays_of(&mut acks, packets, burst, Instant::now());
            assert!(delays <= STALLS + packets / EACH_PACKETS, "{delays} of {packets} by {burst}");
            assert!(acks_for(&mut acks, EACH_PACKETS + QUICK_PACKETS + 80, Instant::now()) > 0);
            assert_eq!(acks_for(&mut acks, 80, Instant::now()), 10, "a steady stream is one again");
        }
    }

    #[test]
    fn the_first_packets_beyond_a_gap_are_acknowledged_each() {
        let now = Instant::now();
        let mut acks = Acks::new(8, DELAY);
        for _ in 0..GAP_PACKETS {
            acks.handle_early(now);
            assert!(acks.is_due());
            acks.handle_sent();
        }
        acks.handle_early(now);
        assert!(!acks.is_due());
    }
}
