//! When to acknowledge. Each acknowledgement costs the carrier a request of its own, so in a steady stream one covers
//! several packets; where the sender waits for it, at the start and after a pause or a loss, it goes out sooner.

use std::time::{Duration, Instant};

/// Packets in order that are acknowledged two at a time at the start of a stream, and whenever the timer rather than the
/// count had to send an acknowledgement: the sender's window is small then.
const QUICK_PACKETS: u32 = 16;

/// Packets that one acknowledgement covers meanwhile.
const QUICK_EVERY: u32 = 2;

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
    beyond_gap: u32,
}

impl Acks {
    pub(crate) fn new(every: u32, delay: Duration) -> Self {
        Self { every, delay, waiting: 0, deadline: None, due: false, quick: QUICK_PACKETS, beyond_gap: 0 }
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
    pub(crate) fn on_in_order(&mut self, now: Instant) {
        self.beyond_gap = 0;
        let quick = self.quick > 0;
        self.quick = self.quick.saturating_sub(1);
        self.wait(now, if quick { QUICK_EVERY.min(self.every) } else { self.every });
    }

    /// A packet came and one before it is missing.
    pub(crate) fn on_early(&mut self, now: Instant) {
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
        }
    }

    /// A packet with the present acknowledgement has left.
    pub(crate) fn on_sent(&mut self) {
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
            acks.on_in_order(now);
            if acks.is_due() {
                acks.on_sent();
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
        acks.on_sent();
        assert_eq!(acks.deadline(), None);
        assert_eq!(acks_for(&mut acks, QUICK_PACKETS, now), QUICK_PACKETS / QUICK_EVERY);
    }

    #[test]
    fn the_first_packets_beyond_a_gap_are_acknowledged_each() {
        let now = Instant::now();
        let mut acks = Acks::new(8, DELAY);
        for _ in 0..GAP_PACKETS {
            acks.on_early(now);
            assert!(acks.is_due());
            acks.on_sent();
        }
        acks.on_early(now);
        assert!(!acks.is_due());
    }
}
