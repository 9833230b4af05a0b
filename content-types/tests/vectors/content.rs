//! Bodies, receipts and ephemeral headers under their content keys.

use std::{collections::BTreeMap, fs, path::Path};

use alloy_primitives::{B256, b256, hex};
use bytes::Bytes;
use cairn_vectors::VectorTest;
use content_types::{
    ContentKey, SubNetwork,
    block::{BodyEncoding, ReceiptsEncoding, validate},
    header::DecodedHeader,
    legacy_history::{self, EphemeralError, EphemeralHeaders, OfferedHeader},
};
use serde::Deserialize;

use super::{ContentItem, HISTORY, headers::proof_of, history_test, mainnet, read, yaml};

pub(crate) fn tests() -> Vec<VectorTest> {
    vec![
        history_test("hive_bodies_and_receipts", hive_bodies_and_receipts),
        history_test("bodies_and_receipts", bodies_and_receipts),
        history_test("block_data", block_data),
        history_test("ephemeral_headers", ephemeral_headers),
        history_test("offered_ephemeral_header", offered_ephemeral_header),
    ]
}

fn legacy_key(item: &ContentItem) -> legacy_history::ContentKey {
    let key = ContentKey::decode(SubNetwork::LegacyHistory, &item.content_key).unwrap();
    assert_eq!(key.encode(), item.content_key);
    assert!(item.content_value.len() <= key.max_value_len(content_types::Form::Offered));
    let ContentKey::LegacyHistory(key) = key else { panic!("{key:?}") };
    key
}

fn check_body(header: &DecodedHeader, item: &ContentItem) {
    assert_eq!(legacy_key(item), legacy_history::ContentKey::Body(header.hash()));
    validate::body(header.header(), BodyEncoding::Ssz, &item.content_value).unwrap();
}

fn check_receipts(header: &DecodedHeader, item: &ContentItem) {
    assert_eq!(legacy_key(item), legacy_history::ContentKey::Receipts(header.hash()));
    validate::receipts(header.header(), ReceiptsEncoding::Ssz, &item.content_value).unwrap();
}

fn hive_bodies_and_receipts(root: &Path) {
    for entry in fs::read_dir(root.join(HISTORY).join("hive/success")).unwrap() {
        let items: Vec<ContentItem> = yaml(&fs::read(entry.unwrap().path()).unwrap());
        let [with_proof, _, body, receipts] = items.as_slice() else { panic!("{} items", items.len()) };
        let header = content_types::HeaderWithProof::decode(&with_proof.content_value, mainnet(root).chain()).unwrap();
        check_body(&header.header, body);
        check_receipts(&header.header, receipts);
    }
}

fn bodies_and_receipts(root: &Path) {
    let (header, _) = proof_of(root, 14_764_013);
    check_body(&header, &yaml(&read(root, "bodies/14764013.yaml")));
    check_receipts(&header, &yaml(&read(root, "receipts/14764013.yaml")));

    // No vector has the header of this block, so only the key and the form of the body can be checked.
    let bodies: BTreeMap<String, ContentItem> = serde_json::from_slice(&read(root, "bodies/17139055.json")).unwrap();
    let body = &bodies["17139055"];
    let hash = b256!("a468e1fc13aebc6b5e1be1db0d4e0de9ddf96b42accc69bcb726e98d4503e817");
    assert_eq!(legacy_key(body), legacy_history::ContentKey::Body(hash));
    assert!(content_types::block::BodyRoots::compute(BodyEncoding::Ssz, &body.content_value).is_ok());
}

#[derive(Deserialize)]
struct BlockData {
    #[serde(with = "hex::serde")]
    header: Vec<u8>,
    #[serde(with = "hex::serde")]
    body: Vec<u8>,
    #[serde(with = "hex::serde")]
    receipts: Vec<u8>,
}

fn block_data(root: &Path) {
    let files: Vec<_> = fs::read_dir(root.join(HISTORY).join("block_data")).unwrap().collect();
    assert_eq!(files.len(), 9);
    for file in files {
        let file = file.unwrap();
        let block: BlockData = yaml(&fs::read(file.path()).unwrap());
        let header = DecodedHeader::decode(block.header.into()).unwrap();
        assert_eq!(file.file_name().to_str().unwrap(), format!("block-data-{}.yaml", header.number()));
        validate::body(header.header(), BodyEncoding::Rlp, &block.body).unwrap();
        validate::receipts(header.header(), ReceiptsEncoding::Slim, &block.receipts).unwrap();
    }
}

fn ephemeral_headers(root: &Path) {
    let item: ContentItem = yaml(&read(root, "ephemeral_headers/20000000-findcontent.yaml"));
    let legacy_history::ContentKey::EphemeralHeaders { block_hash, ancestor_count } = legacy_key(&item) else {
        panic!("not a key of ephemeral headers");
    };
    let headers = EphemeralHeaders::decode(&item.content_value).unwrap();
    assert_eq!(headers.encode(), item.content_value);

    let verified = headers.verify(block_hash, ancestor_count).unwrap();
    assert_eq!(verified.iter().map(DecodedHeader::number).collect::<Vec<_>>(), [20_000_000, 19_999_999]);
    assert_eq!(headers.verify(block_hash, 0), Err(EphemeralError::MoreThanAsked { actual: 2, asked: 1 }));
    let (expected, actual) = (B256::ZERO, block_hash);
    assert_eq!(headers.verify(B256::ZERO, 1), Err(EphemeralError::NotLinked { position: 0, expected, actual }));

    let mut reordered = headers.headers().to_vec();
    reordered.insert(1, reordered[0].clone());
    let error = EphemeralHeaders::new(reordered).unwrap().verify(block_hash, 2).unwrap_err();
    assert!(matches!(error, EphemeralError::NotLinked { position: 1, .. }), "{error}");
}

fn offered_ephemeral_header(root: &Path) {
    let item: ContentItem = yaml(&read(root, "ephemeral_headers/20000000-offer.yaml"));
    let legacy_history::ContentKey::EphemeralHeaderOffer(block_hash) = legacy_key(&item) else {
        panic!("not a key of an offered header");
    };
    let offered = OfferedHeader::decode(&item.content_value).unwrap();
    assert_eq!(offered.encode(), item.content_value);
    assert_eq!(offered.verify(block_hash).unwrap().number(), 20_000_000);
    assert!(matches!(offered.verify(B256::ZERO), Err(EphemeralError::NotLinked { .. })));
    assert_eq!(DecodedHeader::decode(Bytes::copy_from_slice(offered.header())).unwrap().hash(), block_hash);
}
