//! Senders over simulated paths: what is carried, what is dropped, and how it is shared. The paths are those of the test networks'
//! router; a sender paces, finds losses and is acknowledged as QUIC's implementation does it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use cairn_paths::{HostId, HostSpec, LinkSpec, PathSpec, Router};
use proptest::prelude::*;

use super::control::Control;

const MTU: u16 = 1_400;
/// Packets that come later than a lost one until it is taken to be lost.
const REORDERING: u64 = 3;
const ACK_DELAY: Duration = Duration::from_millis(25);

/// What says how much may be on its way.
enum Window {
    Own(Box<Control>),
    /// As TCP did it for decades: half after a loss, a packet more each round trip.
    Reno {
        window: f64,
        threshold: f64,
        recovers_until: u64,
    },
}

struct Sender {
    window: Window,
    /// Bytes a second that there are to send, if not any number, and what has been saved up.
    supply: Option<(f64, f64)>,
    next: u64,
    sent: BTreeMap<u64, Instant>,
    round_trip: Duration,
    tokens: f64,
    at: Instant,
    last_ack: Instant,
    delivered: u64,
}

impl Sender {
    fn new(now: Instant, window: Window) -> Self {
        Self {
            window,
            supply: None,
            next: 0,
            sent: BTreeMap::new(),
            round_trip: Duration::from_millis(333),
            tokens: 14_000.0,
            at: now,
            last_ack: now,
            delivered: 0,
        }
    }

    fn bytes(&self) -> u64 {
        match &self.window {
            Window::Own(control) => control.window(),
            Window::Reno { window, .. } => *window as u64,
        }
    }

    fn in_flight(&self) -> u64 {
        self.sent.len() as u64 * u64::from(MTU)
    }

    fn has_room(&self) -> bool {
        self.in_flight() + u64::from(MTU) <= self.bytes()
    }

    /// Sends what may be sent now, and says when there may be more.
    fn poll_send(&mut self, now: Instant) -> (Vec<u64>, Option<Instant>) {
        let rate = 1.25 * self.bytes() as f64 / self.round_trip.as_secs_f64();
        let most = (rate * 0.002).clamp(10.0 * f64::from(MTU), 256.0 * f64::from(MTU));
        let passed = (now - self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + rate * passed).min(most);
        if let Some((supply, saved)) = &mut self.supply {
            *saved = (*saved + *supply * passed).min(1e6);
        }
        let mut packets = Vec::new();
        let size = f64::from(MTU);
        while self.has_room() && self.tokens >= size && self.supply.is_none_or(|(_, saved)| saved >= size) {
            self.tokens -= size;
            if let Some((_, saved)) = &mut self.supply {
                *saved -= size;
            }
            self.sent.insert(self.next, now);
            packets.push(self.next);
            self.next += 1;
        }
        if !packets.is_empty()
            && let Window::Own(control) = &mut self.window
        {
            control.handle_sent(now, packets.len() as u64 * u64::from(MTU));
        }
        let supplied = self.supply.map_or(0.0, |(supply, saved)| (size - saved).max(0.0) / supply);
        let paced = (size - self.tokens).max(0.0) / rate;
        let next =
            self.has_room().then(|| now + Duration::from_secs_f64(supplied.max(paced)) + Duration::from_micros(1));
        (packets, next)
    }

    fn handle_ack(&mut self, now: Instant, acked: &[u64]) {
        self.last_ack = now;
        let largest = acked.iter().max().copied().unwrap_or(0);
        for packet in acked {
            let Some(sent) = self.sent.remove(packet) else { continue };
            self.delivered += u64::from(MTU);
            if *packet == largest {
                let rtt = now - sent;
                self.round_trip =
                    if self.round_trip.as_millis() == 333 { rtt } else { self.round_trip * 7 / 8 + rtt / 8 };
            }
            match &mut self.window {
                Window::Own(control) => control.handle_acked(now, sent, u64::from(MTU)),
                Window::Reno { window, threshold, .. } => {
                    let size = f64::from(MTU);
                    *window += if *window < *threshold { size } else { size * size / *window };
                }
            }
        }
        let is_limited = self.supply.is_some_and(|(_, saved)| saved < f64::from(MTU)) && self.has_room();
        let in_flight = self.in_flight();
        if let Window::Own(control) = &mut self.window {
            control.handle_acks_done(now, in_flight, is_limited);
        }
        self.lose(largest.saturating_sub(REORDERING), false);
    }

