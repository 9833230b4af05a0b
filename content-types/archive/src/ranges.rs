//! Runs of consecutive numbers.

use std::ops::RangeInclusive;

/// The ranges that ascending `numbers` make up.
pub(crate) fn of(numbers: impl IntoIterator<Item = u64>) -> Vec<RangeInclusive<u64>> {
    let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(number) => *last = *last.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    #[test]
    fn neighbours_join() {
        assert_eq!(super::of([1, 2, 3, 7, 9, 10]), [1..=3, 7..=7, 9..=10]);
        assert_eq!(super::of([]), []);
    }
}
