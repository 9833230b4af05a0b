//! One-way queueing delay from the timestamps in the packets (RFC 6817, section 2.4).
//!
//! A sample is the peer's clock at arrival less our clock at departure, in wrapping microseconds: the delay plus
//! the unknown offset of the clocks. Above the smallest sample of the last minutes, the base, it is queueing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Minutes that a smallest sample counts (RFC 6817, section 2.4.2: BASE_HISTORY).
const BASE_HISTORY: usize = 10;

/// The span that one entry of the history covers.
const BASE_INTERVAL: Duration = Duration::from_secs(60);

/// Samples of which the smallest is the current delay (RFC 6817, section 2.4.2: CURRENT_FILTER).
const CURRENT_FILTER: usize = 4;

/// The largest step in the base of the other direction, in microseconds, that is taken for the clocks' drifting
/// apart rather than for a shorter way, as in libutp.
const MAX_DRIFT_STEP: u32 = 10_000;

/// Whether `a` lies before `b` in wrapping microseconds.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// The smallest sample of each of the last minutes.
#[derive(Clone, Debug)]
struct BaseDelay {
    minutes: VecDeque<u32>,
    base: u32,
    minute_ends: Instant,
}

impl BaseDelay {
    fn new(now: Instant, sample: u32) -> Self {
        Self { minutes: VecDeque::from([sample]), base: sample, minute_ends: now + BASE_INTERVAL }
    }

    /// Takes a sample and returns by how much it lowered the base.
    fn sample(&mut self, now: Instant, sample: u32) -> u32 {
        if now >= self.minute_ends {
            self.minute_ends = now + BASE_INTERVAL;
            self.minutes.push_back(sample);
            if self.minutes.len() > BASE_HISTORY {
                self.minutes.pop_front();
            }
            self.base = self.minutes.iter().copied().reduce(|a, b| if before(b, a) { b } else { a }).unwrap_or(sample);
        }
        if let Some(minute) = self.minutes.back_mut()
            && before(sample, *minute)
        {
            *minute = sample;
        }
        if !before(sample, self.base) {
            return 0;
        }
        let lowered = self.base.wrapping_sub(sample);
        self.base = sample;
        lowered
    }

    fn shift(&mut self, microseconds: u32) {
        self.base = self.base.wrapping_add(microseconds);
        for minute in &mut self.minutes {
            *minute = minute.wrapping_add(microseconds);
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct DelayEstimator {
    ours: Option<BaseDelay>,
    theirs: Option<BaseDelay>,
    recent: [u32; CURRENT_FILTER],
    next_recent: usize,
}

impl DelayEstimator {
    pub(crate) fn new() -> Self {
        Self { ours: None, theirs: None, recent: [0; CURRENT_FILTER], next_recent: 0 }
    }

    /// Takes what the peer measured of our packets. Zero says that it has measured nothing yet.
    pub(crate) fn sample_ours(&mut self, now: Instant, sample: u32) {
        if sample == 0 {
            return;
        }
        match &mut self.ours {
            None => {
                self.ours = Some(BaseDelay::new(now, sample));
                self.recent = [sample; CURRENT_FILTER];
            }
            Some(base) => {
                base.sample(now, sample);
                self.recent[self.next_recent] = sample;
                self.next_recent = (self.next_recent + 1) % CURRENT_FILTER;
            }
        }
    }

    /// Takes what we measured of the peer's packets. When that base falls, the clocks drift apart, and ours has to
    /// rise by as much: otherwise the drift would look like a queue that grows for ever.
    pub(crate) fn sample_theirs(&mut self, now: Instant, sample: u32) {
        match &mut self.theirs {
            None => self.theirs = Some(BaseDelay::new(now, sample)),
            Some(theirs) => {
                let lowered = theirs.sample(now, sample);
                if lowered <= MAX_DRIFT_STEP
                    && let Some(ours) = &mut self.ours
                {
                    ours.shift(lowered);
                }
            }
        }
    }

    /// How long our packets queue at present; zero before the first sample.
    pub(crate) fn queueing(&self) -> Duration {
        let Some(ours) = &self.ours else { return Duration::ZERO };
        let above = self.recent.iter().map(|sample| sample.wrapping_sub(ours.base) as i32).min();
        Duration::from_micros(above.map_or(0, |above| above.max(0) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queueing_is_what_lies_above_the_base_whatever_the_clocks_say() {
        let now = Instant::now();
        for offset in [1, 0x7fff_ff00, 0xffff_ff00_u32] {
            let mut delay = DelayEstimator::new();
            delay.sample_ours(now, offset.wrapping_add(500));
            delay.sample_ours(now, offset.wrapping_add(200));
            assert_eq!(delay.queueing(), Duration::ZERO);
            for _ in 0..CURRENT_FILTER {
                delay.sample_ours(now, offset.wrapping_add(40_200));
            }
            assert_eq!(delay.queueing(), Duration::from_millis(40));
        }
    }

    #[test]
    fn a_longer_way_becomes_the_base_after_ten_minutes() {
        let mut now = Instant::now();
        let mut delay = DelayEstimator::new();
        delay.sample_ours(now, 1_000);
        for _ in 0..11 {
            now += BASE_INTERVAL;
            for _ in 0..CURRENT_FILTER {
                delay.sample_ours(now, 31_000);
            }
        }
        assert_eq!(delay.queueing(), Duration::ZERO);
    }

    #[test]
    fn drifting_clocks_do_not_look_like_a_queue() {
        let mut now = Instant::now();
        let mut delay = DelayEstimator::new();
        // 100 ppm apart, a sample each way every 10 ms for a minute: 6 ms of drift in all.
        for step in 0..6_000_u32 {
            delay.sample_ours(now, 50_000 + step);
            delay.sample_theirs(now, 50_000 - step);
            now += Duration::from_millis(10);
        }
        assert!(delay.queueing() < Duration::from_micros(10), "{:?}", delay.queueing());
    }
}
