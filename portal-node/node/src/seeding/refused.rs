//! Blocks that were refused, for one line in the log: what is wrong with one block is often wrong with thousands.

use std::fmt;
use std::ops::RangeInclusive;

/// Ranges that are kept apart; of a file with more holes, the last one shown goes on to the last block refused.
const MAX_RANGES: usize = 8;

/// Refused blocks in rising order, and why the first was.
#[derive(Debug, Default)]
pub(super) struct RefusedBlocks {
    count: u64,
    ranges: Vec<RangeInclusive<u64>>,
    first: Option<String>,
}

impl RefusedBlocks {
    pub(super) fn note(&mut self, number: u64, reason: &impl ToString) {
        self.first.get_or_insert_with(|| reason.to_string());
        self.count += 1;
        self.extend(number..=number);
    }

    /// Takes over those of later blocks.
    pub(super) fn append(&mut self, later: Self) {
        self.first = self.first.take().or(later.first);
        self.count += later.count;
        later.ranges.into_iter().for_each(|range| self.extend(range));
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    fn extend(&mut self, range: RangeInclusive<u64>) {
        let is_full = self.ranges.len() >= MAX_RANGES;
        match self.ranges.last_mut() {
            Some(last) if is_full || last.end().saturating_add(1) >= *range.start() => {
                *last = *last.start()..=*range.end();
            }
            _ => self.ranges.push(range),
        }
    }
}

impl fmt::Display for RefusedBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.ranges.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{} to {}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_in_a_row_are_one_range_with_the_first_reason() {
        let mut refused = RefusedBlocks::default();
        assert_eq!((refused.first(), refused.to_string()), (None, String::new()));
        (0..32).for_each(|number| refused.note(number, &format!("reason {number}")));
        let mut later = RefusedBlocks::default();
        for number in [32, 33, 40] {
            later.note(number, &"another");
        }
        refused.append(later);
        assert_eq!((refused.count(), refused.to_string().as_str()), (35, "0 to 33, 40"));
        assert_eq!(refused.first(), Some("reason 0"));
    }

    #[test]
    fn a_file_full_of_holes_has_a_line_of_bounded_length() {
        let mut refused = RefusedBlocks::default();
        (0..1000).map(|number| number * 3).for_each(|number| refused.note(number, &"bad"));
        assert_eq!((refused.count(), refused.ranges.len()), (1000, MAX_RANGES));
        assert!(refused.to_string().ends_with(" to 2997"), "{refused}");
    }
}
