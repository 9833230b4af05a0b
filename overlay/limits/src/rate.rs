//! Rates that are kept: a bucket that fills at a rate and is drawn from.
//!
//! No I/O and no clock: the time is passed in.

use std::time::{Duration, Instant};

/// How long a full bucket lasts: short enough that a limit is felt as a rate, long enough for timers that fire late.
const BURST: Duration = Duration::from_millis(100);

/// The least that a bucket holds, in bytes: what goes out at once.
const MIN_BURST: u64 = 64 << 10;

/// A limit in bytes a second.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// Bytes a second; `None` for no limit.
    rate: Option<u64>,
    /// The most that it holds, in bytes, where that does not follow from the rate.
    fixed_burst: Option<u64>,
    /// Bytes that may be taken now. Below zero after more was taken than there was.
    available: i128,
    /// What was earned beyond whole bytes, in nanobytes.
    rest: u128,
    last: Instant,
}

impl TokenBucket {
    /// A full bucket. A rate of 0 lets nothing through.
    pub fn new(now: Instant, rate: Option<u64>) -> Self {
        Self::full(now, rate, None)
    }

    /// A full bucket that holds `burst`, whatever its rate.
    pub fn with_burst(now: Instant, rate: u64, burst: u64) -> Self {
        Self::full(now, Some(rate), Some(burst))
    }

    fn full(now: Instant, rate: Option<u64>, fixed_burst: Option<u64>) -> Self {
        let mut bucket = Self { rate, fixed_burst, available: 0, rest: 0, last: now };
        bucket.available = bucket.burst();
        bucket
    }

    /// Whether nothing has been taken of it that has not flowed in again.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.available >= self.burst()
    }

    /// The rate, in bytes a second.
    pub const fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Changes the rate from now on.
    pub fn set_rate(&mut self, now: Instant, rate: Option<u64>) {
        self.fill(now);
        self.rate = rate;
        self.available = self.available.min(self.burst());
    }

    /// Takes bytes if anything may be taken now, even more than there is: what goes over delays the next. Otherwise when to
    /// ask again; `None` if that is never, at a rate of 0.
    pub fn take(&mut self, now: Instant, bytes: u64) -> Result<(), Option<Instant>> {
        self.fill(now);
        let Some(rate) = self.rate else { return Ok(()) };
        if rate > 0 && self.available > 0 {
            self.available -= i128::from(bytes);
            return Ok(());
        }
        if rate == 0 {
            return Err(None);
        }
        let owed = u128::try_from(1 - self.available).unwrap_or(0);
        let nanos = (owed * NANOS).div_ceil(u128::from(rate));
        Err(Some(now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).min(LONGEST_WAIT))))
    }

    fn burst(&self) -> i128 {
        if let Some(burst) = self.fixed_burst {
            return i128::from(burst);
        }
        let rate = u128::from(self.rate.unwrap_or(0));
        i128::try_from(rate * BURST.as_nanos() / NANOS).unwrap_or(i128::MAX).max(i128::from(MIN_BURST))
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.last).as_nanos();
        self.last = self.last.max(now);
        let Some(rate) = self.rate else { return };
        let earned = u128::from(rate).saturating_mul(passed).saturating_add(self.rest);
        self.rest = earned % NANOS;
        let whole = i128::try_from(earned / NANOS).unwrap_or(i128::MAX);
        self.available = self.available.saturating_add(whole).min(self.burst());
    }
}

/// Nanoseconds of a second.
const NANOS: u128 = 1_000_000_000;

/// Nobody is told to wait for longer, in nanoseconds: the rate may change meanwhile.
const LONGEST_WAIT: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Over any time nothing above rate and burst comes through, and a taker who asks when told gets the rate.
        #[test]
        fn the_rate_is_kept_and_reached(rate in 10_000..20_000_000_000_u64, bytes in 1..200_000_u64, secs in 1..40_u64) {
            let begun = Instant::now();
            let end = begun + Duration::from_secs(secs);
            let mut bucket = TokenBucket::new(begun, Some(rate));
            let (mut now, mut taken, mut takes) = (begun, 0_u128, 0);
            while now < end && takes < 200_000 {
                match bucket.take(now, bytes) {
                    Ok(()) => taken += u128::from(bytes),
                    Err(until) => now = until.unwrap(),
                }
                takes += 1;
            }
            let allowed = u128::from(rate) * (now - begun).as_nanos() / NANOS;
            let burst = (u128::from(rate) / 10).max(u128::from(MIN_BURST)) + u128::from(bytes);
            prop_assert!(taken <= allowed + burst + 1, "{} of {}", taken, allowed);
            prop_assert!(taken + u128::from(bytes) >= allowed, "{} of {}", taken, allowed);
        }
    }

    #[test]
    fn without_a_limit_all_passes_and_at_zero_nothing_after_the_change() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(now, None);
        assert_eq!(bucket.take(now, u64::MAX), Ok(()));
        bucket.set_rate(now, Some(0));
        let now = now + Duration::from_secs(9);
        assert_eq!(bucket.take(now, 1), Err(None));
        bucket.set_rate(now, Some(1_000_000));
        let mut last = Ok(());
        while last.is_ok() {
            last = bucket.take(now, 10_000);
        }
        let until = last.unwrap_err().unwrap();
        assert!(until > now && until < now + Duration::from_millis(20));
        assert_eq!(bucket.take(until, 10_000), Ok(()));
    }
}
