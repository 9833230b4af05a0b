//! Content that moves between nodes: served from archives in place, offered by a seeder, fetched and proved.

use cairn_node::BlockId;
use cairn_node::fetch::FetchError;
use cairn_node::seeding::SeedOptions;
use content_types::block::{ReceiptsEncoding, transcode};
use content_types::{ContentKey, SubNetwork, history, legacy_history};

use crate::support::{World, connect, stop, until};

/// Fetches every block by number and by hash and compares it with the chain.
async fn assert_fetches_everything(world: &World, node: &cairn_node::Node) {
    for block in world.chain.blocks() {
        for id in [BlockId::Number(block.number()), BlockId::Hash(block.header.hash())] {
            let fetched = node.fetch().block(id).await.unwrap();
            assert_eq!(fetched.header.hash(), block.header.hash());
            assert_eq!(fetched.header.rlp(), block.header.rlp());
            assert_eq!(fetched.body, block.body);
            assert_eq!(fetched.receipts, block.receipts);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_served_in_place_and_every_block_is_found_and_proved() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    assert_fetches_everything(&world, &seeder).await;
    assert!(seeder.status().networks.iter().all(|network| network.items == 0), "nothing is copied into the store");

    let reader = world.start("reader").await;
    connect(&seeder, &reader).await;
    assert_fetches_everything(&world, &reader).await;
    stop(reader).await;
    stop(seeder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_of_an_archive_without_proofs_is_served_when_its_header_was_found() {
    let world = World::new();
    let whole = world.start_seeder("whole").await;
    let mut config = world.config("bare seeder");
    config.seeds = vec![world.write_bare_archives()];
    let seeder = cairn_node::Node::start(config).await.unwrap();
    seeder.archives().wait_until_scanned().await;
    let last = world.chain.blocks().last().unwrap();
    let key = ContentKey::from(history::ContentKey::BlockBody { number: last.number() });
    assert_eq!(seeder.store().get(&key).unwrap(), None, "nothing vouches for it yet");
    connect(&seeder, &whole).await;
    // A search that found nobody to ask is no miss.
    until("header found", || seeder.store().get(&key).unwrap().is_some_and(|body| body == last.body)).await;
    stop(seeder).await;
    stop(whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_vanishes_is_no_longer_served() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    seeder.fetch().body(3.into()).await.unwrap();
    for archive in std::fs::read_dir(world.archives()).unwrap() {
        std::fs::remove_file(archive.unwrap().path()).unwrap();
    }
    seeder.archives().scan().await;
    assert_eq!(seeder.archives().count(), 0);
    let error = seeder.fetch().body(4.into()).await.unwrap_err();
    assert!(matches!(error, FetchError::Header(_) | FetchError::NotFound { .. }), "{error}");

    world.chain.write_archives(world.archives()).unwrap();
    seeder.archives().scan().await;
    assert_eq!(seeder.archives().count(), 1);
    stop(seeder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeder_offers_everything_and_peers_keep_it() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    let done = seeder.offer_archives(SeedOptions::default()).wait().await;
    let blocks = world.chain.config().blocks();
    assert!(done.finished, "{done:?}");
    assert_eq!((done.blocks_total, done.blocks_done, done.blocks_refused), (blocks, blocks, 0));
    // Two headers, two bodies, two receipt lists a block.
    assert_eq!((done.pieces, done.pieces_placed), (6 * blocks, 6 * blocks));
    // What was received is checked and stored after the offer has ended, perhaps with a header that is asked for.
    let items = || peer.status().networks.iter().map(|network| network.items).sum::<u64>();
    until("everything stored", || items() == 6 * blocks).await;
    stop(seeder).await;
    for block in world.chain.blocks() {
        let (number, hash) = (block.number(), block.header.hash());
        let expected: [(ContentKey, Vec<u8>); 6] = [
            (legacy_history::ContentKey::HeaderByNumber(number).into(), block.header_with_proof().to_vec()),
            (legacy_history::ContentKey::HeaderByHash(hash).into(), block.header_with_proof().to_vec()),
            (legacy_history::ContentKey::Body(hash).into(), block.body_ssz().unwrap()),
            (
                legacy_history::ContentKey::Receipts(hash).into(),
                transcode::receipts(ReceiptsEncoding::Slim, ReceiptsEncoding::Ssz, &block.receipts).unwrap(),
            ),
            (history::ContentKey::BlockBody { number }.into(), block.body.to_vec()),
            (history::ContentKey::BlockReceipts { number }.into(), block.receipts.to_vec()),
        ];
        for (key, value) in expected {
            assert_eq!(peer.store().get(&key).unwrap().as_deref(), Some(value.as_slice()), "{key:?}");
        }
    }
    assert_fetches_everything(&world, &peer).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_offers_a_block_is_asked_for_its_header_before_anybody_is_sought() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    let block = world.chain.blocks().last().unwrap();
    let key = ContentKey::from(legacy_history::ContentKey::Body(block.header.hash()));
    let offering = seeder.overlay(SubNetwork::LegacyHistory).unwrap();
    let codes = offering.offer(peer.enr(), vec![(key.encode(), block.body_ssz().unwrap().into())]).await.unwrap();
    assert!(codes.iter().all(|code| code.is_accepted()), "{codes:?}");
    until("body kept", || peer.store().contains(&key).unwrap()).await;
    let metrics = peer.metrics().encode().unwrap();
    let lookups = metrics.lines().filter(|line| line.starts_with("cairn_lookups_total") && line.contains("content"));
    assert_eq!(lookups.collect::<Vec<_>>(), Vec::<&str>::new());
    stop(peer).await;
    stop(seeder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seeding_goes_on_where_it_stopped() {
    let world = World::new();
    let seeder = world.start_seeder("seeder").await;
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    assert!(seeder.offer_archives(SeedOptions::default()).wait().await.pieces > 0);
    let again = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((again.pieces, again.blocks_done), (0, again.blocks_total));
    let from_start = SeedOptions { from_start: true, ..SeedOptions::default() };
    assert!(seeder.offer_archives(from_start).wait().await.pieces > 0);
    stop(seeder).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proved_yet_is_offered_when_the_lists_are_there() {
    let world = World::new();
    let mut config = world.config("seeder");
    config.seeds = vec![world.archives()];
    config.trust_dir = None;
    config.fetch_trust = false;
    let position = config.data_dir.join("seed-position.json");
    let seeder = cairn_node::Node::start(config).await.unwrap();
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    let blocks = world.chain.config().blocks();
    let job = seeder.offer_archives(SeedOptions::default());
    let mut progress = job.progress();
    progress.wait_for(|now| now.blocks_waiting == blocks).await.unwrap();
    assert_eq!((progress.borrow().blocks_done, progress.borrow().blocks_refused), (0, 0));
    assert!(!position.exists(), "a restart begins with what was not offered");

    assert!(seeder.fetch_trust_from_peers().await.iter().all(|fetch| fetch.found));
    let done = job.wait().await;
    assert!(done.finished && position.exists(), "{done:?}");
    assert_eq!((done.blocks_done, done.blocks_waiting, done.pieces), (blocks, 0, 6 * blocks));
    stop(seeder).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_proofs_is_offered_as_far_as_headers_from_the_network_prove_it() {
    let world = World::new();
    let mut config = world.config("seeder");
    config.seeds = vec![world.write_bare_archives()];
    let position = config.data_dir.join("seed-position.json");
    let seeder = cairn_node::Node::start(config).await.unwrap();
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    let (blocks, mined) = (world.chain.config().blocks(), world.chain.config().pre_merge_blocks);
    let job = seeder.offer_archives(SeedOptions::default());
    let progress = job.progress();
    until("what is proved offered", || progress.borrow().finished).await;
    let done = progress.borrow().clone();
    assert!(position.exists(), "{done:?}");
    // The headers before the merge are proved by their epoch, which the archive has the whole of.
    assert_eq!((done.blocks_done, done.blocks_waiting, done.blocks_refused), (mined, blocks - mined, 0));
    assert_eq!(done.pieces, 6 * mined);

    let last = world.chain.block(blocks - 1).unwrap();
    let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(last.number()));
    peer.store().put_batch(vec![cairn_store::Item::new(&key, last.header_with_proof())]).unwrap();
    // Found through the network now, whatever was missed a moment ago.
    seeder.fetch().header(last.number().into()).await.unwrap();
    // Somebody asks for a block, so that the archives' headers are looked for; the job goes on as soon as they are proved.
    let body = ContentKey::from(history::ContentKey::BlockBody { number: last.number() - 1 });
    seeder.store().get(&body).unwrap();
    until("the rest offered", || progress.borrow().finished && progress.borrow().blocks_waiting == 0).await;
    let done = progress.borrow().clone();
    assert_eq!((done.blocks_done, done.blocks_refused), (blocks, 0));
    // From the first block that was left out. Nobody can be given a proof of these headers.
    assert_eq!(done.pieces, 6 * mined + 4 * (blocks - mined));
    assert_eq!(job.wait().await, done);
    stop(seeder).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_block_is_refused_for_good_until_its_file_is_repaired() {
    let world = World::new();
    let archive = std::fs::read_dir(world.archives()).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&archive).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&archive, &damaged).unwrap();
    let mut config = world.config("seeder");
    config.seeds = vec![world.archives()];
    let seeder = cairn_node::Node::start(config).await.unwrap();
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    let done = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((done.blocks_done, done.blocks_refused, done.blocks_waiting), (done.blocks_total, 1, 0), "{done:?}");
    let again = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((again.pieces, again.blocks_done), (0, again.blocks_total), "nothing is tried again in vain");

    std::fs::write(&archive, &whole).unwrap();
    seeder.archives().scan().await;
    let repaired = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((repaired.pieces, repaired.blocks_refused), (6 * repaired.blocks_total, 0), "{repaired:?}");
    stop(seeder).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_one_name_in_two_folders_are_both_offered() {
    let world = World::new();
    let copies = world.dir.path().join("copies");
    std::fs::create_dir(&copies).unwrap();
    world.chain.write_archives(&copies).unwrap();
    let mut config = world.config("seeder");
    config.seeds = vec![world.archives(), copies];
    let seeder = cairn_node::Node::start(config).await.unwrap();
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    let done = seeder.offer_archives(SeedOptions::default()).wait().await;
    let blocks = world.chain.config().blocks();
    assert_eq!((done.blocks_total, done.blocks_done), (2 * blocks, 2 * blocks), "{done:?}");
    assert_eq!(done.pieces, 2 * 6 * blocks, "{done:?}");
    stop(seeder).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_found_says_who_was_asked() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    connect(&node, &peer).await;
    let Err(FetchError::Header(missing)) = node.fetch().header(7.into()).await else { panic!("found") };
    assert_eq!(missing.id, BlockId::Number(7));
    let trace = missing.trace.unwrap();
    assert_eq!(trace.responses.iter().map(|response| response.peer).collect::<Vec<_>>(), [peer.node_id()]);

    // With the header at hand, it is the body that is missing.
    let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(8));
    let value = world.chain.block(8).unwrap().header_with_proof();
    let item = cairn_store::Item::new(&key, value);
    peer.store().put_batch(vec![item]).unwrap();
    let error = node.fetch().body(8.into()).await.unwrap_err();
    let FetchError::NotFound { number: 8, traces, .. } = &error else { panic!("{error}") };
    assert_eq!(
        traces.iter().map(|(network, _)| *network).collect::<Vec<_>>(),
        [SubNetwork::History, SubNetwork::LegacyHistory]
    );
    assert!(error.to_string().contains("2 peers asked"), "{error}");
    stop(node).await;
    stop(peer).await;
}

/// A lookup among nobody has settled nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_knows_nobody_yet_asks_again() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(8));
    let value = world.chain.block(8).unwrap().header_with_proof();
    peer.store().put_batch(vec![cairn_store::Item::new(&key, value)]).unwrap();
    // In this order: the first lookup is over at once.
    let (header, ()) = tokio::join!(biased; node.fetch().header(8.into()), connect(&node, &peer));
    assert_eq!(header.unwrap().number(), 8);
    stop(node).await;
    stop(peer).await;
}

/// A peer that has something else under a key is not believed, and nothing of it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_liar_is_not_believed() {
    let world = World::new();
    let (node, liar) = (world.start("node").await, world.start("liar").await);
    connect(&node, &liar).await;
    let header = legacy_history::ContentKey::HeaderByNumber(5).into();
    let body = history::ContentKey::BlockBody { number: 5 }.into();
    let items = vec![
        cairn_store::Item::new(&header, world.chain.block(5).unwrap().header_with_proof()),
        cairn_store::Item::new(&body, world.chain.block(6).unwrap().body),
    ];
    liar.store().put_batch(items).unwrap();
    let error = node.fetch().body(5.into()).await.unwrap_err();
    assert!(matches!(error, FetchError::NotFound { number: 5, .. }), "{error}");
    assert_eq!(node.store().get(&body).unwrap(), None);
    let metrics = node.metrics().encode().unwrap();
    assert!(metrics.contains(r#"kind="history_body",outcome="other_body""#), "{metrics}");
    stop(node).await;
    stop(liar).await;
}
