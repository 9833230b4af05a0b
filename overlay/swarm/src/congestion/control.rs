//! From what a path showed to how much may be on its way: four states, told apart by what is looked for.
//!
//! 1. [`State::Startup`]: the window doubles each round trip until the path gets no faster by it.
//! 2. [`State::Drain`]: what that put into queues leaves them.
//! 3. [`State::Cruise`]: the window is what the path holds, its rate times its shortest round trip, and a little more ([`GAIN`]), since
//!    less would leave it idle now and then. In one round of eight it is larger, to see whether the path has got faster, and in the
//!    next one smaller, so that the queue of the one before is gone again.
//! 4. [`State::Probe`]: the shortest round trip has not been seen for a while. Either the path has got longer, or there is a queue that
//!    is never empty. For a round trip there is so little on its way that it would be.
//!
//! Two things of the world besides:
//!
//! - **Loss.** What a path loses while its queue is empty it loses by itself, and that says nothing of how much it takes. When a good deal
//!   more than that is lost, there is no room for what is on its way, and that becomes the limit ([`Control::ceiling`]), which is
//!   raised again slowly.
//! - **Others who fill the queue.** A sender that goes on until packets are dropped takes all of a path from one that does not. It shows in a
//!   queue that is not empty even in the round that is to empty it, while this path's rate falls from cycle to cycle. Then what is
//!   kept on the way grows, up to twice what the path holds.

use std::time::{Duration, Instant};

use super::rate::DeliveryRate;

/// Packets that are sent before anything is known of the path.
const FIRST_PACKETS: u64 = 48;
/// So many packets may be on the way in any case, or nothing would be learnt.
const LEAST_PACKETS: u64 = 4;

/// What is on its way while the rate is looked for, of what the path holds.
const STARTUP_GAIN: f64 = 2.0;
/// The same to empty queues.
const DRAIN_GAIN: f64 = 0.75;
/// The same most of the time, and at most, where others fill the queue.
const GAIN: f64 = 1.15;
const MAX_GAIN: f64 = 2.0;
/// The same to see whether the path has got faster. QUIC's implementation sends a quarter faster than this.
const UP_GAIN: f64 = 1.4;
/// The same while it is looked for the shortest round trip.
const PROBE_GAIN: f64 = 0.5;

/// The path is no faster if its rate has not grown by this factor, for so many rounds; one is enough if a queue shows.
const GROWTH: f64 = 1.25;
const ROUNDS_WITHOUT_GROWTH: u32 = 3;

/// Bytes that are acknowledged in a bunch count up to so much of what the path holds: more than that comes from what others send.
const MAX_BUNCH: f64 = 0.25;

/// Rounds of a cycle: one up, one down, and others.
const CYCLE: u64 = 8;
/// The fastest rate of so many rounds is the path's: that of the round up is in there.
const RATE_ROUNDS: u64 = 10;

/// A path is pushed aside if its rate is below so much of its best one, which fades with each cycle.
const PUSHED: f64 = 0.7;
const BEST_RATE_DECAY: f64 = 0.97;

/// A round trip so much longer than the shortest one shows a queue.
const QUEUE_FACTOR: f64 = 1.25;
const QUEUE_TIME: Duration = Duration::from_millis(2);

/// Round trips are taken to be so long at least. Within a machine or a house, what takes time is not the path but that somebody
/// has to be woken, and the queue is short in any case.
const LEAST_ROUND_TRIP: Duration = Duration::from_millis(2);

/// The shortest round trip is looked for anew after so long, for a round trip and this.
const SHORTEST_AGE: Duration = Duration::from_secs(10);
const PROBE_TIME: Duration = Duration::from_millis(100);

