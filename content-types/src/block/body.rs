//! Block bodies: transactions, ommers and, from Shanghai on, withdrawals.

use alloy_primitives::{B256, keccak256};

use super::eip2718;
use super::error::{BlockPlace, BrokenRule, Malformed, Rule};
use super::lists::ListKind;
use super::rlp::{RlpHeader, RlpItem};
use super::span::Span;
use super::ssz::{Fields, write_fields};
use super::trie::ordered_trie_root;
use super::{MAX_OMMERS_LEN, MAX_TRANSACTION_COUNT, MAX_TRANSACTION_LEN, MAX_WITHDRAWAL_COUNT, MAX_WITHDRAWAL_LEN};

const TRANSACTIONS: ListKind =
    ListKind { place: BlockPlace::Transactions, item: BlockPlace::Transaction, limit: MAX_TRANSACTION_COUNT };
/// The specification limits the bytes of the list: each ommer takes at least one.
const OMMERS: ListKind = ListKind { place: BlockPlace::Ommers, item: BlockPlace::Ommer, limit: MAX_OMMERS_LEN };
const WITHDRAWALS: ListKind =
    ListKind { place: BlockPlace::Withdrawals, item: BlockPlace::Withdrawal, limit: MAX_WITHDRAWAL_COUNT };

/// Fields of the SSZ container `pre_shanghai_body`.
const SSZ_FIELDS_BEFORE_SHANGHAI: usize = 2;
/// Fields of the SSZ container `post_shanghai_body`, which has withdrawals.
const SSZ_FIELDS_FROM_SHANGHAI: usize = 3;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyEncoding {
    /// RLP `[transactions, ommers, withdrawals?]` of the devp2p specification, as in History (`0x5000`), era1 and ere.
    Rlp,
    /// The SSZ containers `pre_shanghai_body` and `post_shanghai_body` of Legacy History (`0x500B`).
    Ssz,
}

/// What a header commits to of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRoots {
    /// Root of the ordered trie of the transactions.
    pub transactions: B256,
    /// Keccak-256 of the RLP list of ommers.
    pub ommers_hash: B256,
    /// Root of the ordered trie of the withdrawals, where the body has such a list.
    pub withdrawals: Option<B256>,
}

impl BodyRoots {
    /// Computes the roots of a body.
    ///
    /// # Errors
    ///
    /// The body does not follow the rules of its encoding.
    pub fn compute(encoding: BodyEncoding, body: &[u8]) -> Result<Self, Malformed> {
        let parts = BodyParts::read(encoding, body)?;
        Ok(Self {
            transactions: ordered_trie_root(&parts.transactions),
            ommers_hash: keccak256(parts.ommers),
            withdrawals: parts.withdrawals.as_deref().map(ordered_trie_root),
        })
    }
}

/// A body taken apart into slices of the value.
#[derive(Debug)]
pub(super) struct BodyParts<'a> {
    /// EIP-2718 encodings.
    transactions: Vec<&'a [u8]>,
    /// The RLP list.
    ommers: &'a [u8],
    /// The RLP of each.
    withdrawals: Option<Vec<&'a [u8]>>,
}

impl<'a> BodyParts<'a> {
    pub(super) fn read(encoding: BodyEncoding, body: &'a [u8]) -> Result<Self, Malformed> {
        match encoding {
            BodyEncoding::Rlp => Self::read_rlp(Span::of_value(body)),
            BodyEncoding::Ssz => Self::read_ssz(Span::of_value(body)),
        }
    }

    fn read_rlp(body: Span<'a>) -> Result<Self, Malformed> {
        let in_body = |fault: BrokenRule| fault.at(BlockPlace::Body);
        let mut fields = RlpItem::exactly(body).and_then(|body| body.items()).map_err(in_body)?;

        let transactions = fields.expect_next().map_err(in_body)?;
        let transactions = transactions.items().map_err(|fault| fault.at(BlockPlace::Transactions))?;
        let transactions = TRANSACTIONS.read_items(transactions, |item| transaction(eip2718::of_item(item)?))?;

        let ommers = ommers(fields.expect_next().map_err(in_body)?)?;

        let withdrawals = match fields.next_item().map_err(in_body)? {
            None => None,
            Some(list) => {
                let items = list.items().map_err(|fault| fault.at(BlockPlace::Withdrawals))?;
                Some(WITHDRAWALS.read_items(items, withdrawal)?)
            }
        };
        fields.expect_end().map_err(in_body)?;
        Ok(Self { transactions, ommers, withdrawals })
    }

