//! An execution client of a synthetic chain on loopback, as far as `--headers-from` asks one.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use cairn_synthetic::SyntheticChain;
use serde_json::{Value, json};

/// Starts it; its URL. It answers until the tests end.
pub(crate) fn serve(chain: &SyntheticChain) -> String {
    Client::of(chain).serve()
}

/// What it answers with.
pub(crate) struct Client {
    pub(crate) blocks: Vec<Value>,
    pub(crate) chain_id: u64,
    /// The error that batches are refused with.
    pub(crate) refusal: Option<String>,
}

impl Client {
    /// One that knows all of a chain.
    pub(crate) fn of(chain: &SyntheticChain) -> Self {
        let blocks = chain.blocks().map(|block| answer(block.header.header(), block.header.hash())).collect();
        Self { blocks, chain_id: chain.spec().chain_id(), refusal: None }
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

fn result(request: &Value, Client { blocks, chain_id, .. }: &Client) -> Value {
    if request["method"] == "eth_chainId" {
        return json!({ "jsonrpc": "2.0", "id": request["id"], "result": format!("{chain_id:#x}") });
    }
    assert_eq!(request["method"], "eth_getBlockByNumber");
    let number = request["params"][0].as_str().and_then(|text| text.strip_prefix("0x")).unwrap();
    let block = blocks.get(usize::from_str_radix(number, 16).unwrap());
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": block })
}
