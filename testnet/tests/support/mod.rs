//! Real data for network tests: trust lists in one folder, full blocks of later forks, and JSON-RPC to put them in.

use std::{collections::HashMap, fs, path::Path};

use alloy_primitives::{Bytes, hex};
use content_types::{ChainSpec, ContentKey, HeaderWithProof, history, legacy_history};
use serde::Deserialize;
use tempfile::TempDir;

/// A runtime for the harness itself; peers have their own.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// The vectors' trust lists under the names that a peer looks for.
pub(crate) fn trust_folder(root: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["historical_hashes_accumulator.ssz", "historical_roots.ssz"] {
        fs::copy(root.join("trust").join(name), folder.path().join(name)).unwrap();
    }
    let summaries = "portal-spec-tests/tests/mainnet/history/headers_with_proof/beacon_data/historical_summaries_at_slot_11476992.ssz";
    fs::copy(root.join(summaries), folder.path().join("historical_summaries.ssz")).unwrap();
    folder
}

/// A block whose header's proof, body and receipts are all among the vectors.
pub(crate) struct Block {
    /// Its number.
    pub(crate) number: u64,
    header_with_proof: Bytes,
    body: Bytes,
    receipts: Bytes,
}

impl Block {
    /// Its content: the header first, because the rest is checked against it.
    pub(crate) fn contents(&self) -> [(ContentKey, &Bytes); 3] {
        let number = self.number;
        [
            (legacy_history::ContentKey::HeaderByNumber(number).into(), &self.header_with_proof),
            (history::ContentKey::BlockBody { number }.into(), &self.body),
            (history::ContentKey::BlockReceipts { number }.into(), &self.receipts),
        ]
    }
}

#[derive(Deserialize)]
struct BlockData {
    header: Bytes,
    body: Bytes,
    receipts: Bytes,
}

#[derive(Deserialize)]
struct ContentItem {
    content_value: Bytes,
}

/// The full blocks below `history` for which there is a header with its proof.
pub(crate) fn later_blocks(history: &Path) -> Vec<Block> {
    let proofs = headers_with_proof(&history.join("headers_with_proof"));
    let mut blocks = Vec::new();
    for entry in fs::read_dir(history.join("block_data")).unwrap() {
        let data: BlockData = serde_yaml_ng::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        if let Some((number, header_with_proof)) = proofs.get(&data.header) {
            let (number, header_with_proof) = (*number, header_with_proof.clone());
            blocks.push(Block { number, header_with_proof, body: data.body, receipts: data.receipts });
        }
    }
    blocks.sort_by_key(|block| block.number);
    blocks
}

/// Headers with proofs, and their numbers, by the header's RLP.
fn headers_with_proof(folder: &Path) -> HashMap<Bytes, (u64, Bytes)> {
    let mut found = HashMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        let (Some(number), Some("yaml")) = (number, path.extension().and_then(|extension| extension.to_str())) else {
            continue;
        };
        let item: ContentItem = serde_yaml_ng::from_slice(&fs::read(&path).unwrap()).unwrap();
        let header = HeaderWithProof::decode(&item.content_value, &ChainSpec::mainnet()).unwrap().header;
        found.insert(Bytes::from(header.rlp().clone()), (number, item.content_value));
    }
    found
}

/// Puts content in through a peer's JSON-RPC; tells to how many peers it was offered.
pub(crate) async fn put(url: &str, key: ContentKey, value: &[u8]) -> u64 {
    let request = serde_json::json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": key.sub_network().spec().methods.put_content,
        "params": [hex::encode_prefixed(key.encode()), hex::encode_prefixed(value)],
    });
    let answer = reqwest::Client::new().post(url).json(&request).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    answer["result"]["peerCount"].as_u64().unwrap_or_else(|| panic!("{key:?}: {answer}"))
}
