//! Strict walking over RLP: items as slices of the input, canonical headers only.

use super::error::{BrokenRule, Rule};
use super::span::Span;

/// Largest payload with a one-byte header, bytes.
const SHORT_MAX: usize = 55;
const STRING: u8 = 0x80;
const LIST: u8 = 0xc0;

/// One RLP item.
#[derive(Debug, Clone, Copy)]
pub(super) struct RlpItem<'a> {
    pub(super) is_list: bool,
    /// Header and payload.
    pub(super) encoded: &'a [u8],
    pub(super) payload: &'a [u8],
    /// Where `encoded` starts in the value, bytes.
    pub(super) offset: usize,
}

impl<'a> RlpItem<'a> {
    /// Reads the one item that `span` consists of.
    pub(super) fn exactly(span: Span<'a>) -> Result<Self, BrokenRule> {
        let mut items = RlpItems { rest: span.bytes, offset: span.offset };
        let item = items.expect_next()?;
        items.expect_end()?;
        Ok(item)
    }

    fn fault(&self, rule: Rule) -> BrokenRule {
        BrokenRule::new(self.offset, rule)
    }

    /// Header and payload.
    pub(super) fn span(&self) -> Span<'a> {
        Span { bytes: self.encoded, offset: self.offset }
    }

    /// Where the payload starts in the value, bytes.
    pub(super) fn payload_offset(&self) -> usize {
        self.offset + self.encoded.len() - self.payload.len()
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<RlpItems<'a>, BrokenRule> {
        if !self.is_list {
            return Err(self.fault(Rule::ExpectedList));
        }
        Ok(RlpItems { rest: self.payload, offset: self.payload_offset() })
    }

    /// The bytes of a string.
    pub(super) fn string(&self) -> Result<&'a [u8], BrokenRule> {
        if self.is_list { Err(self.fault(Rule::ExpectedString)) } else { Ok(self.payload) }
    }

    /// The bytes of a string of `N` bytes.
    pub(super) fn fixed<const N: usize>(&self) -> Result<&'a [u8; N], BrokenRule> {
        let string = self.string()?;
        string.try_into().map_err(|_| self.fault(Rule::Length { expected: N, found: string.len() }))
    }

    /// An unsigned integer.
    pub(super) fn integer(&self) -> Result<u64, BrokenRule> {
        let string = self.string()?;
        if string.len() > size_of::<u64>() || string.first() == Some(&0) {
            return Err(self.fault(Rule::Integer));
        }
        Ok(string.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }
}

/// A cursor over consecutive items.
#[derive(Debug, Clone)]
pub(super) struct RlpItems<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> RlpItems<'a> {
    /// The next item, or `None` at the end.
    #[inline]
    pub(super) fn next_item(&mut self) -> Result<Option<RlpItem<'a>>, BrokenRule> {
        let Some(&first) = self.rest.first() else { return Ok(None) };
        let (is_list, header, payload) = self.read_header(first)?;
        let available = self.rest.len() - header;
        if payload > available {
            return Err(self.fault(Rule::Overrun { needed: payload, available }));
        }
        let (encoded, rest) = self.rest.split_at(header + payload);
        let item = RlpItem { is_list, encoded, payload: &encoded[header..], offset: self.offset };
        self.rest = rest;
        self.offset += encoded.len();
        Ok(Some(item))
    }

    /// The next item, which the specification demands.
    pub(super) fn expect_next(&mut self) -> Result<RlpItem<'a>, BrokenRule> {
        self.next_item()?.ok_or_else(|| self.fault(Rule::Overrun { needed: 1, available: 0 }))
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses anything after the last item that the specification allows.
    pub(super) fn expect_end(&self) -> Result<(), BrokenRule> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.fault(Rule::Trailing { count: self.rest.len() })) }
    }

    fn fault(&self, rule: Rule) -> BrokenRule {
        BrokenRule::new(self.offset, rule)
    }

    /// Whether the item is a list, the length of its header, which lies within the input, and that which it claims for
    /// its payload.
    fn read_header(&self, first: u8) -> Result<(bool, usize, usize), BrokenRule> {
        if first < STRING {
            return Ok((false, 0, 1));
        }
        let is_list = first >= LIST;
        let length = usize::from(first - if is_list { LIST } else { STRING });
        if length <= SHORT_MAX {
            if !is_list && length == 1 && self.rest.get(1).is_some_and(|&byte| byte < STRING) {
                return Err(self.fault(Rule::NotShortest));
            }
            return Ok((is_list, 1, length));
        }
        let width = length - SHORT_MAX;
        let digits = self
            .rest
            .get(1..=width)
            .ok_or_else(|| self.fault(Rule::Overrun { needed: 1 + width, available: self.rest.len() }))?;
        let length = digits.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        if digits[0] == 0 || length <= SHORT_MAX as u64 {
            return Err(self.fault(Rule::NotShortest));
        }
        Ok((is_list, 1 + width, usize::try_from(length).unwrap_or(usize::MAX)))
    }
}

