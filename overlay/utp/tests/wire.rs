//! The packet format: the Portal network's own vectors (`utp/utp-wire-test-vectors.md`), malformed packets, and
//! whatever else comes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use cairn_utp::{DecodeError, Header, Packet, PacketType, SelectiveAck};
use proptest::prelude::*;

fn hex(digits: &str) -> Bytes {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Encodes to and decodes from exactly `digits`.
#[track_caller]
fn check(header: Header, selective_ack: Option<&[u8]>, payload: &[u8], digits: &str) {
    let selective_ack = selective_ack.map(|mask| SelectiveAck::new(Bytes::copy_from_slice(mask)).unwrap());
    let mut encoded = Vec::new();
    assert_eq!(header.encode(selective_ack.as_ref(), payload, &mut encoded), encoded.len());
    assert_eq!(encoded, hex(digits));
    let decoded = Packet::decode(encoded.into()).unwrap();
    assert_eq!(decoded, Packet { header, selective_ack, payload: Bytes::copy_from_slice(payload) });
}

#[test]
fn syn() {
    let header = Header {
        packet_type: PacketType::Syn,
        connection_id: 10049,
        timestamp_microseconds: 3384187322,
        timestamp_difference_microseconds: 0,
        wnd_size: 1048576,
        seq_nr: 11884,
        ack_nr: 0,
    };
    check(header, None, &[], "41002741c9b699ba00000000001000002e6c0000");
}

#[test]
fn ack() {
    let header = Header {
        packet_type: PacketType::State,
        connection_id: 10049,
        timestamp_microseconds: 6195294,
        timestamp_difference_microseconds: 916973699,
        wnd_size: 1048576,
        seq_nr: 16807,
        ack_nr: 11885,
    };
    check(header, None, &[], "21002741005e885e36a7e8830010000041a72e6d");
    check(header, Some(&[1, 0, 0, 128]), &[], "21012741005e885e36a7e8830010000041a72e6d000401000080");
}

#[test]
fn data() {
    let header = Header {
        packet_type: PacketType::Data,
        connection_id: 26237,
        timestamp_microseconds: 252492495,
        timestamp_difference_microseconds: 242289855,
        wnd_size: 1048576,
        seq_nr: 8334,
        ack_nr: 16806,
    };
    let payload = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    check(header, None, &payload, "0100667d0f0cbacf0e710cbf00100000208e41a600010203040506070809");
}

#[test]
fn fin() {
    let header = Header {
        packet_type: PacketType::Fin,
        connection_id: 19003,
        timestamp_microseconds: 515227279,
        timestamp_difference_microseconds: 511481041,
        wnd_size: 1048576,
        seq_nr: 41050,
        ack_nr: 16806,
    };
    check(header, None, &[], "11004a3b1eb5be8f1e7c94d100100000a05a41a6");
}

#[test]
fn reset() {
    let header = Header {
        packet_type: PacketType::Reset,
        connection_id: 62285,
        timestamp_microseconds: 751226811,
        timestamp_difference_microseconds: 0,
        wnd_size: 0,
        seq_nr: 55413,
        ack_nr: 16807,
    };
    check(header, None, &[], "3100f34d2cc6cfbb0000000000000000d87541a7");
}

/// A data packet's header whose first extension is `extension`.
fn with_extensions(extension: u8, rest: &[u8]) -> Bytes {
    let mut packet = hex("0100667d0f0cbacf0e710cbf00100000208e41a6").to_vec();
    packet[1] = extension;
    packet.extend_from_slice(rest);
    packet.into()
}

#[test]
fn unknown_extensions_are_skipped() {
    let packet = Packet::decode(with_extensions(2, &[3, 1, 99, 1, 0, 0, 4, 5, 0, 0, 0, 42])).unwrap();
    assert_eq!(packet.selective_ack.unwrap().as_bytes(), [5, 0, 0, 0]);
    assert_eq!(&packet.payload[..], [42]);
}

#[test]
fn malformed_packets_are_told_apart() {
    let error = |packet: Bytes| Packet::decode(packet).unwrap_err();
    assert_eq!(error(Bytes::from_static(&[1; 19])), DecodeError::TooShort(19));
    assert_eq!(error(Bytes::from_static(&[0x02; 20])), DecodeError::Version(2));
    assert_eq!(error(Bytes::from_static(&[0x51; 20])), DecodeError::Type(5));
    assert_eq!(error(with_extensions(7, &[0])), DecodeError::Extension { extension: 7, offset: 20, len: 21 });
    assert_eq!(error(with_extensions(7, &[0, 2, 0])), DecodeError::Extension { extension: 7, offset: 20, len: 23 });
    assert_eq!(error(with_extensions(7, &[9, 0])), DecodeError::Extension { extension: 9, offset: 22, len: 22 });
    assert_eq!(error(with_extensions(1, &[0, 0])), DecodeError::SelectiveAckLen(0));
    assert_eq!(error(with_extensions(1, &[0, 5, 0, 0, 0, 0, 0])), DecodeError::SelectiveAckLen(5));
    let twice = [1, 4, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    assert_eq!(error(with_extensions(1, &twice)), DecodeError::RepeatedSelectiveAck);
}

#[test]
fn a_packet_is_found_by_the_id_its_receiver_listens_on() {
    let ids = |packet_type: u8, connection_id: [u8; 2]| {
        let mut packet = with_extensions(0, &[]).to_vec();
        packet[0] = packet_type << 4 | 1;
        packet[2..4].copy_from_slice(&connection_id);
        Header::decode(&packet).unwrap().receive_ids().collect::<Vec<_>>()
    };
    assert_eq!(ids(0, [0, 7]), [7]);
    assert_eq!(ids(4, [0xff, 0xff]), [0]);
    assert_eq!(ids(3, [0, 0]), [0, 0xffff, 1]);
}

#[test]
fn everything_but_a_reset_may_be_refused() {
    let data = Header::decode(&with_extensions(0, &[])).unwrap();
    let refusal = data.refusal().unwrap();
    assert_eq!(refusal.packet_type, PacketType::Reset);
    assert_eq!((refusal.connection_id, refusal.ack_nr), (data.connection_id, data.seq_nr));
    assert_eq!(refusal.refusal(), None);
}

prop_compose! {
    fn any_header()(
        packet_type in prop::sample::select(vec![
            PacketType::Data, PacketType::Fin, PacketType::State, PacketType::Reset, PacketType::Syn,
        ]),
        (connection_id, seq_nr, ack_nr) in any::<(u16, u16, u16)>(),
        (timestamp_microseconds, timestamp_difference_microseconds, wnd_size) in any::<(u32, u32, u32)>(),
    ) -> Header {
        Header {
            packet_type, connection_id, timestamp_microseconds, timestamp_difference_microseconds, wnd_size, seq_nr, ack_nr,
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        header in any_header(),
        words in proptest::option::of(proptest::collection::vec(any::<[u8; 4]>(), 1..=63)),
        payload in proptest::collection::vec(any::<u8>(), 0..1_200),
    ) {
        let selective_ack = words.map(|words| SelectiveAck::new(words.concat().into()).unwrap());
        let mut encoded = Vec::new();
        header.encode(selective_ack.as_ref(), &payload, &mut encoded);
        prop_assert_eq!(Header::decode(&encoded).unwrap(), header);
        let decoded = Packet::decode(encoded.into()).unwrap();
        prop_assert_eq!(decoded, Packet { header, selective_ack, payload: payload.into() });
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Packet::decode(bytes.into());
    }

    #[test]
    fn arbitrary_extensions_never_panic(first in any::<u8>(), rest in proptest::collection::vec(0..9_u8, 0..60)) {
        let _ = Packet::decode(with_extensions(first, &rest));
    }
}
