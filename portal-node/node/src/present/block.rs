//! Headers, transactions and whole blocks, as `eth_getBlockByNumber` gives them.

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_primitives::{B256, U64, U256};
use alloy_rlp::Encodable;
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Transaction, Withdrawals};
use serde::Serialize;

use super::{Body, Shown};

/// A header without the block around it.
pub fn header(of: Shown<'_>) -> Header {
    Header { hash: of.hash, inner: of.header.clone(), total_difficulty: None, size: None }
}

/// A whole block, with whole transactions.
pub fn block(of: Shown<'_>, body: &Body) -> Block {
    let transactions = BlockTransactions::Full(transactions(of, body));
    let header = header(of).with_size(Some(U256::from(size(of, body))));
    Block { header, uncles: body.ommers.clone(), transactions, withdrawals: body.withdrawals.clone() }
}

/// A body alone: what of a block is not in its header, and which block it is.
#[derive(Clone, Debug, Serialize)]
pub struct BodyJson {
    number: U64,
    hash: B256,
    transactions: Vec<Transaction>,
    uncles: Vec<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawals: Option<Withdrawals>,
}

/// A body without its header.
pub fn body(of: Shown<'_>, body: &Body) -> BodyJson {
    BodyJson {
        number: U64::from(of.header.number),
        hash: of.hash,
        transactions: transactions(of, body),
        uncles: body.ommers.clone(),
        withdrawals: body.withdrawals.clone(),
    }
}

fn transactions(of: Shown<'_>, body: &Body) -> Vec<Transaction> {
    (0..).zip(&body.transactions).map(|(index, transaction)| of.transaction(index, transaction)).collect()
}

impl Shown<'_> {
    fn transaction(&self, index: u64, transaction: &Recovered<TxEnvelope>) -> Transaction {
        Transaction {
            effective_gas_price: Some(transaction.effective_gas_price(self.header.base_fee_per_gas)),
            inner: transaction.clone(),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            transaction_index: Some(index),
            block_timestamp: Some(self.header.timestamp),
        }
    }
}

/// Bytes of the RLP `[header, transactions, ommers, withdrawals?]`.
fn size(of: Shown<'_>, body: &Body) -> usize {
    let payload_length = of.header.length() + body.fields_len;
    alloy_rlp::Header { list: true, payload_length }.length_with_payload()
}
