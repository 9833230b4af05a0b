//! Parts of blocks as people and programs read them: JSON in the manner of the execution clients' `eth_*` methods, or
//! the RLP that the chain commits to. And how a fetch's peers do, in a line each.

use alloy_consensus::{BlockBody, Transaction, TxEnvelope};
use alloy_primitives::{Bloom, Bytes as HexBytes, Log, U64, U128};
use alloy_rlp::{Decodable, Header as RlpHeader};
use bytes::Bytes;
use cairn_node::{Block, swarm::PeerState};
use content_types::ProvedHeader;
use indicatif::BinaryBytes;
use serde_json::{Map, Value, json};

/// Characters of a node ID that tell it from others on a screen: `0x` and eight digits.
const SHORT_ID: usize = 10;

/// How a peer of a fetch does, in a line.
pub(crate) fn peer(peer: &PeerState) -> String {
    let PeerState { node_id, address, rate, received, requests, serves_us, offences, last_offence } = peer;
    let id = node_id.get(..SHORT_ID).unwrap_or(node_id);
    let (rate, received) = (BinaryBytes(*rate), BinaryBytes(*received));
    let mut line = format!("peer {id} {address}  {rate}/s  {received}  {requests} requests");
    if !serves_us {
        line.push_str("  does not serve us now");
    }
    if let (1.., Some(last)) = (offences, last_offence) {
        let plural = if *offences == 1 { "" } else { "s" };
        line.push_str(&format!("  {offences} offence{plural} ({last})"));
    }
    line
}

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
    /// `eth_getBlockReceipts` gives them. Senders, and the addresses of contracts that they created, are left out: they
    /// follow from the signatures.
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
            if self.show_header {
                object.insert("size".into(), json!(U64::from(self.rlp()?.len())));
            }
            let body = BlockBody::<TxEnvelope>::decode(&mut body.as_ref())?;
            let shown: Result<Vec<_>, _> =
                body.transactions.iter().enumerate().map(|at| self.transaction(at)).collect();
            object.insert("transactions".into(), Value::Array(shown?));
            let ommers: Vec<_> = body.ommers.iter().map(|ommer| ommer.hash_slow()).collect();
            object.insert("uncles".into(), json!(ommers));
            if let Some(withdrawals) = &body.withdrawals {
                object.insert("withdrawals".into(), serde_json::to_value(withdrawals)?);
            }
            transactions = body.transactions;
        }
        if let Some(receipts) = &self.receipts {
            object.insert("receipts".into(), Value::Array(self.receipts_json(receipts, &transactions)?));
        }
        Ok(serde_json::to_vec(&Value::Object(object))?)
    }

    fn transaction(&self, (index, transaction): (usize, &TxEnvelope)) -> Result<Value, PresentError> {
        let mut shown = serde_json::to_value(transaction)?;
        if let Value::Object(fields) = &mut shown {
            fields.extend(self.place(index));
        }
        Ok(shown)
    }

    /// Where a transaction is.
    fn place(&self, index: usize) -> [(String, Value); 3] {
        [
            ("blockHash".into(), json!(self.header.hash())),
            ("blockNumber".into(), json!(U64::from(self.header.number()))),
            ("transactionIndex".into(), json!(U64::from(index))),
        ]
    }

    /// The receipts, with what the transactions say of them if those are known.
    fn receipts_json(&self, receipts: &[u8], transactions: &[TxEnvelope]) -> Result<Vec<Value>, PresentError> {
        let mut list = RlpHeader::decode_bytes(&mut &*receipts, true)?;
        let mut shown = Vec::new();
        let (mut gas_before, mut log_index) = (0_u64, 0_usize);
        while !list.is_empty() {
            let receipt = Receipt::decode(&mut list)?;
            let mut place = Map::from_iter(self.place(shown.len()));
            let mut object = Map::new();
            object.insert("type".into(), json!(U64::from(receipt.tx_type)));
            if let Some(transaction) = transactions.get(shown.len()) {
                place.insert("transactionHash".into(), json!(transaction.tx_hash()));
                let price = transaction.effective_gas_price(self.header.header().base_fee_per_gas);
                object.insert("effectiveGasPrice".into(), json!(U128::from(price)));
                object.insert("to".into(), json!(transaction.to()));
            }
            match receipt.outcome.as_ref() {
                [] => object.insert("status".into(), json!("0x0")),
                [1] => object.insert("status".into(), json!("0x1")),
                root => object.insert("root".into(), json!(HexBytes::copy_from_slice(root))),
            };
            object.insert("cumulativeGasUsed".into(), json!(U64::from(receipt.cumulative_gas)));
            object.insert("gasUsed".into(), json!(U64::from(receipt.cumulative_gas.saturating_sub(gas_before))));
            object.insert("logsBloom".into(), json!(receipt.logs.iter().collect::<Bloom>()));
            let logs = receipt.logs.iter().enumerate().map(|(at, log)| {
                let mut fields = place.clone();
                fields.insert("address".into(), json!(log.address));
                fields.insert("topics".into(), json!(log.data.topics()));
                fields.insert("data".into(), json!(log.data.data));
                fields.insert("logIndex".into(), json!(U64::from(log_index + at)));
                fields.insert("removed".into(), json!(false));
                Value::Object(fields)
            });
            object.insert("logs".into(), logs.collect());
            object.extend(place);
            gas_before = receipt.cumulative_gas;
            log_index += receipt.logs.len();
            shown.push(Value::Object(object));
        }
        Ok(shown)
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
