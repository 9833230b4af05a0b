//! Bodies and receipts of any shape: what is accepted has one form in each encoding, and no byte of it can change.

#![allow(clippy::unwrap_used)] // in functions that tests call, which clippy does not know for tests

use alloy_consensus::Header;
use alloy_rlp::{BufMut, Encodable, Header as RlpHeader};
use content_types::block::{
    BodyEncoding, BodyRoots, MAX_TRANSACTION_COUNT, ReceiptsEncoding, ReceiptsRoots, transcode,
    validate::{self, ReceiptsError},
};
use proptest::{collection::vec, prelude::*};

const BODIES: [BodyEncoding; 2] = [BodyEncoding::Rlp, BodyEncoding::Ssz];
const RECEIPTS: [ReceiptsEncoding; 3] = [ReceiptsEncoding::Slim, ReceiptsEncoding::Ssz, ReceiptsEncoding::Rlp];

/// An RLP list of items that are encoded already.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    let mut out = Vec::new();
    RlpHeader { list: true, payload_length: payload.len() }.encode(&mut out);
    out.put_slice(&payload);
    out
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes.encode(&mut out);
    out
}

fn bytes(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), len)
}

fn strings() -> impl Strategy<Value = Vec<u8>> {
    vec(bytes(0..60), 0..4).prop_map(|items| list(&items.iter().map(|item| string(item)).collect::<Vec<_>>()))
}

/// A transaction as an item of a body: an RLP list, or a string that starts with a type.
fn transaction() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        strings(),
        (1_u8..=0x7f, bytes(0..200)).prop_map(|(kind, payload)| string(&[vec![kind], payload].concat())),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let lists = |items| vec(vec(any::<u8>(), 0..12).prop_map(|item| list(&[string(&item)])), items);
    (vec(transaction(), 0..20), lists(0..3), prop::option::of(lists(0..17))).prop_map(
        |(transactions, ommers, withdrawals)| {
            let lists = [Some(transactions), Some(ommers), withdrawals];
            list(&lists.into_iter().flatten().map(|items| list(&items)).collect::<Vec<_>>())
        },
    )
}

fn log() -> impl Strategy<Value = Vec<u8>> {
    (bytes(20), vec(bytes(32), 0..=4), bytes(0..80)).prop_map(|(address, topics, data)| {
        let topics: Vec<_> = topics.iter().map(|topic| string(topic)).collect();
        list(&[string(&address), list(&topics), string(&data)])
    })
}

fn slim_receipts() -> impl Strategy<Value = Vec<u8>> {
    let outcome = prop_oneof![Just(vec![]), Just(vec![1]), bytes(32)];
    let receipt = (0_u8..=0x7f, outcome, any::<u64>(), vec(log(), 0..4)).prop_map(|(kind, outcome, gas, logs)| {
        let integer = |value: u64| {
            let mut out = Vec::new();
            value.encode(&mut out);
            out
        };
        list(&[integer(kind.into()), string(&outcome), integer(gas), list(&logs)])
    });
    vec(receipt, 0..8).prop_map(|receipts| list(&receipts))
}

fn header_of_body(roots: BodyRoots) -> Header {
    Header {
        transactions_root: roots.transactions,
        ommers_hash: roots.ommers_hash,
        withdrawals_root: roots.withdrawals,
        ..Header::default()
    }
}

fn header_of_receipts(roots: ReceiptsRoots) -> Header {
    Header { receipts_root: roots.root, logs_bloom: roots.logs_bloom, ..Header::default() }
}

