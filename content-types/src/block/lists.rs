//! The lists of a block, read item by item from either encoding.

use super::error::{BlockPlace, BrokenRule, Malformed, Rule};
use super::rlp::{RlpItem, RlpItems};
use super::span::Span;
use super::ssz::Fields;

/// How a list of the block is named in errors, and how many items it may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListKind {
    pub(super) place: BlockPlace,
    pub(super) item: fn(usize) -> BlockPlace,
    pub(super) limit: usize,
}

impl ListKind {
    /// Reads each item of an RLP list.
    pub(super) fn read_items<'a, T>(
        self,
        mut items: RlpItems<'a>,
        mut read: impl FnMut(&RlpItem<'a>) -> Result<T, BrokenRule>,
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
        mut read: impl FnMut(Span<'a>) -> Result<T, BrokenRule>,
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
