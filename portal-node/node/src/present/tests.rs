//! A chain of every fork, shown and read back: what is read back has the roots that the headers have.

use std::collections::BTreeSet;

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{ReceiptEnvelope, TxEnvelope};
use alloy_rpc_types_eth::{Block, TransactionReceipt};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use content_types::ProvedHeader;
use serde_json::Value;

use super::*;

struct Written {
    proved: ProvedHeader,
    block: Value,
    receipts: Value,
}

fn chain() -> SyntheticChain {
    SyntheticChain::new(SyntheticConfig { block_size: 6_000, ..SyntheticConfig::small() }).unwrap()
}

fn written(chain: &SyntheticChain) -> Vec<Written> {
    let verifier = chain.verifier();
    let blocks = chain.blocks().map(|of| {
        let proved = verifier.verify(&of.header_with_proof()).unwrap();
        let (shown, body) = (Shown::from(&proved), Body::decode(&of.body).unwrap());
        let receipts = receipts(shown, &body, &of.receipts, &BlobFees::of(chain.spec())).unwrap();
        let (block, receipts) = (serde_json::to_value(block(shown, &body)), serde_json::to_value(receipts));
        Written { proved, block: block.unwrap(), receipts: receipts.unwrap() }
    });
    blocks.collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

#[test]
fn blocks_and_receipts_read_back_have_the_roots_of_their_headers() {
    for Written { proved, block, receipts } in written(&chain()) {
        let header = proved.header();
        let block: Block = serde_json::from_value(block).unwrap();
        assert_eq!((block.header.hash, block.header.inner.hash_slow()), (proved.hash(), proved.hash()));
        assert_eq!(block.uncles.is_empty(), header.ommers_hash == alloy_consensus::EMPTY_OMMER_ROOT_HASH);
        assert_eq!(block.withdrawals.is_some(), header.withdrawals_root.is_some());
        let transactions = block.into_transactions_vec().into_iter().map(|of| Recovered::into_inner(of.inner));
        let transactions: Vec<TxEnvelope> = transactions.collect();
        assert_eq!(calculate_transaction_root(&transactions), header.transactions_root);
        let receipts: Vec<TransactionReceipt> = serde_json::from_value(receipts).unwrap();
        let of_chain = |receipt: TransactionReceipt| receipt.inner.map_logs(|log| log.inner);
        let receipts: Vec<ReceiptEnvelope> = receipts.into_iter().map(of_chain).collect();
        assert_eq!(calculate_receipt_root(&receipts), header.receipts_root);
    }
}

#[test]
fn each_field_is_there_where_it_applies_and_nowhere_else() {
    let mut kinds = BTreeSet::new();
    for Written { proved, block, receipts } in written(&chain()) {
        let (mut gas, mut log_index) = (0, 0);
        assert_eq!(list(&block["transactions"]).len(), list(&receipts).len());
        for (transaction, receipt) in list(&block["transactions"]).iter().zip(list(&receipts)) {
            for (of_transaction, of_receipt) in
                [("hash", "transactionHash"), ("from", "from"), ("to", "to"), ("type", "type")]
            {
                assert_eq!(transaction[of_transaction], receipt[of_receipt], "{receipt}");
                assert!(receipt.get(of_receipt).is_some(), "{of_receipt}, if only as null");
            }
            let kind = receipt["type"].as_str().unwrap();
            kinds.insert(kind.to_owned());
            assert_eq!(transaction["gasPrice"], receipt["effectiveGasPrice"]);
            assert_eq!(receipt["to"].is_null(), receipt["contractAddress"].is_string());
            assert!(receipt.get("contractAddress").is_some());
            assert!(receipt.get("root").is_some() != receipt.get("status").is_some(), "{receipt}");
            assert_eq!(kind == "0x3", receipt.get("blobGasPrice").is_some_and(Value::is_string));
            assert_eq!(kind == "0x3", receipt.get("blobGasUsed").is_some_and(Value::is_string));
            gas += number(&receipt["gasUsed"]);
            assert_eq!(number(&receipt["cumulativeGasUsed"]), gas);
            for log in list(&receipt["logs"]) {
                assert_eq!((number(&log["logIndex"]), &log["removed"]), (log_index, &Value::Bool(false)));
                assert_eq!(log["transactionHash"], receipt["transactionHash"]);
                log_index += 1;
            }
        }
        assert_eq!(gas, proved.header().gas_used);
    }
    assert_eq!(kinds.len(), 5, "every type of transaction: {kinds:?}");
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

#[test]
fn receipts_of_another_block_are_refused() {
    let chain = chain();
    let verifier = chain.verifier();
    let blocks: Vec<_> = chain.blocks().filter(|of| of.header.header().gas_used > 0).take(1).collect();
    let of = &blocks[0];
    let proved = verifier.verify(&of.header_with_proof()).unwrap();
    let (shown, body, fees) = (Shown::from(&proved), Body::decode(&of.body).unwrap(), BlobFees::of(chain.spec()));
    let empty = receipts(shown, &body, &[0xc0], &fees);
    assert!(matches!(empty, Err(PresentError::Count { receipts: 0, .. })), "{empty:?}");
    let trailing = receipts(shown, &body, &[&of.receipts[..], &[0xc0]].concat(), &fees);
    assert!(matches!(trailing, Err(PresentError::TrailingBytes { count: 1 })), "{trailing:?}");
    assert!(matches!(Body::decode(&of.body[..of.body.len() - 1]), Err(PresentError::Rlp(_))));
}