/// Every way to change one byte by flipping one of its bits, and every way to cut the end off or add to it.
fn mutations(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..8 * value.len()).map(|bit| {
        let mut value = value.to_vec();
        value[bit / 8] ^= 1 << (bit % 8);
        value
    });
    let cut = (0..value.len()).map(|len| value[..len].to_vec());
    let longer = (0..=u8::MAX).map(move |byte| [value, &[byte]].concat());
    flipped.chain(cut).chain(longer)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn bodies(body in body()) {
        let header = header_of_body(BodyRoots::compute(BodyEncoding::Rlp, &body).unwrap());
        for encoding in BODIES {
            let body = transcode::body(BodyEncoding::Rlp, encoding, &body).unwrap();
            prop_assert_eq!(validate::body(&header, encoding, &body), Ok(()));
            for mutated in mutations(&body) {
                prop_assert!(validate::body(&header, encoding, &mutated).is_err(), "{encoding:?} {mutated:02x?}");
            }
        }
    }

    #[test]
    fn receipts(slim in slim_receipts()) {
        let header = header_of_receipts(ReceiptsRoots::compute(ReceiptsEncoding::Slim, &slim).unwrap());
        for encoding in RECEIPTS {
            let receipts = transcode::receipts(ReceiptsEncoding::Slim, encoding, &slim).unwrap();
            prop_assert_eq!(validate::receipts(&header, encoding, &receipts), Ok(()));
            for mutated in mutations(&receipts) {
                prop_assert!(validate::receipts(&header, encoding, &mutated).is_err(), "{encoding:?} {mutated:02x?}");
            }
        }
    }
}

/// What the bytes say is the same in every encoding, and each encoding has one way to say it.
fn check_any_body(bytes: &[u8]) {
    for from in BODIES {
        let Ok(roots) = BodyRoots::compute(from, bytes) else { continue };
        for to in BODIES {
            let other = transcode::body(from, to, bytes).unwrap();
            assert_eq!(BodyRoots::compute(to, &other), Ok(roots));
            assert_eq!(transcode::body(to, from, &other).unwrap(), bytes);
        }
    }
}

