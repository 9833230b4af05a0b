//! Blocks, transactions and receipts as JSON, held against what an execution client answered of the same chain, from
//! Frontier to Osaka; and blocks of mainnet at its forks, shown and read back.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Header, ReceiptEnvelope, TxEnvelope};
use alloy_eips::eip7840::BlobParams;
use alloy_primitives::{Address, B256, Log, LogData, hex};
use alloy_rlp::{Decodable, Encodable, Header as RlpHeader};
use alloy_rpc_types_eth::{Block, TransactionReceipt};
use cairn_node::present::{self, BlobFees, Body, Shown};
use cairn_vectors::VectorTest;
use content_types::ChainSpec;
use serde_json::{Value, json};

const CHAIN: &str = "execution-apis/chain.rlp";
const FIXTURES: &str = "execution-apis/fixtures";
const MAINNET_BLOCKS: &str = "portal-spec-tests/tests/mainnet/history/block_data";

struct ChainBlock {
    header: Header,
    hash: B256,
    body: Body,
}

/// The blocks of a file that has the RLP of one after the other.
fn blocks(file: &[u8]) -> BTreeMap<u64, ChainBlock> {
    let (mut rest, mut blocks) = (file, BTreeMap::new());
    while !rest.is_empty() {
        let mut fields = RlpHeader::decode_bytes(&mut rest, true).unwrap();
        let header = Header::decode(&mut fields).unwrap();
        let block = ChainBlock { hash: header.hash_slow(), body: Body::decode(&listed(fields)).unwrap(), header };
        blocks.insert(block.header.number, block);
    }
    blocks
}

/// What was in one list, in one of its own.
fn listed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    RlpHeader { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

impl ChainBlock {
    fn shown(&self) -> Shown<'_> {
        Shown::new(&self.header, self.hash)
    }

    fn json(&self) -> Value {
        serde_json::to_value(present::block(self.shown(), &self.body)).unwrap()
    }
}

/// Questions and answers of one method.
fn answers(vectors: &Path, method: &str) -> Vec<(Value, Value)> {
    let mut pairs = Vec::new();
    for file in fs::read_dir(vectors.join(FIXTURES).join(method)).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let message = |mark: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(mark)).unwrap();
            serde_json::from_str::<Value>(line).unwrap()
        };
        let (question, mut answer) = (message(">> "), message("<< "));
        if answer["result"].is_object() || answer["result"].is_array() {
            pairs.push((question["params"].clone(), answer["result"].take()));
        }
    }
    assert!(!pairs.is_empty(), "{method}");
    pairs
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

fn blocks_are_what_a_client_says(vectors: &Path) {
    let blocks = blocks(&fs::read(vectors.join(CHAIN)).unwrap());
    let mut compared = 0;
    for (params, answer) in answers(vectors, "eth_getBlockByNumber") {
        // Genesis is in no chain file, since everybody has it.
        let Some(block) = blocks.get(&number(&answer["number"])) else { continue };
        let mut shown = block.json();
        if params[1] == json!(false) {
            let hashes = shown["transactions"].as_array().unwrap().iter().map(|of| of["hash"].clone());
            shown["transactions"] = hashes.collect();
        }
        assert_eq!(shown, answer, "{params}");
        compared += 1;
    }
    assert!(compared > 2);
}

fn transactions_are_what_a_client_says(vectors: &Path) {
    let blocks = blocks(&fs::read(vectors.join(CHAIN)).unwrap());
    for method in ["eth_getTransactionByHash", "eth_getTransactionByBlockNumberAndIndex"] {
        for (params, answer) in answers(vectors, method) {
            let shown = blocks[&number(&answer["blockNumber"])].json();
            let index = number(&answer["transactionIndex"]) as usize;
            assert_eq!(shown["transactions"][index], answer, "{method} {params}");
        }
    }
}

/// A receipt without bloom, out of its JSON.
fn slim(receipt: &Value) -> Vec<u8> {
    let log = |log: &Value| {
        let read = |of: &Value| hex::decode(of.as_str().unwrap()).unwrap();
        let topics = log["topics"].as_array().unwrap().iter().map(|of| of.as_str().unwrap().parse().unwrap());
        let address: Address = log["address"].as_str().unwrap().parse().unwrap();
        Log::new(address, topics.collect(), read(&log["data"]).into()).unwrap()
    };
    let outcome = match receipt["root"].as_str() {
        Some(root) => hex::decode(root).unwrap(),
        None if receipt["status"] == "0x1" => vec![1],
        None => Vec::new(),
    };
    let logs: Vec<Log> = receipt["logs"].as_array().unwrap().iter().map(log).collect();
    encoded(number(&receipt["type"]) as u8, &outcome, number(&receipt["cumulativeGasUsed"]), &logs)
}

fn encoded(tx_type: u8, outcome: &[u8], cumulative_gas: u64, logs: &Vec<Log>) -> Vec<u8> {
    let mut payload = Vec::new();
    tx_type.encode(&mut payload);
    outcome.encode(&mut payload);
    cumulative_gas.encode(&mut payload);
    logs.encode(&mut payload);
    listed(&payload)
}

