//! Runs that were not had, and when each of them is tried again. What is remembered is a few bytes for each run that there can be,
//! so that nothing has to be forgotten to make room: a run that was forgotten would be due at once.

use std::time::{Duration, Instant};

use cairn_swarm::geometry::{Component, Run};

use super::run_bits::MAX_RUNS;

/// How long a run is left alone that was not had, the first time; four times as long each time after that.
const BACKOFF: Duration = Duration::from_secs(10);
/// The longest of that. Whose archive ends within a run says that it has it, rightly, and is charged a little each time that it
/// has not all of it.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(6 * 60 * 60);

/// What is remembered of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Failure {
    /// How often it was not had; 0: it is none of them.
    times: u8,
    /// Whether it was not had from peers that deliver.
    is_proved: bool,
    /// When it is due, in seconds since the beginning.
    due: u32,
}

/// Runs that were not had.
#[derive(Debug)]
pub(super) struct Failures {
    begun: Instant,
    /// By component and run, as far as any was noted: 4 MB a component at most, and 0.8 MB for a chain of 25 million blocks.
    of: [Vec<Failure>; Component::COUNT],
}

impl Failures {
    pub(super) fn new(now: Instant) -> Self {
        Self { begun: now, of: Default::default() }
    }

    /// A run was not had, `is_proved`: from peers that deliver. If something of it came it is left alone for as long as the last time,
    /// and for longer otherwise.
    pub(super) fn note(&mut self, now: Instant, run: Run, is_progress: bool, is_proved: bool) {
        let Some(index) = usize::try_from(run.index).ok().filter(|_| run.index < MAX_RUNS) else { return };
        let since = now.saturating_duration_since(self.begun);
        let of = &mut self.of[run.component.index()];
        if of.len() <= index {
            of.resize(index + 1, Failure::default());
        }
        let Some(failure) = of.get_mut(index) else { return };
        // What strangers did not bring says nothing of whoever delivers.
        if is_proved && !failure.is_proved {
            *failure = Failure { is_proved, ..Failure::default() };
        }
        failure.times = if is_progress { failure.times.max(1) } else { failure.times.saturating_add(1) };
        let pause = BACKOFF.saturating_mul(1 << (2 * u32::from(failure.times - 1).min(8))).min(MAX_BACKOFF);
        // Rounded up: a pause is never shorter than it should be.
        failure.due = u32::try_from((since + pause).as_secs().saturating_add(1)).unwrap_or(u32::MAX);
    }

    /// A run was had.
    pub(super) fn forget(&mut self, run: Run) {
        let index = usize::try_from(run.index).unwrap_or(usize::MAX);
        if let Some(failure) = self.of[run.component.index()].get_mut(index) {
            *failure = Failure::default();
        }
    }

    /// Whether a run may be tried, `is_proved`: with peers that deliver. Where it was not had from others alone, it may: they could
    /// else keep it from being had by claiming it before.
    pub(super) fn is_due(&self, now: Instant, run: Run, is_proved: bool) -> bool {
        self.get(run).is_none_or(|failure| is_proved && !failure.is_proved || now >= self.due(failure))
    }

    /// How often a run was not had.
    pub(super) fn times(&self, run: Run) -> u8 {
        self.get(run).map_or(0, |failure| failure.times)
    }

    fn due(&self, failure: Failure) -> Instant {
        self.begun + Duration::from_secs(failure.due.into())
    }

    fn get(&self, run: Run) -> Option<Failure> {
        let index = usize::try_from(run.index).ok()?;
        self.of[run.component.index()].get(index).copied().filter(|failure| failure.times > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it is from now until a run is due, to the second.
    fn pause(failures: &Failures, now: Instant, run: Run) -> Duration {
        let due = (0..).map(Duration::from_secs).find(|pause| failures.is_due(now + *pause, run, true));
        due.unwrap()
    }

    #[test]
    fn what_was_not_had_is_left_alone_for_longer_each_time_unless_something_came() {
        let mut now = Instant::now() + Duration::from_millis(700);
        let mut failures = Failures::new(now);
        let (run, other) =
            (Run { component: Component::Bodies, index: 5 }, Run { component: Component::Bodies, index: 4 });
        let mut before = Duration::ZERO;
        for times in 1..20 {
            failures.note(now, run, false, true);
            let longer = pause(&failures, now, run);
            assert!(longer >= before.max(BACKOFF) && longer <= MAX_BACKOFF + Duration::from_secs(1), "{longer:?}");
            assert!(times > 6 || longer > before * 3);
            assert_eq!(failures.times(run), times);
            (before, now) = (longer, now + longer);
        }
        failures.forget(run);
        assert!(failures.is_due(now, run, false));
        for _ in 0..5 {
            failures.note(now, run, true, true);
            assert!(pause(&failures, now, run) <= BACKOFF + Duration::from_secs(1));
        }
        assert!(failures.is_due(now, other, false));
    }

    #[test]
    fn what_strangers_did_not_bring_is_tried_at_once_with_who_delivers() {
        let now = Instant::now();
        let mut failures = Failures::new(now);
        let run = Run { component: Component::Bodies, index: 5 };
        (0..9).for_each(|_| failures.note(now, run, false, false));
        assert!(!failures.is_due(now + MAX_BACKOFF / 2, run, false) && failures.is_due(now, run, true));
        failures.note(now, run, false, true);
        assert!(!failures.is_due(now, run, true));
        assert!(pause(&failures, now, run) <= BACKOFF + Duration::from_secs(1), "it is the first time");
        failures.note(now, run, false, false);
        assert!(!failures.is_due(now, run, true));
    }

    #[test]
    fn nothing_is_forgotten_however_much_there_is_and_no_number_takes_more_room() {
        let now = Instant::now();
        let mut failures = Failures::new(now);
        for index in (0..MAX_RUNS).chain([MAX_RUNS, u64::MAX]) {
            failures.note(now, Run { component: Component::Receipts, index }, false, true);
        }
        let run = |index| Run { component: Component::Receipts, index };
        assert!((0..MAX_RUNS).all(|index| !failures.is_due(now, run(index), true)));
        assert_eq!(failures.of[2].len() as u64, MAX_RUNS);
    }
}
