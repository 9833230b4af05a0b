//! Nodes of state tries, code and their proofs.

use std::{fs, path::Path};

use alloy_primitives::{B256, Bytes, U256, keccak256};
use cairn_vectors::VectorTest;
use content_types::block_id::BlockId;
use content_types::header::DecodedHeader;
use content_types::room::{Evidence, Form, Key as _};
use content_types::state::{ContentKey, Proved};
use content_types::trie::{Nibbles, proof};
use serde::Deserialize;

use super::yaml;

const STATE: &str = "portal-spec-tests/tests/mainnet/state";
const PROOFS: &str = "proofs";
const MAINNET: &str = "beacon/mainnet";

pub(crate) fn tests() -> Vec<VectorTest> {
    vec![
        VectorTest::new("state_keys", &[STATE], keys),
        VectorTest::new("state_values", &[STATE], values),
        VectorTest::new("state_of_a_block", &[STATE], of_a_block),
        VectorTest::new("state_with_a_byte_changed", &[STATE], with_a_byte_changed),
        VectorTest::new("answers_of_eth_get_proof", &[PROOFS, MAINNET], answers_of_eth_get_proof),
    ]
}

fn read<T: for<'de> Deserialize<'de>>(root: &Path, file: &str) -> T {
    yaml(&fs::read(root.join(STATE).join(file)).unwrap_or_else(|error| panic!("{file}: {error}")))
}

#[derive(Deserialize)]
struct KeyVector {
    address: Option<Bytes>,
    #[serde(default)]
    path: Vec<u8>,
    node_hash: Option<B256>,
    code_hash: Option<B256>,
    content_key: Bytes,
    content_id: B256,
}

fn keys(root: &Path) {
    for (file, count) in
        [("account_trie_node_key", 1), ("contract_storage_trie_node_key", 2), ("contract_bytecode_key", 3)]
    {
        let vector: KeyVector = read(root, &format!("serialization/{file}.yaml"));
        let path = Nibbles::new(&vector.path).unwrap();
        let key = match (vector.address.map(keccak256), vector.node_hash, vector.code_hash) {
            (None, Some(node_hash), None) => ContentKey::AccountTrieNode { path, node_hash },
            (Some(address_hash), Some(node_hash), None) => {
                ContentKey::StorageTrieNode { address_hash, path, node_hash }
            }
            (Some(address_hash), None, Some(code_hash)) => ContentKey::Code { address_hash, code_hash },
            other => panic!("{file} {count}: {other:?}"),
        };
        assert_eq!(key.encode(), vector.content_key.0, "{file}");
        assert_eq!(ContentKey::decode(&vector.content_key), Ok(key));
        assert_eq!(key.content_id().as_bytes(), vector.content_id.as_slice());
    }
}

#[derive(Deserialize)]
struct OfferVector {
    proof: Option<Vec<Bytes>>,
    storage_proof: Option<Vec<Bytes>>,
    account_proof: Option<Vec<Bytes>>,
    bytecode: Option<Bytes>,
    block_hash: B256,
    content_value: Bytes,
}

fn values(root: &Path) {
    for (file, key) in [
        ("account_trie_node", "account_trie_node_key"),
        ("contract_storage_trie_node", "contract_storage_trie_node_key"),
        ("contract_bytecode", "contract_bytecode_key"),
    ] {
        let key: KeyVector = read(root, &format!("serialization/{key}.yaml"));
        let key = ContentKey::decode(&key.content_key).unwrap();
        let vector: OfferVector = read(root, &format!("serialization/{file}_with_proof.yaml"));
        let nodes = |proof: Option<Vec<Bytes>>| proof.map(|proof| proof.into_iter().map(|node| node.0).collect());
        let block_hash = vector.block_hash;
        let expected = match (nodes(vector.proof), nodes(vector.storage_proof), nodes(vector.account_proof)) {
            (Some(proof), None, None) => Proved::AccountTrieNode { proof, block_hash },
            (None, Some(storage_proof), Some(account_proof)) => {
                Proved::StorageTrieNode { storage_proof, account_proof, block_hash }
            }
            (None, None, Some(account_proof)) => {
                Proved::Code { code: vector.bytecode.unwrap().0, account_proof, block_hash }
            }
            other => panic!("{file}: {other:?}"),
        };
        assert_eq!(expected.encode(), vector.content_value.0, "{file}");
        assert_eq!(Proved::decode(&key, &vector.content_value.0), Ok(expected));
    }
}

#[derive(Deserialize)]
struct ValidationVector {
    block_header: Bytes,
    content_key: Bytes,
    content_value_offer: Bytes,
    content_value_retrieval: Bytes,
}

