//! Receipts, as `eth_getBlockReceipts` gives them: with what follows from the transactions that they are of.

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, TxEnvelope, TxType};
use alloy_primitives::{B256, Bloom, Bytes, Log as RawLog};
use alloy_rlp::{Decodable, Header as RlpHeader};
use alloy_rpc_types_eth::{Log, TransactionReceipt};

use super::{BlobFees, Body, PresentError, Shown, fields_of};

/// The receipts of a block, out of an RLP list without blooms (EIP-7642).
///
/// # Errors
/// [`PresentError`] when they are not those of the body's transactions, or one is of an unknown kind.
pub fn receipts(
    of: Shown<'_>,
    body: &Body,
    receipts: &[u8],
    fees: &BlobFees,
) -> Result<Vec<TransactionReceipt>, PresentError> {
    let mut list = fields_of(receipts)?;
    let mut decoded = Vec::with_capacity(body.transactions.len());
    // No more than there are transactions, and one that tells that there are too many.
    while !list.is_empty() && decoded.len() <= body.transactions.len() {
        decoded.push(Slim::decode(&mut list)?);
    }
    let (receipts, transactions) = (decoded.len(), body.transactions.len());
    if receipts != transactions {
        return Err(PresentError::Count { receipts, transactions });
    }
    let (mut gas_before, mut logs_before) = (0, 0);
    let blob_gas_price = fees.price(of.header);
    let shown = body.transactions.iter().zip(decoded).enumerate().map(|(index, (transaction, slim))| {
        let before = Before { gas: gas_before, logs: logs_before };
        gas_before = slim.cumulative_gas;
        logs_before += slim.logs.len() as u64;
        of.receipt(index, transaction, slim, before, blob_gas_price)
    });
    shown.collect()
}

/// What the receipts before one told.
struct Before {
    gas: u64,
    logs: u64,
}

impl Shown<'_> {
    fn receipt(
        &self,
        index: usize,
        transaction: &Recovered<TxEnvelope>,
        slim: Slim,
        before: Before,
        blob_gas_price: Option<u128>,
    ) -> Result<TransactionReceipt, PresentError> {
        let Slim { tx_type, outcome, cumulative_gas, logs } = slim;
        let Ok(kind) = TxType::try_from(tx_type) else {
            return Err(PresentError::ReceiptType { index, tx_type });
        };
        let status = match outcome.as_ref() {
            [] => Eip658Value::Eip658(false),
            [1] => Eip658Value::Eip658(true),
            root => match B256::try_from(root) {
                Ok(root) => Eip658Value::PostState(root),
                Err(_) => return Err(PresentError::ReceiptOutcome { index }),
            },
        };
        let logs_bloom = logs.iter().collect::<Bloom>();
        let (transaction_hash, transaction_index) = (*transaction.tx_hash(), Some(index as u64));
        let logs = (before.logs..).zip(logs).map(|(log_index, inner)| Log {
            inner,
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            block_timestamp: Some(self.header.timestamp),
            transaction_hash: Some(transaction_hash),
            transaction_index,
            log_index: Some(log_index),
            removed: false,
        });
        let receipt = Receipt { status, cumulative_gas_used: cumulative_gas, logs: logs.collect() };
        let blob_gas_used = transaction.blob_gas_used();
        let from = transaction.signer();
        Ok(TransactionReceipt {
            inner: ReceiptEnvelope::from_typed(kind, ReceiptWithBloom { receipt, logs_bloom }),
            transaction_hash,
            transaction_index,
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            gas_used: cumulative_gas.saturating_sub(before.gas),
            effective_gas_price: transaction.effective_gas_price(self.header.base_fee_per_gas),
            blob_gas_used,
            blob_gas_price: blob_gas_used.and(blob_gas_price),
            from,
            to: transaction.to(),
            // Where the contract is, or would be had it not failed.
            contract_address: transaction.is_create().then(|| from.create(transaction.nonce())),
        })
    }
}

/// A receipt without bloom: `[tx-type, post-state-or-status, cumulative-gas, logs]` (EIP-7642).
struct Slim {
    tx_type: u8,
    outcome: Bytes,
    cumulative_gas: u64,
    logs: Vec<RawLog>,
}

impl Decodable for Slim {
    fn decode(buffer: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let mut fields = RlpHeader::decode_bytes(buffer, true)?;
        let fields = &mut fields;
        Ok(Self {
            tx_type: u8::decode(fields)?,
            outcome: Bytes::decode(fields)?,
            cumulative_gas: u64::decode(fields)?,
            logs: Vec::decode(fields)?,
        })
    }
}
