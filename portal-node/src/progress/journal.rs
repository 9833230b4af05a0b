//! Progress of work that takes days: a bar on a terminal, elsewhere a line now and then.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use indicatif::{HumanCount, HumanDuration, ProgressBar};

use super::{items, rate};
use crate::output;

/// How often a line is written where there is no terminal to draw on.
const INTERVAL: Duration = Duration::from_secs(10);

/// Work that may take days: a bar on a terminal, elsewhere a line now and then.
#[derive(Debug)]
pub(crate) struct Journal {
    bar: ProgressBar,
    what: String,
    first: u64,
    last: u64,
    begun: Instant,
    said: Instant,
}

impl Journal {
    /// Work on the blocks from `first` to `last`.
    pub(crate) fn new(first: u64, last: u64, what: &str) -> Self {
        let bar = items(last.saturating_sub(first).saturating_add(1), what);
        Self { bar, what: what.to_owned(), first, last, begun: Instant::now(), said: Instant::now() }
    }

    /// How long it has taken.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// It is at `block`; `rest` is what else there is to say.
    pub(crate) fn show(&mut self, block: u64, rest: &str) {
        self.bar.set_position(block.saturating_sub(self.first));
        self.bar.set_message(format!("{} block {}, {rest}", self.what, HumanCount(block)));
        if self.bar.is_hidden() && self.said.elapsed() >= INTERVAL {
            self.said = Instant::now();
            output::remark(self.line(block, rest));
        }
    }

    fn line(&self, block: u64, rest: &str) -> String {
        let (done, elapsed) = (block.saturating_sub(self.first), self.elapsed());
        let mut line = format!("{} block {block} of {}", self.what, self.last);
        if done > 0 {
            let left = self.last.saturating_sub(block) as f64 / done as f64;
            let per_second = rate(done as f64 / elapsed.as_secs_f64().max(0.001), |of| HumanCount(of).to_string());
            let left = Duration::try_from_secs_f64(elapsed.as_secs_f64() * left).unwrap_or(Duration::MAX);
            let _ = write!(line, ", {per_second} blocks/s, {:#} left", HumanDuration(left));
        }
        format!("{line}, {rest}")
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_says_how_long_the_rest_takes_where_no_bar_is_drawn() {
        let mut journal = Journal::new(100, 299, "replaying");
        assert_eq!(journal.line(100, "1 M gas/s"), "replaying block 100 of 299, 1 M gas/s");
        journal.begun = Instant::now() - Duration::from_secs(10);
        let line = journal.line(150, "1 M gas/s");
        assert!(line.starts_with("replaying block 150 of 299, 5.0 blocks/s, 30s left, "), "{line}");
    }
}
