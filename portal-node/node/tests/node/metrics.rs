//! The metrics endpoint.

use std::time::Duration;

use content_types::{ContentKey, Form, history};

use crate::support::{LOOPBACK, World, connect, install_tls, stop};

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_shows_peers_store_lookups_and_validations() {
    install_tls();
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let mut config = world.config("node");
    config.metrics = Some(LOOPBACK);
    let node = cairn_node::Node::start(config).await.unwrap();
    connect(&node, &seeder).await;
    node.fetch().block(5.into()).await.unwrap();

    let url = format!("http://{}", node.metrics_address().unwrap());
    let get = |path: &str| reqwest::get(format!("{url}{path}"));
    assert_eq!(get("/health").await.unwrap().text().await.unwrap(), "ok\n");
    assert_eq!(get("/other").await.unwrap().status(), 404);
    let text = get("/metrics").await.unwrap().text().await.unwrap();
    assert!(text.ends_with("# EOF\n"));
    let has = |name: &str, labels: &[&str]| {
        text.lines()
            .filter(|line| line.starts_with(&format!("cairn_{name}{{")))
            .any(|line| labels.iter().all(|label| line.contains(label)) && !line.ends_with(" 0"))
    };
    for (name, labels) in [
        ("peers", &[r#"network="history""#][..]),
        ("store_bytes", &[r#"network="history""#]),
        ("store_items", &[r#"network="legacy_history""#]),
        ("store_capacity_bytes", &[r#"network="history""#]),
        ("store_radius_log2", &[r#"network="history""#]),
        ("store_radius_fraction", &[r#"network="history""#]),
        ("lookups_total", &[r#"network="history""#, r#"target="content""#, r#"outcome="found""#]),
        ("lookup_hops_count", &[r#"network="history""#]),
        ("lookup_duration_seconds_count", &[r#"network="history""#]),
        ("validations_total", &[r#"kind="history_body""#, r#"outcome="valid""#]),
        ("validations_total", &[r#"kind="legacy_header_by_number""#, r#"outcome="valid""#]),
    ] {
        assert!(has(name, labels), "{name} {labels:?}:\n{text}");
    }
    stop(node).await;
    stop(seeder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_in_one_process_count_apart() {
    let world = World::new();
    let (one, other) = (world.start_seeder("one").await, world.start("other").await);
    let key = ContentKey::from(history::ContentKey::BlockBody { number: 5 });
    one.validate(key, Form::Offered, world.chain.block(5).unwrap().body).await.unwrap();
    assert!(one.metrics().encode().unwrap().contains(r#"outcome="valid""#));
    assert!(!other.metrics().encode().unwrap().contains(r#"outcome="valid""#));
    stop(one).await;
    stop(other).await;
}

/// Connections that never send a whole request make room, and a web page under another name is turned away.
#[tokio::test(flavor = "multi_thread")]
async fn half_requests_keep_no_scrape_out_and_pages_read_nothing() {
    install_tls();
    let world = World::new();
    let mut config = world.config("node");
    config.metrics = Some(LOOPBACK);
    let node = cairn_node::Node::start(config).await.unwrap();
    let address = node.metrics_address().unwrap();
    let mut half = Vec::new();
    for _ in 0..200 {
        let Ok(stream) = tokio::net::TcpStream::connect(address).await else { break };
        stream.try_write(b"GET /health HTTP/1.1\r\n").unwrap();
        half.push(stream);
    }
    let client = reqwest::Client::new();
    let get = || client.get(format!("http://{address}/health"));
    // Until those have stood still for long enough, there is no place.
    let answered = async { while get().send().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), answered).await.expect("they keep their places");
    let page = get().header("sec-fetch-site", "same-origin").header("host", "rebound.example");
    assert_eq!(page.send().await.unwrap().status(), 403);
    assert_eq!(get().header("host", "prometheus.example").send().await.unwrap().status(), 200, "a program may");
    drop(half);
    stop(node).await;
}