    /// All up to a packet is lost that was not acknowledged.
    fn lose(&mut self, until: u64, is_persistent: bool) {
        let kept = self.sent.split_off(&(until + 1));
        let lost = std::mem::replace(&mut self.sent, kept);
        let Some((largest, _)) = lost.last_key_value() else { return };
        match &mut self.window {
            Window::Own(control) => control.handle_lost(lost.len() as u64 * u64::from(MTU), is_persistent),
            Window::Reno { window, threshold, recovers_until } => {
                if *largest >= *recovers_until {
                    *recovers_until = self.next;
                    *window = (*window / 2.0).max(2.0 * f64::from(MTU));
                    *threshold = *window;
                }
            }
        }
    }
}

/// Senders to one host behind a narrow link.
struct Network {
    now: Instant,
    router: Router,
    senders: Vec<Sender>,
    /// What each has sent that is not acknowledged yet, and since when.
    unacknowledged: Vec<(Vec<u64>, Instant)>,
    acks: BTreeMap<u64, Vec<u64>>,
    next_ack: u64,
    wakes: BTreeSet<(Instant, usize)>,
}

const TO: HostId = HostId(0);

fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host as u8)
}

fn packet(to: usize, from: usize, number: u64, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[0] = 0x45;
    packet[16..20].copy_from_slice(&address(to).octets());
    packet[20] = from as u8;
    packet[24..32].copy_from_slice(&number.to_le_bytes());
    packet
}

fn number(packet: &[u8]) -> u64 {
    u64::from_le_bytes(packet[24..32].try_into().unwrap())
}

impl Network {
    /// `queue` is what passes the link in so long.
    fn new(senders: Vec<Window>, megabits: u64, queue: Duration, round_trip: Duration, loss: f64, seed: u64) -> Self {
        let now = Instant::now();
        let link = LinkSpec::megabits(megabits, megabits * 125 * queue.as_millis() as u64);
        let mut hosts = vec![HostSpec::new([address(0)]).with_link(link)];
        hosts.extend((1..=senders.len()).map(|host| HostSpec::new([address(host)])));
        let path = PathSpec { loss: (loss * 1e6) as u32, ..PathSpec::round_trip(round_trip) };
        let count = senders.len();
        Self {
            now,
            router: Router::new(hosts, path, seed),
            senders: senders.into_iter().map(|window| Sender::new(now, window)).collect(),
            unacknowledged: vec![(Vec::new(), now); count],
            acks: BTreeMap::new(),
            next_ack: 0,
            wakes: (0..count).map(|sender| (now, sender)).collect(),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let acks = self.unacknowledged.iter().filter(|(packets, _)| !packets.is_empty());
            let deadlines = [
                self.router.next_deadline(),
                self.wakes.first().map(|(at, _)| *at),
                acks.map(|(_, since)| *since + ACK_DELAY).min(),
                self.senders
                    .iter()
                    .filter(|sender| !sender.sent.is_empty())
                    .map(|of| of.last_ack + of.round_trip * 3)
                    .min(),
            ];
            let Some(next) = deadlines.into_iter().flatten().min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(handover) = self.router.poll_output(self.now) {
                self.handle_packet(handover.to, &handover.packet);
            }
            for sender in 0..self.senders.len() {
                let (packets, since) = &self.unacknowledged[sender];
                if !packets.is_empty() && self.now >= *since + ACK_DELAY {
                    self.acknowledge(sender);
                }
                let of = &mut self.senders[sender];
                if !of.sent.is_empty() && self.now >= of.last_ack + of.round_trip * 3 {
                    of.last_ack = self.now;
                    of.lose(u64::MAX - 1, true);
                    self.wakes.insert((self.now, sender));
                }
            }
            while let Some((at, sender)) = self.wakes.first().copied().filter(|(at, _)| *at <= self.now) {
                self.wakes.remove(&(at, sender));
                self.send(sender);
            }
        }
        self.now = end;
    }

