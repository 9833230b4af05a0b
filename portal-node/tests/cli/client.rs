//! An execution client of a synthetic chain on loopback, as far as `--headers-from` asks one.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use alloy_primitives::{Address, U256};
use cairn_synthetic::{State, SyntheticChain};
use serde_json::{Value, json};

/// Starts it; its URL. It answers until the tests end.
pub(crate) fn serve(chain: &SyntheticChain) -> String {
    Client::of(chain).serve()
}

/// What it answers with.
pub(crate) struct Client {
    pub(crate) blocks: Vec<Value>,
    pub(crate) chain_id: u64,
    /// The error that batches, and requests for proofs, are refused with.
    pub(crate) refusal: Option<String>,
    /// The states that it has, by the numbers of their blocks.
    pub(crate) states: BTreeMap<u64, State>,
}

impl Client {
    /// One that knows all of a chain.
    pub(crate) fn of(chain: &SyntheticChain) -> Self {
        let blocks = chain.blocks().map(|block| answer(block.header.header(), block.header.hash())).collect();
        Self { blocks, chain_id: chain.spec().chain_id(), refusal: None, states: BTreeMap::new() }
    }

    /// Starts it; its URL.
    pub(crate) fn serve(self) -> String {
        listen(Arc::new(self))
    }
}

fn listen(client: Arc<Client>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let client = Arc::clone(&client);
            // Whoever asked and went away is none of the client's business.
            thread::spawn(move || drop(converse(stream, &client)));
        }
    });
    url
}

/// A block as `eth_getBlockByNumber` gives it.
fn answer(header: &impl serde::Serialize, hash: alloy_primitives::B256) -> Value {
    let mut block = serde_json::to_value(header).unwrap();
    block["hash"] = json!(hash);
    block["transactions"] = json!([]);
    block["uncles"] = json!([]);
    block
}

/// One request, one answer.
fn converse(stream: io::Result<TcpStream>, client: &Client) -> io::Result<()> {
    let mut stream = BufReader::new(stream?);
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let answer = match (serde_json::from_slice(&body)?, &client.refusal) {
        (Value::Array(_), Some(why)) => {
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32005, "message": why } })
        }
        (Value::Array(requests), None) => requests.iter().map(|request| result(request, client)).collect(),
        (request, _) => result(&request, client),
    };
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    stream.get_mut().write_all(format!("{head}{answer}").as_bytes())
}

fn result(request: &Value, client: &Client) -> Value {
    let Client { blocks, chain_id, .. } = client;
    if request["method"] == "eth_chainId" {
        return json!({ "jsonrpc": "2.0", "id": request["id"], "result": format!("{chain_id:#x}") });
    }
    if request["method"] == "eth_blockNumber" {
        return json!({ "jsonrpc": "2.0", "id": request["id"], "result": format!("{:#x}", blocks.len() - 1) });
    }
    if ["eth_getProof", "eth_getCode"].iter().any(|of_state| request["method"] == *of_state) {
        return match of_state(request, client) {
            Some(result) => json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }),
            None => {
                let error = json!({ "code": -32000, "message": "missing trie node" });
                json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })
            }
        };
    }
    assert_eq!(request["method"], "eth_getBlockByNumber");
    let number = request["params"][0].as_str().and_then(|text| text.strip_prefix("0x")).unwrap();
    let block = blocks.get(usize::from_str_radix(number, 16).unwrap());
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": block })
}

/// What it says of a state, if it has that.
fn of_state(request: &Value, client: &Client) -> Option<Value> {
    let params = request["params"].as_array().unwrap();
    let number = u64::from_str_radix(params.last()?.as_str()?.strip_prefix("0x")?, 16).unwrap();
    let state = client.states.get(&number)?;
    let address: Address = params[0].as_str()?.parse().unwrap();
    let found = state.accounts().iter().find(|account| account.address == address);
    if request["method"] == "eth_getCode" {
        return Some(json!(alloy_primitives::Bytes::from(found.map(|found| found.code.clone()).unwrap_or_default())));
    }
    let nodes = |proof: Vec<bytes::Bytes>| proof.into_iter().map(alloy_primitives::Bytes::from).collect::<Vec<_>>();
    let slot = |slot: &Value| {
        let slot: U256 = slot.as_str().unwrap().parse().unwrap();
        let value = found.and_then(|found| found.storage.iter().find(|(of, _)| *of == slot)).map(|(_, value)| *value);
        let proof = nodes(state.storage_proof(&address, slot));
        json!({ "key": slot, "value": value.unwrap_or_default(), "proof": proof })
    };
    let account = found.map(|found| found.account).unwrap_or_default();
    Some(json!({
        "address": address,
        "balance": account.balance,
        "nonce": format!("{:#x}", account.nonce),
        "codeHash": account.code_hash,
        "storageHash": account.storage_root,
        "accountProof": nodes(state.account_proof(&address)),
        "storageProof": params[1].as_array()?.iter().map(slot).collect::<Vec<_>>(),
    }))
}
