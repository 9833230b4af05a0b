//! The JSON-RPC as a browser meets it: what a web page sends, and what the browser makes of the answer.

use cairn_node::Node;
use reqwest::{Method, Response, header};
use serde_json::json;
use soketto::handshake::{Client, ServerResponse, client::Header};
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use crate::support::{World, install_tls, stop};

const EVIL: &str = "https://evil.example";
const DAPP: &str = "https://dapp.example";

/// A node that one page may call, under one name.
async fn start(world: &World) -> Node {
    install_tls();
    let mut config = world.config("node");
    let rpc = config.rpc.as_mut().unwrap();
    rpc.origins = vec![DAPP.parse().unwrap()];
    rpc.hosts = vec!["node.lan".parse().unwrap()];
    Node::start(config).await.unwrap()
}

async fn send(node: &Node, method: Method, headers: &[(&str, &str)]) -> Response {
    let url = format!("http://{}", node.rpc_address().unwrap());
    let mut request = reqwest::Client::new().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "web3_clientVersion", "params": [] });
    request.json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_allowed_gets_no_answer() {
    let world = World::new();
    let node = start(&world).await;
    // Simple requests are sent without asking; the browser only keeps the page from reading the answer.
    for origin in [EVIL, "null", "http://localhost:8080"] {
        for content_type in ["application/json", "text/plain"] {
            let response = send(&node, Method::POST, &[("origin", origin), ("content-type", content_type)]).await;
            assert_eq!(response.status(), 403, "{origin}");
            assert_eq!(response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN), None);
            assert!(response.text().await.unwrap().contains("--rpc-origins"));
        }
    }
    let preflight = [("origin", EVIL), ("access-control-request-method", "POST")];
    assert_eq!(send(&node, Method::OPTIONS, &preflight).await.status(), 403);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_allowed_can_ask_send_and_read() {
    let world = World::new();
    let node = start(&world).await;
    let asks = [
        ("origin", DAPP),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let preflight = send(&node, Method::OPTIONS, &asks).await;
    assert!(preflight.status().is_success());
    assert_eq!(preflight.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], DAPP);
    assert_eq!(preflight.headers()[header::ACCESS_CONTROL_ALLOW_METHODS], "POST");
    assert_eq!(preflight.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS], "content-type");

    let response = send(&node, Method::POST, &[("origin", DAPP)]).await;
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], DAPP);
    assert_eq!(response.headers()[header::VARY], "origin");
    assert!(response.text().await.unwrap().contains("cairn/"));
    // Programs are no pages.
    assert!(send(&node, Method::POST, &[]).await.text().await.unwrap().contains("cairn/"));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_only_leads_here_gets_no_answer() {
    let world = World::new();
    let node = start(&world).await;
    let port = node.rpc_address().unwrap().port();
    for (host, status) in [("localhost", 200), ("127.0.0.1", 200), ("node.lan", 200), ("evil.example", 403)] {
        let response = send(&node, Method::POST, &[("host", &format!("{host}:{port}"))]).await;
        assert_eq!(response.status(), status, "{host}");
    }
    stop(node).await;
}

/// The status of the answer to a WebSocket handshake; 101 is a connection.
async fn handshake(node: &Node, host: &str, origin: Option<&str>) -> u16 {
    let socket = tokio::net::TcpStream::connect(node.rpc_address().unwrap()).await.unwrap();
    let headers: Vec<Header<'_>> =
        origin.iter().map(|origin| Header { name: "Origin", value: origin.as_bytes() }).collect();
    let mut client = Client::new(socket.compat(), host, "/");
    match client.set_headers(&headers).handshake().await.unwrap() {
        ServerResponse::Accepted { .. } => 101,
        ServerResponse::Rejected { status_code } | ServerResponse::Redirect { status_code, .. } => status_code,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_opens_for_programs_and_pages_that_are_allowed() {
    let world = World::new();
    let node = start(&world).await;
    for (host, origin, status) in [
        ("localhost", None, 101),
        ("localhost", Some(DAPP), 101),
        ("localhost", Some(EVIL), 403),
        ("evil.example", None, 403),
        ("evil.example", Some("http://evil.example"), 403),
    ] {
        assert_eq!(handshake(&node, host, origin).await, status, "{host} {origin:?}");
    }
    stop(node).await;
}
