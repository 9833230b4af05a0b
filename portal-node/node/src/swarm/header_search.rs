//! When a batch's headers are looked up one by one, beside the fetch that asks peers for runs of them. Whoever claims runs of headers
//! and gives none must not keep them from being looked up. Without I/O and clock.

use std::time::{Duration, Instant};

/// How long a fetch may bring no header before they are looked up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How it is with a batch's headers.
#[derive(Debug)]
pub(super) struct HeaderSearch {
    /// The runs were not had before: then nobody is relied upon.
    is_retry: bool,
    /// How many were here, and since when no other came.
    here: usize,
    since: Instant,
}

impl HeaderSearch {
    pub(super) const fn new(now: Instant, here: usize, is_retry: bool) -> Self {
        Self { is_retry, here, since: now }
    }

    /// So many headers are here now. Whether one is to be looked up that somebody claims who delivers.
    pub(super) fn is_claimed_one_due(&mut self, now: Instant, here: usize) -> bool {
        if here > self.here {
            (self.here, self.since) = (here, now);
        }
        self.is_retry || now.saturating_duration_since(self.since) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_only_claimed_are_looked_up_once_none_comes_and_at_once_if_they_were_not_had_before() {
        let start = Instant::now();
        let mut search = HeaderSearch::new(start, 3, false);
        let second = Duration::from_secs(1);
        assert!(!search.is_claimed_one_due(start + PATIENCE - second, 3));
        assert!(!search.is_claimed_one_due(start + PATIENCE, 4), "one came");
        assert!(!search.is_claimed_one_due(start + PATIENCE * 2 - second, 4));
        assert!(search.is_claimed_one_due(start + PATIENCE * 2, 4));
        assert!(HeaderSearch::new(start, 3, true).is_claimed_one_due(start, 3));
    }
}
