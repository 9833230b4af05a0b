//! Which lines of the log are too many of a kind. What goes wrong a hundred times a second is said a few times, then now and
//! then, and how often it was left out is counted: a log that fills the disk helps nobody.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{
    Event, Level,
    callsite::Identifier,
    field::{Field, Visit},
};

/// Lines that one place in the code may write at once.
const BURST: u32 = 20;

/// After those, one more in so long.
const INTERVAL: Duration = Duration::from_secs(60);

/// Characters of a line that are kept to say what was left out.
const MAX_MESSAGE: usize = 200;

/// What each place in the code has written. There are as many as the program has log lines, so this is bounded.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<HashMap<Identifier, Place>>>);

struct Place {
    left: u32,
    /// When the last of `left` was added.
    added: Instant,
    /// Lines that were left out and not told of, and what the first of them said.
    omitted: u64,
    message: String,
}

impl Repeats {
    /// Whether this line is to be written. Those for developers always are: they were asked for.
    pub(super) fn admit(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let is_first_omitted = {
            let mut places = self.0.lock();
            let place = places.entry(metadata.callsite()).or_insert_with(|| Place::new(now));
            if place.admit(now) {
                return true;
            }
            place.message.is_empty()
        };
        if is_first_omitted {
            // Without the lock: whatever is shown here may write lines itself.
            let mut message = Message(String::new());
            event.record(&mut message);
            if let Some(place) = self.0.lock().get_mut(&metadata.callsite()) {
                place.message = message.0.chars().take(MAX_MESSAGE).collect();
            }
        }
        false
    }

    /// Says what was left out since the last time. To be called by nobody who is writing a line.
    pub(super) fn report(&self) {
        // The lines are written without the lock, which they take themselves.
        let omitted: Vec<_> = self.0.lock().values_mut().filter_map(|place| place.take_omitted()).collect();
        for (lines, message) in omitted {
            tracing::warn!(lines, "more lines were left out like: {message}");
        }
    }
}

impl Place {
    fn new(now: Instant) -> Self {
        Self { left: BURST, added: now, omitted: 0, message: String::new() }
    }

    fn admit(&mut self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.added);
        let due = u32::try_from(waited.as_secs() / INTERVAL.as_secs()).unwrap_or(u32::MAX);
        if due > 0 {
            self.left = self.left.saturating_add(due).min(BURST);
            // What is over counts for the next one, unless there is no room for more anyway.
            self.added = if self.left == BURST { now } else { self.added + INTERVAL * due };
        }
        if self.left == 0 {
            self.omitted += 1;
            return false;
        }
        self.left -= 1;
        true
    }

    fn take_omitted(&mut self) -> Option<(u64, String)> {
        let omitted = std::mem::take(&mut self.omitted);
        (omitted > 0).then(|| (omitted, std::mem::take(&mut self.message)))
    }
}

/// The text of a line, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_writes_some_lines_and_then_one_a_minute() {
        let begun = Instant::now();
        let mut place = Place::new(begun);
        let mut admitted = |seconds, lines: u32| {
            let now = begun + Duration::from_secs(seconds);
            (0..lines).filter(|_| place.admit(now)).count() as u32
        };
        assert_eq!(admitted(0, 1_000), BURST);
        assert_eq!(admitted(59, 10), 0);
        assert_eq!(admitted(61, 10), 1);
        assert_eq!(admitted(119, 10), 0, "a minute after the last was due, not after it was written");
        assert_eq!(admitted(120, 10), 1);
        assert_eq!(admitted(3_600, 1_000), BURST, "what is saved up has an end");
    }

    #[test]
    fn what_is_left_out_is_counted_once() {
        let now = Instant::now();
        let mut place = Place::new(now);
        let omitted = (0..u64::from(BURST) + 7).filter(|_| !place.admit(now)).count() as u64;
        assert_eq!(place.take_omitted().map(|(lines, _)| lines), Some(omitted));
        assert_eq!(place.take_omitted(), None);
    }
}