    fn send(&mut self, sender: usize) {
        let (packets, next) = self.senders[sender].poll_send(self.now);
        for number in packets {
            self.router.handle_packet(self.now, HostId(sender + 1), packet(0, sender, number, MTU.into()));
        }
        self.wakes.retain(|(_, of)| *of != sender);
        self.wakes.extend(next.map(|next| (next, sender)));
    }

    fn acknowledge(&mut self, sender: usize) {
        let packets = std::mem::take(&mut self.unacknowledged[sender].0);
        self.acks.insert(self.next_ack, packets);
        self.router.handle_packet(self.now, TO, packet(sender + 1, sender, self.next_ack, 40));
        self.next_ack += 1;
    }

    fn handle_packet(&mut self, to: HostId, packet: &[u8]) {
        if to != TO {
            let Some(acked) = self.acks.remove(&number(packet)) else { return };
            self.senders[to.0 - 1].handle_ack(self.now, &acked);
            self.send(to.0 - 1);
            return;
        }
        let sender = usize::from(packet[20]);
        let (packets, since) = &mut self.unacknowledged[sender];
        if packets.is_empty() {
            *since = self.now;
        }
        // What comes out of order is acknowledged at once, and else every second packet.
        packets.push(number(packet));
        if packets.len() >= 2 {
            self.acknowledge(sender);
        }
    }

    /// What each sender brought in so long, of the link.
    fn shares(&mut self, time: Duration, megabits: u64) -> Vec<f64> {
        let before: Vec<_> = self.senders.iter().map(|sender| sender.delivered).collect();
        self.run(time);
        let link = megabits as f64 * 125_000.0 * time.as_secs_f64();
        self.senders.iter().zip(before).map(|(sender, before)| (sender.delivered - before) as f64 / link).collect()
    }

    /// Packets that the link has dropped, of those that came to it.
    fn dropped(&self) -> f64 {
        let counts = (1..=self.senders.len()).map(|host| self.router.counts(HostId(host), TO));
        let (dropped, all) = counts
            .fold((0, 0), |(dropped, all), counts| (dropped + counts.dropped, all + counts.dropped + counts.packets));
        dropped as f64 / f64::from(u32::try_from(all).unwrap().max(1))
    }
}

fn own(start: Instant, offset: u64) -> Window {
    Window::Own(Box::new(Control::new(start, MTU, offset)))
}

fn owns(count: u64) -> Vec<Window> {
    (0..count).map(|offset| own(Instant::now(), offset * 3)).collect()
}

const fn reno() -> Window {
    Window::Reno { window: 14_000.0, threshold: f64::MAX, recovers_until: 0 }
}

const SECOND: Duration = Duration::from_secs(1);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Round trip, loss, and what waits before the link at most.
#[derive(Debug, Clone, Copy)]
struct Way {
    round_trip: Duration,
    loss: f64,
    queue: Duration,
}

const fn way(round_trip: u64, loss: f64, queue: u64) -> Way {
    Way { round_trip: millis(round_trip), loss, queue: millis(queue) }
}

fn network(senders: Vec<Window>, megabits: u64, Way { round_trip, loss, queue }: Way) -> Network {
    Network::new(senders, megabits, queue, round_trip, loss, 7)
}

#[test]
fn one_sender_fills_a_path_whatever_it_loses_by_itself() {
    for way in [way(20, 0.0, 50), way(20, 0.01, 50), way(100, 0.01, 100), way(20, 0.03, 50)] {
        let mut network = network(owns(1), 200, way);
        let begins = network.shares(3 * SECOND, 200)[0];
        assert!(begins > 0.6, "{way:?}: {begins} in the first seconds");
        let share = network.shares(20 * SECOND, 200)[0];
        assert!(share > 0.9 * (1.0 - way.loss), "{way:?}: {share}");
        // And nothing is thrown away: that much a queue always holds.
        assert!(network.dropped() < 0.001, "{way:?}: {} dropped", network.dropped());
        assert!(network.senders[0].round_trip < way.round_trip * 3 / 2, "{way:?}: {:?}", network.senders[0].round_trip);
    }
}

