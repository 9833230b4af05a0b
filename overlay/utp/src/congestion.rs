//! The congestion window: LEDBAT (RFC 6817) that fills fast links.
//!
//! While packets queue for less than half the target delay, the window grows as in slow start and CUBIC (RFC 9438), so
//! a fast or long link is filled within seconds. Between half the target and the target it grows by LEDBAT's rule, less
//! the nearer the target is. Above the target it shrinks in proportion to the excess, as in LEDBAT++
//! (draft-irtf-iccrg-ledbat-plus-plus), which is what makes room for other traffic within a few round trips.

use std::time::{Duration, Instant};

/// Packets that may leave before the first acknowledgement (RFC 6928).
const INITIAL_WINDOW: f64 = 10.0;

/// Packets that may be in flight whatever happens (RFC 6817, section 2.4.2: MIN_CWND).
const MIN_WINDOW: f64 = 2.0;

/// Share of the target delay at which slow start ends (LEDBAT++, section 4.3).
const SLOW_START_EXIT: f64 = 0.75;

/// Share of the target delay below which the window grows as CUBIC's does.
const UNCONGESTED: f64 = 0.5;

/// Largest part of the window that one round trip of too much delay takes away.
const MAX_DECREASE: f64 = 0.5;

/// What a loss leaves of the window (RFC 9438, section 4.6).
const BETA: f64 = 0.7;

/// Growth of CUBIC in packets per cubic second (RFC 9438, section 5).
const CUBIC_C: f64 = 0.4;

/// Growth per round trip, in packets, of a Reno flow that backs off by [`BETA`] (RFC 9438, section 4.3).
const RENO_GROWTH: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// CUBIC's curve since the last time that the window shrank.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// Seconds from the start until the window is back at `origin`.
    k: f64,
    /// Window at the curve's plateau, in packets.
    origin: f64,
    /// Window of a Reno flow in the same place, in packets.
    reno: f64,
}

/// What a reduction took, in case that it was for nothing.
#[derive(Clone, Copy, Debug)]
struct BeforeReduction {
    window: f64,
    slow_start_threshold: f64,
    plateau: f64,
}

/// Windows are in packets of the largest payload, inside.
#[derive(Clone, Debug)]
pub(crate) struct Congestion {
    payload: f64,
    target: f64,
    window: f64,
    slow_start_threshold: f64,
    /// Window before the last reduction.
    plateau: f64,
    epoch: Option<Epoch>,
    before: Option<BeforeReduction>,
}

impl Congestion {
    pub(crate) fn new(max_payload: usize, target_delay: Duration) -> Self {
        Self {
            payload: max_payload as f64,
            target: target_delay.as_secs_f64(),
            window: INITIAL_WINDOW,
            slow_start_threshold: f64::INFINITY,
            plateau: 0.0,
            epoch: None,
            before: None,
        }
    }

    /// Bytes that may be in flight.
    pub(crate) fn window(&self) -> usize {
        (self.window * self.payload) as usize
    }

    /// `acked` bytes were acknowledged when `in_flight` bytes, those among them, were on their way.
    pub(crate) fn handle_ack(
        &mut self,
        now: Instant,
        acked: usize,
        in_flight: usize,
        queueing: Duration,
        rtt: Duration,
    ) {
        let acked = acked as f64 / self.payload;
        let delay = queueing.as_secs_f64() / self.target;
        if delay > 1.0 {
            if self.window < self.slow_start_threshold {
                self.leave_slow_start();
            } else {
                self.window = (self.window - acked * (delay - 1.0).min(1.0) * MAX_DECREASE).max(MIN_WINDOW);
                self.slow_start_threshold = self.window;
            }
            self.plateau = self.window;
            self.epoch = None;
            return;
        }
        // A window that the writer or the peer's buffer does not let us use says nothing about the link.
        if (in_flight as f64) < self.window * self.payload / 2.0 {
            self.epoch = None;
            return;
        }
        if self.window < self.slow_start_threshold {
            if delay > SLOW_START_EXIT {
                self.leave_slow_start();
            } else {
                self.window += acked;
            }
            return;
        }
        let by_delay = (1.0 - delay) * acked / self.window;
        let by_time = if delay < UNCONGESTED { self.cubic_growth(now, acked, rtt) } else { 0.0 };
        self.window += by_delay.max(by_time);
    }

    /// Packets were lost, for the first time in this round trip.
    pub(crate) fn handle_loss(&mut self) {
        self.reduce(self.window * BETA);
        self.slow_start_threshold = self.window;
    }

    /// Nothing was acknowledged for a whole retransmission time-out.
    pub(crate) fn handle_timeout(&mut self) {
        let half = self.window / 2.0;
        self.reduce(MIN_WINDOW);
        self.slow_start_threshold = half.max(MIN_WINDOW);
    }

