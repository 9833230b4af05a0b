//! EIP-2718 envelopes: a typed transaction or receipt is its type byte and an opaque payload, a legacy one is an RLP
//! list. Within an RLP list the first is a byte string, the second stands as it is.

use super::error::{BrokenRule, Rule};
use super::rlp::{RlpHeader, RlpItem};
use super::span::Span;

/// First byte of an RLP list of any length, and so of a legacy transaction or receipt.
const LIST_FROM: u8 = 0xc0;
/// Largest transaction type (EIP-2718).
pub(super) const TYPE_MAX: u8 = 0x7f;

/// The type, or `None` for what can only be a legacy envelope.
pub(super) fn type_byte(envelope: &[u8]) -> Option<u8> {
    envelope.first().copied().filter(|byte| (1..=TYPE_MAX).contains(byte))
}

/// The envelope that stands as `item` in an RLP list.
pub(super) fn of_item<'a>(item: &RlpItem<'a>) -> Result<Span<'a>, BrokenRule> {
    if item.is_list {
        return Ok(item.span());
    }
    let envelope = Span { bytes: item.payload, offset: item.payload_offset() };
    // A string that holds a list would be a second way to write a legacy transaction.
    type_byte(envelope.bytes).map(|_| envelope).ok_or_else(|| envelope.fault(Rule::Eip2718))
}

/// Checks that `span` is an envelope.
pub(super) fn of_span(span: Span<'_>) -> Result<Span<'_>, BrokenRule> {
    if type_byte(span.bytes).is_none() {
        if span.bytes.first().is_none_or(|&byte| byte < LIST_FROM) {
            return Err(span.fault(Rule::Eip2718));
        }
        RlpItem::exactly(span)?;
    }
    Ok(span)
}

/// The RLP item in an envelope: what follows the type, or all of a legacy one.
pub(super) fn content(envelope: Span<'_>) -> Result<RlpItem<'_>, BrokenRule> {
    let skip = usize::from(type_byte(envelope.bytes).is_some());
    RlpItem::exactly(Span { bytes: &envelope.bytes[skip..], offset: envelope.offset + skip })
}

/// The header that goes before an envelope in an RLP list: none for a legacy one.
pub(super) fn item_header(envelope: &[u8]) -> Option<RlpHeader> {
    type_byte(envelope).map(|_| RlpHeader::string(envelope))
}

/// Appends the RLP list of `envelopes`.
pub(super) fn write_list(envelopes: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    let item_len = |envelope: &[u8]| envelope.len() + item_header(envelope).map_or(0, |header| header.as_bytes().len());
    let len = envelopes.iter().map(|envelope| item_len(envelope.as_ref())).sum();
    out.extend_from_slice(RlpHeader::list(len).as_bytes());
    for envelope in envelopes {
        if let Some(header) = item_header(envelope.as_ref()) {
            out.extend_from_slice(header.as_bytes());
        }
        out.extend_from_slice(envelope.as_ref());
    }
}