/// Loss is counted over so many packets at least, and a round: of fewer, one or two more by chance would be many.
const LOSS_PACKETS: u64 = 200;
/// So much more than what the path loses by itself is too much; and that is believed up to a limit.
const TOO_MUCH: f64 = 0.02;
const MAX_OWN_LOSS: f64 = 0.08;
const TOO_MUCH_AT_START: f64 = 0.1;
/// What the path loses by itself is the mean of about so many counts.
const OWN_LOSS_COUNTS: u32 = 8;
/// The limit after loss, of what was on its way; and how it grows with each count that shows none.
const CUT: f64 = 0.85;
const REGROWTH: f64 = 1.1;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// The fastest rate so far, and for how many rounds it has not grown.
    Startup {
        rate: u64,
        rounds: u32,
    },
    /// Since which round.
    Drain {
        since: u64,
    },
    Cruise,
    /// Until when at least, and since which round.
    Probe {
        until: Instant,
        since: u64,
    },
}

/// The fastest rate of the last rounds: that of the rounds before `since`, and that of those from it on.
#[derive(Debug, Clone, Copy, Default)]
struct FastestRate {
    before: u64,
    now: u64,
    since: u64,
}

impl FastestRate {
    fn get(&self) -> u64 {
        self.before.max(self.now)
    }

    fn add(&mut self, rate: u64, round: u64) {
        if round >= self.since + RATE_ROUNDS / 2 {
            (self.before, self.now, self.since) = (self.now, 0, round);
        }
        self.now = self.now.max(rate);
    }
}

/// What was acknowledged and lost since the last count, bytes, and what else there was.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    acked: u64,
    lost: u64,
    /// The most that was on its way.
    in_flight: u64,
    /// Whether the queue was empty once.
    was_empty: bool,
    /// The round in which it began.
    since: u64,
}

/// What a cycle showed.
#[derive(Debug, Clone, Copy, Default)]
struct Cycle {
    since: u64,
    rate: u64,
    was_empty: bool,
}

/// Bytes that are acknowledged in bunches: what came more than the rate says, at most, so that waiting for a bunch does not leave the path
/// idle.
#[derive(Debug, Clone, Copy)]
struct Bunches {
    since: Instant,
    acked: u64,
    /// The most of the rounds before, and of these.
    most: FastestRate,
}

/// The controller of one path.
#[derive(Debug, Clone)]
pub(super) struct Control {
    mtu: u64,
    delivery: DeliveryRate,
    state: State,
    /// Rounds since the beginning, and where in the cycle they began.
    round: u64,
    offset: u64,
    rate: FastestRate,
    /// The shortest round trip, and when it was seen.
    shortest: Option<(Duration, Instant)>,
    bunches: Bunches,
    /// The window of the start, which grows by what is acknowledged.
    startup_window: u64,
    gain: f64,
    in_flight: u64,
    count: Count,
    cycle: Cycle,
    best_rate: f64,
    own_loss: f64,
    /// So many counts are in there.
    counts: u32,
    /// Above this too much was lost, bytes.
    ceiling: Option<f64>,
}

impl Control {
    pub(super) fn new(now: Instant, mtu: u16, offset: u64) -> Self {
        let mtu = u64::from(mtu);
        Self {
            mtu,
            delivery: DeliveryRate::new(now),
            state: State::Startup { rate: 0, rounds: 0 },
            round: 0,
            offset: offset % CYCLE,
            rate: FastestRate::default(),
            shortest: None,
            bunches: Bunches { since: now, acked: 0, most: FastestRate::default() },
            startup_window: FIRST_PACKETS * mtu,
            gain: GAIN,
            in_flight: 0,
            count: Count::default(),
            cycle: Cycle::default(),
            best_rate: 0.0,
            own_loss: 0.0,
            counts: 0,
            ceiling: None,
        }
    }

