//! A piece of the value that remembers where it stands.

use super::error::{BrokenRule, Rule};

/// Some bytes of the value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span<'a> {
    pub(super) bytes: &'a [u8],
    /// Where `bytes` starts in the value.
    pub(super) offset: usize,
}

impl<'a> Span<'a> {
    pub(super) fn of_value(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(super) fn fault(&self, rule: Rule) -> BrokenRule {
        BrokenRule::new(self.offset, rule)
    }

    /// The span itself if it is no longer than `limit` bytes.
    pub(super) fn at_most(self, limit: usize) -> Result<Self, BrokenRule> {
        if self.bytes.len() > limit {
            return Err(self.fault(Rule::TooLong { limit, found: self.bytes.len() }));
        }
        Ok(self)
    }
}