fn check_any_receipts(bytes: &[u8]) {
    for from in RECEIPTS {
        let Ok(slim) = transcode::receipts(from, ReceiptsEncoding::Slim, bytes) else { continue };
        let roots = ReceiptsRoots::compute(from, bytes).unwrap();
        assert_eq!(transcode::receipts(ReceiptsEncoding::Slim, from, &slim).unwrap(), bytes);
        assert_eq!(ReceiptsRoots::compute(ReceiptsEncoding::Slim, &slim), Ok(roots));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn arbitrary_bytes(bytes in bytes(0..100)) {
        check_any_body(&bytes);
        check_any_receipts(&bytes);
    }

    #[test]
    fn damaged_bodies(mut body in body(), at: prop::sample::Index, byte: u8, to_ssz: bool) {
        if to_ssz {
            body = transcode::body(BodyEncoding::Rlp, BodyEncoding::Ssz, &body).unwrap();
        }
        let at = at.index(body.len());
        body[at] = byte;
        check_any_body(&body);
    }

    #[test]
    fn damaged_receipts(mut receipts in slim_receipts(), at: prop::sample::Index, byte: u8, to in 0..3_usize) {
        receipts = transcode::receipts(ReceiptsEncoding::Slim, RECEIPTS[to], &receipts).unwrap();
        if !receipts.is_empty() {
            let at = at.index(receipts.len());
            receipts[at] = byte;
        }
        check_any_receipts(&receipts);
    }
}

#[test]
fn errors_say_where() {
    let legacy = list(&[string(b"legacy")]);
    let body =
        |transactions: &[Vec<u8>], withdrawals: &[Vec<u8>]| list(&[list(transactions), list(&[]), list(withdrawals)]);
    let header = Header { number: 7, ..Header::default() };
    let body_error = |body: &[u8]| validate::body(&header, BodyEncoding::Rlp, body).unwrap_err().to_string();
    for (malformed, expected) in [
        (
            body(&[legacy.clone(), vec![0x81, 0x01]], &[]),
            "malformed block body: transaction 1 at byte 10: the length is not in its shortest form",
        ),
        (
            body(&[legacy.clone(), string(&legacy)], &[]),
            "malformed block body: transaction 1 at byte 11: an EIP-2718 type within 1..=127 or an RLP list is expected",
        ),
        (
            body(std::slice::from_ref(&legacy), &[string(b"dog")]),
            "malformed block body: withdrawal 0 at byte 12: a list is expected, found a string",
        ),
        (
            body(&[], &vec![list(&[]); 17]),
            "malformed block body: list of withdrawals at byte 20: the list has more than 16 items",
        ),
        (
            list(&[list(&[]), list(&[]), list(&[]), list(&[])]),
            "malformed block body: block body at byte 4: 1 bytes follow the last item",
        ),
        (
            [body(&[], &[]), vec![0]].concat(),
            "malformed block body: block body at byte 4: 1 bytes follow the last item",
        ),
        (body(&[], &[]), "the body has a list of withdrawals, the header of block 7 has no root for it"),
    ] {
        assert_eq!(body_error(&malformed), expected);
    }

    let topics = list(&vec![string(&[7; 32]); 5]);
    let bad_log = list(&[string(&[1; 20]), topics, string(b"")]);
    let good_log = list(&[string(&[1; 20]), list(&[]), string(b"")]);
    let receipts = list(&[list(&[string(&[2]), string(&[1]), string(&[9]), list(&[good_log, bad_log])])]);
    assert_eq!(
        validate::receipts(&header, ReceiptsEncoding::Slim, &receipts).unwrap_err().to_string(),
        "malformed receipts: log 1 of receipt 0 at byte 56: the list has more than 4 items"
    );
}

/// An SSZ container of variable-size fields, or a list of byte lists.
fn ssz(fields: &[Vec<u8>]) -> Vec<u8> {
    let starts = fields.iter().scan(4 * fields.len() as u32, |offset, field| {
        let start = *offset;
        *offset += field.len() as u32;
        Some(start.to_le_bytes())
    });
    starts.collect::<Vec<_>>().concat().into_iter().chain(fields.concat()).collect()
}

#[test]
fn ssz_errors_say_where() {
    let header = Header { number: 7, ..Header::default() };
    let body_error = |body: &[u8]| validate::body(&header, BodyEncoding::Ssz, body).unwrap_err().to_string();
    let body = |transactions: &[u8], withdrawals: &[u8]| ssz(&[transactions.to_vec(), list(&[]), withdrawals.to_vec()]);
    for (malformed, expected) in [
        (
            vec![],
            "malformed block body: block body at byte 0: the first SSZ offset stands for 0 fields, a body has 2 or 3",
        ),
        (vec![8, 0, 0], "malformed block body: block body at byte 0: the item needs 4 bytes and 3 are left"),
        (
            body(&[0, 0, 0, 0, 1], &[]),
            "malformed block body: list of transactions at byte 12: the SSZ offset 0 is out of order",
        ),
        (
            body(&[8, 0, 0, 0, 7, 0, 0, 0, 1], &[]),
            "malformed block body: transaction 0 at byte 16: the SSZ offset 7 is out of order",
        ),
        (
            body(&ssz(&[vec![1], vec![0x80]]), &[]),
            "malformed block body: transaction 1 at byte 21: an EIP-2718 type within 1..=127 or an RLP list is expected",
        ),
        (
            body(&[], &ssz(&vec![list(&[]); 17])),
            "malformed block body: list of withdrawals at byte 13: the list has more than 16 items",
        ),
        (
            body(&[], &ssz(&[list(&[string(&[1; 64])])])),
            "malformed block body: withdrawal 0 at byte 17: 68 bytes are over the limit of 64",
        ),
    ] {
        assert_eq!(body_error(&malformed), expected);
    }
    let receipts = ssz(&vec![vec![1]; MAX_TRANSACTION_COUNT + 1]);
    assert_eq!(
        validate::receipts(&header, ReceiptsEncoding::Ssz, &receipts).unwrap_err().to_string(),
        "malformed receipts: list of receipts at byte 0: the list has more than 16384 items"
    );
}

#[test]
fn the_bloom_of_the_header_counts() {
    let log = list(&[string(&[1; 20]), list(&[]), string(b"")]);
    let slim = list(&[list(&[string(&[2]), string(&[1]), string(&[9]), list(&[log])])]);
    let mut header = header_of_receipts(ReceiptsRoots::compute(ReceiptsEncoding::Slim, &slim).unwrap());
    assert_eq!(validate::receipts(&header, ReceiptsEncoding::Slim, &slim), Ok(()));
    header.logs_bloom.0[0] ^= 1;
    for encoding in RECEIPTS {
        let receipts = transcode::receipts(ReceiptsEncoding::Slim, encoding, &slim).unwrap();
        let number = header.number;
        assert_eq!(validate::receipts(&header, encoding, &receipts), Err(ReceiptsError::LogsBloom { number }));
    }
}
