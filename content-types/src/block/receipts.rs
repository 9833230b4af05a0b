//! Lists of receipts in their three encodings.
//!
//! A receipt is an outcome (status or post-state root), the cumulative gas, a bloom and the logs. The slim encoding
//! (EIP-7642) puts the transaction type in front and leaves the bloom out.

use alloy_primitives::{B256, Bloom};

use super::bloom::BloomInputs;
use super::eip2718;
use super::error::{BlockPlace, BrokenRule, Malformed, Rule};
use super::lists::ListKind;
use super::rlp::{RlpHeader, RlpItem, RlpItems};
use super::span::Span;
use super::ssz::write_fields;
use super::trie::ordered_trie_root;
use super::{MAX_RECEIPT_LEN, MAX_TRANSACTION_COUNT};

const RECEIPTS: ListKind =
    ListKind { place: BlockPlace::Receipts, item: BlockPlace::Receipt, limit: MAX_TRANSACTION_COUNT };
/// Most topics of a log: the EVM's `LOG4`.
const MAX_TOPICS: usize = 4;

/// How a list of receipts is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiptsEncoding {
    /// RLP list of `[tx-type, post-state-or-status, cumulative-gas, logs]` (EIP-7642), as in History (`0x5000`) and ere.
    Slim,
    /// SSZ list of EIP-2718 encodings with bloom, as in Legacy History (`0x500B`).
    Ssz,
    /// RLP list of consensus encodings with bloom, typed receipts as byte strings, as in era1.
    Rlp,
}

/// What a header commits to of its block's receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptsRoots {
    /// Root of the ordered trie of the receipts.
    pub root: B256,
    /// Union of the receipts' blooms.
    pub logs_bloom: Bloom,
}

impl ReceiptsRoots {
    /// Computes the root and the bloom of a list of receipts.
    ///
    /// # Errors
    ///
    /// The list does not follow the rules of its encoding.
    pub fn compute(encoding: ReceiptsEncoding, receipts: &[u8]) -> Result<Self, Malformed> {
        let mut logs_bloom = Bloom::ZERO;
        let root = if encoding == ReceiptsEncoding::Slim {
            let receipts = Receipt::read_list(encoding, receipts)?;
            receipts.iter().for_each(|receipt| logs_bloom |= receipt.bloom);
            ordered_trie_root(&Receipt::write_each(&receipts, Receipt::write_envelope).slices())
        } else {
            // The root covers the logs and blooms of whole receipts: they do not have to be compared.
            let envelopes = read_envelopes(encoding, receipts, |envelope| {
                logs_bloom |= Bloom::from(ReceiptFields::of_envelope(envelope)?.bloom);
                Ok(envelope.bytes)
            })?;
            ordered_trie_root(&envelopes)
        };
        Ok(Self { root, logs_bloom })
    }
}

/// A receipt taken apart into slices of the value, its logs walked through and its bloom computed from them.
#[derive(Debug)]
pub(super) struct Receipt<'a> {
    /// `None` for a legacy receipt.
    type_byte: Option<u8>,
    /// The RLP of the outcome and, after it, of the cumulative gas.
    outcome_and_gas: &'a [u8],
    bloom: Bloom,
    /// The RLP list.
    logs: &'a [u8],
}

impl<'a> Receipt<'a> {
    /// Reads a list. Where the receipts have blooms, those must be the ones of the logs.
    pub(super) fn read_list(encoding: ReceiptsEncoding, receipts: &'a [u8]) -> Result<Vec<Self>, Malformed> {
        let mut inputs = BloomInputs::new();
        // The bloom that stands in the receipt, and where it stands, are kept until all blooms are computed.
        let mut given = Vec::new();
        let mut list = if encoding == ReceiptsEncoding::Slim {
            RECEIPTS.read_items(list_items(receipts)?, |item| Self::read_slim(item, &mut inputs))?
        } else {
            read_envelopes(encoding, receipts, |envelope| {
                let fields = ReceiptFields::of_envelope(envelope)?;
                read_logs(&fields.logs, &mut inputs)?;
                given.push((fields.bloom, envelope));
                let type_byte = eip2718::type_byte(envelope.bytes);
                let ReceiptFields { outcome_and_gas, logs, .. } = fields;
                Ok(Self { type_byte, outcome_and_gas, bloom: Bloom::ZERO, logs: logs.encoded })
            })?
        };
        for (receipt, bloom) in list.iter_mut().zip(inputs.finish()) {
            receipt.bloom = bloom;
        }
        for (index, (receipt, (bloom, envelope))) in list.iter().zip(given).enumerate() {
            if receipt.bloom.0 != *bloom {
                return Err(envelope.fault(Rule::Bloom).at(BlockPlace::Receipt(index)));
            }
        }
        Ok(list)
    }

    /// Reads a receipt except for its bloom.
    fn read_slim(item: &RlpItem<'a>, inputs: &mut BloomInputs<'a>) -> Result<Self, BrokenRule> {
        item.span().at_most(MAX_RECEIPT_LEN)?;
        let mut items = item.items()?;
        let type_item = items.expect_next()?;
        let type_byte = match type_item.integer()? {
            0 => None,
            number => match u8::try_from(number) {
                Ok(number) if number <= eip2718::TYPE_MAX => Some(number),
                _ => return Err(type_item.span().fault(Rule::Eip2718)),
            },
        };
        let outcome_and_gas = read_outcome_and_gas(&mut items)?;
        let logs = items.expect_next()?;
        items.expect_end()?;
        read_logs(&logs, inputs)?;
        Ok(Self { type_byte, outcome_and_gas, bloom: Bloom::ZERO, logs: logs.encoded })
    }

