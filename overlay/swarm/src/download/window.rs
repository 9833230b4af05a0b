//! How much is asked of one peer ahead of what it has sent: enough that its side never runs dry, and no more.

use std::time::{Duration, Instant};

use super::DownloadConfig;

/// Over how long one sample of a peer's rate is taken.
const SAMPLE: Duration = Duration::from_millis(100);

/// A sample counts for one in so many.
const SMOOTHING: u64 = 4;

/// The window follows the rate so many times over, so that a peer that could send faster gets to show it.
const HEADROOM: u64 = 2;

/// Samples in a row that grew by less than a quarter end slow start.
const FLAT_SAMPLES: u8 = 2;

/// A peer's rate, and the bytes that may be asked of it at once.
#[derive(Debug)]
pub(super) struct Window {
    bytes: u64,
    rate: u64,
    rtt: Duration,
    sample_began: Instant,
    sampled: u64,
    best: u64,
    flat: u8,
}

impl Window {
    pub(super) fn new(now: Instant, config: &DownloadConfig) -> Self {
        Self { bytes: config.min_window, rate: 0, rtt: Duration::ZERO, sample_began: now, sampled: 0, best: 0, flat: 0 }
    }

    /// Bytes that may be asked for at once.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes a second.
    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    pub(super) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    const fn is_slow_start(&self) -> bool {
        self.flat < FLAT_SAMPLES
    }

    pub(super) fn handle_bytes(&mut self, bytes: u64, config: &DownloadConfig) {
        self.sampled = self.sampled.saturating_add(bytes);
        if self.is_slow_start() {
            self.bytes = self.bytes.saturating_add(bytes).min(config.max_window);
        }
    }

    /// Takes a sample if its time has passed. What a peer without requests does not send tells nothing of it.
    pub(super) fn tick(&mut self, now: Instant, is_busy: bool, config: &DownloadConfig) {
        let passed = now.saturating_duration_since(self.sample_began);
        if passed < SAMPLE {
            return;
        }
        if is_busy || self.sampled > 0 {
            let sample = per_second(self.sampled, passed);
            // Samples that were missed, by a driver that was late, count as often as they were.
            let missed = (passed.as_millis() / SAMPLE.as_millis()).clamp(1, 64);
            for _ in 0..missed {
                self.rate = if self.rate == 0 { sample } else { (self.rate * (SMOOTHING - 1) + sample) / SMOOTHING };
            }
            if self.is_slow_start() && sample > 0 {
                self.flat = if sample > self.best + self.best / 4 { 0 } else { self.flat + 1 };
                self.best = self.best.max(sample);
            }
            if !self.is_slow_start() {
                let time = self.rtt.saturating_add(config.queue_time);
                self.bytes = (HEADROOM * in_time(self.rate, time)).clamp(config.min_window, config.max_window);
            }
        }
        self.sample_began = now;
        self.sampled = 0;
    }

    /// How long the peer needs for so many bytes.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        match bytes.saturating_mul(1_000_000).checked_div(self.rate) {
            Some(micros) => self.rtt.saturating_add(Duration::from_micros(micros)),
            None => Duration::MAX,
        }
    }

    /// How long the peer would need, hoping for the best of one that has shown nothing yet.
    pub(super) fn hoped_time_for(&self, bytes: u64) -> Duration {
        if self.rate == 0 && self.is_slow_start() { self.rtt } else { self.time_for(bytes) }
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1_000_000) / micros
}

fn in_time(rate: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    u64::try_from(u128::from(rate) * u128::from(micros) / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    /// The window after a peer has sent at this rate for so long.
    fn after(rate: u64, steps: u32, rtt: Duration) -> Window {
        let (config, begun) = (DownloadConfig::default(), Instant::now());
        let mut window = Window::new(begun, &config);
        window.set_rtt(rtt);
        for step in 1..=steps {
            window.handle_bytes(in_time(rate, STEP), &config);
            window.tick(begun + STEP * step, true, &config);
        }
        window
    }

    #[test]
    fn the_window_settles_at_what_the_peer_sends_in_a_round_trip_and_the_queue() {
        let rtt = Duration::from_millis(100);
        let window = after(20_000_000, 300, rtt);
        let expected = HEADROOM * in_time(20_000_000, rtt + DownloadConfig::default().queue_time);
        assert!(window.bytes() > expected * 9 / 10 && window.bytes() < expected * 11 / 10, "{}", window.bytes());
        let time = window.time_for(20_000_000);
        assert!(time > Duration::from_millis(1000) && time < Duration::from_millis(1200), "{time:?}");
    }

    #[test]
    fn the_window_keeps_its_bounds() {
        let config = DownloadConfig::default();
        assert_eq!(after(1, 1000, Duration::ZERO).bytes(), config.min_window);
        assert_eq!(after(1 << 40, 1000, Duration::from_secs(10)).bytes(), config.max_window);
    }

    #[test]
    fn silence_shows_in_the_rate_and_idleness_does_not() {
        let (config, begun) = (DownloadConfig::default(), Instant::now());
        let mut window = after(10_000_000, 100, Duration::ZERO);
        let before = window.rate();
        window.tick(begun + Duration::from_secs(5), false, &config);
        assert_eq!(window.rate(), before);
        window.tick(begun + Duration::from_secs(10), true, &config);
        assert!(window.rate() < before / 100, "{}", window.rate());
        assert_eq!(Window::new(begun, &config).time_for(1), Duration::MAX);
    }
}
