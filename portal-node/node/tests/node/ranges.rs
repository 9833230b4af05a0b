//! Ranges as archives: over QUIC where somebody serves them, item by item where nobody does.

use std::time::Duration;

use alloy_consensus::{Block, BlockBody, Header, TxEnvelope};
use alloy_rlp::Decodable;
use cairn_archive::Format;
use cairn_node::ranges::{EraMade, Pace, Profile, RangeError, RangeProgress, WantedEras, Ways, plan_of_range};
use cairn_node::swarm::{FetchArchiveError, Order, QuicPort, WantedArchive};
use cairn_node::{BlockId, Node, present};

use tokio_util::sync::CancellationToken;

use crate::support::{World, connect, stop};

const PATIENCE: Duration = Duration::from_secs(20);
const WAYS: Ways = Ways { patience: PATIENCE, pace: Pace { parallel: 4, limit: PATIENCE } };

fn wanted(world: &World, name: &str) -> WantedArchive {
    let last = world.chain.config().blocks() - 1;
    WantedArchive {
        folder: world.dir.path().to_owned(),
        name: Some(name.to_owned()),
        plan: plan_of_range(world.chain.spec(), Format::Ere, 0..=last, Profile::WHOLE).unwrap(),
        order: Order::Sequential,
        web_seeds: Vec::new(),
    }
}

async fn without_quic(world: &World, name: &str) -> Node {
    let mut config = world.config(name);
    config.quic = QuicPort::Nowhere;
    config.capacity = 0;
    Node::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_the_same_archive_whichever_way_it_comes() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let original = std::fs::read_dir(world.archives()).unwrap().next().unwrap().unwrap().path();
    let original = std::fs::read(original).unwrap();
    let go_on = CancellationToken::new();
    for (node, is_served) in [(world.start("served").await, true), (without_quic(&world, "asking").await, false)] {
        connect(&node, &seeder).await;
        let fetch = node.fetch_range(wanted(&world, &format!("{is_served}.ere")), WAYS);
        let progress = fetch.progress();
        let made = fetch.run(&go_on).await.unwrap();
        assert_eq!(made.served.is_some(), is_served);
        assert_eq!(std::fs::read(made.path).unwrap(), original);
        let blocks = world.chain.config().blocks();
        match &*progress.borrow() {
            RangeProgress::Served { fetch, .. } => assert!(is_served && fetch.total.missing == 0),
            RangeProgress::LookedUp { done } => assert!(!is_served && *done == blocks),
            RangeProgress::Waiting => panic!("nothing was told"),
        };
        stop(node).await;
    }
    stop(seeder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_serves_is_said_and_a_stop_ends_it() {
    let world = World::new();
    let node = world.start("alone").await;
    let wanted_eras = WantedEras {
        folder: world.dir.path().join("eras"),
        eras: 0..=1,
        format: Format::Ere,
        profile: Profile::WHOLE,
        patience: Duration::from_millis(100),
        web_seeds: Vec::new(),
    };
    let go_on = CancellationToken::new();
    let mut eras = node.fetch_eras(wanted_eras.clone());
    let (era, made) = eras.next(&go_on).await.unwrap();
    let Err(RangeError::Served(FetchArchiveError::Unserved(unserved))) = made else { panic!("{made:?}") };
    assert_eq!((era, unserved.kept, unserved.missing), (0, 0, unserved.wanted));

    assert_eq!(eras.next(&go_on).await.map(|(era, made)| (era, made.is_err())), Some((1, true)));
    assert!(eras.next(&go_on).await.is_none());

    let stopped = CancellationToken::new();
    stopped.cancel();
    let made = node.fetch_range(wanted(&world, "stopped.ere"), WAYS).run(&stopped).await;
    assert!(matches!(made, Err(RangeError::Served(FetchArchiveError::Fetch(_)))), "{made:?}");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_era_that_is_there_and_whole_is_left_alone_and_fetched_anew_otherwise() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let node = world.start("fetching").await;
    connect(&node, &seeder).await;
    // The era in which the merge lies ends with it as era1, and is a whole one.
    let wanted = WantedEras {
        folder: world.dir.path().join("eras"),
        eras: 0..=0,
        format: Format::Era1,
        profile: Profile::WHOLE,
        patience: PATIENCE,
        web_seeds: Vec::new(),
    };
    let go_on = CancellationToken::new();
    let have = || async { node.fetch_eras(wanted.clone()).next(&go_on).await.unwrap().1.unwrap() };
    let EraMade::Fetched(made) = have().await else { panic!("it was not there") };
    let whole = std::fs::read(&made.path).unwrap();
    assert_eq!(cairn_archive::Archive::open(&made.path).unwrap().blocks(), 0..=11);
    assert!(matches!(have().await, EraMade::There(path) if path == made.path));
    for length in [0, whole.len() - 1] {
        std::fs::write(&made.path, &whole[..length]).unwrap();
        assert!(matches!(have().await, EraMade::Fetched(again) if again.path == made.path), "{length}");
        assert_eq!(std::fs::read(&made.path).unwrap(), whole);
    }
    stop(node).await;
    stop(seeder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_presented_as_rlp_and_as_json_of_the_same_size() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let block = world.chain.block(7).unwrap();
    let present = |what, form| seeder.present(BlockId::Number(7), what, form, Duration::from_secs(10));
    let rlp = present(present::What::Block, present::PieceForm::Rlp).await.unwrap();
    assert_eq!(rlp, encoded(block.header.rlp(), &block.body));
    let json = present(present::What::Block, present::PieceForm::Json).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["size"], format!("{:#x}", rlp.len()));
    assert_eq!(json["hash"], format!("{:#x}", block.header.hash()));
    stop(seeder).await;
}

/// A block in RLP out of its header and its body, decoded and encoded again by alloy.
fn encoded(header: &[u8], body: &[u8]) -> Vec<u8> {
    let header = Header::decode(&mut &*header).unwrap();
    let body = BlockBody::<TxEnvelope>::decode(&mut &*body).unwrap();
    alloy_rlp::encode(Block { header, body })
}