    /// The last reduction was for packets that were late, not lost.
    pub(crate) fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.window = self.window.max(before.window);
            self.slow_start_threshold = before.slow_start_threshold;
            self.plateau = before.plateau;
            self.epoch = None;
        }
    }

    /// Nothing was sent for a while: what the window says of the link is out of date (RFC 5681, section 4.1).
    pub(crate) fn handle_idle(&mut self) {
        if self.window > INITIAL_WINDOW {
            self.slow_start_threshold = self.slow_start_threshold.max(self.window * 0.75);
            self.window = INITIAL_WINDOW;
        }
        self.epoch = None;
    }

    fn reduce(&mut self, window: f64) {
        self.before = Some(BeforeReduction {
            window: self.window,
            slow_start_threshold: self.slow_start_threshold,
            plateau: self.plateau,
        });
        // Fast convergence (RFC 9438, section 4.7): a window that did not come back makes room for others.
        self.plateau = if self.window < self.plateau { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = window.max(MIN_WINDOW);
        self.epoch = None;
    }

    /// The delay in an acknowledgement was caused by the window one round trip ago, which in slow start was half.
    fn leave_slow_start(&mut self) {
        self.window = (self.window / 2.0).max(MIN_WINDOW);
        self.slow_start_threshold = self.window;
        self.plateau = self.window;
    }

    fn cubic_growth(&mut self, now: Instant, acked: f64, rtt: Duration) -> f64 {
        let window = self.window;
        let plateau = self.plateau;
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            start: now,
            k: ((plateau - window).max(0.0) / CUBIC_C).cbrt(),
            origin: plateau.max(window),
            reno: window,
        });
        epoch.reno += RENO_GROWTH * acked / window;
        let elapsed = (now.saturating_duration_since(epoch.start) + rtt).as_secs_f64() - epoch.k;
        let curve = epoch.origin + CUBIC_C * elapsed * elapsed * elapsed;
        // At most half a packet for each acknowledged (RFC 9438, section 4.2).
        let towards_curve = ((curve - window) / window).clamp(0.0, 0.5) * acked;
        towards_curve.max(epoch.reno - window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: usize = 1_000;
    const TARGET: Duration = Duration::from_millis(100);
    const RTT: Duration = Duration::from_millis(50);

    /// Acknowledges one whole window and lets a round trip pass.
    fn round(congestion: &mut Congestion, now: &mut Instant, queueing: Duration) {
        let window = congestion.window();
        for _ in 0..window / PAYLOAD {
            congestion.handle_ack(*now, PAYLOAD, window, queueing, RTT);
        }
        *now += RTT;
    }

    #[test]
    fn slow_start_doubles_until_packets_queue() {
        let mut now = Instant::now();
        let mut congestion = Congestion::new(PAYLOAD, TARGET);
        for _ in 0..6 {
            let window = congestion.window();
            round(&mut congestion, &mut now, Duration::from_millis(10));
            assert_eq!(congestion.window(), 2 * window);
        }
        let window = congestion.window();
        round(&mut congestion, &mut now, Duration::from_millis(80));
        assert!(congestion.window() < window * 3 / 4, "{} of {window}", congestion.window());
    }

    #[test]
    fn too_much_delay_shrinks_the_window_to_its_floor() {
        let mut now = Instant::now();
        let mut congestion = Congestion::new(PAYLOAD, TARGET);
        for _ in 0..6 {
            round(&mut congestion, &mut now, Duration::ZERO);
        }
        for _ in 0..20 {
            round(&mut congestion, &mut now, Duration::from_millis(250));
        }
        assert_eq!(congestion.window(), (MIN_WINDOW as usize) * PAYLOAD);
    }

    #[test]
    fn at_the_target_the_window_rests() {
        let mut now = Instant::now();
        let mut congestion = Congestion::new(PAYLOAD, TARGET);
        congestion.handle_loss();
        let window = congestion.window();
        for _ in 0..100 {
            round(&mut congestion, &mut now, TARGET);
        }
        assert_eq!(congestion.window(), window);
    }

    #[test]
    fn a_long_link_is_filled_again_soon_after_a_loss() {
        let mut now = Instant::now();
        let mut congestion = Congestion::new(PAYLOAD, TARGET);
        for _ in 0..7 {
            round(&mut congestion, &mut now, Duration::ZERO);
        }
        let window = congestion.window();
        congestion.handle_loss();
        assert!(congestion.window() < window * 3 / 4);
        let start = now;
        while congestion.window() < window {
            round(&mut congestion, &mut now, Duration::ZERO);
        }
        // LEDBAT alone adds a packet a round trip.
        let rounds = (now - start).as_millis() / RTT.as_millis();
        assert!(rounds < (window * 3 / 10 / PAYLOAD) as u128, "{rounds} round trips");
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut congestion = Congestion::new(PAYLOAD, TARGET);
        let window = congestion.window();
        for _ in 0..100 {
            congestion.handle_ack(Instant::now(), PAYLOAD, PAYLOAD, Duration::ZERO, RTT);
        }
        assert_eq!(congestion.window(), window);
    }

    #[test]
    fn a_reduction_for_nothing_is_undone() {
        let mut now = Instant::now();
        let mut congestion = Congestion::new(PAYLOAD, TARGET);
        round(&mut congestion, &mut now, Duration::ZERO);
        let window = congestion.window();
        congestion.handle_loss();
        congestion.undo();
        assert_eq!(congestion.window(), window);
        congestion.undo();
        assert_eq!(congestion.window(), window);
    }
}
