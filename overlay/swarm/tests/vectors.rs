//! The test vectors of `PROTOCOL.md` are what this crate writes and reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloy_primitives::{B256, hex};
use bytes::Bytes;
use cairn_swarm::{
    geometry::{Component, Part},
    wire::{
        AnswerHead, AnswerStatus, Control, Encoding, Encodings, FrameReader, Have, Hello, ItemKey, MAX_CONTROL_BYTES,
        Peers, Predict, SwarmRequest, frame_head,
    },
};
use content_types::{Distance, history, legacy_history, state::Way};

fn frame(bytes: &[u8]) -> Vec<u8> {
    [frame_head(bytes.len() as u32).as_bytes(), bytes].concat()
}

fn controls() -> Vec<(&'static str, Control)> {
    let hello = Hello {
        chain_id: 1,
        genesis: B256::repeat_byte(0xd4),
        max_requests: 64,
        encodings: Encodings::ALL,
        enr: vec![0xf8, 0x01],
        client: b"cairn/0.1.0".to_vec(),
    };
    let have = Have { component: Component::Bodies.code(), first_run: 4096, runs: vec![0x07, 0x80] };
    vec![
        ("hello", Control::Hello(hello)),
        ("have", Control::Have(have)),
        ("predict", Control::Predict(Predict::new(Distance::from_log2(252), 23_000_000))),
        ("choke", Control::Choke),
        ("unchoke", Control::Unchoke),
        ("peers", Control::Peers(Peers { enrs: vec![vec![1, 2, 3], vec![4]] })),
        ("interested", Control::Interested),
        ("not interested", Control::NotInterested),
    ]
}

fn way(storage_of: Option<B256>) -> Way {
    Way::new(storage_of, &B256::repeat_byte(0xbb), 3, B256::repeat_byte(0xaa)).unwrap()
}

fn requests() -> Vec<(&'static str, SwarmRequest)> {
    let part = Part::new(Component::Receipts, 1_000_192..1_000_202).unwrap();
    vec![
        ("part", SwarmRequest::Part(part, Encodings::ALL)),
        ("body by number", SwarmRequest::Item(ItemKey(history::ContentKey::BlockBody { number: 1_000_000 }.into()))),
        ("header by number", SwarmRequest::Item(ItemKey(legacy_history::ContentKey::HeaderByNumber(1_000_000).into()))),
        ("way to an account", SwarmRequest::Way(way(None))),
        ("way in a storage", SwarmRequest::Way(way(Some(B256::repeat_byte(0xcc))))),
    ]
}

fn answers() -> Vec<(&'static str, Vec<u8>)> {
    let head = AnswerHead { status: AnswerStatus::Ok, encoding: Encoding::Plain }.encode();
    let long = vec![0xab; 200];
    vec![
        ("answer of two items", [&head[..], &frame(b"item"), &frame(&long)].concat()),
        ("answer: not held", AnswerHead { status: AnswerStatus::NotHeld, encoding: Encoding::Plain }.encode().to_vec()),
    ]
}

fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let controls = controls().into_iter().map(|(name, control)| (name, frame(&control.encode())));
    let requests = requests().into_iter().map(|(name, request)| (name, request.encode()));
    controls.chain(requests).chain(answers()).collect()
}

#[test]
fn what_is_written_is_what_the_protocol_says() {
    let text = include_str!("../PROTOCOL.md");
    let (_, block) = text.split_once("```text\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let written: String = vectors().iter().map(|(name, bytes)| format!("{name}: {}\n", hex::encode(bytes))).collect();
    assert_eq!(block, written, "the vectors are\n{written}");
}

#[test]
fn what_the_protocol_says_is_read() {
    for (name, control) in controls() {
        let mut bytes = Bytes::from(frame(&control.encode()));
        let read = FrameReader::new(MAX_CONTROL_BYTES).push(&mut bytes).unwrap().unwrap();
        assert_eq!(Control::decode(&read), Ok(Some(control)), "{name}");
    }
    for (name, request) in requests() {
        assert_eq!(SwarmRequest::decode(&request.encode()), Ok(request), "{name}");
    }
}
