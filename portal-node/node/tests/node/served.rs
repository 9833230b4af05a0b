//! What peers serve themselves is not offered to them, nor even read.

use cairn_node::seeding::SeedOptions;
use content_types::{ContentKey, history};

use crate::support::{World, connect, stop, until};

#[tokio::test(flavor = "multi_thread")]
async fn seeders_of_the_same_archives_offer_one_another_nothing() {
    let world = World::new();
    let blocks = world.chain.config().blocks();
    let (seeder, other) = (world.start_seeder("seeder").await, world.start_seeder("other").await);
    connect(&seeder, &other).await;
    let done = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((done.blocks_served, done.blocks_done, done.pieces), (blocks, blocks, 0));

    // One that has room and serves nothing is offered all of it, though all had been served that were known: they were too few to
    // settle it for good.
    let storing = world.start("storing").await;
    connect(&seeder, &storing).await;
    let done = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((done.blocks_served, done.blocks_done), (0, blocks));
    assert!(done.pieces > 0);
    let key = ContentKey::from(history::ContentKey::BlockBody { number: 7 });
    until("it holds what it was offered", || storing.store().contains(&key).unwrap()).await;
    for node in [seeder, other, storing] {
        stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_four_others_serve_is_settled() {
    let world = World::new();
    let blocks = world.chain.config().blocks();
    let seeder = world.start_seeder("seeder").await;
    let mut others = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let other = world.start_seeder(name).await;
        connect(&seeder, &other).await;
        others.push(other);
    }
    let done = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((done.blocks_served, done.blocks_done, done.pieces), (blocks, blocks, 0));
    // The position went to the end: nobody is asked again.
    let done = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((done.blocks_served, done.blocks_done, done.pieces), (0, blocks, 0));
    for node in others.into_iter().chain([seeder]) {
        stop(node).await;
    }
}
