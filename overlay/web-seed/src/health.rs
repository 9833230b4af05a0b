//! Whether a server answers. While it does not, it is asked once in a while, and everybody else is told so at once: who
//! waits for it in vain would hold a thread that others need.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Reason;

/// How long a server is left alone after it failed. Doubled each time that it fails again.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest such time.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Failing for so long, it counts as down. A moment's failure is no reason to tell others that nothing is here.
const DOWN_AFTER: Duration = Duration::from_secs(60);

/// What is known of a server.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing: Mutex<Option<Failing>>,
    /// Raised by each failure.
    trouble: AtomicBool,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    reason: Reason,
    rest: Duration,
    until: Instant,
}

impl Health {
    /// Whether a request may be made now.
    ///
    /// # Errors
    /// Why the last one failed.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Reason> {
        match &mut *self.failing.lock() {
            Some(failing) if now < failing.until => Err(failing.reason.clone()),
            // One may try; until it is known how that went, nobody else.
            Some(failing) => {
                failing.until = now + LONGEST_REST;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A request went well.
    pub(crate) fn answered(&self) {
        *self.failing.lock() = None;
    }

    /// Whether a request failed since this was asked last.
    pub(crate) fn had_trouble(&self) -> bool {
        self.trouble.swap(false, Ordering::Relaxed)
    }

    /// A request failed, and the next one may as well.
    pub(crate) fn failed(&self, reason: &Reason, now: Instant) {
        self.trouble.store(true, Ordering::Relaxed);
        let mut state = self.failing.lock();
        let (since, rest) = match &*state {
            // Requests that were under way together fail together, which counts once.
            Some(failing) if now < failing.until && failing.until - now <= failing.rest => return,
            Some(failing) => (failing.since, LONGEST_REST.min(failing.rest * 2)),
            None => (now, FIRST_REST),
        };
        *state = Some(Failing { since, reason: reason.clone(), rest, until: now + rest });
    }

    /// Whether it has failed for long.
    pub(crate) fn is_down(&self, now: Instant) -> bool {
        self.failing.lock().as_ref().is_some_and(|failing| now.duration_since(failing.since) >= DOWN_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_failed_is_asked_once_in_a_while_until_it_answers() {
        let (health, start) = (Health::default(), Instant::now());
        assert!(health.check(start).is_ok() && health.check(start).is_ok());
        health.failed(&Reason::TimeOut, start);
        health.failed(&Reason::TimeOut, start);
        assert!(health.check(start).is_err());
        let later = start + FIRST_REST;
        assert!(health.check(later).is_ok());
        assert!(health.check(later).is_err(), "one at a time");
        health.failed(&Reason::TimeOut, later);
        assert!(health.check(later + FIRST_REST).is_err(), "the rest is longer the second time");
        assert!(health.check(later + 2 * FIRST_REST).is_ok());
        health.answered();
        assert!(health.check(later).is_ok() && health.check(later).is_ok());
        assert!(health.had_trouble() && !health.had_trouble());
    }

    #[test]
    fn it_is_down_after_a_while_and_never_left_alone_for_longer_than_that() {
        let (health, mut now) = (Health::default(), Instant::now());
        let start = now;
        while now < start + DOWN_AFTER {
            assert!(!health.is_down(now));
            health.failed(&Reason::TimeOut, now);
            now += FIRST_REST;
        }
        assert!(health.is_down(now));
        for _ in 0..100 {
            now += LONGEST_REST;
            assert!(health.check(now).is_ok());
            health.failed(&Reason::TimeOut, now);
        }
        health.answered();
        assert!(!health.is_down(now));
    }
}