    pub(super) const fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu as u64;
    }

    pub(super) const fn initial_window(&self) -> u64 {
        FIRST_PACKETS * self.mtu
    }

    /// Bytes were sent.
    pub(super) fn handle_sent(&mut self, now: Instant, bytes: u64) {
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.count.in_flight = self.count.in_flight.max(self.in_flight);
        self.delivery.handle_sent(now, bytes);
    }

    /// Bytes that were sent at a moment are acknowledged.
    pub(super) fn handle_acked(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.count.acked = self.count.acked.saturating_add(bytes);
        self.delivery.handle_acked(now, sent, bytes);
    }

    /// Bytes are taken to be lost; 0 if the path only says that it is full. After a persistent congestion all that was known of the
    /// path is void.
    pub(super) fn handle_lost(&mut self, bytes: u64, is_persistent: bool) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.delivery.handle_lost(bytes);
        // Whoever marks packets instead of dropping them means the same by it.
        self.count.lost = self.count.lost.saturating_add(bytes.max(self.mtu));
        if is_persistent {
            self.state = State::Startup { rate: 0, rounds: 0 };
            self.rate = FastestRate::default();
            self.startup_window = LEAST_PACKETS * self.mtu;
            self.ceiling = None;
        }
    }

    /// All that is acknowledged now was told, see [`DeliveryRate::sample`].
    pub(super) fn handle_acks_done(&mut self, now: Instant, in_flight: u64, is_limited: bool) {
        self.in_flight = in_flight;
        let Some(sample) = self.delivery.sample(now, in_flight, is_limited) else { return };
        self.note_round_trip(now, sample.rtt);
        let is_queue = self.shows_queue(sample.rtt);
        self.count.was_empty |= !is_queue;
        self.cycle.was_empty |= !is_queue;
        if sample.ends_round {
            self.round += 1;
        }
        if let Some(rate) = sample.rate
            // What was limited otherwise says that the path is so fast at least.
            && (!sample.is_limited || rate > self.rate.get())
        {
            self.rate.add(rate, self.round);
            self.cycle.rate = self.cycle.rate.max(rate);
        }
        self.note_bunch(now, sample.acked);
        self.note_loss();
        self.advance(now, sample.acked, is_limited, is_queue, sample.ends_round && !sample.is_limited);
        if self.round >= self.cycle.since + CYCLE {
            self.end_cycle(is_limited);
        }
    }

    /// Bytes that may be on their way.
    pub(super) fn window(&self) -> u64 {
        let window = match self.state {
            State::Startup { .. } => self.startup_window as f64,
            State::Drain { .. } => self.held(DRAIN_GAIN),
            State::Probe { .. } => self.held(PROBE_GAIN),
            State::Cruise => {
                let window = self.held(match (self.round + self.offset) % CYCLE {
                    0 => UP_GAIN.max(self.gain),
                    1 => DRAIN_GAIN,
                    _ => self.gain,
                });
                window + (self.bunches.most.get() as f64).min(self.held(MAX_BUNCH))
            }
        };
        let window = self.ceiling.map_or(window, |ceiling| window.min(ceiling));
        (window as u64).max(LEAST_PACKETS * self.mtu)
    }

    /// What the path holds, times a factor.
    fn held(&self, gain: f64) -> f64 {
        let round_trip = self.shortest.map_or(LEAST_ROUND_TRIP, |(shortest, _)| shortest.max(LEAST_ROUND_TRIP));
        gain * self.rate.get() as f64 * round_trip.as_secs_f64()
    }

    fn shows_queue(&self, rtt: Duration) -> bool {
        self.shortest.is_some_and(|(shortest, _)| rtt > shortest.mul_f64(QUEUE_FACTOR) + QUEUE_TIME)
    }

    fn note_round_trip(&mut self, now: Instant, rtt: Duration) {
        let is_shorter = self.shortest.is_none_or(|(shortest, _)| rtt <= shortest.max(LEAST_ROUND_TRIP));
        // In a probe the queue is empty, as far as it is this path's.
        let is_old = self.shortest.is_some_and(|(_, seen)| now.saturating_duration_since(seen) > SHORTEST_AGE);
        if is_shorter || (is_old && matches!(self.state, State::Probe { since, .. } if self.round > since)) {
            let rtt = if is_shorter { self.shortest.map_or(rtt, |(shortest, _)| rtt.min(shortest)) } else { rtt };
            self.shortest = Some((rtt, now));
        }
    }

    fn note_bunch(&mut self, now: Instant, acked: u64) {
        let Bunches { since, acked: before, .. } = self.bunches;
        let expected = now.saturating_duration_since(since).as_secs_f64() * self.rate.get() as f64;
        // From the moment on at which no more had come than was to be expected it is counted anew.
        if before as f64 <= expected {
            (self.bunches.since, self.bunches.acked) = (now, acked);
            self.bunches.most.add(acked, self.round);
            return;
        }
        self.bunches.acked = before.saturating_add(acked);
        let more = (self.bunches.acked as f64 - expected).max(0.0);
        self.bunches.most.add(more as u64, self.round);
    }

    fn note_loss(&mut self) {
        let Count { acked, lost, in_flight, was_empty, since } = self.count;
        let all = acked.saturating_add(lost);
        if self.round <= since + 1 || all < LOSS_PACKETS * self.mtu {
            return;
        }
        self.count = Count { since: self.round, in_flight: self.in_flight, ..Count::default() };
        let share = lost as f64 / all as f64;
        // While the rate is looked for, little is known of what the path loses by itself: less than this says nothing without a queue.
        let is_start = matches!(self.state, State::Startup { .. }) && was_empty;
        if share > self.own_loss + if is_start { TOO_MUCH_AT_START } else { TOO_MUCH } {
            let limit = CUT * in_flight as f64;
            self.ceiling = Some(self.ceiling.map_or(limit, |ceiling| ceiling.min(limit)).max(self.held(0.5)));
            if matches!(self.state, State::Startup { .. }) {
                self.state = State::Drain { since: self.round };
            }
        } else {
            // What is far above anything that is sent limits nothing any more.
            self.ceiling =
                self.ceiling.map(|ceiling| ceiling * REGROWTH).filter(|ceiling| *ceiling < self.held(MAX_GAIN));
        }
        if was_empty {
            self.counts = (self.counts + 1).min(OWN_LOSS_COUNTS);
            self.own_loss += (share.min(MAX_OWN_LOSS) - self.own_loss) / f64::from(self.counts);
        }
    }

    /// Goes on to another state where it is time.
    fn advance(&mut self, now: Instant, acked: u64, is_limited: bool, is_queue: bool, is_full_round: bool) {
        match self.state {
            State::Startup { mut rate, mut rounds } => {
                if !is_limited {
                    let most = (self.held(STARTUP_GAIN) as u64).max(self.initial_window());
                    let grown = self.startup_window.saturating_add(acked);
                    self.startup_window = grown.min(most.max(self.startup_window));
                }
                if is_full_round {
                    if self.rate.get() as f64 >= rate as f64 * GROWTH {
                        (rate, rounds) = (self.rate.get(), 0);
                    } else {
                        rounds += 1;
                    }
                    let is_full = rounds >= ROUNDS_WITHOUT_GROWTH || (rounds > 0 && is_queue);
                    self.state =
                        if is_full { State::Drain { since: self.round } } else { State::Startup { rate, rounds } };
                }
            }
            State::Drain { since } => {
                if self.in_flight as f64 <= self.held(1.0) || self.round > since + 2 {
                    self.cycle = Cycle { since: self.round, ..Cycle::default() };
                    self.state = State::Cruise;
                }
            }
            State::Cruise => {
                let is_old = self.shortest.is_some_and(|(_, seen)| now.saturating_duration_since(seen) > SHORTEST_AGE);
                if is_old {
                    self.state = State::Probe { until: now + PROBE_TIME, since: self.round };
                }
            }
            State::Probe { until, since } => {
                if now >= until && self.round > since + 1 {
                    self.state = State::Cruise;
                }
            }
        }
    }

    fn end_cycle(&mut self, is_limited: bool) {
        let Cycle { rate, was_empty, .. } = self.cycle;
        let is_pushed_aside = !was_empty && !is_limited && (rate as f64) < PUSHED * self.best_rate;
        self.gain = match (is_pushed_aside, was_empty) {
            (true, _) => (self.gain * 1.2).min(MAX_GAIN),
            (false, true) => (self.gain * 0.8).max(GAIN),
            (false, false) => (self.gain * 0.97).max(GAIN),
        };
        self.best_rate = (self.best_rate * BEST_RATE_DECAY).max(rate as f64);
        self.cycle = Cycle { since: self.round, ..Cycle::default() };
    }
}
