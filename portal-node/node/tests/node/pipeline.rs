//! The rules of the pipeline, one by one.

use cairn_node::pipeline::Refusal;
use content_types::block::validate::{BodyError, ReceiptsError};
use content_types::verify::Unverified;
use content_types::{ContentKey, Form, HeaderError, history, legacy_history};

use crate::support::{World, stop};

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_content_is_let_in_only_under_its_own_key() {
    let world = World::new();
    // The archives give the headers that bodies and receipts are checked against.
    let node = world.start_seeder("node").await;
    for number in [2, 13, 17, 22] {
        let (block, other) = (world.chain.block(number).unwrap(), world.chain.block(number + 1).unwrap());
        let hash = block.header.hash();
        let receipts_ssz = |block: &cairn_synthetic::Block| {
            block.receipts_in(content_types::block::ReceiptsEncoding::Ssz).unwrap().into()
        };
        let cases: [(ContentKey, bytes::Bytes, bytes::Bytes); 6] = [
            (
                legacy_history::ContentKey::HeaderByNumber(number).into(),
                block.header_with_proof(),
                other.header_with_proof(),
            ),
            (
                legacy_history::ContentKey::HeaderByHash(hash).into(),
                block.header_with_proof(),
                other.header_with_proof(),
            ),
            (
                legacy_history::ContentKey::Body(hash).into(),
                block.body_ssz().unwrap().into(),
                other.body_ssz().unwrap().into(),
            ),
            (legacy_history::ContentKey::Receipts(hash).into(), receipts_ssz(&block), receipts_ssz(&other)),
            (history::ContentKey::BlockBody { number }.into(), block.body.clone(), other.body.clone()),
            (history::ContentKey::BlockReceipts { number }.into(), block.receipts.clone(), other.receipts.clone()),
        ];
        for (key, right, wrong) in cases {
            let content = node.validate(key, Form::Offered, right.clone()).await.unwrap();
            assert_eq!((content.key(), content.value(), content.header().unwrap().hash()), (&key, &right, hash));
            let refusal = node.validate(key, Form::Offered, wrong).await.unwrap_err();
            assert!(refusal.is_invalid());
            match key {
                ContentKey::LegacyHistory(
                    legacy_history::ContentKey::HeaderByNumber(_) | legacy_history::ContentKey::HeaderByHash(_),
                ) => {
                    assert!(matches!(refusal, Refusal::Content(Unverified::OtherBlock(_))), "{refusal}");
                }
                ContentKey::LegacyHistory(legacy_history::ContentKey::Body(_))
                | ContentKey::History(history::ContentKey::BlockBody { .. }) => {
                    assert!(matches!(refusal, Refusal::Content(Unverified::Body(_))), "{refusal}");
                }
                _ => assert!(matches!(refusal, Refusal::Content(Unverified::Receipts(_))), "{refusal}"),
            }
        }
    }
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_too_long_and_unprovable_values_are_told_apart() {
    let world = World::new();
    let node = world.start_seeder("node").await;
    let number = 5;
    let hash = world.chain.block_hash(number).unwrap();
    let body = ContentKey::from(history::ContentKey::BlockBody { number });
    let receipts = ContentKey::from(legacy_history::ContentKey::Receipts(hash));
    let header = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(number));

    let refusal = node.validate(body, Form::Offered, vec![0xc0].into()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Content(Unverified::Body(BodyError::Malformed(_)))), "{refusal}");
    // What other clients send for an item that they lost.
    let refusal = node.validate(body, Form::Offered, bytes::Bytes::new()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Content(Unverified::Body(BodyError::Malformed(_)))), "{refusal}");
    let refusal = node.validate(receipts, Form::Offered, vec![1, 0, 0, 0].into()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Content(Unverified::Receipts(ReceiptsError::Malformed(_)))), "{refusal}");
    let refusal = node
        .validate(header, Form::Offered, vec![0; header.max_value_len(Form::Offered) + 1].into())
        .await
        .unwrap_err();
    assert!(matches!(refusal, Refusal::Content(Unverified::TooLong { .. })), "{refusal}");

    let mut value = world.chain.block(number).unwrap().header_with_proof().to_vec();
    let last = value.len() - 1;
    value[last] ^= 1;
    let refusal = node.validate(header, Form::Offered, value.into()).await.unwrap_err();
    assert!(
        matches!(refusal, Refusal::Content(Unverified::Header(HeaderError::NotInEpoch { .. }))) && refusal.is_invalid(),
        "{refusal}"
    );

    let ephemeral = ContentKey::from(legacy_history::ContentKey::EphemeralHeaderOffer(hash));
    let refusal = node.validate(ephemeral, Form::Offered, vec![1].into()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::NeedsHead) && !refusal.is_invalid());
    let unknown = ContentKey::from(history::ContentKey::BlockBody { number: world.chain.config().blocks() });
    let refusal = node.validate(unknown, Form::Offered, world.chain.block(number).unwrap().body).await.unwrap_err();
    assert!(matches!(refusal, Refusal::NoHeader(_)) && !refusal.is_invalid(), "{refusal}");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_trust_lists_nothing_is_valid_and_nobody_is_to_blame() {
    let world = World::new();
    let mut config = world.config("node");
    config.trust_dir = None;
    config.fetch_trust = false;
    let node = cairn_node::Node::start(config).await.unwrap();
    for number in [5, 13, 22] {
        let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(number));
        let value = world.chain.block(number).unwrap().header_with_proof();
        let refusal = node.validate(key, Form::Offered, value).await.unwrap_err();
        assert!(
            matches!(refusal, Refusal::Content(Unverified::Header(HeaderError::ListMissing { .. })))
                && !refusal.is_invalid()
        );
    }
    stop(node).await;
}