    /// Appends a list of receipts in `encoding`.
    ///
    /// # Errors
    ///
    /// The list is longer than the encoding can say.
    pub(super) fn write_list(receipts: &[Self], encoding: ReceiptsEncoding, out: &mut Vec<u8>) -> Result<(), Rule> {
        match encoding {
            // Each slim receipt is a list, as a legacy envelope is.
            ReceiptsEncoding::Slim => {
                eip2718::write_list(&Self::write_each(receipts, Self::write_slim).slices(), out);
                Ok(())
            }
            ReceiptsEncoding::Rlp => {
                eip2718::write_list(&Self::write_each(receipts, Self::write_envelope).slices(), out);
                Ok(())
            }
            ReceiptsEncoding::Ssz => write_fields(&Self::write_each(receipts, Self::write_envelope).slices(), out),
        }
    }

    fn write_each(receipts: &[Self], write: fn(&Self, &mut Vec<u8>)) -> Written {
        let mut written = Written { bytes: Vec::new(), ends: Vec::with_capacity(receipts.len()) };
        for receipt in receipts {
            write(receipt, &mut written.bytes);
            written.ends.push(written.bytes.len());
        }
        written
    }

    /// Appends the EIP-2718 encoding.
    fn write_envelope(&self, out: &mut Vec<u8>) {
        out.extend(self.type_byte);
        let bloom_header = RlpHeader::string(self.bloom.as_slice());
        let parts = [self.outcome_and_gas, bloom_header.as_bytes(), self.bloom.as_slice(), self.logs];
        write_rlp_list(&parts, out);
    }

    fn write_slim(&self, out: &mut Vec<u8>) {
        // A type is at most 0x7f and so its own RLP, but zero is the empty string.
        write_rlp_list(&[&[self.type_byte.unwrap_or(0x80)], self.outcome_and_gas, self.logs], out);
    }
}

/// Encodings one after the other.
struct Written {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Written {
    fn slices(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end]).collect()
    }
}

/// The fields of a receipt with bloom.
struct ReceiptFields<'a> {
    outcome_and_gas: &'a [u8],
    bloom: &'a [u8; Bloom::len_bytes()],
    logs: RlpItem<'a>,
}

impl<'a> ReceiptFields<'a> {
    fn of_envelope(envelope: Span<'a>) -> Result<Self, BrokenRule> {
        let mut items = eip2718::content(envelope)?.items()?;
        let outcome_and_gas = read_outcome_and_gas(&mut items)?;
        let bloom = items.expect_next()?.fixed()?;
        let logs = items.expect_next()?;
        logs.items()?;
        items.expect_end()?;
        Ok(Self { outcome_and_gas, bloom, logs })
    }
}

/// Reads a status (EIP-658) or the state root that stood in its place before, and the cumulative gas.
fn read_outcome_and_gas<'a>(items: &mut RlpItems<'a>) -> Result<&'a [u8], BrokenRule> {
    let start = items.rest();
    let outcome = items.expect_next()?;
    if !matches!(outcome.string()?, [] | [1]) && outcome.fixed::<32>().is_err() {
        return Err(outcome.span().fault(Rule::Status));
    }
    items.expect_next()?.integer()?;
    Ok(&start[..start.len() - items.rest().len()])
}

/// Walks through a list of logs, `[address, [topic…], data]` each, and closes the receipt's bloom.
fn read_logs<'a>(logs: &RlpItem<'a>, inputs: &mut BloomInputs<'a>) -> Result<(), BrokenRule> {
    let mut items = logs.items()?;
    for index in 0.. {
        let in_log = |fault: BrokenRule| fault.in_log(index);
        let Some(log) = items.next_item().map_err(in_log)? else { break };
        read_log(&log, inputs).map_err(in_log)?;
    }
    inputs.next_bloom();
    Ok(())
}

fn read_log<'a>(log: &RlpItem<'a>, inputs: &mut BloomInputs<'a>) -> Result<(), BrokenRule> {
    let mut fields = log.items()?;
    inputs.add(fields.expect_next()?.fixed::<20>()?);
    let list = fields.expect_next()?;
    let mut topics = list.items()?;
    for _ in 0..MAX_TOPICS {
        let Some(topic) = topics.next_item()? else { break };
        inputs.add(topic.fixed::<32>()?);
    }
    if !topics.rest().is_empty() {
        return Err(list.span().fault(Rule::TooMany { limit: MAX_TOPICS }));
    }
    fields.expect_next()?.string()?;
    fields.expect_end()
}

/// The items of the RLP list that `receipts` is.
fn list_items(receipts: &[u8]) -> Result<RlpItems<'_>, Malformed> {
    RlpItem::exactly(Span::of_value(receipts))
        .and_then(|list| list.items())
        .map_err(|fault| fault.at(BlockPlace::Receipts))
}

/// Reads each EIP-2718 encoding in a list of receipts with bloom.
fn read_envelopes<'a, T>(
    encoding: ReceiptsEncoding,
    receipts: &'a [u8],
    mut read: impl FnMut(Span<'a>) -> Result<T, BrokenRule>,
) -> Result<Vec<T>, Malformed> {
    let mut read = |envelope: Span<'a>| read(envelope.at_most(MAX_RECEIPT_LEN)?);
    if encoding == ReceiptsEncoding::Ssz {
        RECEIPTS.read_fields(Span::of_value(receipts), |span| read(eip2718::of_span(span)?))
    } else {
        RECEIPTS.read_items(list_items(receipts)?, |item| read(eip2718::of_item(item)?))
    }
}

fn write_rlp_list(parts: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(RlpHeader::list(parts.iter().map(|part| part.len()).sum()).as_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
