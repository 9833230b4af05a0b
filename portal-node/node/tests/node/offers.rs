//! What is answered to an offer of content whose header is not at hand, and what of it leads to a search.

use bytes::Bytes;
use cairn_node::Node;
use cairn_node::pipeline::Refusal;
use cairn_proto::wire::AcceptCode;
use content_types::block::validate::BodyError;
use content_types::verify::Unverified;
use content_types::{ContentKey, Distance, Form, SubNetwork, history, legacy_history};

use crate::support::{World, connect, stop, until};

fn body(number: u64) -> ContentKey {
    history::ContentKey::BlockBody { number }.into()
}

/// What `to` answers when `from` offers it this, whatever `from` knows of it.
async fn offer(from: &Node, to: &Node, key: ContentKey, value: Bytes) -> AcceptCode {
    let overlay = from.overlay(key.sub_network()).unwrap();
    overlay.offer(to.enr(), vec![(key.encode(), value)]).await.unwrap()[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_beyond_the_trust_lists_are_not_taken() {
    let world = World::new();
    let (node, peer) = (world.start("node").await, world.start("peer").await);
    connect(&node, &peer).await;
    let block = world.chain.block(7).unwrap();
    let header = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(1 << 40));
    assert_eq!(offer(&peer, &node, body(1 << 40), block.body.clone()).await, AcceptCode::NotVerifiable);
    assert_eq!(offer(&peer, &node, header, block.header_with_proof()).await, AcceptCode::NotVerifiable);
    assert_eq!(offer(&peer, &node, body(7), block.body.clone()).await, AcceptCode::Accepted);
    let refusal = node.validate(body(1 << 40), Form::Offered, block.body).await.unwrap_err();
    assert!(matches!(refusal, Refusal::BeyondTrust(_)) && !refusal.is_invalid(), "{refusal}");
    stop(node).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_is_asked_for_when_the_value_is_malformed() {
    let world = World::new();
    let node = world.start("node").await;
    let refusal = node.validate(body(5), Form::Offered, Bytes::from_static(&[0xc0])).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Content(Unverified::Body(BodyError::Malformed(_)))), "{refusal}");
    let refusal = node.validate(body(5), Form::Offered, world.chain.block(5).unwrap().body).await.unwrap_err();
    assert!(matches!(refusal, Refusal::NoHeader(_)), "{refusal}");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_nobody_has_a_header_of_is_declined_for_a_while_but_not_on_a_liars_word() {
    let world = World::new();
    let (node, peer, liar) = (world.start("node").await, world.start("peer").await, world.start("liar").await);
    connect(&node, &peer).await;
    let value = |number| world.chain.block(number).unwrap().body;
    node.fetch().header(7.into()).await.unwrap_err();
    assert_eq!(offer(&peer, &node, body(7), value(7)).await, AcceptCode::NotVerifiable);

    connect(&node, &liar).await;
    let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(5));
    let mut forged = world.chain.block(5).unwrap().header_with_proof().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    liar.store().put_batch(vec![cairn_store::Item::new(&key, forged.into())]).unwrap();
    let error = node.fetch().header(5.into()).await.unwrap_err();
    assert_eq!(error.traces()[0].responses.len(), 2, "both were asked");
    assert_eq!(offer(&peer, &node, body(5), value(5)).await, AcceptCode::Accepted);

    // A miss keeps nobody here from asking again, and is over when the header comes.
    let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(7));
    let header = world.chain.block(7).unwrap().header_with_proof();
    peer.store().put_batch(vec![cairn_store::Item::new(&key, header)]).unwrap();
    node.fetch().header(7.into()).await.unwrap();
    assert_eq!(offer(&peer, &node, body(7), value(7)).await, AcceptCode::Accepted);
    stop(node).await;
    stop(peer).await;
    stop(liar).await;
}

/// What a store that is nearly full will let go of next is offered to a peer with room, which takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_hands_on_what_it_will_let_go_of() {
    let world = World::new();
    let network = SubNetwork::LegacyHistory;
    let mut config = world.config("small");
    config.shares = SubNetwork::ALL.map(|of| (of, u32::from(of == network))).to_vec();
    config.capacity = 16_000;
    let small = Node::start(config).await.unwrap();
    let large = world.start("large").await;
    let headers = (0..world.chain.config().blocks()).map(|number| {
        let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(number));
        cairn_store::Item::new(&key, world.chain.block(number).unwrap().header_with_proof())
    });
    small.store().put_batch(headers.collect()).unwrap();
    let farthest = small.store().farthest(network, 1).unwrap();
    assert!(small.store().radius(network) < Distance::MAX, "it is full");
    assert!(!large.store().contains_id(network, &farthest[0].id).unwrap());
    connect(&small, &large).await;
    until("the farthest handed on", || large.store().contains_id(network, &farthest[0].id).unwrap()).await;
    stop(small).await;
    stop(large).await;
}
