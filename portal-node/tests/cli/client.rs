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
    let blocks: Arc<[Value]> = chain.blocks().map(|block| answer(block.header.header(), block.header.hash())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let blocks = Arc::clone(&blocks);
            // Whoever asked and went away is none of the client's business.
            thread::spawn(move || drop(converse(stream, &blocks)));
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
fn converse(stream: io::Result<TcpStream>, blocks: &[Value]) -> io::Result<()> {
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
    let answer = match serde_json::from_slice(&body)? {
        Value::Array(requests) => requests.iter().map(|request| result(request, blocks)).collect(),
        request => result(&request, blocks),
    };
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    stream.get_mut().write_all(format!("{head}{answer}").as_bytes())
}

fn result(request: &Value, blocks: &[Value]) -> Value {
    assert_eq!(request["method"], "eth_getBlockByNumber");
    let number = request["params"][0].as_str().and_then(|text| text.strip_prefix("0x")).unwrap();
    let block = blocks.get(usize::from_str_radix(number, 16).unwrap());
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": block })
}