/// A header, built on the stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct RlpHeader {
    bytes: [u8; 9],
    len: u8,
}

impl RlpHeader {
    pub(super) fn list(payload: usize) -> Self {
        Self::new(LIST, payload)
    }

    /// The header of a string, which is empty for a single byte below 0x80.
    pub(super) fn string(string: &[u8]) -> Self {
        match string {
            [byte] if *byte < STRING => Self { bytes: [0; 9], len: 0 },
            _ => Self::new(STRING, string.len()),
        }
    }

    fn new(base: u8, payload: usize) -> Self {
        let mut bytes = [0; 9];
        if payload <= SHORT_MAX {
            bytes[0] = base + payload as u8;
            return Self { bytes, len: 1 };
        }
        let digits = (payload as u64).to_be_bytes();
        let width = digits.len() - (payload as u64).leading_zeros() as usize / 8;
        bytes[0] = base + (SHORT_MAX + width) as u8;
        bytes[1..=width].copy_from_slice(&digits[digits.len() - width..]);
        Self { bytes, len: 1 + width as u8 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use alloy_rlp::{Decodable, Encodable, Header as Reference};
    use proptest::prelude::*;

    use super::*;
    use crate::block::BlockPlace;

    fn read(bytes: &[u8]) -> Result<RlpItem<'_>, BrokenRule> {
        RlpItem::exactly(Span::of_value(bytes))
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        let long = |prefix: &[u8], payload: usize| [prefix, &vec![1; payload]].concat();
        for (bytes, rule) in [
            (vec![], Rule::Overrun { needed: 1, available: 0 }),
            (vec![0x81, 0x7f], Rule::NotShortest),
            (long(&[0xb8, 55], 55), Rule::NotShortest),
            (long(&[0xf8, 55], 55), Rule::NotShortest),
            (long(&[0xb9, 0, 56], 56), Rule::NotShortest),
            (vec![0x82, 1], Rule::Overrun { needed: 2, available: 1 }),
            (vec![0xb9, 1], Rule::Overrun { needed: 3, available: 2 }),
            (vec![0xff; 9], Rule::Overrun { needed: usize::MAX, available: 0 }),
            (vec![0x80, 0x80], Rule::Trailing { count: 1 }),
        ] {
            assert_eq!(read(&bytes).unwrap_err().at(BlockPlace::Body).rule, rule, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_alloy_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut rest = bytes.as_slice();
            let reference = Reference::decode(&mut rest).ok().filter(|header| header.payload_length <= rest.len());
            match (reference, RlpItems { rest: &bytes, offset: 0 }.next_item()) {
                (Some(header), Ok(Some(item))) => {
                    prop_assert_eq!(header.list, item.is_list);
                    prop_assert_eq!(&rest[..header.payload_length], item.payload);
                    prop_assert_eq!(item.encoded, &bytes[..item.payload_offset() + item.payload.len()]);
                }
                (reference, ours) => prop_assert!(reference.is_none() && !matches!(ours, Ok(Some(_)))),
            }
        }

        #[test]
        fn writes_headers_as_alloy(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut string = Vec::new();
            payload.as_slice().encode(&mut string);
            prop_assert_eq!(&[RlpHeader::string(&payload).as_bytes(), &payload].concat(), &string);
            let mut list = Vec::new();
            Reference { list: true, payload_length: payload.len() }.encode(&mut list);
            let ours = RlpHeader::list(payload.len());
            prop_assert_eq!(ours.as_bytes(), list);
        }

        #[test]
        fn reads_integers_as_alloy(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut string = Vec::new();
            bytes.as_slice().encode(&mut string);
            let ours = read(&string).unwrap().integer().ok();
            prop_assert_eq!(ours, u64::decode(&mut string.as_slice()).ok());
        }
    }
}
