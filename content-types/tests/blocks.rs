//! Bodies and receipts of real blocks: valid in every encoding, and the same bytes after any round of transcoding.

#![allow(clippy::unwrap_used)] // in functions that tests call, which clippy does not know for tests

use std::{fs, path::Path};

use alloy_consensus::Header;
use alloy_primitives::hex;
use alloy_rlp::Decodable;
use cairn_vectors::VectorTest;
use content_types::block::{BodyEncoding, ReceiptsEncoding, transcode, validate};
use serde::Deserialize;

const HISTORY: &str = "portal-spec-tests/tests/mainnet/history";
const BODIES: [BodyEncoding; 2] = [BodyEncoding::Rlp, BodyEncoding::Ssz];
const RECEIPTS: [ReceiptsEncoding; 3] = [ReceiptsEncoding::Slim, ReceiptsEncoding::Ssz, ReceiptsEncoding::Rlp];

fn main() {
    cairn_vectors::run(vec![
        VectorTest::new("block_data", &[HISTORY], block_data),
        VectorTest::new("hive", &[HISTORY], hive),
        VectorTest::new("single_bodies_and_receipts", &[HISTORY], single_bodies_and_receipts),
        VectorTest::new("era1_epoch_0", &["era1"], |root| era1(&root.join("era1/mainnet-00000-5ec1ffb8.era1"))),
        VectorTest::new("era1_epoch_1", &["era1"], |root| era1(&root.join("era1/mainnet-00001-a5364e9a.era1"))),
    ]);
}

fn decode_header(mut rlp: &[u8]) -> Header {
    Header::decode(&mut rlp).unwrap()
}

fn check_body(header: &Header, encoding: BodyEncoding, body: &[u8]) {
    for to in BODIES {
        let other = transcode::body(encoding, to, body).unwrap();
        validate::body(header, to, &other).unwrap();
        assert_eq!(transcode::body(to, encoding, &other).unwrap(), body, "block {}, {to:?}", header.number);
    }
}

fn check_receipts(header: &Header, encoding: ReceiptsEncoding, receipts: &[u8]) {
    for to in RECEIPTS {
        let other = transcode::receipts(encoding, to, receipts).unwrap();
        validate::receipts(header, to, &other).unwrap();
        assert_eq!(transcode::receipts(to, encoding, &other).unwrap(), receipts, "block {}, {to:?}", header.number);
    }
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

/// Header, body and receipts in the encodings of History (`0x5000`), from before the merge to Prague.
fn block_data(root: &Path) {
    let mut count = 0;
    for entry in fs::read_dir(root.join(HISTORY).join("block_data")).unwrap() {
        let block: BlockData = serde_yaml_ng::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let header = decode_header(&block.header);
        check_body(&header, BodyEncoding::Rlp, &block.body);
        check_receipts(&header, ReceiptsEncoding::Slim, &block.receipts);
        count += 1;
    }
    assert_eq!(count, 9);
}

#[derive(Deserialize)]
struct ContentItem {
    #[serde(with = "hex::serde")]
    content_key: Vec<u8>,
    #[serde(with = "hex::serde")]
    content_value: Vec<u8>,
}

/// Header by hash and by number, body and receipts in the encodings of Legacy History (`0x500B`).
fn hive(root: &Path) {
    let mut count = 0;
    for entry in fs::read_dir(root.join(HISTORY).join("hive/success")).unwrap() {
        let items: Vec<ContentItem> = serde_yaml_ng::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let value = |selector| &items.iter().find(|item| item.content_key[0] == selector).unwrap().content_value;
        let header = decode_header(header_in(value(0)));
        check_body(&header, BodyEncoding::Ssz, value(1));
        check_receipts(&header, ReceiptsEncoding::Ssz, value(2));
        count += 1;
    }
    assert_eq!(count, 8);
}

/// The header in the SSZ of a header with its proof: from the end of the two offsets to the second of them.
fn header_in(header_with_proof: &[u8]) -> &[u8] {
    let end = u32::from_le_bytes(header_with_proof[4..8].try_into().unwrap());
    &header_with_proof[8..end as usize]
}

/// Block 14,764,013's, whose header is among the block data, and a body without a header among the vectors.
fn single_bodies_and_receipts(root: &Path) {
    let history = root.join(HISTORY);
    let item =
        |file: &str| -> ContentItem { serde_yaml_ng::from_slice(&fs::read(history.join(file)).unwrap()).unwrap() };
    let block: BlockData =
        serde_yaml_ng::from_slice(&fs::read(history.join("block_data/block-data-14764013.yaml")).unwrap()).unwrap();
    let header = decode_header(&block.header);
    check_body(&header, BodyEncoding::Ssz, &item("bodies/14764013.yaml").content_value);
    check_receipts(&header, ReceiptsEncoding::Ssz, &item("receipts/14764013.yaml").content_value);

    let json = fs::read(history.join("bodies/17139055.json")).unwrap();
    let items: std::collections::BTreeMap<String, ContentItem> = serde_json::from_slice(&json).unwrap();
    let body = &items["17139055"].content_value;
    let rlp = transcode::body(BodyEncoding::Ssz, BodyEncoding::Rlp, body).unwrap();
    assert_eq!(&transcode::body(BodyEncoding::Rlp, BodyEncoding::Ssz, &rlp).unwrap(), body);
}

/// All 8,192 blocks of an epoch, many of them with ommers.
fn era1(path: &Path) {
    const HEADER: u16 = 3;
    const BODY: u16 = 4;
    const RECEIPTS: u16 = 5;
    let file = fs::read(path).unwrap();
    let mut rest = file.as_slice();
    let (mut header, mut bodies, mut with_ommers) = (Header::default(), 0, 0);
    while let Some((record, after)) = rest.split_first_chunk::<8>() {
        let [kind_low, kind_high, length @ .., _, _] = *record;
        let (data, after) = after.split_at(u32::from_le_bytes(length) as usize);
        rest = after;
        let data = || {
            let mut decompressed = Vec::new();
            std::io::copy(&mut snap::read::FrameDecoder::new(data), &mut decompressed).unwrap();
            decompressed
        };
        match u16::from_le_bytes([kind_low, kind_high]) {
            HEADER => header = decode_header(&data()),
            BODY => {
                check_body(&header, BodyEncoding::Rlp, &data());
                bodies += 1;
                with_ommers += u32::from(!header.ommers_hash_is_empty());
            }
            RECEIPTS => check_receipts(&header, ReceiptsEncoding::Rlp, &data()),
            _ => {}
        }
    }
    assert_eq!(bodies, 8192);
    assert!(with_ommers > 500, "{with_ommers} blocks with ommers");
}
