//! Starting, stopping, starting again.

use std::sync::Arc;

use cairn_node::{NodeConfig, RpcConfig, StartError, swarm::QuicPort};
use cairn_store::StoreError;
use content_types::{ChainSpec, ContentKey, SubNetwork, legacy_history};
use overlay::discovery::Nat;

use crate::support::{LOOPBACK, Rpc, World, hex, stop, until};

/// Longest wait; a test that reaches it has failed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_identity_and_content_and_a_changed_record_gets_a_higher_sequence_number() {
    let world = World::new();
    // Free ports for QUIC would be others each time.
    let config = || NodeConfig { quic: QuicPort::Nowhere, ..world.config("node") };
    let node = cairn_node::Node::start(config()).await.unwrap();
    let (id, enr) = (node.node_id(), node.enr());
    let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(5));
    let value = world.chain.block(5).unwrap().header_with_proof();
    let rpc = Rpc::of(&node);
    rpc.ok("portal_legacyHistoryStore", serde_json::json!([hex(key.encode()), hex(&value)])).await;
    stop(node).await;

    // The same address again: nothing in the record changes, nor does its number.
    let mut config_again = config();
    config_again.listen = std::net::SocketAddr::from(enr.udp4_socket().unwrap()).into();
    let node = cairn_node::Node::start(config_again).await.unwrap();
    assert_eq!(node.node_id(), id);
    assert_eq!(node.enr(), enr);
    assert_eq!(node.store().get(&key).unwrap(), Some(value.clone()));
    stop(node).await;

    let mut elsewhere = config();
    elsewhere.nat = Nat::ExternalIp("127.0.0.1".parse().unwrap(), Some(4000));
    let node = cairn_node::Node::start(elsewhere).await.unwrap();
    assert_eq!(node.node_id(), id);
    assert!(node.enr().seq() > enr.seq());
    assert_eq!(node.enr().udp4(), Some(4000));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_leaves_its_ports_and_its_store() {
    let world = World::new();
    let mut config = world.config("node");
    config.metrics = Some(LOOPBACK);
    let node = cairn_node::Node::start(config).await.unwrap();
    let (rpc, metrics, udp) = (node.rpc_address().unwrap(), node.metrics_address().unwrap(), node.enr().udp4_socket());
    stop(node).await;
    drop(std::net::TcpListener::bind(rpc).unwrap());
    drop(std::net::TcpListener::bind(metrics).unwrap());
    drop(std::net::UdpSocket::bind(udp.unwrap()).unwrap());
    stop(world.start("node").await).await;
}

/// What was proved on one chain is not served as proved on another.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_stays_with_its_chain() {
    let world = World::new();
    stop(world.start("node").await).await;
    let mut config = world.config("node");
    config.chain = Arc::new(ChainSpec::mainnet());
    config.trust_dir = None;
    let error = cairn_node::Node::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Store(StoreError::OtherChain { .. })), "{error}");
    stop(world.start("node").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_room_says_so() {
    let world = World::new();
    let mut config = world.config("node");
    config.capacity = 0;
    let node = cairn_node::Node::start(config).await.unwrap();
    let radii: Vec<f64> = node.status().networks.iter().map(|network| network.radius_fraction).collect();
    assert_eq!(radii, SubNetwork::ALL.map(|_| 0.0));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_do_not_share_a_folder_and_the_second_one_leaves_nothing_running() {
    let world = World::new();
    let node = world.start("node").await;
    let mut config = world.config("node");
    let port = std::net::UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    config.listen = port.into();
    let error = cairn_node::Node::start(config).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(std::net::UdpSocket::bind(port).unwrap());
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_at_a_taken_port_leaves_nothing_running() {
    let world = World::new();
    let taken = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let udp = std::net::UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let free = || {
        let mut config = world.config("node");
        config.listen = udp.into();
        config
    };
    let (mut rpc, mut metrics) = (free(), free());
    rpc.rpc = Some(RpcConfig::at(taken.local_addr().unwrap()));
    metrics.metrics = Some(taken.local_addr().unwrap());
    for config in [rpc, metrics] {
        let error = cairn_node::Node::start(config).await.unwrap_err().to_string();
        assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
    }
    // Its folder and its UDP port are free at once.
    stop(cairn_node::Node::start(free()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_is_not_there_is_reported_and_the_node_runs() {
    let world = World::new();
    let mut config = world.config("node");
    let broken = world.dir.path().join("broken.era1");
    std::fs::write(&broken, b"no archive").unwrap();
    config.seeds = vec![world.dir.path().join("nowhere"), broken, world.archives()];
    let node = cairn_node::Node::start(config).await.unwrap();
    node.archives().wait_until_scanned().await;
    let problems: Vec<String> = node.archives().problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("nowhere")));
    assert!(problems.iter().any(|problem| problem.contains("broken.era1")));
    assert_eq!(node.archives().count(), 1);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_nobody_waits_for_leaves_nothing_running() {
    let world = World::new();
    let udp = std::net::UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let is_free = || std::net::UdpSocket::bind(udp).is_ok();
    let mut config = world.config("node");
    config.listen = udp.into();
    {
        let mut starting = std::pin::pin!(cairn_node::Node::start(config.clone()));
        assert!(futures::poll!(&mut starting).is_pending());
        until("the start has taken its port", || !is_free()).await;
    }
    until("the port is free again", is_free).await;
    // The store is closed after the port.
    let again = async {
        loop {
            if let Ok(node) = cairn_node::Node::start(config.clone()).await {
                return node;
            }
        }
    };
    let again = tokio::time::timeout(PATIENCE, again).await.expect("the folder is free again");
    stop(again).await;
}
