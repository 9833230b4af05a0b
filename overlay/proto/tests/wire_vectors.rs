//! The specification's own vectors: `portal-wire-test-vectors.md` and `ping-extensions/extensions/type-*.md`.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use cairn_proto::wire::{
    Accept, AcceptCode, BasicRadius, ClientInfo, Content, ErrorCode, ErrorPayload, FindContent, FindNodes,
    HistoryRadius, Nodes, Offer, Ping, PingPayload, Request, Response,
};
use content_types::Distance;

/// RLP of the two ENRs of the NODES and CONTENT vectors.
const ENR1: &str = "f875b8401ce2991c64993d7c84c29a00bdc871917551c7d330fca2dd0d69c706596dc655448f030b98a77d4001fd46ae0112ce26d613c5a6a02a81a6223cd0c4edaa53280182696482763489736563703235366b31a103ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd3138";
const ENR2: &str = "f875b840d7f1c39e376297f81d7297758c64cb37dcc5c3beea9f57f7ce9695d7d5a67553417d719539d6ae4b445946de4d99e680eb8063f29485b555d45b7df16a1850130182696482763489736563703235366b31a1030e2cb74241c0c4fc8e8166f1a79a05d5b0dd95813a74b094529f317d5c39d235";
const ENR1_TEXT: &str = "enr:-HW4QBzimRxkmT18hMKaAL3IcZF1UcfTMPyi3Q1pxwZZbcZVRI8DC5infUAB_UauARLOJtYTxaagKoGmIjzQxO2qUygBgmlkgnY0iXNlY3AyNTZrMaEDymNMrg1JrLQB2KTGtv6MVbcNEVv0AHacwUAPMljNMTg";
const ENR2_TEXT: &str = "enr:-HW4QNfxw543Ypf4HXKXdYxkyzfcxcO-6p9X986WldfVpnVTQX1xlTnWrktEWUbeTZnmgOuAY_KUhbVV1Ft98WoYUBMBgmlkgnY0iXNlY3AyNTZrMaEDDiy3QkHAxPyOgWbxp5oF1bDdlYE6dLCUUp8xfVw50jU";

const CLIENT: &str = "trin/v0.1.1-b61fdc5c/linux-x86_64/rustc1.81.0";

fn bytes(text: &str) -> Bytes {
    hex::decode(text).unwrap().into()
}

/// 2^256 - 2.
fn radius() -> Distance {
    let mut radius = [0xff; 32];
    radius[31] = 0xfe;
    Distance::from_be_bytes(radius)
}

fn check_request(request: Request, message: &str) {
    assert_eq!(hex::encode(request.encode().unwrap()), message);
    assert_eq!(Request::decode(&bytes(message)).unwrap(), request);
}

fn check_response(response: Response, message: &str) {
    assert_eq!(hex::encode(response.encode().unwrap()), message);
    assert_eq!(Response::decode(&bytes(message)).unwrap(), response);
}

/// Checks one payload in both PING and PONG, whose vectors differ in the selector alone.
fn check_ping_and_pong(payload: PingPayload, body: &str) {
    let ping = Ping::new(1, &payload).unwrap();
    assert_eq!(ping.decode_payload().unwrap(), payload);
    check_request(Request::Ping(ping.clone()), &format!("00{body}"));
    check_response(Response::Pong(ping), &format!("01{body}"));
}

#[test]
fn ping_type_0_with_client_info() {
    check_ping_and_pong(
        PingPayload::ClientInfo(ClientInfo {
            client_info: Bytes::from_static(CLIENT.as_bytes()),
            data_radius: radius(),
            capabilities: vec![0, 1, 65535],
        }),
        "010000000000000000000e00000028000000feffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff550000007472696e2f76302e312e312d62363166646335632f6c696e75782d7838365f36342f7275737463312e38312e3000000100ffff",
    );
}

#[test]
fn ping_type_0_without_client_info() {
    check_ping_and_pong(
        PingPayload::ClientInfo(ClientInfo {
            client_info: Bytes::new(),
            data_radius: radius(),
            capabilities: vec![0, 1, 65535],
        }),
        "010000000000000000000e00000028000000feffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff2800000000000100ffff",
    );
}

#[test]
fn ping_type_1() {
    check_ping_and_pong(
        PingPayload::BasicRadius(BasicRadius { data_radius: radius() }),
        "010000000000000001000e000000feffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    );
}

#[test]
fn ping_type_2() {
    check_ping_and_pong(
        PingPayload::HistoryRadius(HistoryRadius { data_radius: radius(), ephemeral_header_count: 4242 }),
        "010000000000000002000e000000feffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff9210",
    );
}

#[test]
fn pong_type_65535() {
    let payload = PingPayload::Error(ErrorPayload {
        error_code: ErrorCode::FailedToDecodePayload,
        message: Bytes::from_static(b"hello world"),
    });
    let pong = Ping::new(1, &payload).unwrap();
    assert_eq!(pong.decode_payload().unwrap(), payload);
    check_response(Response::Pong(pong), "010100000000000000ffff0e00000002000600000068656c6c6f20776f726c64");
}

#[test]
fn find_nodes() {
    check_request(Request::FindNodes(FindNodes { distances: vec![256, 255] }), "02040000000001ff00");
}

#[test]
fn nodes() {
    check_response(Response::Nodes(Nodes { total: 1, enrs: vec![] }), "030105000000");
    check_response(
        Response::Nodes(Nodes { total: 1, enrs: vec![bytes(ENR1), bytes(ENR2)] }),
        &format!("030105000000080000007f000000{ENR1}{ENR2}"),
    );
}

#[test]
fn find_content() {
    check_request(Request::FindContent(FindContent { content_key: bytes("706f7274616c") }), "0404000000706f7274616c");
}

#[test]
fn content() {
    check_response(Response::Content(Content::ConnectionId(0x0102)), "05000102");
    check_response(
        Response::Content(Content::Inline(bytes("7468652063616b652069732061206c6965"))),
        "05017468652063616b652069732061206c6965",
    );
    check_response(
        Response::Content(Content::Enrs(vec![bytes(ENR1), bytes(ENR2)])),
        &format!("0502080000007f000000{ENR1}{ENR2}"),
    );
}

#[test]
fn offer() {
    check_request(Request::Offer(Offer { content_keys: vec![bytes("010203")] }), "060400000004000000010203");
}

#[test]
fn accept() {
    check_response(
        Response::Accept(Accept {
            connection_id: 0x0102,
            content_keys: vec![
                AcceptCode::Accepted,
                AcceptCode::Declined,
                AcceptCode::AlreadyStored,
                AcceptCode::OutsideRadius,
                AcceptCode::RateLimited,
                AcceptCode::InboundKeyLimited,
                AcceptCode::Declined,
                AcceptCode::Declined,
            ],
        }),
        "070102060000000001020304050101",
    );
}

#[test]
fn the_enrs_of_the_vectors_are_the_ones_in_the_bytes() {
    for (text, rlp) in [(ENR1_TEXT, ENR1), (ENR2_TEXT, ENR2)] {
        let enr: enr::Enr<enr::CombinedKey> = text.parse().unwrap();
        assert_eq!(hex::encode(alloy_rlp::encode(&enr)), rlp);
    }
}
