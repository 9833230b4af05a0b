//! Why nothing can be put: the disk is full, or the system doesn't let the store write. That is said once when it begins and once
//! when it ends, however many puts are refused meanwhile, and callers can ask before they take in what could not be kept.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::StoreError;

/// Puts go on when this part of the reserve is free beyond it. Otherwise each file that comes or goes would make an end and a
/// beginning.
const RELIEF: u64 = 16;

/// Where only trying can tell whether it works again, as with a quota or a disk that fails, it is tried after so long.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Whether puts are refused.
#[derive(Default)]
pub(crate) struct Refusal(Mutex<Option<Refusing>>);

struct Refusing {
    why: StoreError,
    /// When to try again, if only trying can tell; otherwise what is free tells.
    retry: Option<Instant>,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Begun,
    Ended,
}

impl Refusal {
    /// Why nothing can be put now.
    pub(crate) fn reason(&self, now: Instant) -> Option<StoreError> {
        let state = self.0.lock();
        state.as_ref().filter(|refusing| refusing.retry.is_none_or(|at| now < at)).map(|refusing| refusing.why.clone())
    }

    /// So much is free.
    pub(crate) fn handle_free(&self, free: u64, reserve: u64, full: impl FnOnce() -> StoreError) -> Change {
        let mut state = self.0.lock();
        let needed = if state.is_some() { reserve.saturating_add(reserve / RELIEF) } else { reserve };
        if free < needed {
            let change = if state.is_none() { Change::Begun } else { Change::None };
            *state = Some(Refusing { why: full(), retry: None });
            return change;
        }
        match &*state {
            // Nobody knows but who tries.
            Some(Refusing { retry: Some(_), .. }) | None => Change::None,
            Some(Refusing { retry: None, .. }) => {
                *state = None;
                Change::Ended
            }
        }
    }

    /// The system let the store write, or did not.
    pub(crate) fn handle_written(&self, written: Result<(), &StoreError>, now: Instant) -> Change {
        let mut state = self.0.lock();
        match written {
            Err(why) => {
                let change = if state.is_none() { Change::Begun } else { Change::None };
                *state = Some(Refusing { why: why.clone(), retry: Some(now + RETRY_INTERVAL) });
                change
            }
            Ok(()) if state.take_if(|refusing| refusing.retry.is_some()).is_some() => Change::Ended,
            Ok(()) => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const RESERVE: u64 = 1_600;

    fn error() -> StoreError {
        StoreError::io("write", "/volume")(io::Error::from(io::ErrorKind::QuotaExceeded))
    }

    #[test]
    fn one_beginning_and_one_end_with_some_room_between_them() {
        let (refusal, now) = (Refusal::default(), Instant::now());
        let free = |free| refusal.handle_free(free, RESERVE, error);
        assert_eq!(free(RESERVE), Change::None);
        assert_eq!((free(RESERVE - 1), free(0), free(RESERVE)), (Change::Begun, Change::None, Change::None));
        assert!(refusal.reason(now).is_some());
        assert_eq!((free(RESERVE + RESERVE / RELIEF), free(RESERVE)), (Change::Ended, Change::None));
        assert!(refusal.reason(now).is_none());
    }

    #[test]
    fn what_only_trying_can_tell_is_tried_after_a_while_and_ends_with_a_success() {
        let (refusal, now) = (Refusal::default(), Instant::now());
        assert_eq!(refusal.handle_written(Err(&error()), now), Change::Begun);
        assert_eq!(refusal.handle_free(u64::MAX, RESERVE, error), Change::None, "it was free before");
        assert!(refusal.reason(now).is_some());
        let later = now + RETRY_INTERVAL;
        assert!(refusal.reason(later).is_none(), "somebody may try");
        assert_eq!(refusal.handle_written(Err(&error()), later), Change::None);
        assert!(refusal.reason(later).is_some());
        assert_eq!(refusal.handle_written(Ok(()), later), Change::Ended);
        assert!(refusal.reason(later).is_none());
    }
}