    fn read_ssz(body: Span<'a>) -> Result<Self, Malformed> {
        let in_body = |fault: BrokenRule| fault.at(BlockPlace::Body);
        let mut fields = Fields::new(body).map_err(in_body)?;
        if !(SSZ_FIELDS_BEFORE_SHANGHAI..=SSZ_FIELDS_FROM_SHANGHAI).contains(&fields.count()) {
            return Err(in_body(body.fault(Rule::FieldCount { found: fields.count() })));
        }
        let transactions = TRANSACTIONS
            .read_fields(fields.expect_next().map_err(in_body)?, |span| transaction(eip2718::of_span(span)?))?;

        let list = fields.expect_next().map_err(in_body)?;
        let ommers = ommers(RlpItem::exactly(list).map_err(|fault| fault.at(BlockPlace::Ommers))?)?;

        let withdrawals = match fields.next_field().map_err(in_body)? {
            None => None,
            Some(list) => Some(WITHDRAWALS.read_fields(list, |span| withdrawal(&RlpItem::exactly(span)?))?),
        };
        Ok(Self { transactions, ommers, withdrawals })
    }

    /// Appends the body in `encoding`.
    ///
    /// # Errors
    ///
    /// The body is longer than the encoding can say.
    pub(super) fn write(&self, encoding: BodyEncoding, out: &mut Vec<u8>) -> Result<(), Rule> {
        match encoding {
            BodyEncoding::Rlp => {
                self.write_rlp(out);
                Ok(())
            }
            BodyEncoding::Ssz => self.write_ssz(out),
        }
    }

    fn write_rlp(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        eip2718::write_list(&self.transactions, &mut payload);
        payload.extend_from_slice(self.ommers);
        if let Some(withdrawals) = &self.withdrawals {
            let len = withdrawals.iter().map(|withdrawal| withdrawal.len()).sum();
            payload.extend_from_slice(RlpHeader::list(len).as_bytes());
            withdrawals.iter().for_each(|withdrawal| payload.extend_from_slice(withdrawal));
        }
        out.extend_from_slice(RlpHeader::list(payload.len()).as_bytes());
        out.append(&mut payload);
    }

    fn write_ssz(&self, out: &mut Vec<u8>) -> Result<(), Rule> {
        let list = |items: &[&[u8]]| {
            let mut list = Vec::new();
            write_fields(items, &mut list).map(|()| list)
        };
        let transactions = list(&self.transactions)?;
        match self.withdrawals.as_deref().map(list).transpose()? {
            None => write_fields(&[transactions.as_slice(), self.ommers], out),
            Some(withdrawals) => write_fields(&[transactions.as_slice(), self.ommers, &withdrawals], out),
        }
    }
}

fn transaction(envelope: Span<'_>) -> Result<&[u8], BrokenRule> {
    Ok(envelope.at_most(MAX_TRANSACTION_LEN)?.bytes)
}

/// The RLP list of ommers, each of them a list. What is in the headers is for the hash to tell.
fn ommers(list: RlpItem<'_>) -> Result<&[u8], Malformed> {
    let in_ommers = |fault: BrokenRule| fault.at(BlockPlace::Ommers);
    let ommers = list.span().at_most(MAX_OMMERS_LEN).map_err(in_ommers)?;
    OMMERS.read_items(list.items().map_err(in_ommers)?, |ommer| ommer.items().map(drop))?;
    Ok(ommers.bytes)
}

fn withdrawal<'a>(item: &RlpItem<'a>) -> Result<&'a [u8], BrokenRule> {
    item.items()?;
    Ok(item.span().at_most(MAX_WITHDRAWAL_LEN)?.bytes)
}