#[test]
fn four_senders_fill_it_together_and_share_it() {
    for way in [way(20, 0.0, 50), way(20, 0.01, 50), way(100, 0.01, 100)] {
        let mut network = network(owns(4), 200, way);
        network.run(3 * SECOND);
        let shares = network.shares(20 * SECOND, 200);
        let all: f64 = shares.iter().sum();
        assert!(all > 0.95, "{way:?}: {shares:?}");
        assert!(network.dropped() < 0.02, "{way:?}: {} dropped", network.dropped());
        assert!(shares.iter().all(|share| *share > 0.08), "{way:?}: {shares:?}");
    }
}

#[test]
fn where_little_waits_little_is_lost() {
    for (count, way) in [(1, way(20, 0.0, 2)), (4, way(20, 0.0, 4)), (4, way(100, 0.0, 20))] {
        let mut network = network(owns(count), 200, way);
        let all: f64 = network.shares(20 * SECOND, 200).iter().sum();
        assert!(all > 0.8, "{count} senders, {way:?}: {all}");
        assert!(network.dropped() < 0.12, "{count} senders, {way:?}: {} dropped", network.dropped());
    }
}

#[test]
fn beside_one_that_fills_every_queue_both_live() {
    for way in [way(20, 0.0, 20), way(20, 0.0, 50), way(50, 0.0, 100)] {
        let mut network = network(vec![own(Instant::now(), 0), reno()], 50, way);
        network.run(5 * SECOND);
        let shares = network.shares(60 * SECOND, 50);
        assert!(shares.iter().all(|share| *share > 0.12), "{way:?}: {shares:?}");
    }
}

#[test]
fn a_path_that_gets_slower_or_longer_is_found_out() {
    let mut network = network(owns(1), 200, way(20, 0.0, 50));
    network.run(5 * SECOND);
    network.router.set_paths(HostId(1), TO, PathSpec::round_trip(millis(80)));
    // The shortest round trip is looked for anew after ten seconds.
    network.run(25 * SECOND);
    let share = network.shares(10 * SECOND, 200)[0];
    assert!(share > 0.9, "{share}");
}

#[test]
fn a_sender_that_has_little_to_send_keeps_what_it_knows() {
    let mut network = network(owns(1), 200, way(50, 0.0, 50));
    network.run(5 * SECOND);
    let known = network.senders[0].bytes();
    network.senders[0].supply = Some((1_000_000.0, 0.0));
    network.run(5 * SECOND);
    let kept = network.senders[0].bytes();
    assert!(kept > known / 2, "{kept} of {known}");
}

#[test]
fn what_was_known_ends_with_a_path_that_carries_nothing() {
    let mut network = network(owns(1), 200, way(20, 0.0, 50));
    network.run(5 * SECOND);
    network.router.set_paths(HostId(1), TO, PathSpec { loss: 1_000_000, ..PathSpec::round_trip(millis(20)) });
    network.run(5 * SECOND);
    assert_eq!(network.senders[0].bytes(), 4 * u64::from(MTU));
    network.router.set_paths(HostId(1), TO, PathSpec::round_trip(millis(20)));
    network.run(2 * SECOND);
    assert!(network.shares(5 * SECOND, 200)[0] > 0.85);
}

proptest! {
    /// Whatever is acknowledged and lost, in whatever order and however late: there is a window, and nothing overflows.
    #[test]
    fn there_is_always_a_window(
        events in prop::collection::vec((0_u8..4, 0_u64..u64::MAX, 0_u64..3_000_000_000, any::<bool>()), 1..200),
    ) {
        let start = Instant::now();
        let (mut control, mut now, mut sent) = (Control::new(start, MTU, 0), start, vec![start]);
        for (kind, bytes, nanos, is) in events {
            now += Duration::from_nanos(nanos);
            let bytes = if is { bytes } else { bytes % 100_000 };
            match kind {
                0 => {
                    control.handle_sent(now, bytes);
                    sent.push(now);
                }
                1 => control.handle_acked(now, sent[bytes as usize % sent.len()], bytes),
                2 => control.handle_acks_done(now, bytes, is),
                _ => control.handle_lost(bytes, is),
            }
            prop_assert!(control.window() >= 4 * u64::from(MTU));
        }
    }
}
