//! Which blocks a person asks for: by number, as a range, or by what somebody shares.

use std::{ops::RangeInclusive, str::FromStr};

use cairn_node::{
    Ticket,
    ticket::{self, TicketError},
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// These blocks.
    Blocks(BlockRange),
    /// What somebody shares.
    Ticket(Box<Ticket>),
}

impl Asked {
    /// The blocks, if it is not a ticket that says them.
    pub(super) fn blocks(&self) -> Option<BlockRange> {
        match self {
            Self::Blocks(blocks) => Some(*blocks),
            Self::Ticket(_) => None,
        }
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(ticket::PREFIX) {
            return text
                .parse()
                .map(|ticket| Self::Ticket(Box::new(ticket)))
                .map_err(|error: TicketError| error.to_string());
        }
        text.parse().map(Self::Blocks)
    }
}

/// Consecutive blocks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRange {
    /// The first block.
    pub(crate) first: u64,
    /// The last block.
    pub(crate) last: u64,
}

impl BlockRange {
    /// Each of their numbers.
    pub(crate) fn numbers(&self) -> RangeInclusive<u64> {
        self.first..=self.last
    }

    /// How many blocks there are.
    pub(crate) fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl FromStr for BlockRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.parse::<u64>().map_err(|_| format!("{part:?} is no block number; give N, FIRST..END or FIRST..=LAST"))
        };
        let (first, last) = if let Some((first, last)) = text.split_once("..=") {
            (number(first)?, Some(number(last)?))
        } else if let Some((first, end)) = text.split_once("..") {
            (number(first)?, number(end)?.checked_sub(1))
        } else {
            let only = number(text)?;
            (only, Some(only))
        };
        match last {
            Some(last) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("the range {text} is empty")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_with_and_without_their_end() {
        let range = |text: &str| text.parse::<BlockRange>();
        assert_eq!(range("7"), Ok(BlockRange { first: 7, last: 7 }));
        assert_eq!(range("7..9"), Ok(BlockRange { first: 7, last: 8 }));
        assert_eq!(range("7..=9"), Ok(BlockRange { first: 7, last: 9 }));
        assert_eq!(range("7..=9").map(|r| r.count()), Ok(3));
        for wrong in ["", "x", "9..7", "7..7", "0..0", "..5", "7..x", "-1"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
