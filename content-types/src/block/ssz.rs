//! Strict walking over the SSZ of lists of byte lists.

use super::error::{BrokenRule, Rule};
use super::span::Span;

/// Bytes of an offset.
const OFFSET_LEN: usize = 4;

/// The variable-size fields of a container, or the items of a list, of which all are of variable size.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    whole: Span<'a>,
    count: usize,
    next: usize,
}

impl<'a> Fields<'a> {
    /// Reads the first offset, which tells how many fields there are: none where the bytes are empty.
    pub(super) fn new(whole: Span<'a>) -> Result<Self, BrokenRule> {
        if whole.bytes.is_empty() {
            return Ok(Self { whole, count: 0, next: 0 });
        }
        let mut fields = Self { whole, count: 1, next: 0 };
        let first = fields.read_offset(0)?;
        if first == 0 || !first.is_multiple_of(OFFSET_LEN) || first > whole.bytes.len() {
            return Err(whole.fault(Rule::SszOffset { offset: first }));
        }
        fields.count = first / OFFSET_LEN;
        Ok(fields)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The next field, or `None` at the end.
    pub(super) fn next_field(&mut self) -> Result<Option<Span<'a>>, BrokenRule> {
        if self.next == self.count {
            return Ok(None);
        }
        let start = self.read_offset(self.next)?;
        self.next += 1;
        let end = if self.next == self.count { self.whole.bytes.len() } else { self.read_offset(self.next)? };
        let Some(bytes) = self.whole.bytes.get(start..end) else {
            // The end is the next field's offset, except for the last field, whose own offset is at fault.
            let (at, offset) = if self.next == self.count { (self.next - 1, start) } else { (self.next, end) };
            return Err(BrokenRule::new(self.whole.offset + at * OFFSET_LEN, Rule::SszOffset { offset }));
        };
        Ok(Some(Span { bytes, offset: self.whole.offset + start }))
    }

    /// The next field, which the specification demands.
    pub(super) fn expect_next(&mut self) -> Result<Span<'a>, BrokenRule> {
        let missing = self.whole.fault(Rule::FieldCount { found: self.count });
        self.next_field()?.ok_or(missing)
    }

    fn read_offset(&self, index: usize) -> Result<usize, BrokenRule> {
        let at = index * OFFSET_LEN;
        let rest = self.whole.bytes.get(at..).unwrap_or_default();
        let offset = rest.first_chunk().ok_or_else(|| {
            BrokenRule::new(self.whole.offset + at, Rule::Overrun { needed: OFFSET_LEN, available: rest.len() })
        })?;
        Ok(u32::from_le_bytes(*offset) as usize)
    }
}

/// Appends the SSZ of a list of byte lists (or of a container of such fields).
///
/// # Errors
///
/// The value would be longer than an offset can say.
pub(super) fn write_fields(fields: &[impl AsRef<[u8]>], out: &mut Vec<u8>) -> Result<(), Rule> {
    let mut offset = fields.len() * OFFSET_LEN;
    for field in fields {
        let written = u32::try_from(offset).map_err(|_| Rule::TooLong { limit: u32::MAX as usize, found: offset })?;
        out.extend_from_slice(&written.to_le_bytes());
        offset += field.as_ref().len();
    }
    fields.iter().for_each(|field| out.extend_from_slice(field.as_ref()));
    Ok(())
}
