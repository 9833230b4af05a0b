//! Headers from an execution client: proved by the epoch or by a proved child, or refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::{B256, U256};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use cairn_node::{BlockId, Node};
use content_types::header::DecodedHeader;
use content_types::{ContentKey, Form, legacy_history};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{LOOPBACK, World, install_tls, stop};

/// What an execution client is made of: its blocks by number, and how many it was asked for.
#[derive(Default)]
struct Client {
    blocks: Mutex<HashMap<u64, Value>>,
    asked: AtomicUsize,
}

impl Client {
    fn of(world: &World) -> Arc<Self> {
        let client = Self::default();
        for block in world.chain.blocks() {
            client.set(block.header.header(), block.header.hash());
        }
        Arc::new(client)
    }

    fn set(&self, header: &alloy_consensus::Header, hash: B256) {
        let mut block = serde_json::to_value(header).unwrap();
        block["hash"] = json!(hash);
        block["transactions"] = json!([B256::repeat_byte(1)]);
        block["uncles"] = json!([]);
        block["size"] = json!("0x100");
        self.blocks.lock().insert(header.number, block);
    }

    fn answer(&self, request: &Value) -> Value {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let wanted = request["params"][0].as_str().unwrap();
        assert_eq!(request["params"][1], false);
        let blocks = self.blocks.lock();
        let block = match request["method"].as_str().unwrap() {
            "eth_getBlockByNumber" => {
                let number = u64::from_str_radix(wanted.strip_prefix("0x").unwrap(), 16).unwrap();
                blocks.get(&number).cloned()
            }
            "eth_getBlockByHash" => blocks.values().find(|block| block["hash"] == wanted).cloned(),
            other => panic!("{other}"),
        };
        json!({ "jsonrpc": "2.0", "id": request["id"], "result": block })
    }

    /// Serves it on loopback and starts a node that takes headers from it.
    async fn start_node(self: &Arc<Self>, world: &World) -> Node {
        install_tls();
        let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = |State(client): State<Arc<Self>>, body: Bytes| async move {
            let answer: Value = match serde_json::from_slice(&body).unwrap() {
                Value::Array(requests) => requests.iter().rev().map(|request| client.answer(request)).collect(),
                request => client.answer(&request),
            };
            answer.to_string()
        };
        let routes = Router::new().route("/", post(serve)).with_state(Arc::clone(self));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let mut config = world.config("node");
        config.headers_from = Some(url.parse().unwrap());
        Node::start(config).await.unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_before_the_merge_is_proved_by_its_epoch() {
    let world = World::new();
    let client = Client::of(&world);
    let node = client.start_node(&world).await;
    let header = node.fetch().header(BlockId::Number(3)).await.unwrap();
    assert_eq!(header.hash(), world.chain.block_hash(3).unwrap());
    // The block itself, then the epoch's twelve.
    assert_eq!(client.asked(), 1 + 12);
    let hash = world.chain.block_hash(9).unwrap();
    assert_eq!(node.fetch().header(BlockId::Hash(hash)).await.unwrap().number(), 9);
    assert_eq!(client.asked(), 1, "the epoch is kept");
    node.fetch().header(BlockId::Hash(hash)).await.unwrap();
    assert_eq!(client.asked(), 0, "the header is kept");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_below_a_proved_one_is_proved_by_its_children() {
    let world = World::new();
    let client = Client::of(&world);
    let node = client.start_node(&world).await;
    let error = node.fetch().header(BlockId::Number(18)).await.unwrap_err().to_string();
    assert!(error.contains("beacon chain data"), "{error}");

    let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(22));
    node.validate(key, Form::Offered, world.chain.block(22).unwrap().header_with_proof()).await.unwrap();
    client.asked();
    let header = node.fetch().header(BlockId::Number(19)).await.unwrap();
    assert_eq!(header.hash(), world.chain.block_hash(19).unwrap());
    assert_eq!(client.asked(), 1 + 2, "the block and those between it and the proved one");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_on_another_chain_is_refused() {
    let world = World::new();
    let client = Client::of(&world);
    let node = client.start_node(&world).await;
    // A consistent block of another chain: its hash is right for its fields.
    let mut other = world.chain.block(3).unwrap().header.header().clone();
    other.difficulty += U256::from(1);
    let rlp = alloy_rlp::encode(&other);
    client.set(&other, DecodedHeader::decode(rlp.into()).unwrap().hash());
    let error = node.fetch().header(BlockId::Number(4)).await.unwrap_err().to_string();
    assert!(error.contains("not the trusted one"), "{error}");

    // With the epoch proved from the right blocks, the wrong block alone is refused too.
    let right = world.chain.block(3).unwrap();
    client.set(right.header.header(), right.header.hash());
    node.fetch().header(BlockId::Number(5)).await.unwrap();
    let mut forged = world.chain.block(6).unwrap().header.header().clone();
    forged.state_root = B256::repeat_byte(7);
    client.set(&forged, DecodedHeader::decode(alloy_rlp::encode(&forged).into()).unwrap().hash());
    let error = node.fetch().header(BlockId::Number(6)).await.unwrap_err().to_string();
    assert!(error.contains("is not in epoch"), "{error}");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_fit_the_question_are_refused() {
    let world = World::new();
    let client = Client::of(&world);
    let node = client.start_node(&world).await;
    let block = world.chain.block(3).unwrap();
    client.set(block.header.header(), B256::repeat_byte(1));
    let error = node.fetch().header(BlockId::Number(3)).await.unwrap_err().to_string();
    assert!(error.contains("its fields hash to"), "{error}");

    let other = serde_json::to_value(&client.blocks.lock()[&4]).unwrap();
    client.blocks.lock().insert(5, other);
    let error = node.fetch().header(BlockId::Number(5)).await.unwrap_err().to_string();
    assert!(error.contains("asked for block 5, it sent block 4"), "{error}");
    let error = node.fetch().header(BlockId::Number(1000)).await.unwrap_err().to_string();
    assert!(error.contains("does not have block 1000"), "{error}");
    stop(node).await;
}
