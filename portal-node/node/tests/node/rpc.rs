//! Every method of the specification's OpenRPC (`jsonrpc/src/methods/{history,discv5}.json`) against the shapes in its
//! schemas.

use std::time::Duration;

use cairn_node::BlockId;
use cairn_node::present::{PieceForm, What};
use cairn_node::rpc::calls::{FetchTrust, GetBlock, GetPeers, GetStatus};
use cairn_node::rpc::{AskError, PeerClient, SOCKET_FILE, error};
use content_types::{ContentKey, Key as _, SubNetwork, history, legacy_history};
use serde_json::{Value, json};

use crate::support::{Rpc, World, connect, hex, stop, until};

const INVALID_PARAMS: i64 = -32602;
const METHOD_NOT_FOUND: i64 = -32601;

/// The prefix of each sub-network's methods and a key and value of its content.
fn namespaces(world: &World) -> [(&'static str, SubNetwork, ContentKey, Vec<u8>); 2] {
    let block = world.chain.block(5).unwrap();
    let body = history::ContentKey::BlockBody { number: 5 };
    let header = legacy_history::ContentKey::HeaderByNumber(5);
    [
        ("portal_history", SubNetwork::History, body.into(), block.body.to_vec()),
        ("portal_legacyHistory", SubNetwork::LegacyHistory, header.into(), block.header_with_proof().to_vec()),
    ]
}

fn assert_bytes32(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(text.len() == 66 && text.starts_with("0x") && text[2..].bytes().all(|digit| digit.is_ascii_hexdigit()));
}

fn assert_uint256(value: &str) {
    let digits = value.strip_prefix("0x").unwrap();
    assert!(digits == "0" || (!digits.starts_with('0') && (1..=64).contains(&digits.len())), "{value}");
}

fn assert_enr(value: &Value) {
    value.as_str().unwrap().parse::<overlay::Enr>().unwrap();
}

fn assert_routing_table(info: &Value, node_id: &str) {
    assert_eq!(info["localNodeId"], node_id);
    let buckets = info["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), 256);
    buckets.iter().flat_map(|bucket| bucket.as_array().unwrap()).for_each(assert_bytes32);
    assert_eq!(info.as_object().unwrap().len(), 2);
}

/// `traceResultObject`
fn assert_trace(trace: &Value) {
    assert_uint256(trace["origin"].as_str().unwrap());
    assert_uint256(trace["targetId"].as_str().unwrap());
    assert!(trace["startedAtMs"].as_u64().unwrap() > 1_500_000_000_000);
    if let Some(from) = trace.get("receivedFrom") {
        assert_uint256(from.as_str().unwrap());
    }
    for (peer, response) in trace["responses"].as_object().unwrap() {
        assert_uint256(peer);
        assert!(response["durationsMs"].is_u64());
        assert_eq!(response["durationMs"], response["durationsMs"]);
        for node in response["respondedWith"].as_array().unwrap() {
            assert_uint256(node.as_str().unwrap());
        }
    }
    for (peer, failure) in trace["failures"].as_object().unwrap() {
        assert!(trace["responses"].get(peer).is_some(), "{peer} was asked");
        assert!(failure["durationMs"].is_u64() && failure["failure"].is_string());
    }
    for (node, metadata) in trace["metadata"].as_object().unwrap() {
        assert_uint256(node);
        assert_enr(&metadata["enr"]);
        assert_uint256(metadata["distance"].as_str().unwrap());
    }
    trace["cancelled"].as_array().unwrap().iter().for_each(|node| assert_uint256(node.as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn discv5_methods() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    connect(&node, &peer).await;
    let rpc = Rpc::of(&node);
    let (node_id, peer_id, peer_enr) = (node.node_id().to_string(), peer.node_id().to_string(), peer.enr().to_base64());

    let info = rpc.ok("discv5_nodeInfo", json!([])).await;
    assert_eq!(info, json!({ "enr": node.enr().to_base64(), "nodeId": node_id }));
    assert_eq!(rpc.ok("discv5_addEnr", json!([peer_enr])).await, true);
    assert_routing_table(&rpc.ok("discv5_routingTableInfo", json!([])).await, &node_id);
    assert_eq!(rpc.ok("discv5_getEnr", json!([peer_id])).await, peer_enr);
    assert_eq!(rpc.ok("discv5_getEnr", json!([node_id])).await, node.enr().to_base64());
    assert_eq!(rpc.ok("discv5_lookupEnr", json!([peer_id])).await, peer_enr);

    let pong = rpc.ok("discv5_ping", json!([peer_enr])).await;
    assert_eq!(pong["enrSeq"], peer.enr().seq());
    assert_eq!(pong["recipientIP"], "127.0.0.1");
    assert_eq!(pong["recipientPort"], node.enr().udp4().unwrap().to_string());

    assert_eq!(rpc.ok("discv5_findNode", json!([peer_enr, [0]])).await, json!([peer_enr]));
    let found = rpc.ok("discv5_recursiveFindNodes", json!([peer_id])).await;
    assert_eq!(found[0], peer_enr);
    // Nobody speaks this protocol, which is answered with an empty message.
    assert_eq!(rpc.ok("discv5_talkReq", json!([peer_enr, "0x1234", "0x00"])).await, "0x");
    assert_eq!(rpc.ok("discv5_deleteEnr", json!([peer_id])).await, true);
    assert_eq!(rpc.ok("discv5_deleteEnr", json!([peer_id])).await, false);
    assert!(rpc.error("discv5_getEnr", json!([peer_id])).await.1.contains(&peer_id));

    let updated = rpc.ok("discv5_updateNodeInfo", json!(["127.0.0.1:4000", false])).await;
    assert_eq!(updated["localNodeId"], node_id);
    let enr: overlay::Enr = updated["enr"].as_str().unwrap().parse().unwrap();
    assert_eq!(enr.udp4(), Some(4000));

    let nobody = hex([7; 32]);
    for method in ["discv5_getEnr", "discv5_lookupEnr"] {
        let (code, message, _) = rpc.error(method, json!([nobody])).await;
        assert!(code != METHOD_NOT_FOUND && message.contains(&nobody), "{code} {message}");
    }
    stop(node).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_tables_of_each_sub_network() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    connect(&node, &peer).await;
    let rpc = Rpc::of(&node);
    let (peer_id, peer_enr) = (peer.node_id().to_string(), peer.enr().to_base64());
    let nobody = hex([7; 32]);
    for (prefix, ..) in namespaces(&world) {
        let method = |name: &str| format!("{prefix}{name}");
        assert_eq!(rpc.ok(&method("AddEnr"), json!([peer_enr])).await, true);
        let table = rpc.ok(&method("RoutingTableInfo"), json!([])).await;
        assert_routing_table(&table, &node.node_id().to_string());
        assert!(table.to_string().contains(&peer_id));
        assert_eq!(rpc.ok(&method("GetEnr"), json!([peer_id])).await, peer_enr);
        assert_eq!(rpc.ok(&method("GetEnr"), json!([node.node_id().to_string()])).await, node.enr().to_base64());
        assert_eq!(rpc.ok(&method("LookupEnr"), json!([peer_id])).await, peer_enr);
        assert_eq!(rpc.ok(&method("FindNodes"), json!([peer_enr, [0]])).await, json!([peer_enr]));
        let found = rpc.ok(&method("RecursiveFindNodes"), json!([peer_id])).await;
        assert_eq!(found, json!([peer_enr]));
        let (code, message, _) = rpc.error(&method("GetEnr"), json!([nobody])).await;
        assert!(code != METHOD_NOT_FOUND && message.contains(&nobody));
        rpc.error(&method("LookupEnr"), json!([nobody])).await;
        assert_eq!(rpc.ok(&method("DeleteEnr"), json!([peer_id])).await, true);
        assert_eq!(rpc.ok(&method("DeleteEnr"), json!([nobody])).await, false);
    }
    stop(node).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_with_and_without_payload() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    let rpc = Rpc::of(&node);
    let enr = peer.enr().to_base64();
    for (prefix, network, extension) in
        [("portal_history", SubNetwork::History, 1), ("portal_legacyHistory", SubNetwork::LegacyHistory, 2)]
    {
        let ping = format!("{prefix}Ping");
        // The first ping to a peer is of type 0.
        let pong = rpc.ok(&ping, json!([enr])).await;
        assert_eq!((&pong["payloadType"], &pong["enrSeq"]), (&json!(0), &json!(peer.enr().seq())));
        assert_uint256(pong["payload"]["dataRadius"].as_str().unwrap());
        assert!(pong["payload"]["clientInfo"].as_str().unwrap().starts_with("cairn/"));
        assert_eq!(pong["payload"]["capabilities"], json!([0, extension, 65535]));

        let pong = rpc.ok(&ping, json!([enr, extension])).await;
        assert_eq!(pong["payloadType"], extension);
        let radius = peer.store().radius(network).to_string();
        assert_eq!(pong["payload"]["dataRadius"], radius, "the largest radius has no leading zeros");
        let payload = pong["payload"].clone();
        assert_eq!(rpc.ok(&ping, json!([enr, extension, payload])).await["payloadType"], extension);

        let (code, _, data) = rpc.error(&ping, json!([enr, 3 - extension])).await;
        assert_eq!((code, data), (-39004, json!({ "reason": "subnetwork" })));
        for unknown in [3, 65535] {
            let (code, _, data) = rpc.error(&ping, json!([enr, unknown])).await;
            assert_eq!((code, data), (-39004, json!({ "reason": "client" })));
        }
        assert_eq!(rpc.error(&ping, json!([enr, 0, { "dataRadius": "0x1" }])).await.0, -39005);
        assert_eq!(rpc.error(&ping, json!([enr, null, { "dataRadius": "0x1" }])).await.0, -39006);
        assert_eq!(rpc.error(&ping, json!([enr, -1])).await.0, INVALID_PARAMS);
    }
    stop(node).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_stored_found_and_offered() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    connect(&node, &peer).await;
    let (rpc, peer_rpc) = (Rpc::of(&node), Rpc::of(&peer));
    let enr = peer.enr().to_base64();
    // Bodies need headers, so the namespace that has them comes first.
    for (prefix, _, key, value) in namespaces(&world).into_iter().rev() {
        let method = |name: &str| format!("{prefix}{name}");
        let (key, value) = (hex(key.encode()), hex(value));

        assert_eq!(rpc.error(&method("LocalContent"), json!([key])).await.0, -39001);
        assert_eq!(rpc.error(&method("GetContent"), json!([key])).await.0, -39001);
        let (code, _, trace) = rpc.error(&method("TraceGetContent"), json!([key])).await;
        assert_eq!(code, -39002);
        assert_trace(&trace);
        let closer = rpc.ok(&method("FindContent"), json!([enr, key])).await;
        assert!(closer["enrs"].is_array() && closer.get("content").is_none(), "{closer}");

        for _ in 0..2 {
            assert_eq!(peer_rpc.ok(&method("Store"), json!([key, value])).await, true, "held, now or before");
        }
        assert_eq!(peer_rpc.ok(&method("LocalContent"), json!([key])).await, value);
        let found = rpc.ok(&method("FindContent"), json!([enr, key])).await;
        assert_eq!(found["content"], value);
        assert!(found["utpTransfer"].is_boolean());
        assert_eq!(rpc.ok(&method("Offer"), json!([enr, [[key, value]]])).await, "0x02", "already stored");

        let traced = rpc.ok(&method("TraceGetContent"), json!([key])).await;
        assert_eq!(traced["content"], value);
        assert_trace(&traced["trace"]);
        // "After fetching from the network the content is stored in the local database."
        assert_eq!(rpc.ok(&method("LocalContent"), json!([key])).await, value);
        let got = rpc.ok(&method("GetContent"), json!([key])).await;
        assert_eq!(got, json!({ "content": value, "utpTransfer": false }));
    }
    stop(node).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_content_tells_where_it_went() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    connect(&node, &peer).await;
    let (rpc, peer_rpc) = (Rpc::of(&node), Rpc::of(&peer));
    for (prefix, _, content, value) in namespaces(&world).into_iter().rev() {
        let (key, value) = (hex(content.encode()), hex(value));
        let put = rpc.ok(&format!("{prefix}PutContent"), json!([key, value])).await;
        assert_eq!((&put["peerCount"], &put["storedLocally"]), (&json!(1), &json!(true)), "{put}");
        assert_eq!(put["acceptMetadata"]["acceptedCount"], 1, "{put}");
        assert_eq!(put["acceptMetadata"].as_object().unwrap().len(), 6);
        until("content stored by the peer", || peer.store().contains(&content).unwrap()).await;
        assert_eq!(peer_rpc.ok(&format!("{prefix}LocalContent"), json!([key])).await, value);
    }
    stop(node).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_there_is_no_room_for_is_not_said_to_be_stored() {
    let world = World::new();
    let mut config = world.config("node");
    config.capacity = 0;
    config.seeds = vec![world.archives()];
    let node = cairn_node::Node::start(config).await.unwrap();
    let mut config = world.config("empty");
    config.capacity = 0;
    let empty = cairn_node::Node::start(config).await.unwrap();
    node.archives().wait_until_scanned().await;
    let (_, _, key, value) = namespaces(&world).into_iter().next_back().unwrap();
    let params = json!([hex(key.encode()), hex(value)]);
    for (node, is_held) in [(&node, true), (&empty, false)] {
        let rpc = Rpc::of(node);
        assert_eq!(rpc.ok("portal_legacyHistoryStore", params.clone()).await, is_held);
        let put = rpc.ok("portal_legacyHistoryPutContent", params.clone()).await;
        assert_eq!(put["storedLocally"], is_held, "{put}");
    }
    stop(node).await;
    stop(empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_content_is_refused_everywhere() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    let rpc = Rpc::of(&node);
    let enr = peer.enr().to_base64();
    for (prefix, _, key, mut value) in namespaces(&world).into_iter().rev() {
        if prefix == "portal_history" {
            // The header that the body is checked against.
            let header = legacy_history::ContentKey::HeaderByNumber(5).encode();
            let with_proof = world.chain.block(5).unwrap().header_with_proof();
            rpc.ok("portal_legacyHistoryStore", json!([hex(header), hex(with_proof)])).await;
        }
        let last = value.len() - 1;
        value[last] ^= 1;
        let (key, value) = (hex(key.encode()), hex(value));
        for (name, params) in [
            ("Store", json!([key, value])),
            ("PutContent", json!([key, value])),
            ("Offer", json!([enr, [[key, value]]])),
        ] {
            let (code, message, _) = rpc.error(&format!("{prefix}{name}"), params).await;
            assert!(code == -32002 && message.contains("content refused"), "{name}: {code} {message}");
        }
        if prefix == "portal_history" {
            assert_eq!(rpc.error("portal_historyLocalContent", json!([key])).await.0, -39001);
        }
    }
    stop(node).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_parameters_are_named() {
    let world = World::new();
    let node = world.start("node").await;
    let rpc = Rpc::of(&node);
    let enr = node.enr().to_base64();
    let cases = [
        ("GetEnr", json!(["0x12"]), "parameter 1 (nodeId)"),
        ("DeleteEnr", json!([]), "parameter 1 (nodeId)"),
        ("LookupEnr", json!([true]), "parameter 1 (nodeId)"),
        ("AddEnr", json!(["enr:nonsense"]), "parameter 1 (enr)"),
        ("Ping", json!(["not a record"]), "parameter 1 (enr)"),
        ("FindNodes", json!([enr, [257]]), "parameter 2 (distances)"),
        ("FindContent", json!([enr, "00"]), "parameter 2 (contentKey)"),
        ("FindContent", json!([enr, "0xff"]), "contentKey"),
        ("Offer", json!([enr, []]), "parameter 2 (content_items)"),
        ("Offer", json!([enr, [["0xff", "0x"]]]), "item 0"),
        ("RecursiveFindNodes", json!([1]), "parameter 1 (nodeId)"),
        ("GetContent", json!(["0x"]), "contentKey"),
        ("TraceGetContent", json!({ "key": "0x00" }), "unknown parameter key"),
        ("LocalContent", json!(["0x00", 1]), "2 parameters given"),
        ("Store", json!(["0x00"]), "contentKey"),
        ("PutContent", json!([null, "0x"]), "parameter 1 (contentKey)"),
        ("RoutingTableInfo", json!([1]), "1 parameters given"),
    ];
    for (name, params, expected) in cases {
        for prefix in ["portal_history", "portal_legacyHistory"] {
            let (code, message, _) = rpc.error(&format!("{prefix}{name}"), params.clone()).await;
            assert_eq!(code, INVALID_PARAMS, "{name}: {message}");
            assert!(message.contains(expected), "{name}: {message}");
        }
    }
    for (method, params, expected) in [
        ("discv5_talkReq", json!([enr, "0x5000"]), "parameter 3 (talkReqPayload)"),
        ("discv5_findNode", json!([enr, "0"]), "parameter 2 (distances)"),
        ("discv5_updateNodeInfo", json!(["nowhere"]), "parameter 1 (socketAddr)"),
        ("discv5_nodeInfo", json!([0]), "1 parameters given"),
        ("web3_clientVersion", json!([0]), "1 parameters given"),
        ("cairn_status", json!({ "x": 1 }), "unknown parameter x"),
    ] {
        let (code, message, _) = rpc.error(method, params).await;
        assert_eq!(code, INVALID_PARAMS);
        assert!(message.contains(expected), "{method}: {message}");
    }
    assert_eq!(rpc.error("portal_moonGetContent", json!(["0x"])).await.0, METHOD_NOT_FOUND);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_bounded_and_names_work_as_positions() {
    let world = World::new();
    let mut config = world.config("node");
    let mut limits = config.rpc.unwrap();
    limits.max_batch = 2;
    limits.max_request_bytes = 2000;
    config.rpc = Some(limits);
    let node = cairn_node::Node::start(config).await.unwrap();
    let rpc = Rpc::of(&node);
    let id = node.node_id().to_string();
    let call = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "web3_clientVersion" });
    let answers = rpc.post(&json!([call(1), call(2)])).await;
    assert!(answers.as_array().unwrap().iter().all(|answer| answer["result"].as_str().unwrap().starts_with("cairn/v")));
    assert!(rpc.post(&json!([call(1), call(2), call(3)])).await["error"].is_object());
    assert!(rpc.post(&json!({ "jsonrpc": "2.0", "id": 1, "method": "x".repeat(3000) })).await["error"].is_object());
    let by_name = rpc.ok("discv5_getEnr", json!({ "nodeId": id })).await;
    assert_eq!(by_name, rpc.ok("discv5_getEnr", json!([id])).await);

    let status = rpc.ok("cairn_status", json!([])).await;
    let status: cairn_node::Status = serde_json::from_value(status).unwrap();
    assert_eq!((status.node_id, status.networks.len(), status.trust.len()), (id, SubNetwork::ALL.len(), 3));
    stop(node).await;
}

/// The same server speaks WebSocket.
#[tokio::test(flavor = "multi_thread")]
async fn methods_over_websocket() {
    use soketto::handshake::{Client, ServerResponse};
    use tokio_util::compat::TokioAsyncReadCompatExt as _;

    let world = World::new();
    let node = world.start("node").await;
    let address = node.rpc_address().unwrap();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let host = address.to_string();
    let mut client = Client::new(socket.compat(), &host, "/");
    assert!(matches!(client.handshake().await.unwrap(), ServerResponse::Accepted { .. }));
    let (mut sender, mut receiver) = client.into_builder().finish();
    for (id, method) in ["discv5_nodeInfo", "portal_historyRoutingTableInfo", "portal_legacyHistoryRoutingTableInfo"]
        .into_iter()
        .enumerate()
    {
        sender.send_text(json!({ "jsonrpc": "2.0", "id": id, "method": method }).to_string()).await.unwrap();
        sender.flush().await.unwrap();
        let mut message = Vec::new();
        receiver.receive_data(&mut message).await.unwrap();
        let answer: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(answer["id"], id);
        let own_id = answer["result"].get("nodeId").unwrap_or(&answer["result"]["localNodeId"]);
        assert_eq!(*own_id, node.node_id().to_string());
    }
    stop(node).await;
}

/// The socket in the data folder is for commands of the same user: all methods, and some that nobody else may call.
#[tokio::test(flavor = "multi_thread")]
async fn the_peer_on_a_data_folder_is_asked_over_its_socket() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let mut config = world.config("node");
    let folder = config.data_dir.clone();
    config.socket = Some(folder.join(SOCKET_FILE));
    assert!(PeerClient::on_folder(&folder).unwrap().is_none());
    let node = cairn_node::Node::start(config).await.unwrap();
    connect(&node, &seeder).await;
    let client = PeerClient::on_folder(&folder).unwrap().expect("a socket");
    let limit = Duration::from_secs(60);

    let status = client.ask(&GetStatus {}, limit).await.unwrap();
    assert_eq!(status.node_id, node.node_id().to_string());
    let get = |number| GetBlock { block: BlockId::Number(number), what: None, form: None };
    let block = client.ask(&get(5), limit).await.unwrap();
    let block: Value = serde_json::from_str(block.get()).unwrap();
    assert_eq!(block["hash"], json!(world.chain.block_hash(5).unwrap()));
    let body = GetBlock { what: Some(What::Body), form: Some(PieceForm::Rlp), ..get(5) };
    let body = client.ask(&body, limit).await.unwrap();
    assert_eq!(body.get(), json!(hex(world.chain.block(5).unwrap().body)).to_string());
    match client.ask(&get(1_000_000), limit).await {
        Err(AskError::Refused(refusal)) => assert_eq!(refusal.code, error::CONTENT_NOT_FOUND_WITH_TRACE),
        other => panic!("{other:?}"),
    }
    let peers = client.ask(&GetPeers {}, limit).await.unwrap();
    assert_eq!(peers, [node.enr().to_base64(), seeder.enr().to_base64()]);
    let searches = client.ask(&FetchTrust {}, limit).await.unwrap();
    assert_eq!(searches, [], "nothing is missing");
    assert_eq!(Rpc::of(&node).error("cairn_block", json!([5])).await.0, METHOD_NOT_FOUND);

    stop(node).await;
    assert!(PeerClient::on_folder(&folder).unwrap().is_none(), "the socket goes with the peer");
    stop(seeder).await;
}