fn validation(root: &Path) -> Vec<ValidationVector> {
    let files = ["account_trie_node", "contract_storage_trie_node", "contract_bytecode"];
    files.into_iter().flat_map(|file| read::<Vec<_>>(root, &format!("validation/{file}.yaml"))).collect()
}

fn of_a_block(root: &Path) {
    let vectors = validation(root);
    assert!(vectors.len() >= 7, "{}", vectors.len());
    for vector in vectors {
        let key = ContentKey::decode(&vector.content_key).unwrap();
        let header = DecodedHeader::decode(vector.block_header.0).unwrap();
        let (offered, stored) = (vector.content_value_offer.0, vector.content_value_retrieval.0);
        assert!(offered.len() <= key.max_value_len(Form::Offered) && stored.len() <= key.max_value_len(Form::Stored));
        let evidence = key.evidence(Form::Offered, &offered);
        assert_eq!(evidence, Ok(Evidence::Header(BlockId::Hash(header.hash()))));
        let examined = key.examine(Form::Offered, offered).unwrap();
        assert_eq!(examined.check(Some(header.header())), Ok(stored.clone()));
        assert_eq!(key.evidence(Form::Stored, &stored), Ok(Evidence::Key));
        assert_eq!(key.examine(Form::Stored, stored.clone()).unwrap().check(None), Ok(stored));
    }
}

/// No byte of a key or a value says nothing.
fn with_a_byte_changed(root: &Path) {
    for vector in validation(root) {
        let header = DecodedHeader::decode(vector.block_header.0).unwrap();
        let is_proved = |key: &[u8], form: Form, value: bytes::Bytes| {
            let Ok(key) = ContentKey::decode(key) else { return false };
            let is_named = match key.evidence(form, &value) {
                Ok(Evidence::Header(block)) => block == BlockId::Hash(header.hash()),
                evidence => evidence == Ok(Evidence::Key),
            };
            is_named && key.examine(form, value).is_ok_and(|value| value.check(Some(header.header())).is_ok())
        };
        let (offered, stored) = (vector.content_value_offer.0, vector.content_value_retrieval.0);
        assert!(is_proved(&vector.content_key, Form::Offered, offered.clone()));
        for at in 0..vector.content_key.len() {
            let mut key = vector.content_key.to_vec();
            key[at] ^= 1;
            assert!(!is_proved(&key, Form::Offered, offered.clone()), "byte {at} of the key");
        }
        for (form, value) in [(Form::Offered, offered), (Form::Stored, stored)] {
            for at in (0..value.len()).step_by(1 + value.len() / 500) {
                let mut value = value.to_vec();
                value[at] ^= 1;
                assert!(!is_proved(&vector.content_key, form, value.into()), "{form:?}: byte {at}");
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetProof {
    address: Bytes,
    account_proof: Vec<Bytes>,
    balance: U256,
    code_hash: B256,
    nonce: U256,
    storage_hash: B256,
    storage_proof: Vec<StorageProof>,
}

#[derive(Deserialize)]
struct StorageProof {
    key: B256,
    value: U256,
    proof: Vec<Bytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockAnswer {
    state_root: B256,
}

fn answers_of_eth_get_proof(root: &Path) {
    let read = |file: &str| fs::read(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    // As a client answers, with the envelope of JSON-RPC or without.
    let json = |file: &str| -> serde_json::Value {
        let answer: serde_json::Value = serde_json::from_slice(&read(file)).unwrap();
        answer.get("result").unwrap_or(&answer).clone()
    };
    let mut slots = 0;
    for (block, proofs) in [
        ("proofs/proof_block.json", "proofs/storage_proof.json"),
        (
            "beacon/mainnet/eth_getBlockByNumber_0x14d0303_false.json",
            "beacon/mainnet/eth_getProof_0x95222290DD7278Aa3Ddd389Cc1E1d165CC4BAfe5____0x14d0303.json",
        ),
    ] {
        let state_root = serde_json::from_value::<BlockAnswer>(json(block)).unwrap().state_root;
        let answer: GetProof = serde_json::from_value(json(proofs)).unwrap();
        let account = proof::account(state_root, &keccak256(&answer.address), &answer.account_proof).unwrap();
        assert_eq!((account.balance, U256::from(account.nonce)), (answer.balance, answer.nonce));
        assert_eq!((account.storage_root, account.code_hash), (answer.storage_hash, answer.code_hash));
        for slot in &answer.storage_proof {
            let found = proof::look_up(account.storage_root, &keccak256(slot.key), &slot.proof).unwrap();
            let value = found.map_or(U256::ZERO, |mut value| alloy_rlp::Decodable::decode(&mut value).unwrap());
            assert_eq!(value, slot.value);
            slots += 1;
        }
    }
    assert!(slots > 0);
}
