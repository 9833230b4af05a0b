//! A link of a given rate, delay and queue that loses, reorders, duplicates and damages packets by a seeded choice.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What a link is like. Rates of mishaps are from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkConfig {
    /// Bytes a second.
    pub(crate) rate: f64,
    pub(crate) delay: Duration,
    /// Bytes that wait for their turn; a packet that finds the queue full is dropped.
    pub(crate) queue: usize,
    pub(crate) loss: f64,
    /// Packets that are held up by `reorder_delay`.
    pub(crate) reorder: f64,
    pub(crate) reorder_delay: Duration,
    pub(crate) duplicate: f64,
    /// Packets of which one bit is turned over.
    pub(crate) damage: f64,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            rate: 12.5e6,
            delay: Duration::from_millis(10),
            queue: 250_000,
            loss: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(3),
            duplicate: 0.0,
            damage: 0.0,
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Delivery {
    at: Instant,
    order: u64,
    /// Which connection the packet is for.
    to: usize,
    packet: Bytes,
}

pub(crate) struct Link {
    pub(crate) config: LinkConfig,
    rng: StdRng,
    /// When the last packet accepted will have left the queue.
    busy_until: Instant,
    on_the_way: BinaryHeap<Reverse<Delivery>>,
    order: u64,
    pub(crate) dropped: u64,
    /// Sees each packet first; what it returns goes on, if anything.
    pub(crate) tamper: Tamper,
}

pub(crate) type Tamper = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>>>;

impl Link {
    pub(crate) fn new(config: LinkConfig, seed: u64, now: Instant) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let tamper = Box::new(|packet: &[u8]| Some(packet.to_vec()));
        Self { config, rng, busy_until: now, on_the_way: BinaryHeap::new(), order: 0, dropped: 0, tamper }
    }

    /// How long a packet that comes now waits for its turn.
    pub(crate) fn queueing(&self, now: Instant) -> Duration {
        self.busy_until.saturating_duration_since(now)
    }

    /// Takes up `bytes` of the link for other traffic, as far as the queue has room.
    pub(crate) fn occupy(&mut self, now: Instant, bytes: usize) {
        self.enqueue(now, bytes);
    }

    fn enqueue(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let queued = self.queueing(now).as_secs_f64() * self.config.rate;
        if queued + bytes as f64 > self.config.queue as f64 {
            self.dropped += 1;
            return None;
        }
        self.busy_until = self.busy_until.max(now) + Duration::from_secs_f64(bytes as f64 / self.config.rate);
        Some(self.busy_until + self.config.delay)
    }

    pub(crate) fn send(&mut self, now: Instant, to: usize, packet: &[u8]) {
        let Some(mut packet) = (self.tamper)(packet) else { return };
        let Some(mut at) = self.enqueue(now, packet.len()) else { return };
        if self.chance(self.config.loss) {
            return;
        }
        if self.chance(self.config.reorder) {
            at += self.config.reorder_delay;
        }
        let copies = 1 + usize::from(self.chance(self.config.duplicate));
        if self.chance(self.config.damage) {
            let bit = self.rng.random_range(0..packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        let packet = Bytes::from(packet);
        for _ in 0..copies {
            self.order += 1;
            self.on_the_way.push(Reverse(Delivery { at, order: self.order, to, packet: packet.clone() }));
        }
    }

    fn chance(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.rng.random_bool(rate)
    }

    pub(crate) fn next_delivery(&self) -> Option<Instant> {
        self.on_the_way.peek().map(|Reverse(delivery)| delivery.at)
    }

    pub(crate) fn deliver(&mut self, now: Instant) -> Option<(usize, Bytes)> {
        if self.next_delivery()? > now {
            return None;
        }
        self.on_the_way.pop().map(|Reverse(delivery)| (delivery.to, delivery.packet))
    }
}
