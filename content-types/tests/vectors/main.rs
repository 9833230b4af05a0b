//! The public test vectors that concern history and headers.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

mod content;
mod headers;
mod proofs;
mod state;
mod trust;

use std::{fs, path::Path, sync::Arc};

use alloy_primitives::hex;
use cairn_vectors::VectorTest;
use content_types::{ChainSpec, HeaderVerifier, TrustLists};
use serde::Deserialize;

const HISTORY: &str = "portal-spec-tests/tests/mainnet/history";
const BEACON: &str = "portal-spec-tests/tests/mainnet/beacon_chain";
const SUMMARIES: &str = "headers_with_proof/beacon_data/historical_summaries_at_slot_11476992.ssz";

fn main() {
    let mut tests = Vec::new();
    tests.extend(headers::tests());
    tests.extend(proofs::tests());
    tests.extend(trust::tests());
    tests.extend(state::tests());
    tests.extend(content::tests());
    cairn_vectors::run(tests);
}

/// A content key and its value, as most vectors have them.
#[derive(Debug, Deserialize)]
struct ContentItem {
    #[serde(with = "hex::serde")]
    content_key: Vec<u8>,
    #[serde(with = "hex::serde")]
    content_value: Vec<u8>,
}

fn read(root: &Path, file: &str) -> Vec<u8> {
    fs::read(root.join(HISTORY).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn yaml<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> T {
    serde_yaml_ng::from_slice(bytes).unwrap()
}

/// Mainnet with all its lists.
fn mainnet(root: &Path) -> HeaderVerifier {
    let chain = ChainSpec::mainnet();
    let mut lists = TrustLists::default();
    for file in ["trust/historical_hashes_accumulator.ssz", "trust/historical_roots.ssz"] {
        lists.import_any(&fs::read(root.join(file)).unwrap(), chain.trust_roots()).unwrap();
    }
    lists.import_any(&read(root, SUMMARIES), chain.trust_roots()).unwrap();
    HeaderVerifier::new(Arc::new(chain), lists)
}

/// A test that needs the folder of history vectors and the trusted lists.
fn history_test(name: &'static str, test: fn(&Path)) -> VectorTest {
    VectorTest::new(name, &[HISTORY, "trust"], test)
}
