//! A host's link in one direction: packets go through one after another at its rate, wait before it, and are dropped when too many
//! wait (drop-tail).

use std::time::{Duration, Instant};

const NANOS: u128 = 1_000_000_000;

/// What a link is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// Bytes a second; `None` for one that takes no time.
    pub rate: Option<u64>,
    /// Bytes that may wait, the rest of the packet that is on its way through included. A link that is free takes any packet.
    pub queue: u64,
}

impl LinkSpec {
    /// A link that takes no time.
    pub const UNLIMITED: Self = Self { rate: None, queue: 0 };

    /// A link of so many megabits a second, before which `queue` bytes may wait.
    pub const fn megabits(rate: u64, queue: u64) -> Self {
        Self { rate: Some(rate.saturating_mul(125_000)), queue }
    }
}

/// A link, and until when it is taken.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    spec: LinkSpec,
    free_at: Option<Instant>,
}

impl Link {
    pub(crate) fn new(spec: LinkSpec) -> Self {
        Self { spec, free_at: None }
    }

    /// A packet of `bytes` comes to the link. Returns when it is through, or `None` if it is dropped. Times must not go backwards.
    pub(crate) fn handle_packet(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = self.spec.rate.map(u128::from) else { return Some(now) };
        let bytes = bytes as u128;
        let taken = self.free_at.map_or(Duration::ZERO, |free_at| free_at.saturating_duration_since(now));
        let waiting = (taken.as_nanos() * rate).div_ceil(NANOS);
        if waiting > 0 && waiting + bytes > u128::from(self.spec.queue) {
            return None;
        }
        // A link without a rate never gets free again.
        let takes = (bytes * NANOS).checked_div(rate)?;
        let through = now + taken + Duration::from_nanos(u64::try_from(takes).ok()?);
        self.free_at = Some(through);
        Some(through)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_queue_drops_what_comes_last() {
        let mut link = Link::new(LinkSpec { rate: Some(1_000), queue: 250 });
        let start = Instant::now();
        let after = |millis| Some(start + Duration::from_millis(millis));
        assert_eq!(link.handle_packet(start, 100), after(100));
        assert_eq!(link.handle_packet(start, 100), after(200));
        assert_eq!(link.handle_packet(start, 100), None, "200 bytes are there");
        assert_eq!(link.handle_packet(start, 50), after(250));
        let later = start + Duration::from_millis(100);
        assert_eq!(link.handle_packet(later, 100), after(350));
    }

    #[test]
    fn a_link_that_is_free_takes_a_packet_longer_than_its_queue() {
        let mut link = Link::new(LinkSpec { rate: Some(1_000), queue: 0 });
        let start = Instant::now();
        let through = link.handle_packet(start, 1_500).unwrap();
        assert_eq!(through, start + Duration::from_millis(1_500));
        assert_eq!(link.handle_packet(through - Duration::from_nanos(1), 1), None);
        assert!(link.handle_packet(through, 1).is_some());
    }

    #[test]
    fn a_link_of_no_bytes_a_second_takes_nothing() {
        let mut link = Link::new(LinkSpec { rate: Some(0), queue: 1_000 });
        assert_eq!(link.handle_packet(Instant::now(), 1), None);
    }

    proptest! {
        /// Packets of any lengths at any times: in order, no faster than the rate, and no longer on their way than a full queue takes.
        #[test]
        fn a_link_keeps_to_its_rate_and_its_queue(
            rate in 1_000u64..100_000_000,
            queue in 0u64..200_000,
            packets in prop::collection::vec((0u64..20_000_000, 1usize..=1_500), 1..300),
        ) {
            let mut link = Link::new(LinkSpec { rate: Some(rate), queue });
            let start = Instant::now();
            let (mut now, mut last, mut through) = (start, start, 0);
            for (gap, bytes) in packets {
                now += Duration::from_nanos(gap);
                let before = through;
                let Some(at) = link.handle_packet(now, bytes) else { continue };
                through += bytes as u128;
                prop_assert!(at > last && at > now);
                // Of all that went through since the beginning, nothing was faster than the rate; a nanosecond is lost a packet.
                prop_assert!(before * NANOS / u128::from(rate) <= (at - start).as_nanos() + 300);
                let longest = (u128::from(queue) + bytes as u128) * NANOS / u128::from(rate);
                prop_assert!((at - now).as_nanos() <= longest + 1);
                last = at;
            }
        }

        /// A link that always has something waiting carries its rate.
        #[test]
        fn a_link_that_is_never_free_carries_its_rate(rate in 100_000u64..50_000_000, bytes in 100usize..=1_500) {
            let mut link = Link::new(LinkSpec { rate: Some(rate), queue: 30_000 });
            let start = Instant::now();
            let (mut now, mut through, mut last) = (start, 0u64, start);
            while now < start + Duration::from_secs(1) {
                // As many as there is room for, and one more.
                for at in (0..=30_000 / bytes + 1).map_while(|_| link.handle_packet(now, bytes)) {
                    through += bytes as u64;
                    last = at;
                }
                now += Duration::from_secs_f64(bytes as f64 / rate as f64);
            }
            let carried = through as f64 / (last - start).as_secs_f64();
            prop_assert!((carried / rate as f64 - 1.0).abs() < 0.001, "{carried} of {rate}");
        }
    }
}
