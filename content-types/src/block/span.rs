//! A piece of the value that remembers where it stands, and lists of such pieces.

use super::error::{Fault, Malformed, Place, Rule};
use super::rlp::{Item, Items};
use super::ssz::Fields;

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

    pub(super) fn fault(&self, rule: Rule) -> Fault {
        Fault::new(self.offset, rule)
    }

    /// The span itself if it is no longer than `limit` bytes.
    pub(super) fn at_most(self, limit: usize) -> Result<Self, Fault> {
        if self.bytes.len() > limit {
            return Err(self.fault(Rule::TooLong { limit, found: self.bytes.len() }));
        }
        Ok(self)
    }
}

/// How a list of the block is named in errors, and how many items it may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListKind {
    pub(super) place: Place,
    pub(super) item: fn(usize) -> Place,
    pub(super) limit: usize,
}

impl ListKind {
    /// Reads each item of an RLP list.
    pub(super) fn read_items<'a, T>(
        self,
        mut items: Items<'a>,
        mut read: impl FnMut(&Item<'a>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Malformed> {
        let mut list = Vec::new();
        loop {
            let place = (self.item)(list.len());
            let Some(item) = items.next_item().map_err(|fault| fault.at(place))? else { return Ok(list) };
            if list.len() == self.limit {
                return Err(item.span().fault(Rule::TooMany { limit: self.limit }).at(self.place));
            }
            list.push(read(&item).map_err(|fault| fault.at(place))?);
        }
    }

    /// Reads each item of an SSZ list of byte lists.
    pub(super) fn read_fields<'a, T>(
        self,
        list: Span<'a>,
        mut read: impl FnMut(Span<'a>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Malformed> {
        let mut fields = Fields::new(list).map_err(|fault| fault.at(self.place))?;
        if fields.count() > self.limit {
            return Err(list.fault(Rule::TooMany { limit: self.limit }).at(self.place));
        }
        let mut list = Vec::with_capacity(fields.count());
        loop {
            let place = (self.item)(list.len());
            let Some(span) = fields.next_field().map_err(|fault| fault.at(place))? else { return Ok(list) };
            list.push(read(span).map_err(|fault| fault.at(place))?);
        }
    }
}
