//! Round-trip time and the time-outs that follow from it (RFC 6298).

use std::time::Duration;

/// Retransmission time-out before the first sample (RFC 6298, section 2.1).
const INITIAL_RTO: Duration = Duration::from_secs(1);

/// Shortest retransmission time-out, as in libutp. RFC 6298 says 1 s; tail-loss probes make the shorter one safe.
const MIN_RTO: Duration = Duration::from_millis(500);

/// Longest retransmission time-out, so that a peer that comes back is noticed well before it is given up.
pub(crate) const MAX_RTO: Duration = Duration::from_secs(4);

/// How long a peer may hold an acknowledgement back before we think that the tail of a burst was lost.
const PEER_ACK_DELAY: Duration = Duration::from_millis(15);

/// The shortest time for which a packet is given the benefit of being late (RFC 9002, section 6.1.2).
const TIMER_GRANULARITY: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    smoothed: Option<Duration>,
    variation: Duration,
    latest: Duration,
    min: Duration,
}

impl RttEstimator {
    pub(crate) fn new() -> Self {
        Self { smoothed: None, variation: Duration::ZERO, latest: Duration::ZERO, min: Duration::ZERO }
    }

    /// Takes the time from a packet's only transmission to its acknowledgement.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.latest = rtt;
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
                self.min = rtt;
            }
            Some(smoothed) => {
                self.variation = self.variation * 3 / 4 + smoothed.abs_diff(rtt) / 4;
                self.smoothed = Some(smoothed * 7 / 8 + rtt / 8);
                self.min = self.min.min(rtt);
            }
        }
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or_default()
    }

    /// Shortest round-trip time seen; zero before the first sample.
    pub(crate) fn min(&self) -> Duration {
        self.min
    }

    /// Retransmission time-out after `backoff` doublings.
    pub(crate) fn rto(&self, backoff: u32) -> Duration {
        let rto = match self.smoothed {
            None => INITIAL_RTO,
            Some(smoothed) => (smoothed + 4 * self.variation).clamp(MIN_RTO, MAX_RTO),
        };
        rto.saturating_mul(1 << backoff.min(8)).min(MAX_RTO)
    }

    /// How long after the last packet a probe asks whether the tail was lost (RFC 8985, section 7.2).
    pub(crate) fn probe_timeout(&self) -> Duration {
        match self.smoothed {
            None => INITIAL_RTO,
            Some(smoothed) => (2 * smoothed + PEER_ACK_DELAY).min(self.rto(0)),
        }
    }

    /// How long a packet may be overtaken by later ones before it counts as lost (RFC 9002, section 6.1.2).
    pub(crate) fn loss_delay(&self) -> Duration {
        (self.smoothed().max(self.latest) * 9 / 8).max(TIMER_GRANULARITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_follow_the_samples_within_their_bounds() {
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.rto(0), INITIAL_RTO);
        rtt.sample(Duration::from_millis(400));
        // RFC 6298, rule 2.2: SRTT + 4 * RTTVAR with RTTVAR = R / 2.
        assert_eq!(rtt.rto(0), Duration::from_millis(1200));
        assert_eq!(rtt.rto(1), Duration::from_millis(2400));
        assert_eq!(rtt.rto(30), MAX_RTO);
        for _ in 0..100 {
            rtt.sample(Duration::from_micros(80));
        }
        assert_eq!(rtt.rto(0), MIN_RTO);
        assert!(rtt.probe_timeout() < Duration::from_millis(20));
        assert_eq!(rtt.min(), Duration::from_micros(80));
    }
}
