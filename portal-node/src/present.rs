//! Parts of blocks as people and programs read them: JSON in the manner of the execution clients' `eth_*` methods, or
//! the RLP that the chain commits to.

use alloy_consensus::{BlockBody, TxEnvelope};
use alloy_primitives::{B256, Bloom, Bytes as HexBytes, Log, U64};
use alloy_rlp::{Decodable, Header as RlpHeader};
use bytes::Bytes;
use cairn_node::Block;
use content_types::ProvedHeader;
use serde_json::{Map, Value, json};

/// A block's header and those of its parts that were asked for.
pub(crate) struct Parts {
    header: ProvedHeader,
    show_header: bool,
    body: Option<Bytes>,
    receipts: Option<Bytes>,
}

impl Parts {
    /// A header alone.
    pub(crate) fn header(header: ProvedHeader) -> Self {
        Self { header, show_header: true, body: None, receipts: None }
    }

    /// A body; of the header only number and hash.
    pub(crate) fn body((header, body): (ProvedHeader, Bytes)) -> Self {
        Self { header, show_header: false, body: Some(body), receipts: None }
    }

    /// Receipts; of the header only number and hash.
    pub(crate) fn receipts((header, receipts): (ProvedHeader, Bytes)) -> Self {
        Self { header, show_header: false, body: None, receipts: Some(receipts) }
    }

    /// A whole block.
    pub(crate) fn block(block: Block) -> Self {
        Self { header: block.header, show_header: true, body: Some(block.body), receipts: Some(block.receipts) }
    }

    /// One JSON object: what `eth_getBlockByNumber` gives with whole transactions, and `receipts` as
    /// `eth_getBlockReceipts` gives them. Senders are left out: they follow from the signatures.
    ///
    /// # Errors
    /// When a transaction or receipt is of a kind that is not known here.
    pub(crate) fn json(&self) -> Result<Vec<u8>, PresentError> {
        let mut object = Map::new();
        if self.show_header
            && let Value::Object(fields) = serde_json::to_value(self.header.header())?
        {
            object.extend(fields);
        }
        object.insert("number".into(), json!(U64::from(self.header.number())));
        object.insert("hash".into(), json!(self.header.hash()));
        let mut transactions = Vec::new();
        if let Some(body) = &self.body {
            let body = BlockBody::<TxEnvelope>::decode(&mut body.as_ref())?;
            transactions = body.transactions.iter().map(|transaction| *transaction.tx_hash()).collect();
            object.insert("transactions".into(), serde_json::to_value(&body.transactions)?);
            let ommers: Vec<_> = body.ommers.iter().map(|ommer| ommer.hash_slow()).collect();
            object.insert("uncles".into(), json!(ommers));
            if let Some(withdrawals) = &body.withdrawals {
                object.insert("withdrawals".into(), serde_json::to_value(withdrawals)?);
            }
        }
        if let Some(receipts) = &self.receipts {
            object.insert("receipts".into(), Value::Array(receipts_json(receipts, &transactions)?));
        }
        Ok(serde_json::to_vec(&Value::Object(object))?)
    }

    /// A header as RLP; a body as RLP `[transactions, ommers, withdrawals?]`; receipts as an RLP list without blooms
    /// (EIP-7642); a block as RLP `[header, transactions, ommers, withdrawals?]`, which has no receipts in it.
    ///
    /// # Errors
    /// When the body is no list, which a verified one always is.
    pub(crate) fn rlp(&self) -> Result<Vec<u8>, PresentError> {
        match (&self.body, &self.receipts) {
            (None, None) => Ok(self.header.rlp().to_vec()),
            (None, Some(receipts)) => Ok(receipts.to_vec()),
            (Some(body), _) if !self.show_header => Ok(body.to_vec()),
            (Some(body), _) => {
                let fields = RlpHeader::decode_bytes(&mut body.as_ref(), true)?;
                let payload_length = self.header.rlp().len() + fields.len();
                let mut block = Vec::with_capacity(payload_length + 9);
                RlpHeader { list: true, payload_length }.encode(&mut block);
                block.extend_from_slice(self.header.rlp());
                block.extend_from_slice(fields);
                Ok(block)
            }
        }
    }
}

/// Why something verified cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PresentError {
    /// A transaction or receipt of an unknown kind.
    #[error("cannot be shown as JSON, try --format rlp: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// A value that JSON has no form for.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

fn receipts_json(receipts: &[u8], transactions: &[B256]) -> Result<Vec<Value>, PresentError> {
    let mut list = RlpHeader::decode_bytes(&mut &*receipts, true)?;
    let mut shown = Vec::new();
    let (mut gas_before, mut log_index) = (0_u64, 0_usize);
    while !list.is_empty() {
        let receipt = Receipt::decode(&mut list)?;
        let mut object = Map::new();
        object.insert("type".into(), json!(U64::from(receipt.tx_type)));
        object.insert("transactionIndex".into(), json!(U64::from(shown.len())));
        if let Some(hash) = transactions.get(shown.len()) {
            object.insert("transactionHash".into(), json!(hash));
        }
        match receipt.outcome.as_ref() {
            [] => object.insert("status".into(), json!("0x0")),
            [1] => object.insert("status".into(), json!("0x1")),
            root => object.insert("root".into(), json!(HexBytes::copy_from_slice(root))),
        };
        object.insert("cumulativeGasUsed".into(), json!(U64::from(receipt.cumulative_gas)));
        object.insert("gasUsed".into(), json!(U64::from(receipt.cumulative_gas.saturating_sub(gas_before))));
        object.insert("logsBloom".into(), json!(receipt.logs.iter().collect::<Bloom>()));
        let logs = receipt.logs.iter().enumerate().map(|(place, log)| {
            json!({
                "address": log.address,
                "topics": log.data.topics(),
                "data": log.data.data,
                "logIndex": U64::from(log_index + place),
            })
        });
        object.insert("logs".into(), logs.collect());
        gas_before = receipt.cumulative_gas;
        log_index += receipt.logs.len();
        shown.push(Value::Object(object));
    }
    Ok(shown)
}

/// A receipt without bloom: `[tx-type, post-state-or-status, cumulative-gas, logs]` (EIP-7642).
struct Receipt {
    tx_type: u8,
    outcome: HexBytes,
    cumulative_gas: u64,
    logs: Vec<Log>,
}

impl Decodable for Receipt {
    fn decode(buffer: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let mut fields = RlpHeader::decode_bytes(buffer, true)?;
        let fields = &mut fields;
        Ok(Self {
            tx_type: u8::decode(fields)?,
            outcome: HexBytes::decode(fields)?,
            cumulative_gas: u64::decode(fields)?,
            logs: Vec::decode(fields)?,
        })
    }
}
