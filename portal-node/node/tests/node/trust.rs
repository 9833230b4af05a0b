//! Trust lists: from peers, from a mirror, from a file; a list that was tampered with is refused wherever it comes
//! from.

use std::sync::Arc;

use alloy_primitives::B256;
use axum::Router;
use axum::extract::Path as UrlPath;
use axum::routing::get;
use cairn_node::rpc::PeerClient;
use cairn_node::rpc::calls::ClientVersion;
use cairn_node::trust::{MirrorError, TrustStore, TrustStoreError, file_name};
use content_types::ChainSpec;
use content_types::trust::{HistoricalSummariesWithProof, TrustListKind};
use overlay::Enr;
use reqwest::Url;

use crate::support::{LOOPBACK, World, connect, stop, until};

/// A node without any list, that knows `bootnode`.
fn without_lists(world: &World, name: &str, bootnode: Option<Enr>) -> cairn_node::NodeConfig {
    let mut config = world.config(name);
    config.trust_dir = None;
    config.fetch_trust = false;
    config.bootnodes = bootnode.into_iter().collect();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_peer_gets_its_lists_from_another_and_then_proves_headers() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let node = cairn_node::Node::start(without_lists(&world, "node", Some(seeder.enr()))).await.unwrap();
    assert_eq!(node.trust().missing().len(), 3);
    connect(&node, &seeder).await;
    assert!(node.fetch().header(3.into()).await.is_err(), "without lists nothing is proved");

    let fetched = node.fetch_trust_from_peers().await;
    assert!(fetched.len() == 3 && fetched.iter().all(|fetch| fetch.found), "{fetched:?}");
    assert!(node.trust().missing().is_empty());
    node.fetch().header(4.into()).await.unwrap();
    stop(node).await;
    stop(seeder).await;

    let saved = TrustStore::open(world.dir.path().join("node/trust"), Arc::clone(world.chain.spec())).unwrap();
    assert!(saved.missing().is_empty(), "the lists are there after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_missing_are_fetched_without_being_asked_for() {
    let world = World::new();
    let seeder = world.start("seeder").await;
    let mut config = without_lists(&world, "node", Some(seeder.enr()));
    config.fetch_trust = true;
    let node = cairn_node::Node::start(config).await.unwrap();
    until("all lists there", || node.trust().missing().is_empty()).await;
    stop(node).await;
    stop(seeder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_have_no_lists_are_named() {
    let world = World::new();
    let peer = cairn_node::Node::start(without_lists(&world, "peer", None)).await.unwrap();
    let node = cairn_node::Node::start(without_lists(&world, "node", Some(peer.enr()))).await.unwrap();
    let fetched = node.fetch_trust_from_peers().await;
    assert_eq!(fetched.len(), 3);
    for fetch in fetched {
        assert!(!fetch.found);
        assert_eq!((fetch.asked, fetch.failures[0].0.node_id()), (1, peer.enr().node_id()));
    }
    stop(node).await;
    stop(peer).await;
}

/// A mirror of a folder on loopback.
async fn mirror(folder: std::path::PathBuf) -> Url {
    crate::support::install_tls();
    let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}/lists/", listener.local_addr().unwrap()).parse().unwrap();
    let serve = move |UrlPath(name): UrlPath<String>| {
        let file = std::fs::read(folder.join(name));
        async move { file.map_err(|_| axum::http::StatusCode::NOT_FOUND) }
    };
    let routes = Router::new().route("/lists/{name}", get(serve));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_gives_what_is_missing() {
    let world = World::new();
    let url = mirror(world.trust()).await;
    let trust = Arc::new(TrustStore::open(world.dir.path().join("fetched"), Arc::clone(world.chain.spec())).unwrap());
    assert_eq!(trust.fetch_from_mirror(&url).await.unwrap(), TrustListKind::ALL);
    assert!(trust.missing().is_empty());
    assert_eq!(trust.fetch_from_mirror(&url).await.unwrap(), []);
    world.chain.verifier();
    trust.verifier().verify(&world.chain.block(20).unwrap().header_with_proof()).unwrap();
}

/// A server on loopback that leads a request for `/N/REST` to `/N-1/REST`, and so on; from `/0/REST` to `to`.
async fn redirecting(to: Url) -> Url {
    crate::support::install_tls();
    let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let lead = move |UrlPath((left, rest)): UrlPath<(u32, String)>| {
        let next = match left.checked_sub(1) {
            Some(left) => format!("/{left}/{rest}"),
            None => to.join(&rest).unwrap().to_string(),
        };
        // With the request's method and body.
        async move { axum::response::Redirect::temporary(&next) }
    };
    let routes = Router::new().route("/{left}/{*rest}", axum::routing::any(lead));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_leads_elsewhere_within_the_rule_for_mirrors() {
    let world = World::new();
    let elsewhere = redirecting(mirror(world.trust()).await).await;
    let open = |name| TrustStore::open(world.dir.path().join(name), Arc::clone(world.chain.spec()));
    let trust = |name| Arc::new(open(name).unwrap());
    // The first number is of the redirects before the last.
    let fetched = trust("five").fetch_from_mirror(&elsewhere.join("4/").unwrap()).await;
    assert_eq!(fetched.unwrap(), TrustListKind::ALL);
    let refused = trust("six").fetch_from_mirror(&elsewhere.join("5/").unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("more than 5 redirects"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_rpc_is_asked_where_it_is_said_to_be_and_nowhere_else() {
    let world = World::new();
    let node = world.start("node").await;
    let rpc: Url = format!("http://{}", node.rpc_address().unwrap()).parse().unwrap();
    let limit = std::time::Duration::from_secs(60);
    let ask = async |url: Url| {
        let client = PeerClient::at(url).unwrap();
        client.ask(&ClientVersion {}, limit).await
    };
    ask(rpc.clone()).await.unwrap();
    let refused = ask(redirecting(rpc).await.join("0/x").unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("307"), "{refused}");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_with_a_tampered_large_or_missing_list_is_refused() {
    let world = World::new();
    let folder = world.dir.path().join("bad");
    world.write_trust(&folder);
    let path = folder.join(file_name(TrustListKind::PreMergeAccumulator));
    let url = mirror(folder).await;
    let empty = world.dir.path().join("fetched");
    let fetch = || async {
        let trust = Arc::new(TrustStore::open(&empty, Arc::clone(world.chain.spec())).unwrap());
        let error = trust.fetch_from_mirror(&url).await.unwrap_err();
        assert_eq!(trust.missing().len(), 3);
        assert!(!empty.exists(), "nothing was saved");
        error
    };

    let mut list = std::fs::read(&path).unwrap();
    let last = list.len() - 1;
    list[last] ^= 1;
    std::fs::write(&path, &list).unwrap();
    assert!(matches!(fetch().await, MirrorError::Refused { .. }));

    std::fs::write(&path, vec![0; TrustListKind::PreMergeAccumulator.max_len() + 1]).unwrap();
    let error = fetch().await;
    assert!(matches!(error, MirrorError::Http { .. }) && error.to_string().contains("larger than"), "{error}");

    std::fs::remove_file(&path).unwrap();
    let error = fetch().await;
    assert!(matches!(error, MirrorError::Http { .. }) && error.to_string().contains("404"), "{error}");
}

/// `HistoricalSummariesWithProof` of a beacon state before Electra, with a branch that leads to some state root.
fn summaries_with_proof(summaries: &[u8]) -> (Vec<u8>, B256) {
    let branch = [7; 5 * 32];
    let mut bytes = 1_u64.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(12 + branch.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&branch);
    bytes.extend_from_slice(summaries);
    let state_root = HistoricalSummariesWithProof::decode(&bytes).unwrap().state_root();
    (bytes, state_root)
}

#[test]
fn summaries_under_a_trusted_state_root_stay_for_later_runs_also_on_a_chain_without_roots() {
    let world = World::new();
    let kind = TrustListKind::HistoricalSummaries;
    let known = std::fs::read(world.trust().join(file_name(kind))).unwrap();
    let (bytes, state_root) = summaries_with_proof(&[known.clone(), known].concat());
    let file = world.dir.path().join("proved.ssz");
    std::fs::write(&file, &bytes).unwrap();
    for (name, chain) in [("own", Arc::clone(world.chain.spec())), ("sepolia", Arc::new(ChainSpec::sepolia()))] {
        let dir = world.dir.path().join(name);
        let open = || TrustStore::open(&dir, Arc::clone(&chain));
        let entries = |trust: &TrustStore| trust.status().iter().find(|list| list.kind == kind).unwrap().entries;
        let trust = open().unwrap();
        let refused = trust.import_summaries(&file, B256::repeat_byte(1)).unwrap_err();
        assert!(matches!(refused, TrustStoreError::Refused { .. }), "{refused}");
        assert_eq!(entries(&open().unwrap()), None);
        trust.import_summaries(&file, state_root).unwrap();
        let imported = entries(&trust);
        assert!(imported.is_some_and(|entries| entries > 0));
        assert_eq!(entries(&open().unwrap()), imported);

        let kept = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = kept.filter(|path| path.to_str().unwrap().contains(&state_root.to_string())).collect();
        assert_eq!(kept.len(), 1);
        let mut tampered = bytes.clone();
        tampered[20] ^= 1;
        std::fs::write(&kept[0], tampered).unwrap();
        assert!(matches!(open().unwrap_err(), TrustStoreError::Damaged { .. }));
        let set_aside = TrustStore::set_aside_damaged(&dir, &chain).unwrap();
        assert_eq!(set_aside.len(), 1);
        assert!(set_aside[0].to.exists() && !kept[0].exists());
        open().unwrap().import_summaries(&file, state_root).unwrap();
        assert_eq!(entries(&open().unwrap()), imported);
    }
}

#[test]
fn summaries_with_their_proof_may_have_a_fork_digest_in_front() {
    const FORK_DIGEST: [u8; 4] = [0x8c, 0x9f, 0x62, 0xfe];
    let world = World::new();
    let kind = TrustListKind::HistoricalSummaries;
    let known = std::fs::read(world.trust().join(file_name(kind))).unwrap();
    let (plain, state_root) = summaries_with_proof(&[known.clone(), known].concat());
    let deployed = [&FORK_DIGEST[..], &plain].concat();
    let file = world.dir.path().join("summaries.bin");
    let mut entries = Vec::new();
    for (name, bytes) in [("plain", &plain), ("deployed", &deployed)] {
        std::fs::write(&file, bytes).unwrap();
        // Under the chain's root, which says nothing of those that came later; and all of them under the state's.
        for (way, trusted) in [("by-root", None), ("by-state", Some(state_root))] {
            let dir = world.dir.path().join(format!("{name}-{way}"));
            let open = || TrustStore::open(&dir, Arc::clone(world.chain.spec())).unwrap();
            let trust = open();
            let imported = match trusted {
                None => trust.import_file(&file),
                Some(state_root) => trust.import_summaries(&file, state_root),
            };
            assert_eq!(imported.unwrap(), kind);
            let held = |trust: &TrustStore| trust.status().iter().find(|list| list.kind == kind).unwrap().entries;
            assert_eq!(held(&open()), held(&trust), "it is there after a restart");
            entries.push(held(&trust).unwrap());
        }
    }
    assert_eq!((entries[0], entries[1]), (entries[2], entries[3]));
    assert!(entries[1] > entries[0]);

    let trust = TrustStore::open(world.dir.path().join("none"), Arc::clone(world.chain.spec())).unwrap();
    for wrong in [vec![], vec![1; 3], [&[0][..], &plain].concat(), [&FORK_DIGEST[..], &deployed].concat()] {
        std::fs::write(&file, &wrong).unwrap();
        let error = trust.import_summaries(&file, state_root).unwrap_err();
        assert!(matches!(error, TrustStoreError::NotSummaries { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("summaries.bin") && error.contains("nor with a fork digest in front"), "{error}");
        assert!(matches!(trust.import_file(&file), Err(TrustStoreError::Refused { .. })));
    }
    std::fs::write(&file, &deployed).unwrap();
    let error = trust.import_summaries(&file, B256::repeat_byte(1)).unwrap_err();
    assert!(matches!(error, TrustStoreError::Refused { .. }), "{error}");
}

#[test]
fn a_file_is_recognised_by_its_root_and_a_tampered_one_is_refused() {
    let world = World::new();
    let dir = world.dir.path().join("imported");
    let trust = TrustStore::open(&dir, Arc::clone(world.chain.spec())).unwrap();
    for kind in TrustListKind::ALL {
        let anonymous = world.dir.path().join("some.bin");
        std::fs::copy(world.trust().join(file_name(kind)), &anonymous).unwrap();
        assert_eq!(trust.import_file(&anonymous).unwrap(), kind);
    }
    assert!(trust.status().iter().all(|list| list.entries.is_some() && list.file.exists()));
    assert!(matches!(trust.import_file(&world.dir.path().join("none")), Err(TrustStoreError::Missing(_))));

    let path = dir.join(file_name(TrustListKind::HistoricalRoots));
    let mut list = std::fs::read(&path).unwrap();
    list[0] ^= 1;
    std::fs::write(&path, list).unwrap();
    let error = TrustStore::open(&dir, Arc::clone(world.chain.spec())).unwrap_err();
    assert!(matches!(error, TrustStoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("historical_roots.ssz"), "{error}");
    assert!(matches!(trust.import_file(&path), Err(TrustStoreError::Refused { .. })));
}