/// What the chain's blobs cost, as its `forkenv.json` has it.
fn fees(vectors: &Path) -> BlobFees {
    let forks: Value = serde_json::from_slice(&fs::read(vectors.join("execution-apis/forkenv.json")).unwrap()).unwrap();
    let time = |name: &str| forks[name].as_str().unwrap().parse().unwrap();
    let later = [("HIVE_BPO1_TIMESTAMP", BlobParams::bpo1()), ("HIVE_BPO2_TIMESTAMP", BlobParams::bpo2())];
    BlobFees::new(later.into_iter().map(|(name, params)| (time(name), params)).collect())
}

fn receipts_are_what_a_client_says(vectors: &Path) {
    let (blocks, fees) = (blocks(&fs::read(vectors.join(CHAIN)).unwrap()), fees(vectors));
    let mut compared = 0;
    for (params, answer) in answers(vectors, "eth_getBlockReceipts") {
        let Some(first) = answer.get(0) else { continue };
        let block = &blocks[&number(&first["blockNumber"])];
        let all = listed(&answer.as_array().unwrap().iter().flat_map(slim).collect::<Vec<_>>());
        let shown = present::receipts(block.shown(), &block.body, &all, &fees).unwrap();
        assert_eq!(serde_json::to_value(shown).unwrap(), answer, "{params}");
        compared += 1;
    }
    assert!(compared > 0);
    for (params, answer) in answers(vectors, "eth_getTransactionReceipt") {
        let block = &blocks[&number(&answer["blockNumber"])];
        let transactions = block.json()["transactions"].as_array().unwrap().len();
        let index = number(&answer["transactionIndex"]) as usize;
        // The others of the block are not told: what counts of them is the gas and the logs before this one.
        let before = number(&answer["cumulativeGasUsed"]) - number(&answer["gasUsed"]);
        let logs_before = answer["logs"].get(0).map_or(0, |log| number(&log["logIndex"]) as usize);
        let other = |at: usize| {
            let logs = vec![Log { address: Address::ZERO, data: LogData::empty() }; logs_before];
            let gas = if at < index { before } else { number(&answer["cumulativeGasUsed"]) };
            encoded(0, &[1], gas, if at == 0 { &logs } else { const { &Vec::new() } })
        };
        let all = (0..transactions).flat_map(|at| if at == index { slim(&answer) } else { other(at) });
        let all = listed(&all.collect::<Vec<_>>());
        let shown = present::receipts(block.shown(), &block.body, &all, &fees).unwrap();
        assert_eq!(serde_json::to_value(&shown[index]).unwrap(), answer, "{params}");
    }
}

fn mainnets_blocks_read_back_have_the_roots_of_their_headers(vectors: &Path) {
    let fees = BlobFees::of(&ChainSpec::mainnet());
    let mut blob_prices = 0;
    for file in fs::read_dir(vectors.join(MAINNET_BLOCKS)).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
            hex::decode(line.trim_matches('"')).unwrap()
        };
        let header = Header::decode(&mut field("header").as_slice()).unwrap();
        let body = Body::decode(&field("body")).unwrap();
        let shown = Shown::new(&header, header.hash_slow());
        let block = serde_json::to_value(present::block(shown, &body)).unwrap();
        let receipts = present::receipts(shown, &body, &field("receipts"), &fees).unwrap();
        let receipts = serde_json::to_value(receipts).unwrap();
        blob_prices += receipts.as_array().unwrap().iter().filter(|of| of.get("blobGasPrice").is_some()).count();
        let read: Block = serde_json::from_value(block).unwrap();
        assert_eq!(read.header.inner, header);
        let transactions = read.into_transactions_vec().into_iter().map(|of| Recovered::into_inner(of.inner));
        assert_eq!(calculate_transaction_root(&transactions.collect::<Vec<TxEnvelope>>()), header.transactions_root);
        let read: Vec<TransactionReceipt> = serde_json::from_value(receipts).unwrap();
        let of_chain = read.into_iter().map(|receipt| receipt.inner.map_logs(|log| log.inner));
        assert_eq!(calculate_receipt_root(&of_chain.collect::<Vec<ReceiptEnvelope>>()), header.receipts_root);
    }
    assert!(blob_prices > 0);
}

fn main() {
    let fixtures: &[&str] = &[CHAIN, FIXTURES];
    cairn_vectors::run(vec![
        VectorTest::new("blocks_are_what_a_client_says", fixtures, blocks_are_what_a_client_says),
        VectorTest::new("transactions_are_what_a_client_says", fixtures, transactions_are_what_a_client_says),
        VectorTest::new("receipts_are_what_a_client_says", fixtures, receipts_are_what_a_client_says),
        VectorTest::new(
            "mainnets_blocks_read_back_have_the_roots_of_their_headers",
            &[MAINNET_BLOCKS],
            mainnets_blocks_read_back_have_the_roots_of_their_headers,
        ),
    ]);
}
